"""Flash attention on a GPU: packed rows have the losses that fused attention gives them."""

from typing import Any

import pytest

pytestmark = pytest.mark.gpu

ROWS = [{"prompt": f"{a}+{b}=", "completion": f" {a + b}"} for a in range(6) for b in range(4)]


@pytest.mark.parametrize("sft", [{"packing": True}, {"paddingFree": True}], ids=["packing", "paddingFree"])
def test_the_losses_are_those_of_fused_attention(lab: Any, base: Any, sft: dict[str, Any]) -> None:
    pytest.importorskip("flash_attn")

    def losses(attention: str) -> list[float]:
        spec = {
            "method": "sft",
            "model": {"fromJob": {"name": "base"}, "dtype": "bfloat16", "attnImplementation": attention},
            "sft": sft,
            "peft": {"lora": {"r": 4}},
            "datasets": [lab.put("rows.jsonl", ROWS)],
            "training": {"maxLength": 32, "maxSteps": 3, "loggingSteps": 1, "learningRate": 1e-3},
        }
        trainer = lab.build(lab.context(f"sft-{attention}", spec, base)).trainer
        assert trainer.model.config._attn_implementation == attention
        trainer.train()
        return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]

    assert losses("flash_attention_2") == pytest.approx(losses("sdpa"), abs=0.02)
