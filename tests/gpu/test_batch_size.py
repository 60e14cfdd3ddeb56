"""The micro-batch that fits, on a GPU that is given less memory than it has."""

from typing import Any

import pytest

from tunesmith_trainer.batch_size import fit_batch_size

pytestmark = pytest.mark.gpu

MOST = 256
ROWS = [{"prompt": f"{row} and {row}=", "completion": " one two three" * 8} for row in range(2 * MOST)]


def test_less_memory_makes_smaller_micro_batches(lab: Any, base: Any) -> None:
    import torch

    spec = {
        "method": "sft",
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put("rows.jsonl", ROWS)],
        "training": {"maxLength": 128, "perDeviceTrainBatchSize": MOST, "maxSteps": 1},
    }
    trainer = lab.build(lab.context("sft", spec, base)).trainer
    torch.cuda.reset_peak_memory_stats()
    assert fit_batch_size(trainer, "adamw_torch") == MOST
    needed = torch.cuda.max_memory_reserved()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.6 * needed / torch.cuda.get_device_properties(0).total_memory)
    try:
        found = fit_batch_size(trainer, "adamw_torch")
        trainer.train()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert 1 <= found < MOST
    assert found * trainer.args.gradient_accumulation_steps == MOST
