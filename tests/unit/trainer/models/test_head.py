"""The head on CPUs gives what TRL's own head gives: figures and gradients."""

from typing import Any

import pytest

ROWS = [{"prompt": f"{a}+1=", "completion": " one two three" * (1 + a % 3)} for a in range(8)]
PAIRS = [{"prompt": f"{a}+1=", "chosen": " one" * (1 + a % 3), "rejected": " two"} for a in range(8)]


def plan(lab: Any, base: Any, method: str, peft: dict[str, Any]) -> Any:
    spec = {
        "method": method,
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put("rows.jsonl", ROWS if method == "sft" else PAIRS)],
        "training": {"maxLength": 32, "maxSteps": 4, "loggingSteps": 1, "learningRate": 1e-2, "weightDecay": 0.1},
    }
    return lab.build(lab.context(f"{method}-{len(peft)}", spec | peft, base))


@pytest.mark.slow
@pytest.mark.parametrize("peft", [{}, {"peft": {"lora": {"r": 2}}}], ids=["full", "lora"])
@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_curves_are_those_of_trl(lab: Any, base: Any, method: str, peft: dict[str, Any], monkeypatch: Any) -> None:
    from tunesmith_trainer.models import head

    logs = []
    for limit in (head.LIMIT_BYTES, 0):
        monkeypatch.setattr(head, "LIMIT_BYTES", limit)
        trainer = plan(lab, base, method, peft).trainer
        trainer.train()
        logs.append(trainer.state.log_history)
    timed = {"train_runtime", "train_samples_per_second", "train_steps_per_second"}
    for ours, theirs in zip(*logs, strict=True):
        assert ours.keys() == theirs.keys()
        for name in ours.keys() - timed:
            assert ours[name] == pytest.approx(theirs[name], abs=2e-4), name


def test_a_batch_without_labels_gives_a_loss_of_zero_that_can_be_followed_back(lab: Any, base: Any) -> None:
    import torch

    trainer = plan(lab, base, "sft", {}).trainer
    ids = torch.tensor([[5, 6, 7]])
    output = trainer.model(input_ids=ids, labels=torch.full_like(ids, -100), fused_lm_head=True)
    assert output.loss.item() == 0
    output.loss.backward()


def test_without_the_trainers_flag_the_model_is_as_ever(lab: Any, base: Any) -> None:
    import torch

    trainer = plan(lab, base, "sft", {}).trainer
    ids = torch.tensor([[5, 6, 7]])
    output = trainer.model(input_ids=ids, labels=ids)
    assert output.logits.shape == (1, 3, 512)
    assert trainer.model.generate(input_ids=ids, max_new_tokens=2, min_new_tokens=2).shape == (1, 5)
