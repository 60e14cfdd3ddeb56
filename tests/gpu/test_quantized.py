"""QLoRA: a frozen base in 4 or 8 bits, and an adapter for the base as it was."""

import math
from typing import Any

import pytest

from tunesmith_trainer.errors import InvalidSpec

pytestmark = pytest.mark.gpu

ROWS = [{"prompt": f"{a}+{b}=", "completion": f" {a + b}"} for a in range(6) for b in range(4)]
FOUR_BIT = {"loadIn4bit": True, "bnb4bitUseDoubleQuant": True}


def spec(lab: Any, quantization: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "method": "sft",
        "model": {"path": {"claim": "models", "path": "base"}, "dtype": "float32", "quantization": quantization},
        "peft": {"lora": {"r": 4}},
        "datasets": [lab.put("rows.jsonl", ROWS)],
        "training": {"maxLength": 32, "maxSteps": 3, "loggingSteps": 1, "learningRate": 1e-2},
    } | more


def further(lab: Any, quantization: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a job that trains an earlier one's adapter further."""
    model = {"fromJob": {"name": "job"}, "dtype": "float32", "quantization": quantization}
    whole = spec(lab, quantization, model=model, **more)
    del whole["peft"]
    return whole


@pytest.fixture
def base(other: Any) -> Any:
    """A model wide enough for the blocks of 64 weights that are quantised together."""
    return other("llama", hidden_size=64, intermediate_size=128)


def logits(model: Any) -> Any:
    import torch

    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([[5, 6, 7, 8, 9]], device=model.device)).logits


@pytest.mark.parametrize(
    ("quantization", "layer"),
    [
        pytest.param(FOUR_BIT, "Linear4bit", id="nf4"),
        pytest.param({"loadIn4bit": True, "bnb4bitQuantType": "fp4"}, "Linear4bit", id="fp4"),
        pytest.param({"loadIn8bit": True}, "Linear8bitLt", id="int8"),
    ],
)
def test_an_adapter_is_trained_on_a_quantised_base(
    lab: Any, base: Any, *, quantization: dict[str, Any], layer: str
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    context = lab.context("job", spec(lab, quantization, output={"mergeAdapter": True}), base)
    plan = lab.build(context)
    model = plan.trainer.model
    assert type(model.get_submodule("base_model.model.model.layers.0.mlp.up_proj").base_layer).__name__ == layer
    assert {value.dtype for value in model.parameters() if value.requires_grad} == {torch.float32}
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    plan.trainer.train()
    changed = {name for name, value in model.named_parameters() if not value.equal(before[name])}
    assert changed
    assert all(".lora_" in name for name in changed)
    losses = [entry["loss"] for entry in plan.trainer.state.log_history if "loss" in entry]
    assert losses[-1] < losses[0]
    saved = lab.finish(context, plan, train=False)
    assert saved.base == base.base
    folder = lab.path(saved.adapter.claim, saved.adapter.path)
    unquantised = AutoModelForCausalLM.from_pretrained(lab.path(base.base.claim, base.base.path))
    whole = PeftModel.from_pretrained(unquantised, folder)
    merged = AutoModelForCausalLM.from_pretrained(folder / "merged")
    assert torch.allclose(logits(whole), logits(merged), atol=1e-5)
    assert not hasattr(merged.config, "quantization_config")
    again = lab.build(lab.context("again", further(lab, quantization), saved))
    # TRL rounds the adapter of a quantised model to bfloat16 when it takes it.
    assert torch.allclose(logits(model), logits(again.trainer.model), atol=1e-2)


def test_only_lora_is_trained_on_a_quantised_base(lab: Any, base: Any) -> None:
    context = lab.context("embeddings", spec(lab, FOUR_BIT, peft={"promptTuning": {}}), base)
    with pytest.raises(InvalidSpec, match=r"spec\.model\.quantization: a quantised model is frozen"):
        lab.build(context)


def test_the_reference_of_preferences_is_quantised_too(lab: Any, base: Any) -> None:
    pairs = [{"prompt": row["prompt"], "chosen": row["completion"], "rejected": " no"} for row in ROWS]
    dpo: dict[str, Any] = {"method": "dpo", "datasets": [lab.put("pairs.jsonl", pairs)]}
    first = lab.context("first", spec(lab, FOUR_BIT, **dpo), base)
    plan = lab.build(first)
    saved = lab.finish(first, plan)
    again = lab.build(lab.context("further", further(lab, FOUR_BIT, **dpo), saved))
    again.trainer.train()
    for trainer in (plan.trainer, again.trainer):
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
        assert losses[0] == pytest.approx(math.log(2), abs=1e-4)
        assert losses[-1] < losses[0]
