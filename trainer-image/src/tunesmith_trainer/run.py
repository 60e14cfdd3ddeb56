"""The order of events of a run, the same for every method."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith_api.manifest import Manifest
from tunesmith_api.progress import SavedOutput
from tunesmith_api.v1alpha1.status import BaseRecord
from tunesmith_trainer import outputs
from tunesmith_trainer.checkpoints import CheckpointWriter, discard_newer, newest_whole, remove_leftovers, step_of
from tunesmith_trainer.context import RunContext
from tunesmith_trainer.errors import Stopped
from tunesmith_trainer.exchange import Exchange
from tunesmith_trainer.fence import Fence
from tunesmith_trainer.manifests import seal, write_atomically
from tunesmith_trainer.models.description import describe
from tunesmith_trainer.models.hub import pins
from tunesmith_trainer.origin import origin
from tunesmith_trainer.reporter import Reporter

if TYPE_CHECKING:
    from tunesmith_trainer.methods.plan import TrainingPlan

_INITIAL_FILE = "initial-evaluation.json"
_LOSS = "eval_loss"
_log = logging.getLogger(__name__)


class Run:
    """One process of one attempt. Rank 0 alone writes to the claim, but for each rank's random state."""

    def __init__(self, context: RunContext, exchange: Exchange, reporter: Reporter) -> None:
        self._context = context
        self._exchange = exchange
        self._reporter = reporter
        self._fence = Fence(context)
        self._first = context.rank == 0
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
            return self._finished_before(done)
        self._reporter.enter("loading")
        plan = self._build()
        resumed = self._resume_from()
        initial = self._initial_evaluation(plan, resumed)
        self._train_steps(plan, resumed)
        final = self._final_evaluation(plan)
        return self._finish(plan, {"initialEvaluation": initial, "finalEvaluation": final})

    def _build(self) -> TrainingPlan:
        import datasets
        import transformers

        from tunesmith_trainer.callbacks.progress import ProgressCallback
        from tunesmith_trainer.collectives import require_world_size
        from tunesmith_trainer.methods import METHODS

        datasets.disable_progress_bars()
        transformers.utils.logging.disable_progress_bar()
        plan = METHODS[self._context.run.spec.method].build(self._context)
        self._reporter.set(world_size=require_world_size(self._context.run.world_size))
        plan.trainer.remove_callback(transformers.PrinterCallback)
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
            discard_newer(directory, step_of(newest) if newest else -1)
        name = from_first(name)
        if name is None:
            self._reporter.set(resumed_from_step=0)
            return None
        step = step_of(directory / name)
        steps = self._writer.steps() if self._writer else ()
        self._reporter.set(resumed_from_step=step, current_step=step, checkpoint_steps=steps)
        if self._first:
            _log.info("going on from the checkpoint of step %d", step)
        return directory / name

    def _initial_evaluation(self, plan: TrainingPlan, resumed: Path | None) -> dict[str, float]:
        """Return the held-out figures before the first step, measured once per run."""
        from tunesmith_trainer.collectives import from_first

        if not plan.evaluates:
            return {}
        path = self._context.run_directory / _INITIAL_FILE
        figures: dict[str, float] = {}
        if resumed is None:
            figures = _numbers(plan.trainer.evaluate())
            if self._first:
                self._fence.check()
                write_atomically(path, json.dumps(figures))
            self._reporter.enter("loading")
        elif self._first and path.is_file():
            figures = json.loads(path.read_text(encoding="utf-8"))
        figures = from_first(figures)
        self._reporter.metrics(_initial(figures))
        return figures

    def _train_steps(self, plan: TrainingPlan, resumed: Path | None) -> None:
        """Train to the last step.

        Raises:
            Stopped: The pod was told to stop; the step it was at is saved.
        """
        from tunesmith_trainer.callbacks.checkpoint import CheckpointCallback
        from tunesmith_trainer.callbacks.stop import StopCallback, train

        trainer = plan.trainer
        if resumed is not None and _load_if_trained(trainer, resumed):
            self._reporter.set(total_steps=trainer.state.max_steps, epoch=trainer.state.epoch or 0.0)
            return
        stop = StopCallback(self._exchange)
        trainer.add_callback(stop)
        start = resumed or self._start_elsewhere(trainer)
        trainer.add_callback(CheckpointCallback(trainer, self._writer, self._reporter, start))
        train(trainer, None if start is None else str(start))
        self._settle(trainer.state.global_step)
        if stop.stopped:
            raise Stopped(f"Told to stop; step {trainer.state.global_step} is saved as a checkpoint")

    def _start_elsewhere(self, trainer: Any) -> Path | None:
        """Return another job's checkpoint to go on from, None without one."""
        checkpoint = origin(self._context, trainer)
        if checkpoint is not None:
            step = step_of(checkpoint)
            self._reporter.set(resumed_from_step=step, current_step=step)
        return checkpoint

    def _settle(self, step: int) -> None:
        """Wait until the last checkpoint counts."""
        from tunesmith_trainer.collectives import barrier

        if self._writer:
            with self._reporter.phase("checkpointing", "checkpointing"):
                self._writer.wait()
            shutil.rmtree(self._context.staging_directory, ignore_errors=True)
            self._reporter.saved(self._writer.steps())
        barrier()
        self._reporter.set(current_step=step)

    def _final_evaluation(self, plan: TrainingPlan) -> dict[str, float]:
        """Return the held-out figures after the last step; measured there already, they are not measured again."""
        if not plan.evaluates:
            return {}
        state = plan.trainer.state
        for entry in reversed(state.log_history):
            if _LOSS in entry and entry["step"] == state.global_step:
                return _numbers({name: value for name, value in entry.items() if name.startswith("eval_")})
        return _numbers(plan.trainer.evaluate())

    def _finish(self, plan: TrainingPlan, evaluations: dict[str, Any]) -> SavedOutput | None:
        """Write the output and make it count."""
        from tunesmith_trainer.collectives import barrier

        context, step = self._context, plan.trainer.state.global_step
        self._reporter.enter("saving")
        staged = context.run_directory / f"output.tmp-{context.attempt}"
        kind = plan.save_output(staged)
        barrier()
        if not self._first:
            return None
        outputs.write_record(staged, context, self._facts(plan) | evaluations)
        manifest = seal(staged, kind, step, context)
        outputs.commit_output(context, self._fence, staged)
        self._reporter.enter("finished")
        return outputs.saved_output(context, manifest, plan.base_model)

    def _facts(self, plan: TrainingPlan) -> dict[str, Any]:
        state = plan.trainer.state
        return {
            "dataDigest": plan.data_digest,
            "data": plan.data_report,
            "model": describe(plan.trainer.model, self._context.run.spec.model.architecture),
            "seed": self._context.run.spec.training.seed,
            "worldSize": self._context.world_size,
            "attempts": self._fence.attempts(),
            "steps": state.global_step,
            "baseModel": plan.base_model.to_wire() if plan.base_model else None,
            "hub": [pin.to_wire() for pin in pins(self._context.run_directory)],
            "metrics": state.log_history,
            "seconds": self._reporter.seconds.model_dump(),
        }

    def _finished_before(self, manifest: Manifest) -> SavedOutput | None:
        """Say for an earlier attempt, which died between its output and its last word, what it would have said."""
        if not self._first:
            return None
        self._fence.check()
        outputs.link_output(self._context)
        record = outputs.read_record(self._context.run_directory / "output")
        base = record["baseModel"]
        self._reporter.set(phase="finished", current_step=manifest.step, total_steps=manifest.step)
        self._reporter.set(resumed_from_step=manifest.step, world_size=record["worldSize"])
        self._reporter.metrics(_initial(record["initialEvaluation"]) | _told(record["finalEvaluation"]))
        return outputs.saved_output(self._context, manifest, BaseRecord.model_validate(base).model if base else None)


def _load_if_trained(trainer: Any, checkpoint: Path) -> bool:
    """Load a checkpoint of the last step and return whether it is one.

    Resumed from its last step, the Trainer would train one step too many.
    """
    from transformers import TrainerState
    from transformers.trainer import TRAINER_STATE_NAME

    state = TrainerState.load_from_json(str(checkpoint / TRAINER_STATE_NAME))
    if state.global_step < state.max_steps:
        return False
    trainer._load_from_checkpoint(str(checkpoint))  # noqa: SLF001 - what train() itself calls to resume
    trainer.state = state
    return True


def _numbers(figures: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}


def _told(figures: dict[str, float]) -> dict[str, float]:
    return {_LOSS: figures[_LOSS]} if _LOSS in figures else {}


def _initial(figures: dict[str, float]) -> dict[str, float]:
    """Return the loss before training under a name of its own."""
    return {f"initial_{name}": value for name, value in _told(figures).items()}
