"""Architectures as jobs: pretrained, saved, loaded here and elsewhere, fine-tuned and aligned."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from zoo import EVERY, OWN, SIZE

from tunesmith_trainer.errors import InvalidSpec

TEXT = "\n\n".join(f"Paragraph {number} tells the number {number} and nothing else." for number in range(80))
PAIRS = [{"prompt": f"{a}+1=", "chosen": f" {a + 1}", "rejected": f" {a - 8}"} for a in range(16)]
ROWS = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in PAIRS]
# Loads a model as anybody would, who has Transformers and not Tunesmith.
ELSEWHERE = """
import json, sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
try:
    import tunesmith_trainer
except ImportError:
    pass
else:
    raise SystemExit("Tunesmith is here")
for folder in sys.argv[1:]:
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True)
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    ids = tokenizer("Paragraph 7 tells", return_tensors="pt").input_ids
    with torch.no_grad():
        logits, words = model(ids).logits[0, -1].tolist(), model.generate(ids, max_new_tokens=4).tolist()
    print(json.dumps([type(model).__name__, logits, words]))
"""


def pretrain(lab: Any, name: str, fields: dict[str, Any], **training: Any) -> Any:
    spec = {
        "method": "pretrain",
        "model": {
            "architecture": SIZE | {"initializerRange": 0.02} | fields,
            "tokenizer": {"train": {"vocabSize": 300}},
        },
        "datasets": [lab.put("corpus.txt", TEXT)],
        "training": {"maxLength": 32, "maxSteps": 12, "learningRate": 1e-2, "loggingSteps": 1} | training,
    }
    return lab.context(name, spec)


@pytest.fixture
def alibi(lab: Any) -> Any:
    """A model of our own decoder, pretrained for a few steps."""
    context = pretrain(lab, "base", OWN["alibi"])
    return lab.finish(context, lab.build(context))


@pytest.mark.parametrize("name", ["sinusoidal-post"])
def test_pretraining_learns_and_the_folder_loads_to_equal_logits(lab: Any, name: str) -> None:
    """Twelve steps take at least one off the loss."""
    import torch

    from tunesmith_trainer.models.folders import Folder
    from tunesmith_trainer.models.weights import load_weights

    context = pretrain(lab, name, OWN[name])
    plan = lab.build(context)
    saved = lab.finish(context, plan)
    losses = [entry["loss"] for entry in plan.trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0] - 1
    again = lab.context("again", _sft(lab), saved)
    model = load_weights(Folder.find(saved.base, again, "the model"), "float32", again.run.spec.model)
    assert type(model).__module__.startswith("tunesmith_trainer."), "our own code, not the folder's"
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        assert torch.equal(model.eval()(ids).logits, plan.trainer.model.eval()(ids).logits)


def _sft(lab: Any, **more: Any) -> dict[str, Any]:
    return {
        "method": "sft",
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put("rows.jsonl", ROWS)],
        "training": {"maxLength": 32, "maxSteps": 6, "learningRate": 1e-2, "loggingSteps": 1},
    } | more


def test_fine_tuning_an_adapter_on_every_linear_layer(lab: Any, alibi: Any) -> None:
    context = lab.context("sft", _sft(lab, peft={"lora": {"r": 4}}), alibi)
    plan = lab.build(context)
    targets = plan.trainer.model.peft_config["default"].target_modules
    assert targets == {"q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj"}
    saved = lab.finish(context, plan)
    losses = [entry["loss"] for entry in plan.trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0] - 0.2
    assert saved.base == alibi.base


@pytest.mark.slow
@pytest.mark.parametrize("peft", [{}, {"peft": {"lora": {"r": 4}}}], ids=["full weights", "adapter"])
def test_aligning(lab: Any, alibi: Any, peft: dict[str, Any]) -> None:
    import math

    spec = _sft(lab, method="dpo", datasets=[lab.put("pairs.jsonl", PAIRS)])
    spec["training"] |= {"maxSteps": 12}
    plan = lab.build(lab.context("dpo", spec | peft, alibi))
    plan.trainer.train()
    losses = [entry["loss"] for entry in plan.trainer.state.log_history if "loss" in entry]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-4)
    assert losses[-1] < 0.66


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_head_on_cpus_gives_the_curve_of_trl(lab: Any, alibi: Any, dtype: str, monkeypatch: Any) -> None:
    from tunesmith_trainer.models import head

    curves = []
    for limit in (head.LIMIT_BYTES, 0):
        monkeypatch.setattr(head, "LIMIT_BYTES", limit)
        model = {"fromJob": {"name": "base"}, "dtype": dtype}
        trainer = lab.build(lab.context(f"sft-{limit}", _sft(lab, model=model), alibi)).trainer
        trainer.train()
        curves.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert curves[0] == pytest.approx(curves[1], abs=2e-4 if dtype == "float32" else 2e-2)


def test_the_run_record_says_which_class_it_is_and_why(lab: Any) -> None:
    from tunesmith_trainer.models.description import describe

    context = pretrain(lab, "described", {"slidingWindow": 8})
    model = lab.build(context).trainer.model
    facts = describe(model, context.run.spec.model.architecture)
    assert facts == {
        "class": "MistralForCausalLM",
        "chosenBecause": "llama has no slidingWindow: 8",
        "parameters": model.num_parameters(),
        "trainedParameters": model.num_parameters(),
    }


STANDING = {"llama", "gpt2", "yarn-post"}


@pytest.mark.methods("architecture")
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in STANDING else ()) for name in EVERY]
)
def test_every_architecture_learns_as_a_job(lab: Any, name: str, record_property: Any) -> None:
    """Twelve steps take at least one off the loss, with dropout, in both precisions' paths."""
    context = pretrain(lab, name, EVERY[name])
    plan = lab.build(context)
    plan.trainer.train()
    losses = [entry["loss"] for entry in plan.trainer.state.log_history if "loss" in entry]
    record_property("class", type(plan.trainer.model).__name__)
    record_property("loss", f"{losses[0]:.2f} → {losses[-1]:.2f}")
    assert losses[-1] < losses[0] - 1


