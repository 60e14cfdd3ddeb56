"""Models of the Hub, against a server that speaks its API: fetched once, at one commit, and refused with a remedy."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer

from tunesmith_api.run import ResolvedModel
from tunesmith_api.v1alpha1.status import HubModel
from tunesmith_trainer.errors import GatedModel, HubUnreachable, InvalidSpec, ModelNotFound, TrainerError
from tunesmith_trainer.preparation.program import prepared

NAME = "team/tiny"
ROWS = [{"prompt": f"{number}+1=", "completion": f" {number + 1}"} for number in range(8)]
MAIN = ResolvedModel(base=HubModel(name=NAME, revision="main"))
USED = {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}


def spec(lab: Any, *, token: bool = False, **more: Any) -> dict[str, Any]:
    model = {"name": NAME, "tokenSecretRef": {"name": "hub", "key": "reader"}} if token else {"name": NAME}
    return {
        "method": "sft",
        "model": model,
        "datasets": [lab.put("rows.jsonl", ROWS)],
        "training": {"maxLength": 32, "maxSteps": 2, "loggingSteps": 1, "perDeviceTrainBatchSize": 2},
        "peft": {"lora": {"r": 4}},
    } | more


def job(lab: Any, name: str = "job", resolved: ResolvedModel = MAIN, **more: Any) -> Any:
    return lab.context(name, spec(lab, **more), resolved)


def fail(lab: Any, error: type[TrainerError], **more: Any) -> str:
    with pytest.raises(error) as caught:
        lab.build(job(lab, **more))
    return str(caught.value)


@pytest.fixture
def commit(hub: HubServer, model_folder: Path) -> str:
    """The pretrained model on the Hub, with the other things that people put beside one."""
    (model_folder / "README.md").write_text("# Tiny")
    (model_folder / "pytorch_model.bin").write_bytes(b"pickle")
    (model_folder / "onnx").mkdir()
    (model_folder / "onnx/model.onnx").write_bytes(b"onnx")
    (model_folder / "own.py").write_text("raise SystemExit('code of the repository was run')\n")
    return hub.publish(NAME, model_folder)


def test_a_model_is_fetched_then_loaded_without_asking_again(lab: Any, hub: HubServer, commit: str) -> None:
    context = job(lab)
    plan = lab.build(context)
    assert plan.base_model == HubModel(name=NAME, revision=commit)
    assert {path.removeprefix(f"/{NAME}/resolve/{commit}/") for path in hub.fetched()} >= USED
    assert not [path for path in hub.fetched() if path.endswith((".bin", ".onnx", ".md"))]
    first_file = next(place for place, request in enumerate(hub.requests) if request.path == hub.fetched()[0])
    assert not [request for request in hub.requests[first_file:] if request.path.startswith("/api/")], "loaded offline"
    requests = len(hub.requests)
    lab.finish(context, plan)
    assert len(hub.requests) == requests, "neither training nor saving asks or tells anything"


def test_a_second_job_fetches_nothing_from_a_shared_cache(lab: Any, hub: HubServer, commit: str) -> None:
    lab.build(job(lab, "first"))
    fetched = hub.fetched()
    assert lab.build(job(lab, "second")).base_model.revision == commit
    assert hub.fetched() == fetched


@pytest.mark.parametrize("cache", [None, {"claimName": "hub-cache"}])
def test_a_preparation_fetches_weights_only_into_a_cache_that_stays(
    lab: Any, hub: HubServer, commit: str, cache: Any
) -> None:
    weights = f"/{NAME}/resolve/{commit}/model.safetensors"
    context = job(lab, model={"name": NAME} | ({"cache": cache} if cache else {}))
    outcome = prepared(context)
    assert outcome.preparation is not None, outcome.message
    assert outcome.preparation.parameters
    assert (weights in hub.fetched()) == (cache is not None)
    assert lab.build(context).base_model.revision == commit
    assert weights in hub.fetched()


def test_a_later_attempt_trains_on_the_commit_of_the_first_and_needs_no_hub(
    lab: Any, hub: HubServer, commit: str, model_folder: Path
) -> None:
    lab.build(job(lab))
    (model_folder / "generation_config.json").write_text('{"max_new_tokens": 7}')
    newer = hub.publish(NAME, model_folder)
    requests = len(hub.requests)
    assert lab.build(job(lab)).base_model.revision == commit
    assert len(hub.requests) == requests, "the run has written down what it uses"
    assert lab.build(job(lab, "another")).base_model.revision == newer


def test_another_branch_and_a_commit_can_be_named(lab: Any, hub: HubServer, commit: str, model_folder: Path) -> None:
    (model_folder / "generation_config.json").write_text('{"max_new_tokens": 7}')
    other = hub.publish(NAME, model_folder, branch="v2")
    by_branch = ResolvedModel(base=HubModel(name=NAME, revision="v2"))
    by_commit = ResolvedModel(base=HubModel(name=NAME, revision=commit))
    assert lab.build(job(lab, "branch", by_branch)).base_model.revision == other
    assert lab.build(job(lab, "commit", by_commit)).base_model.revision == commit


def test_an_adapter_names_repository_and_commit_and_plain_peft_loads_it(lab: Any, hub: HubServer, commit: str) -> None:
    import torch
    from peft import AutoPeftModelForCausalLM

    context = job(lab)
    plan = lab.build(context)
    saved = lab.finish(context, plan)
    folder = lab.path(saved.adapter.claim, saved.adapter.path)
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == (NAME, commit)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        live = plan.trainer.model.eval()(input_ids=ids).logits
        reloaded = AutoPeftModelForCausalLM.from_pretrained(folder).eval()(input_ids=ids).logits
    assert torch.allclose(live, reloaded, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["continue", "merge"])
def test_a_job_starts_from_an_adapter_on_a_hub_model(lab: Any, hub: HubServer, commit: str, what: str) -> None:
    first = job(lab, "first")
    adapter = lab.finish(first, lab.build(first)).model_copy(update={"from_adapter": what})
    assert adapter.base == HubModel(name=NAME, revision=commit)
    wanted = spec(lab, model={"fromJob": {"name": "first", "fromAdapter": what}})
    if what == "continue":
        del wanted["peft"]
    second = lab.context("second", wanted, adapter)
    base = lab.build(second).base_model
    assert base == adapter.base if what == "continue" else base.path == f"{second.run.directory}/base"


def test_an_interrupted_transfer_is_gone_on_with(lab: Any, hub: HubServer, commit: str) -> None:
    from tunesmith_trainer.models import hub as fetching

    hub.cut_after = 50_000
    lab.build(job(lab))
    weights = [path for path in hub.fetched() if path.endswith("model.safetensors")]
    assert len(weights) == 2, "broken off, then gone on with"
    pin = fetching.pins(job(lab).run_directory)[0]
    assert pin.commit == commit
    assert not list(Path(os.path.realpath(fetching._snapshot(pin))).parents[1].rglob("*.incomplete"))


def test_a_transfer_that_an_attempt_left_half_is_gone_on_with_by_the_next(
    lab: Any, hub: HubServer, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    class KilledError(Exception):
        pass

    def killed(*_: Any, **__: Any) -> str:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(huggingface_hub, "snapshot_download", killed)
        with pytest.raises(KilledError):
            lab.build(job(lab))
    assert hub.fetched() == []
    assert lab.build(job(lab)).base_model.revision == commit


def test_a_gated_model_without_a_token(lab: Any, hub: HubServer, model_folder: Path) -> None:
    hub.publish(NAME, model_folder, gated=True)
    text = fail(lab, GatedModel)
    assert text.startswith(f"the base model ({NAME}@main) is gated, and the job has no token: accept its conditions at")
    assert f"{hub.url}/{NAME}" in text
    assert "spec.model.tokenSecretRef" in text


def test_a_gated_model_and_a_token_without_access_then_with(
    lab: Any, hub: HubServer, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.publish(NAME, model_folder, gated=True)
    hub.tokens["hf_reader"] = frozenset()
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    text = fail(lab, GatedModel, token=True)
    assert "the token of Secret hub, key reader, is of an account without access: accept its conditions" in text
    assert "hf_reader" not in text
    hub.tokens["hf_reader"] = frozenset({NAME})
    lab.build(job(lab, token=True))


def test_a_token_that_the_hub_does_not_know(
    lab: Any, hub: HubServer, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_expired")
    text = fail(lab, GatedModel, token=True)
    assert "the Hub refuses the token of Secret hub, key reader, (" in text
    assert "hf_expired" not in text


def test_a_private_model_is_not_told_from_a_missing_one(
    lab: Any, hub: HubServer, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "does not exist on the Hub, or is private; correct spec.model.name" in fail(lab, ModelNotFound)
    hub.publish(NAME, model_folder, private=True)
    assert "does not exist on the Hub, or is private" in fail(lab, ModelNotFound)
    hub.tokens |= {"hf_other": frozenset(), "hf_reader": frozenset({NAME})}
    monkeypatch.setenv("HF_TOKEN", "hf_other")
    assert "or the token of Secret hub, key reader, may not read it" in fail(lab, ModelNotFound, token=True)
    monkeypatch.setenv("HF_TOKEN", "hf_reader")
    lab.build(job(lab, token=True))


def test_a_revision_that_does_not_exist(lab: Any, hub: HubServer, commit: str) -> None:
    missing = ResolvedModel(base=HubModel(name=NAME, revision="v9"))
    assert "(team/tiny@v9): the repository has no such branch, tag or commit; correct spec.model.revision" in fail(
        lab, ModelNotFound, resolved=missing
    )


def test_no_network(lab: Any, hub: HubServer, commit: str) -> None:
    hub.stop()
    text = fail(lab, HubUnreachable)
    assert f"see whether pods may reach {hub.url}, or set HF_ENDPOINT to a mirror in podTemplate.env" in text


def test_a_hub_that_is_not_well(lab: Any, hub: HubServer, commit: str) -> None:
    hub.failing = 500
    assert "can not be fetched: " in fail(lab, HubUnreachable)


def test_a_cache_that_was_filled_beforehand_needs_no_network(
    lab: Any, hub: HubServer, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants, snapshot_download

    snapshot_download(NAME)
    hub.stop()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert lab.build(job(lab)).base_model.revision == commit
    other = ResolvedModel(base=HubModel(name="team/other", revision="main"))
    assert "is not in the cache, and HF_HUB_OFFLINE is set; " in fail(lab, ModelNotFound, resolved=other)


def test_pickled_weights_are_not_even_fetched(lab: Any, hub: HubServer, model_folder: Path) -> None:
    (model_folder / "model.safetensors").rename(model_folder / "pytorch_model.bin")
    hub.publish(NAME, model_folder)
    text = fail(lab, ModelNotFound)
    assert "has no model.safetensors; of weights it has pytorch_model.bin, which is not loaded: a pickle can" in text
    assert hub.fetched() == []


def test_an_adapter_of_the_hub_is_no_base(lab: Any, hub: HubServer, model_folder: Path) -> None:
    (model_folder / "config.json").rename(model_folder / "adapter_config.json")
    hub.publish(NAME, model_folder)
    assert "is an adapter: name its base model" in fail(lab, ModelNotFound)


def test_code_of_a_repository_is_run_only_when_trusted(lab: Any, hub: HubServer, model_folder: Path) -> None:
    config = json.loads((model_folder / "config.json").read_text())
    config |= {
        "model_type": "own",
        "architectures": ["OwnModel"],
        "auto_map": {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"},
    }
    (model_folder / "config.json").write_text(json.dumps(config))
    (model_folder / "own.py").write_text(
        "from transformers import LlamaConfig, LlamaForCausalLM\n\n\n"
        "class OwnConfig(LlamaConfig):\n    model_type = 'own'\n\n\n"
        "class OwnModel(LlamaForCausalLM):\n    config_class = OwnConfig\n"
    )
    hub.publish(NAME, model_folder)
    assert "is of a class of its own (own.OwnModel), and no code of a model is run unless" in fail(lab, InvalidSpec)
    plan = lab.build(job(lab, "trusted", model={"name": NAME, "trustRemoteCode": True}))
    plan.trainer.train()
    assert type(plan.trainer.model.get_base_model()).__name__ == "OwnModel"


@pytest.mark.slow
def test_a_checkpoint_of_an_earlier_job_goes_on_on_its_commit(
    lab: Any, hub: HubServer, commit: str, model_folder: Path
) -> None:
    earlier = job(lab, "earlier")
    adapter = lab.finish(earlier, lab.build(earlier)).adapter
    (model_folder / "generation_config.json").write_text('{"max_new_tokens": 7}')
    assert hub.publish(NAME, model_folder) != commit
    folder = lab.path(adapter.claim, adapter.path)
    place = adapter.model_copy(update={"path": f"{earlier.run.directory}/checkpoints/step-00000002"})
    shutil.copytree(folder, lab.path(place.claim, place.path))
    wanted = spec(lab, model={"resumeFrom": {"name": "earlier"}})
    del wanted["peft"]
    resolved = ResolvedModel(base=MAIN.base, adapter=place, from_adapter="continue", checkpoint=place)
    assert lab.build(lab.context("longer", wanted, resolved)).base_model.revision == commit


@pytest.mark.slow
def test_two_processes_fetch_once_and_fail_alike(lab: Any, hub: HubServer, commit: str, tmp_path: Path) -> None:
    missing = ResolvedModel(base=HubModel(name=NAME, revision="v9"))
    runs = {name: job(lab, name, source, numProcPerNode=2).run for name, source in (("good", MAIN), ("bad", missing))}
    for name, run in runs.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(run.to_wire()))
    ended = two_processes(hub, lab.root, tmp_path / "good.json")
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert len(hub.fetched()) == len(set(hub.fetched()))
    ended = two_processes(hub, lab.root, tmp_path / "bad.json")
    assert ended.returncode != 0
    assert ended.stderr.count("ModelNotFound: the base model (team/tiny@v9): the repository has no such branch") == 2


def two_processes(hub: HubServer, root: Path, file: Path) -> subprocess.CompletedProcess[str]:
    """Train a run in two processes, in the environment of a pod."""
    script = Path(__file__).parents[1] / "methods/two_processes.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", str(script)]
    variables = {
        "OMP_NUM_THREADS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
        "HF_ENDPOINT": hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_CACHE": str(root / "hub-cache"),
    }
    return subprocess.run(
        [*command, str(root), str(file)],
        env=os.environ | variables,
        timeout=120,
        capture_output=True,
        text=True,
        check=False,
    )
