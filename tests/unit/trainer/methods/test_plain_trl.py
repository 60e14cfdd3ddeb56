"""The loss curves of preference methods are those of a plain TRL script with the same settings and seed."""

from pathlib import Path
from typing import Any

import pytest

PAIRS = [
    {"prompt": f"{a}+{b}=", "chosen": f" {a + b}" + " and more" * (a % 3), "rejected": f" {a - b - 7}"}
    for a in range(6)
    for b in range(4)
]
STEPS = 6
TRAINING = {
    "maxLength": 64,
    "maxSteps": STEPS,
    "loggingSteps": 1,
    "learningRate": 1e-3,
    "perDeviceTrainBatchSize": 4,
    "gradientAccumulationSteps": 2,
    "seed": 7,
}


def script(kind: str, folder: Path, output: Path, **own: Any) -> list[float]:
    """Return the losses of a training as TRL's own documentation would have it."""
    import trl
    import trl.experimental.cpo
    import trl.experimental.orpo
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    config, trainer = {
        "dpo": (trl.DPOConfig, trl.DPOTrainer),
        "orpo": (trl.experimental.orpo.ORPOConfig, trl.experimental.orpo.ORPOTrainer),
        "cpo": (trl.experimental.cpo.CPOConfig, trl.experimental.cpo.CPOTrainer),
    }[kind]
    arguments = config(
        output_dir=str(output),
        max_length=64,
        max_steps=STEPS,
        logging_steps=1,
        learning_rate=1e-3,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        seed=7,
        bf16=False,
        gradient_checkpointing=False,
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        save_strategy="no",
        **own,
    )
    tokenizer = AutoTokenizer.from_pretrained(folder)
    # The experimental trainers begin each row with it, though this tokenizer begins none so.
    tokenizer.bos_token = None
    made = trainer(
        model=AutoModelForCausalLM.from_pretrained(folder),
        args=arguments,
        train_dataset=Dataset.from_list(PAIRS),
        processing_class=tokenizer,
    )
    made.train()
    return [entry["loss"] for entry in made.state.log_history if "loss" in entry]


@pytest.mark.methods("plain TRL")
@pytest.mark.filterwarnings("ignore:You are importing from 'trl.experimental'")
@pytest.mark.parametrize(
    ("method", "block", "kind", "own"),
    [
        pytest.param("dpo", {}, "dpo", {}, id="dpo", marks=pytest.mark.slow),
        pytest.param(
            "dpo",
            {"lossType": ["ipo", "sft"], "lossWeights": [0.5, 1], "beta": 0.3},
            "dpo",
            {"loss_type": ["ipo", "sft"], "loss_weights": [0.5, 1.0], "beta": 0.3},
            id="dpo ipo sft",
        ),
        pytest.param(
            "dpo",
            {"precomputeRefLogProbs": True, "lossType": ["apo_zero"], "ldAlpha": 0.5},
            "dpo",
            {"precompute_ref_log_probs": True, "loss_type": ["apo_zero"], "ld_alpha": 0.5},
            id="dpo asked ahead",
        ),
        pytest.param("orpo", {}, "orpo", {}, id="orpo", marks=pytest.mark.slow),
        pytest.param("cpo", {"lossType": "hinge"}, "cpo", {"loss_type": "hinge"}, id="cpo"),
        pytest.param(
            "simpo",
            {},
            "cpo",
            {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 1.0, "cpo_alpha": 0.0},
            id="simpo",
        ),
    ],
)
def test_curves_are_those_of_a_plain_script(
    lab: Any, base: Any, model_folder: Path, *, method: str, block: dict[str, Any], kind: str, own: dict[str, Any]
) -> None:
    spec = {
        "method": method,
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put("pairs.jsonl", PAIRS)],
        "training": TRAINING,
        method: block,
    }
    trainer = lab.build(lab.context("ours", spec, base)).trainer
    trainer.train()
    ours = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    theirs = script(kind, model_folder, lab.root / "trl", **own)
    assert len(theirs) == STEPS
    assert ours == pytest.approx(theirs, abs=2e-4)
    assert ours[-1] != pytest.approx(ours[0], abs=1e-3)
