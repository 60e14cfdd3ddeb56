"""The micro-batch that fits into memory: found without a trace, with the global batch as it was.

A CPU never says that memory is short, so here the model does, from a number of tokens on, as a GPU would.
"""

from typing import Any

import pytest

from tunesmith_trainer.batch_size import fit_batch_size
from tunesmith_trainer.errors import InvalidSpec

ROWS = [{"prompt": f"{a} and {a}=", "completion": " one two three" * (1 + a % 3)} for a in range(16)]
PAIRS = [{"prompt": f"{a} and {a}=", "chosen": " one two" * (1 + a % 3), "rejected": " four"} for a in range(16)]


@pytest.fixture
def context(lab: Any, base: Any) -> Any:
    def build(method: str = "sft", **training: Any) -> Any:
        spec = {
            "method": method,
            "model": {"fromJob": {"name": "base"}},
            "datasets": [lab.put(f"{method}.jsonl", PAIRS if method == "dpo" else ROWS)],
            "training": {"maxLength": 64, "perDeviceTrainBatchSize": 8, "maxSteps": 2, "loggingSteps": 1} | training,
            "peft": {"lora": {"r": 2, "loraDropout": 0.1}},
        }
        return lab.context(method, spec, base)

    return build


@pytest.fixture
def make(lab: Any, context: Any) -> Any:
    return lambda *method, **training: lab.build(context(*method, **training)).trainer


def limit(trainer: Any, rows: int) -> list[int]:
    """Let the model have memory for so many sequences; return those that were tried."""
    import torch

    tried: list[int] = []

    def look(_: Any, args: Any, kwargs: Any) -> None:
        ids = kwargs["input_ids"] if "input_ids" in kwargs else args[0]
        tried.append(len(ids))
        if len(ids) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory")

    trainer.model.register_forward_pre_hook(look, with_kwargs=True)
    return tried


@pytest.mark.parametrize(("method", "sequences"), [("sft", 1), ("dpo", 2)])
def test_the_largest_that_fits_is_taken_and_the_global_batch_stays(make: Any, method: str, sequences: int) -> None:
    trainer = make(method, gradientAccumulationSteps=3)
    tried = limit(trainer, 5 * sequences)
    assert fit_batch_size(trainer, "adamw_torch") == 4
    assert (trainer.args.per_device_train_batch_size, trainer.args.gradient_accumulation_steps) == (4, 6)
    assert list(dict.fromkeys(tried)) == [size * sequences for size in (8, 6, 4)]
    tried.clear()
    trainer.train()
    assert set(tried) == {4 * sequences}


def test_it_leaves_no_trace(make: Any) -> None:
    plain = make(gradientAccumulationSteps=2)
    plain.train()
    fitted = make(gradientAccumulationSteps=2)
    limit(fitted, 8)
    assert fit_batch_size(fitted, "adamw_torch") == 8
    assert all(parameter.grad is None for parameter in fitted.model.parameters())
    fitted.train()
    kept = ("loss", "grad_norm", "num_tokens", "entropy")
    first, second = ([{k: e[k] for k in kept if k in e} for e in t.state.log_history] for t in (plain, fitted))
    assert first == second


def test_the_longest_rows_are_tried(make: Any) -> None:
    trainer = make()
    seen: list[int] = []
    trainer.model.register_forward_pre_hook(
        lambda _, _args, kwargs: seen.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    fit_batch_size(trainer, "adamw_torch")
    assert set(seen) == {max(map(len, trainer.train_dataset["input_ids"]))}


def test_what_never_fits_is_refused_with_a_remedy(make: Any) -> None:
    trainer = make()
    limit(trainer, 0)
    with pytest.raises(InvalidSpec, match=r"not even one of the longest rows fits .* lower spec\.training\.maxLength"):
        fit_batch_size(trainer, "adamw_torch")


@pytest.mark.slow
def test_processes_agree_on_what_fits_all_of_them(context: Any, train_in_two: Any) -> None:
    (seen,) = train_in_two(context(autoFindBatchSize=True, ddpTimeout=15))
    assert seen["rows"] == 4
    assert len(seen["losses"]) == 2
    assert seen["apart"] == 0
