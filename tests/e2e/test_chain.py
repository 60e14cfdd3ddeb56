"""Pretraining, more of it, full fine-tuning, LoRA on that and the merge: one chain, loaded with plain libraries."""

import json
from collections.abc import Callable
from typing import Any

import jobs
import pytest
import volume
from kube import Kubectl
from watching import Watched

Object = dict[str, Any]

# Runs in a pod without our package: the logits of every output for one text, by the step of the chain.
_LOAD = """
import json, os, sys
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer
logits = {}
for name, (base, adapter) in json.loads(sys.argv[1]).items():
    model = AutoModelForCausalLM.from_pretrained(base)
    if adapter:
        model = PeftModel.from_pretrained(model, adapter)
    ids = AutoTokenizer.from_pretrained(adapter or base)('A function is', return_tensors='pt').input_ids
    with torch.no_grad():
        logits[name] = model(ids).logits[0, -1, :64].tolist()
print(json.dumps(logits))
"""


def mounted(claim: str, path: str) -> str:
    return f"/tunesmith/claims/{claim}/{path}"


@pytest.fixture(scope="module")
def outputs(apply_shared: Callable[..., Watched]) -> dict[str, Object]:
    """The outputs of the chain's jobs, which were applied at once."""
    again = {"method": "pretrain", "datasets": [jobs.dataset(jobs.TEXTS)], "checkpoint": {"saveSteps": 10}}
    training = {"maxSteps": 10, "perDeviceTrainBatchSize": 4, "maxLength": 64, "learningRate": 0.001}
    lora = jobs.sft(
        "adapted",
        "whole",
        peft={"lora": {"r": 8, "useRslora": True}},
        sft={"packing": True},
        output=_claim() | {"mergeAdapter": True},
    )
    whole = jobs.sft(
        "whole", "more", evaluation={"splitRatio": 0.9}, training={"optim": "lion", "learningRate": 0.0003}
    )
    del whole["spec"]["peft"]
    chain = [
        jobs.pretrain("base"),
        jobs.job("more", {**again, "model": {"fromJob": {"name": "base"}}, "training": training}),
        whole,
        lora,
    ]
    watched = {manifest["metadata"]["name"]: apply_shared(manifest) for manifest in chain}
    return {name: job.wait_complete(limit=300)["output"] for name, job in watched.items()}


def _claim() -> Object:
    return {"claimTemplate": {"size": "1Gi", "accessModes": ["ReadWriteOnce"]}}


def test_each_step_starts_from_the_one_before(outputs: dict[str, Object]) -> None:
    assert {name: output["kind"] for name, output in outputs.items()} == {
        "base": "model",
        "more": "model",
        "whole": "model",
        "adapted": "adapter",
    }
    assert outputs["adapted"]["baseModel"] == {"claim": outputs["whole"]["claim"], "path": outputs["whole"]["path"]}


def test_plain_libraries_load_every_step_and_the_merge_is_the_adapter_on_its_base(
    outputs: dict[str, Object], shared_space: Kubectl, references: dict[str, str]
) -> None:
    folders = {name: mounted(output["claim"], output["path"]) for name, output in outputs.items()}
    wanted: dict[str, tuple[str, str | None]] = {name: (folders[name], None) for name in ("base", "more", "whole")}
    wanted["adapted"] = (folders["whole"], folders["adapted"])
    wanted["merged"] = (f"{folders['adapted']}/merged", None)
    command = ("python3", "-c", _LOAD, json.dumps(wanted))
    claims = tuple(output["claim"] for output in outputs.values())
    logits = json.loads(volume.run(shared_space, references["trainer-cpu"], "load", command, claims).splitlines()[-1])
    assert logits["merged"] == pytest.approx(logits["adapted"], abs=1e-4)
    before = "base"
    for name in ("more", "whole", "adapted"):
        assert max(abs(one - other) for one, other in zip(logits[name], logits[before], strict=True)) > 1e-3
        before = name
