"""The order of events of a run, the same for every method."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith_api.progress import SavedOutput
from tunesmith_trainer import outputs
from tunesmith_trainer.checkpoints import CheckpointWriter, discard_newer, newest_whole, remove_leftovers, step_of
from tunesmith_trainer.context import RunContext
from tunesmith_trainer.ending import Ending, Figures, before_training, evaluate, final_evaluation
from tunesmith_trainer.errors import Stopped
from tunesmith_trainer.exchange import Exchange
from tunesmith_trainer.fence import Fence
from tunesmith_trainer.manifests import write_atomically
from tunesmith_trainer.origin import origin
from tunesmith_trainer.reporter import Reporter

if TYPE_CHECKING:
    from tunesmith_trainer.callbacks.stop import StopCallback
    from tunesmith_trainer.methods.plan import TrainingPlan

_INITIAL_FILE = "initial-evaluation.json"
_log = logging.getLogger(__name__)


class Run:
    """One process of one attempt. Rank 0 alone writes to the claim, but for each rank's random state."""

    def __init__(self, context: RunContext, exchange: Exchange, reporter: Reporter) -> None:
        self._context = context
        self._exchange = exchange
        self._reporter = reporter
        self._fence = Fence(context)
        self._first = context.rank == 0
        self._ending = Ending(context, self._fence, reporter)
        self._writer = CheckpointWriter(context, self._fence, reporter.beat) if self._first else None

    def train(self) -> SavedOutput | None:
        """Train to the end; return the output, which rank 0 has written.

        Raises:
            TrainerError: It did not get there; the error says why.
        """
        if self._first:
            self._fence.take()
            outputs.refuse_conflict(self._context)
            remove_leftovers(self._context)
        done = outputs.existing_output(self._context)
        if done:
            return self._ending.repeat(done)
        self._reporter.enter("loading")
        plan = self._build()
        resumed = self._resume_from()
        initial = self._initial_evaluation(plan, resumed)
        stop = self._train_steps(plan, resumed, initial)
        best = self._load_best(plan)
        # The best step's weights are those of a checkpoint already, and must not be saved as the last step's.
        final = self._final_evaluation(plan, stop) if stop and best is None else final_evaluation(plan, best)
        return self._ending.write(plan, initial, final, best)

    def _build(self) -> TrainingPlan:
        import datasets
        import transformers

        from tunesmith_trainer.callbacks.figures import FiguresCallback
        from tunesmith_trainer.callbacks.progress import ProgressCallback
        from tunesmith_trainer.collectives import join, require_world_size
        from tunesmith_trainer.methods import METHODS

        if self._context.run.spec.reporting.wandb is None:
            # TRL imports it wherever it is installed, which takes seconds; None says that it is not.
            sys.modules.setdefault("wandb", None)  # type: ignore[arg-type]
        datasets.disable_progress_bars()
        transformers.utils.logging.disable_progress_bar()
        join(self._context)
        plan = METHODS[self._context.run.spec.method].build(self._context)
        self._reporter.set(world_size=require_world_size(self._context.run.world_size))
        plan.trainer.beat = self._reporter.beat
        plan.trainer.remove_callback(transformers.PrinterCallback)
        # First, so that all others see what it adds.
        plan.trainer.add_callback(FiguresCallback(self._reporter, tells_perplexity=plan.tells_perplexity))
        plan.trainer.add_callback(ProgressCallback(self._reporter))
        self._account(plan.trainer, "evaluate", "evaluating", "evaluating")
        self._account(plan.trainer, "_save_checkpoint", "checkpointing", "checkpointing")
        return plan

    def _account(self, trainer: Any, name: str, phase: Any, account: str) -> None:
        """Count the time of one of the trainer's methods; the Trainer has no callback for their beginning."""
        method = getattr(trainer, name)

        def counted(*args: Any, **kwargs: Any) -> Any:
            with self._reporter.phase(phase, account):
                return method(*args, **kwargs)

        setattr(trainer, name, counted)

    def _resume_from(self) -> Path | None:
        """Return the checkpoint to go on from: rank 0 verifies, all take the same."""
        from tunesmith_trainer.collectives import from_first

        name: str | None = None
        directory = self._context.checkpoints_directory
        if self._first:
            newest = newest_whole(directory)
            name = newest.name if newest else None
            # Verifying takes minutes, in which another pod may have taken over and saved.
            self._fence.check()
            discard_newer(directory, step_of(newest) if newest else -1)
        name = from_first(name)
        if name is None:
            self._reporter.set(resumed_from_step=0)
            return None
        step = step_of(directory / name)
        steps = self._writer.steps() if self._writer else ()
        self._reporter.set(resumed_from_step=step, current_step=step, checkpoint_steps=steps)
        if self._first:
            self._fence.note(resumed_from_step=step)
            _log.info("going on from the checkpoint of step %d", step)
        return directory / name

    def _initial_evaluation(self, plan: TrainingPlan, resumed: Path | None) -> Figures:
        """Return the held-out figures before the first step, measured once per run."""
        from tunesmith_trainer.callbacks.best import require_metric
        from tunesmith_trainer.collectives import from_first

        if not plan.evaluates:
            return {}
        path = self._context.run_directory / _INITIAL_FILE
        figures: Figures = {}
        if resumed is None:
            figures = evaluate(plan)
            require_metric(plan.trainer.args, figures)
            if self._first:
                self._fence.check()
                write_atomically(path, json.dumps(figures))
            self._reporter.enter("loading")
        elif self._first and path.is_file():
            figures = json.loads(path.read_text(encoding="utf-8"))
        figures = from_first(figures)
        self._reporter.metrics(before_training(figures))
        return figures

    def _train_steps(self, plan: TrainingPlan, resumed: Path | None, initial: Figures) -> StopCallback | None:
        """Train to the last step; return what looks for an order to stop, None where no step was left.

        Raises:
            Stopped: The pod was told to stop; the step it was at is saved.
        """
        from tunesmith_trainer.callbacks.best import BestCallback
        from tunesmith_trainer.callbacks.checkpoint import CheckpointCallback
        from tunesmith_trainer.callbacks.early_stop import add_early_stop
        from tunesmith_trainer.callbacks.missed import MissedEvaluationCallback
        from tunesmith_trainer.callbacks.reporting import Watched, reporting_callbacks
        from tunesmith_trainer.callbacks.stop import StopCallback, train

        trainer = plan.trainer
        self._fit_batch_size(trainer)
        if resumed is not None and _load_if_trained(trainer, resumed):
            self._reporter.set(total_steps=trainer.state.max_steps, epoch=trainer.state.epoch or 0.0)
            MissedEvaluationCallback(trainer).make_up(trainer.args, trainer.state)
            return None
        start = resumed or self._start_elsewhere(trainer)
        if self._first:
            watched = Watched(plan, self._fence, self._exchange, self._reporter)
            for callback in reporting_callbacks(self._context, watched, initial, step_of(start) if start else 0):
                trainer.add_callback(callback)
        early = self._context.run.spec.early_stopping
        if early is not None:
            add_early_stop(trainer, early)
        stop = StopCallback(self._exchange)
        trainer.add_callback(stop)
        if self._context.run.spec.training.load_best_model_at_end:
            trainer.add_callback(BestCallback(self._context.checkpoints_directory))
        trainer.add_callback(CheckpointCallback(trainer, self._writer, self._reporter, start))
        trainer.add_callback(MissedEvaluationCallback(trainer))
        train(trainer, None if start is None else str(start), stop)
        self._settle(trainer.state.global_step, stop)
        return stop

    def _final_evaluation(self, plan: TrainingPlan, stop: StopCallback) -> Figures:
        """Return the held-out figures of the last step.

        Raises:
            Stopped: The pod was told to stop before the last step was saved; it is now.
        """
        from tunesmith_trainer.callbacks.stop import saved_where_stopped

        figures: Figures = {}
        with saved_where_stopped(plan.trainer, stop):
            figures = final_evaluation(plan)
        if stop.stopped:
            self._settle(plan.trainer.state.global_step, stop)
        return figures

    def _fit_batch_size(self, trainer: Any) -> None:
        """Find the micro-batch, where the spec asks for that."""
        from tunesmith_trainer.batch_size import fit_batch_size

        training = self._context.run.spec.training
        if training.auto_find_batch_size:
            rows = fit_batch_size(trainer, training.optim)
            self._reporter.metrics({"per_device_train_batch_size": rows})

    def _start_elsewhere(self, trainer: Any) -> Path | None:
        """Return another job's checkpoint to go on from, None without one."""
        checkpoint = origin(self._context, trainer)
        if checkpoint is not None:
            step = step_of(checkpoint)
            self._reporter.set(resumed_from_step=step, current_step=step)
        return checkpoint

    def _settle(self, step: int, stop: StopCallback) -> None:
        """Wait until the last checkpoint counts.

        Raises:
            Stopped: The pod was told to stop.
        """
        from tunesmith_trainer.collectives import barrier

        if self._writer:
            with self._reporter.phase("checkpointing", "checkpointing"):
                self._writer.wait()
            shutil.rmtree(self._context.staging_directory, ignore_errors=True)
            self._reporter.saved(self._writer.steps())
        barrier()
        self._reporter.set(current_step=step)
        if stop.stopped:
            raise Stopped(f"Told to stop; step {step} is saved as a checkpoint")

    def _load_best(self, plan: TrainingPlan) -> int | None:
        """Return the step that the output is from when it is to be the best one; None when it is the last."""
        from tunesmith_trainer.callbacks.best import load_best

        if not self._context.run.spec.training.load_best_model_at_end:
            return None
        return load_best(plan.trainer, self._context.checkpoints_directory)


def _load_if_trained(trainer: Any, checkpoint: Path) -> bool:
    """Load a checkpoint of the last step and return whether it is one.

    Resumed from its last step, the Trainer would train one step too many.
    """
    from transformers import TrainerState
    from transformers.trainer import TRAINER_STATE_NAME

    from tunesmith_trainer.callbacks.early_stop import stopped_early

    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    if state.global_step < state.max_steps and not stopped_early(state):
        return False
    trainer._load_from_checkpoint(str(checkpoint))  # noqa: SLF001 - what train() itself calls to resume
    trainer.state = state
    return True
