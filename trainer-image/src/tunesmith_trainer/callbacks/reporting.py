"""What the first process writes down during training, as `spec.reporting` asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith_trainer.callbacks.completions import CompletionsCallback
from tunesmith_trainer.callbacks.history import HistoryCallback
from tunesmith_trainer.callbacks.profile import ProfileCallback
from tunesmith_trainer.callbacks.samples import SamplesCallback
from tunesmith_trainer.callbacks.verify import VerifyCallback
from tunesmith_trainer.ending import COMPLETIONS_FILE, HISTORY_FILE, SAMPLES_FILE, VERIFICATION_FILE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from transformers import TrainerCallback

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.ending import Figures
    from tunesmith_trainer.exchange import Exchange
    from tunesmith_trainer.fence import Fence
    from tunesmith_trainer.methods.plan import TrainingPlan
    from tunesmith_trainer.reporter import Reporter


_PROFILE_FOLDER = "profile"


@dataclass(frozen=True)
class Watched:
    """A training that is written down.

    Attributes:
        plan: What is trained.
        fence: Asked before anything is written.
        exchange: Knows whether the pod was told to stop.
        reporter: Is told that something is being done.
    """

    plan: TrainingPlan
    fence: Fence
    exchange: Exchange
    reporter: Reporter


def reporting_callbacks(
    context: RunContext, watched: Watched, initial: Figures, resumed: int
) -> Iterator[TrainerCallback]:
    """Yield the callbacks of rank 0.

    Args:
        context: The run.
        watched: The training.
        initial: Held-out figures before the first step.
        resumed: The step that training goes on from.
    """
    directory, reporting = context.run_directory, context.run.spec.reporting
    yield HistoryCallback(directory / HISTORY_FILE, watched.fence, initial)
    if reporting.tensorboard or reporting.wandb or reporting.mlflow:
        # Each of these libraries is slow to import.
        from tunesmith_trainer.callbacks.trackers import trackers

        yield from trackers(context, resumed)
    if reporting.samples is not None:
        yield SamplesCallback(reporting.samples, watched, directory / SAMPLES_FILE)
    if reporting.completions is not None:
        yield CompletionsCallback(reporting.completions, watched, directory / COMPLETIONS_FILE)
    if reporting.profile is not None:
        yield ProfileCallback(reporting.profile, directory / _PROFILE_FOLDER, watched)
    if reporting.verify is not None:
        yield VerifyCallback(reporting.verify, directory / VERIFICATION_FILE, watched)
