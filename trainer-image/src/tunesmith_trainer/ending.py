"""How a run that trained to its end becomes an output: evaluated, written down, made to count."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from tunesmith_api.figures import INITIAL, is_headline
from tunesmith_api.v1alpha1.status import BaseRecord
from tunesmith_trainer import outputs
from tunesmith_trainer.data.uris import FETCHED
from tunesmith_trainer.manifests import seal
from tunesmith_trainer.models.description import describe
from tunesmith_trainer.models.hub import pins
from tunesmith_trainer.report.card import render_card
from tunesmith_trainer.report.facts import Facts
from tunesmith_trainer.report.history import LOSS, json_lines, with_perplexity
from tunesmith_trainer.report.page import render_page

if TYPE_CHECKING:
    from pathlib import Path

    from tunesmith_api.manifest import Manifest
    from tunesmith_api.progress import SavedOutput
    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.fence import Fence
    from tunesmith_trainer.methods.plan import TrainingPlan
    from tunesmith_trainer.reporter import Reporter

CARD_FILE = "README.md"
PAGE_FILE = "report.html"
HISTORY_FILE = "metrics.jsonl"
SAMPLES_FILE = "samples.jsonl"
COMPLETIONS_FILE = "completions.jsonl"
VERIFICATION_FILE = "verification.json"
_KEPT = (SAMPLES_FILE, COMPLETIONS_FILE, VERIFICATION_FILE)

Figures = dict[str, float]


class Ending:
    """The end of one process of one attempt; rank 0 alone writes."""

    def __init__(self, context: RunContext, fence: Fence, reporter: Reporter) -> None:
        self._context = context
        self._fence = fence
        self._reporter = reporter

    def write(
        self, plan: TrainingPlan, initial: Figures, final: Figures, best: int | None = None
    ) -> SavedOutput | None:
        """Write the output and make it count.

        Args:
            plan: What was trained.
            initial: Held-out figures before the first step.
            final: Held-out figures of what is written.
            best: The step it is from; None for the last.
        """
        from tunesmith_trainer.collectives import barrier

        context, step = self._context, plan.trainer.state.global_step
        self._reporter.metrics(_told(final))
        self._reporter.enter("saving")
        staged = context.run_directory / f"output.tmp-{context.attempt}"
        kind = plan.save_output(staged)
        barrier()
        if context.rank != 0:
            return None
        facts = self._facts(plan) | {"initialEvaluation": initial, "finalEvaluation": final, "bestStep": best}
        outputs.write_record(staged, context, facts)
        write_papers(context.run_directory, staged, kind)
        manifest = seal(staged, kind, step, context, task=context.run.task)
        outputs.commit_output(context, self._fence, staged)
        self._clear()
        self._reporter.enter("finished")
        return outputs.saved_output(context, manifest, plan.base_model)

    def repeat(self, manifest: Manifest) -> SavedOutput | None:
        """Say for an earlier attempt, which died between its output and its last word, what it would have said."""
        if self._context.rank != 0:
            return None
        self._fence.check()
        outputs.link_output(self._context)
        self._clear()
        record = outputs.read_record(self._context.run_directory / "output")
        base = record["baseModel"]
        self._reporter.set(phase="finished", current_step=manifest.step, total_steps=manifest.step)
        self._reporter.set(resumed_from_step=manifest.step, world_size=record["worldSize"])
        self._reporter.metrics(before_training(record["initialEvaluation"]) | _told(record["finalEvaluation"]))
        return outputs.saved_output(self._context, manifest, BaseRecord.model_validate(base).model if base else None)

    def _clear(self) -> None:
        """Remove what a run whose output counts needs no more: fetched data; checkpoints when the spec says so."""
        shutil.rmtree(self._context.run_directory / FETCHED, ignore_errors=True)
        if not self._context.run.spec.output.keep_checkpoints:
            shutil.rmtree(self._context.checkpoints_directory, ignore_errors=True)
            self._reporter.saved(())

    def _facts(self, plan: TrainingPlan) -> dict[str, Any]:
        state = plan.trainer.state
        return {
            "dataDigest": plan.data_digest,
            "data": plan.data_report,
            "task": self._context.run.task,
            "model": describe(plan.trainer.model, self._context.run.spec.model.architecture),
            "seed": self._context.run.spec.training.seed,
            "worldSize": self._context.world_size,
            "attempts": self._fence.attempts(),
            "steps": state.global_step,
            "plannedSteps": state.max_steps,
            "baseModel": plan.base_model.to_wire() if plan.base_model else None,
            "hub": [pin.to_wire() for pin in pins(self._context.run_directory)],
            "metrics": state.log_history,
            "seconds": self._reporter.seconds.model_dump(),
        }


def write_papers(run_directory: Path, folder: Path, artifact: str) -> None:
    """Write what an output says of itself, from the run record in it: metric history, samples, report, model card.

    Args:
        run_directory: The run's folder, with what was written down during training.
        folder: The output's folder.
        artifact: `model` or `adapter`.
    """
    for name in _KEPT:
        if (run_directory / name).is_file():
            shutil.copyfile(run_directory / name, folder / name)
    facts = Facts(
        outputs.read_record(folder),
        artifact,
        samples=read_lines(folder / SAMPLES_FILE),
        completions=read_lines(folder / COMPLETIONS_FILE),
        verification=_read(folder / VERIFICATION_FILE),
    )
    texts = {HISTORY_FILE: json_lines(facts.entries), PAGE_FILE: render_page(facts), CARD_FILE: render_card(facts)}
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Return the objects of a file of JSON lines; none without the file.

    A last line that is not whole, in which an earlier attempt died, is left out.
    """
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def final_evaluation(plan: TrainingPlan, best: int | None = None) -> Figures:
    """Return the held-out figures of the output; measured at its step already, they are not measured again.

    Args:
        plan: What was trained.
        best: The step that the output is from; None for the last.
    """
    if not plan.evaluates:
        return {}
    state = plan.trainer.state
    step = state.global_step if best is None else best
    for entry in reversed(state.log_history):
        if LOSS in entry and entry["step"] == step:
            return numbers({name: value for name, value in entry.items() if name.startswith("eval_")})
    return evaluate(plan)


def evaluate(plan: TrainingPlan) -> Figures:
    """Return the held-out figures of this moment."""
    figures = plan.trainer.evaluate()
    return numbers(with_perplexity(figures) if plan.tells_perplexity else figures)


def numbers(figures: dict[str, Any]) -> Figures:
    """Return the figures that are numbers."""
    return {name: float(value) for name, value in figures.items() if isinstance(value, int | float)}


def before_training(figures: Figures) -> Figures:
    """Return what is told of the evaluation before the first step, under names of its own."""
    return {f"{INITIAL}{name}": value for name, value in _told(figures).items()}


def _told(figures: Figures) -> Figures:
    return {name: value for name, value in figures.items() if is_headline(name)}