@pytest.mark.slow
def test_folders_load_where_tunesmith_is_not(lab: Any, tmp_path: Path) -> None:
    """Our decoder with the code in its folder; logits within 1e-6, and the same words."""
    import torch
    from transformers import AutoTokenizer

    expected, folders = [], []
    for name, fields in OWN.items():
        context = pretrain(lab, name, fields, maxSteps=1)
        plan = lab.build(context)
        lab.finish(context, plan)
        folder = context.run_directory / "output"
        folders.append(str(folder))
        ids = AutoTokenizer.from_pretrained(folder)("Paragraph 7 tells", return_tensors="pt").input_ids
        model = plan.trainer.model.eval()
        with torch.no_grad():
            expected.append((model(ids).logits[0, -1], model.generate(ids, max_new_tokens=4).tolist()))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    # The environment's own packages but ours; -P: nor the working folder. The cache of modules is the test's own.
    script = "import sys; sys.path = [path for path in sys.path if not path.endswith('/src')]\n" + ELSEWHERE
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, *folders],
        env=environment | {"HF_MODULES_CACHE": str(tmp_path / "modules")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for line, (logits, generated) in zip(done.stdout.splitlines(), expected, strict=True):
        kind, there, words = json.loads(line)
        assert kind == "TunesmithForCausalLM"
        assert torch.allclose(torch.tensor(there), logits, atol=1e-6)
        assert words == generated


# Scores as anybody would, who has Transformers and not Tunesmith.
SCORED_ELSEWHERE = """
import sys; sys.path = [path for path in sys.path if not path.endswith('/src')]
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer
folder = sys.argv[1]
model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
with torch.no_grad():
    scores = model(**tokenizer(["Paragraph 7 tells", "And"], padding=True, return_tensors="pt")).logits[:, 0]
print(type(model).__module__.split(".")[0], *scores.tolist())
"""


@pytest.mark.slow
def test_a_reward_model_of_our_decoder_scores_elsewhere(lab: Any, alibi: Any, tmp_path: Path) -> None:
    """Trained, saved with its code, and no language model any more, whatever the base's config said."""
    import torch

    spec = {
        "method": "reward",
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put("pairs.jsonl", PAIRS)],
        "training": {"maxLength": 32, "maxSteps": 2, "learningRate": 1e-2},
    }
    context = lab.context("reward", spec, alibi)
    plan = lab.build(context)
    saved = lab.finish(context, plan)
    folder = context.run_directory / "output"
    done = subprocess.run(
        [sys.executable, "-P", "-c", SCORED_ELSEWHERE, str(folder)],
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        | {"HF_MODULES_CACHE": str(tmp_path / "modules")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    package, *scores = done.stdout.split()
    assert package == "transformers_modules"
    batch = plan.trainer.processing_class(["Paragraph 7 tells", "And"], padding=True, return_tensors="pt")
    with torch.no_grad():
        live = plan.trainer.model.eval()(**batch).logits[:, 0]
    assert torch.allclose(torch.tensor([float(score) for score in scores]), live, atol=1e-6)
    with pytest.raises(InvalidSpec, match="is a TunesmithForSequenceClassification: a classifier"):
        lab.build(lab.context("dpo", spec | {"method": "dpo"}, saved))
