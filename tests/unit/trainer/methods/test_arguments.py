"""Every field of `spec.training` reaches the trainer, whatever TRL's own default is."""

from typing import Any

import pytest

TRAINING = {
    "numTrainEpochs": 2.5,
    "perDeviceTrainBatchSize": 3,
    "perDeviceEvalBatchSize": 5,
    "gradientAccumulationSteps": 2,
    "learningRate": 0.25,
    "lrSchedulerType": "constant_with_warmup",
    "warmupSteps": 7,
    "weightDecay": 0.125,
    "maxGradNorm": 0.75,
    "maxLength": 40,
    "gradientCheckpointing": True,
    "seed": 11,
    "loggingSteps": 9,
    "evalStrategy": "steps",
    "evalSteps": 4,
}
PAIRS = [{"prompt": f"{a}=", "chosen": " x", "rejected": " y"} for a in range(6)]
ROWS = {
    "sft": [{"prompt": f"{a}=", "completion": " x"} for a in range(6)],
    "dpo": PAIRS,
    "orpo": PAIRS,
    "simpo": PAIRS,
    "pretrain": [{"text": f"Row {a} of the text."} for a in range(6)],
}


def build(lab: Any, base: Any, method: str, training: dict[str, Any]) -> Any:
    spec = {
        "method": method,
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put("rows.jsonl", ROWS[method])],
        "evaluation": {"splitRatio": 0.5},
        "training": training,
    }
    return lab.build(lab.context(method, spec, base)).trainer


@pytest.mark.parametrize("method", ROWS)
def test_what_the_spec_says(lab: Any, base: Any, method: str) -> None:
    args = build(lab, base, method, TRAINING).args
    assert (args.num_train_epochs, args.max_steps) == (2.5, -1)
    assert (args.per_device_train_batch_size, args.per_device_eval_batch_size) == (3, 5)
    assert args.gradient_accumulation_steps == 2
    assert (args.learning_rate, args.lr_scheduler_type, args.warmup_steps) == (0.25, "constant_with_warmup", 7)
    assert (args.weight_decay, args.max_grad_norm) == (0.125, 0.75)
    assert (args.max_length, args.seed) == (40, 11)
    assert args.gradient_checkpointing
    assert (args.logging_steps, args.eval_strategy, args.eval_steps) == (9, "steps", 4)


@pytest.mark.parametrize("method", ROWS)
def test_what_it_does_not_say_is_off(lab: Any, base: Any, method: str) -> None:
    trainer = build(lab, base, method, {"maxLength": 40, "maxSteps": 1})
    assert trainer.args.max_steps == 1
    assert not trainer.args.bf16
    assert not trainer.args.gradient_checkpointing
    assert trainer.args.report_to == []
    trainer.train()
    assert not trainer.model.is_activation_checkpointing


@pytest.mark.slow
@pytest.mark.parametrize("method", ROWS)
def test_checkpointing_activations_changes_no_figure(lab: Any, base: Any, method: str) -> None:
    logs = []
    for wanted in (False, True):
        training = {"maxLength": 40, "maxSteps": 2, "loggingSteps": 1, "gradientCheckpointing": wanted}
        trainer = build(lab, base, method, training)
        trainer.train()
        assert trainer.model.is_activation_checkpointing == wanted
        logs.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert logs[0] == pytest.approx(logs[1], abs=1e-5)
