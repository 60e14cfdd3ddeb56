"""The arguments of transformers.TrainingArguments that checkpoints, resume and reporting depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith_trainer.context import RunContext


def lifecycle_arguments(context: RunContext) -> dict[str, Any]:
    """Return the arguments every method passes on unchanged."""
    return {
        "output_dir": str(context.staging_directory),
        # What a save becomes is `callbacks.checkpoint`'s business.
        "save_strategy": context.run.spec.checkpoint.save_strategy,
        "save_steps": context.run.spec.checkpoint.save_steps,
        # Transformers prunes by modification time, whole or not; we prune whole ones.
        "save_total_limit": None,
        # The evaluation before the first step happens on a fresh run alone, so not by `eval_on_start`.
        "eval_on_start": False,
        # A loss of NaN is to be seen, not smoothed away.
        "logging_nan_inf_filter": False,
        "logging_first_step": True,
        "report_to": [],
        "disable_tqdm": True,
        "push_to_hub": False,
    }
