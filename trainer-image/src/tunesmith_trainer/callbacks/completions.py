"""A table of what the model answered in training, with what the rewards said of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from typing_extensions import override

from tunesmith_trainer.callbacks.lines import lines_until
from tunesmith_trainer.manifests import write_atomically
from tunesmith_trainer.report.history import json_lines
from tunesmith_trainer.rewards import weighted_sum

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from transformers import Trainer, TrainerControl, TrainerState, TrainingArguments

    from tunesmith_api.v1alpha1.reporting import Completions
    from tunesmith_trainer.callbacks.reporting import Watched
    from tunesmith_trainer.data.rows import Content

_MOST_STEPS = 200
_MOST_CHARACTERS = 4000  # of a prompt and of a completion


@dataclass(frozen=True)
class Completion:
    """One completion of the model in training.

    Attributes:
        prompt: What was asked.
        completion: What the model wrote.
        rewards: What each reward says of it; None where one says nothing.
        weights: The factors of the rewards in their sum.
        advantage: How much better it is than was to be expected.
    """

    prompt: Content
    completion: Content
    rewards: dict[str, float | None]
    weights: Sequence[float]
    advantage: float | None = None

    @property
    def reward(self) -> float | None:
        """The weighted sum of the rewards, None without any."""
        return weighted_sum(tuple(self.rewards.values()), self.weights)

    def row(self, step: int) -> dict[str, Any]:
        """Return it as a row of the table."""
        told = {
            "step": step,
            "prompt": _text(self.prompt),
            "completion": _text(self.completion),
            "rewards": self.rewards,
            "reward": self.reward,
        }
        return told if self.advantage is None else told | {"advantage": self.advantage}


class CompletionsCallback(TrainerCallback):
    """Writes the newest completions of a trainer to the run's folder now and then; rank 0 has one.

    The file stays bounded: where it has rows of too many steps, every other of them goes, and from then on half as many
    are written.
    """

    def __init__(self, spec: Completions, watched: Watched, path: Path) -> None:
        """Make one.

        Args:
            spec: How many to write, and when.
            watched: The training; its trainer has the newest completions in `sampled`.
            path: The file.
        """
        self._trainer: Trainer = watched.plan.trainer
        self._fence = watched.fence
        self._rows = spec.rows
        self._every = spec.every_steps
        self._path = path
        self._written: Sequence[Completion] = ()
        self._lines: dict[int, list[str]] = {}

    @override
    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        for step, line in lines_until(self._path, state.global_step):
            self._lines.setdefault(step, []).append(line)
        self._write()

    @override
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step == 1 or state.global_step % self._every == 0:
            self._add(state.global_step)

    @override
    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._add(state.global_step)

    def _add(self, step: int) -> None:
        newest: Sequence[Completion] = self._trainer.sampled
        if newest is self._written:
            return
        self._written = newest
        lines = [json_lines([completion.row(step)]) for completion in newest[: self._rows]]
        self._lines[step] = lines
        if len(self._lines) > _MOST_STEPS:
            self._every *= 2
            self._lines = {step: self._lines[step] for step in list(self._lines)[::2]}
            self._write()
        else:
            self._append(lines)

    def _append(self, lines: Iterable[str]) -> None:
        self._fence.check()
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(lines)

    def _write(self) -> None:
        self._fence.check()
        write_atomically(self._path, "".join(line for lines in self._lines.values() for line in lines))


def _text(content: Content) -> str:
    """Return a text as it is, and a chat as people read it; of a single message what it says."""
    if isinstance(content, str):
        text = content
    elif len(content) == 1:
        text = content[0]["content"]
    else:
        text = "\n\n".join(f"{message['role']}: {message['content']}" for message in content)
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}…"
