"""In which precision weights are held, computed with and written."""

from typing import Any

import pytest

ROWS = [{"prompt": f"{a}+1=", "completion": f" {a + 1}"} for a in range(8)]


def spec(lab: Any, dtype: str, **more: Any) -> dict[str, Any]:
    return {
        "method": "sft",
        "model": {"fromJob": {"name": "base"}, "dtype": dtype},
        "datasets": [lab.put("rows.jsonl", ROWS)],
        "training": {"maxLength": 32, "maxSteps": 2},
    } | more


def dtypes(model: Any, *, trained: bool) -> set[str]:
    return {str(value.dtype) for value in model.parameters() if value.requires_grad == trained}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_trained_weights_are_float32_and_frozen_ones_as_asked(lab: Any, base: Any, dtype: str) -> None:
    plan = lab.build(lab.context("lora", spec(lab, dtype, peft={"lora": {"r": 2}}), base))
    assert dtypes(plan.trainer.model, trained=True) == {"torch.float32"}
    assert dtypes(plan.trainer.model, trained=False) == {f"torch.{dtype}"}
    assert plan.trainer.args.bf16 == (dtype == "bfloat16")
    plan.trainer.train()
    full = lab.build(lab.context("full", spec(lab, dtype), base))
    assert dtypes(full.trainer.model, trained=True) == {"torch.float32"}
    full.trainer.train()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_tied_embeddings_are_written_once(lab: Any, dtype: str) -> None:
    from safetensors import safe_open
    from transformers import AutoModelForCausalLM

    architecture = {"hiddenSize": 16, "intermediateSize": 32, "numHiddenLayers": 1, "numAttentionHeads": 2}
    model = {
        "architecture": architecture | {"tieWordEmbeddings": True},
        "tokenizer": {"train": {"vocabSize": 300}},
        "dtype": dtype,
    }
    pretrain = {"method": "pretrain", "model": model, "datasets": [lab.put("a.txt", "Some text.")]}
    plan = lab.build(lab.context("tied", pretrain | {"training": {"maxLength": 32, "maxSteps": 1}}))
    plan.save_output(lab.root / "output")
    with safe_open(lab.root / "output/model.safetensors", "pt") as file:
        assert "lm_head.weight" not in file.keys()  # noqa: SIM118 - no dictionary
    loaded = AutoModelForCausalLM.from_pretrained(lab.root / "output")
    assert loaded.get_output_embeddings().weight is loaded.get_input_embeddings().weight


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_whole_model_is_written_as_asked(lab: Any, base: Any, dtype: str) -> None:
    from transformers import AutoModelForCausalLM

    plan = lab.build(lab.context("full", spec(lab, dtype), base))
    plan.save_output(lab.root / "output")
    model = AutoModelForCausalLM.from_pretrained(lab.root / "output")
    assert dtypes(model, trained=True) == {f"torch.{dtype}"}
    assert dtypes(plan.trainer.model, trained=True) == {"torch.float32"}, "writing does not change what is trained"
