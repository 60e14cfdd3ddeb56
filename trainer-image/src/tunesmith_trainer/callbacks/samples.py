"""What the model writes to the same prompts, before the first step, now and then, and at the end."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from typing_extensions import override

from tunesmith_trainer.callbacks.lines import lines_until
from tunesmith_trainer.data.encode import IGNORED, Encoder
from tunesmith_trainer.generation import Sampling, complete
from tunesmith_trainer.manifests import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase, Trainer, TrainerControl, TrainerState, TrainingArguments

    from tunesmith_api.v1alpha1.reporting import Samples
    from tunesmith_trainer.callbacks.reporting import Watched
    from tunesmith_trainer.methods.plan import TrainingPlan

_LONGEST_PROMPT = 64  # tokens of a row that has no prompt of its own


@dataclass(frozen=True)
class Prompt:
    """One prompt.

    Attributes:
        ids: Its token ids.
        text: The same for people.
        expected: How the held-out row goes on well, for a prompt that is one's beginning.
    """

    ids: list[int]
    text: str
    expected: str | None = None


def prompts_of(spec: Samples, plan: TrainingPlan) -> list[Prompt]:
    """Return the prompts that a spec asks for: its own, or the beginnings of held-out rows."""
    tokenizer = plan.trainer.processing_class
    if spec.prompts is not None:
        encoder = Encoder(tokenizer, max_length=0)
        contents: list[Any] = [[{"role": "user", "content": text}] if plan.chat else text for text in spec.prompts]
        ids = encoder.encode(contents, generation_prompt=True)
        return [Prompt(each, text) for each, text in zip(ids, spec.prompts, strict=True)]
    rows = itertools.islice(plan.trainer.eval_dataset, spec.from_evaluation)
    return [_beginning(row, tokenizer, spec.max_new_tokens) for row in rows]


def _beginning(row: dict[str, Any], tokenizer: PreTrainedTokenizerBase, most: int) -> Prompt:
    """Return the part of a held-out row before its answer; of a row without one its first half, not too long.

    An answer that is labelled bad is not what is expected.
    """
    if "label" in row:
        prompt, rest = row["prompt_ids"], row["completion_ids"] if row["label"] else None
    elif "prompt_ids" in row:
        prompt, rest = row["prompt_ids"], row.get("chosen_ids")
    else:
        ids = row["input_ids"]
        labels = row.get("labels", ids)
        learnt = next((place for place, label in enumerate(labels) if label != IGNORED), 0)
        start = learnt or max(1, min(len(ids) // 2, _LONGEST_PROMPT))
        prompt, rest = ids[:start], ids[start:]
    text = tokenizer.decode(prompt, skip_special_tokens=True)
    expected = None if rest is None else tokenizer.decode(rest[:most], skip_special_tokens=True)
    return Prompt(list(prompt), text, expected)


class SamplesCallback(TrainerCallback):
    """Writes the samples of rank 0 to the run's folder; the others train on when it is done.

    Drawing nothing and leaving dropout off, it takes nothing from the random state: the losses are those of a run
    without samples.
    """

    def __init__(self, spec: Samples, watched: Watched, path: Path) -> None:
        """Make one.

        Args:
            spec: What to sample, and when.
            watched: The training.
            path: The file of samples.
        """
        self._trainer: Trainer = watched.plan.trainer
        self._prompts = prompts_of(spec, watched.plan)
        self._every = spec.every_steps
        self._sampling = Sampling(spec.max_new_tokens)
        self._watched = watched
        self._path = path
        self._last = -1

    @override
    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._watched.fence.check()
        kept = lines_until(self._path, state.global_step)
        write_atomically(self._path, "".join(line for _, line in kept))
        self._last = max((step for step, _ in kept), default=-1)
        if not kept:
            self._sample(state.global_step)

    @override
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step % self._every == 0:
            self._sample(state.global_step)

    @override
    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        self._sample(state.global_step)

    def _sample(self, step: int) -> None:
        # A pod that was told to stop has little time, and saves its step in it.
        if step == self._last or self._watched.exchange.stop_ordered:
            return
        self._last = step
        with self._watched.reporter.phase("evaluating", "evaluating"):
            texts = self._completions()
        self._watched.fence.check()
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(_lines_of(step, zip(self._prompts, texts, strict=True)))

    def _completions(self) -> list[str]:
        accelerator, tokenizer = self._trainer.accelerator, self._trainer.processing_class
        model = accelerator.unwrap_model(self._trainer.model, keep_torch_compile=False)
        trains = model.training
        model.eval()
        try:
            with accelerator.autocast():
                ids = [prompt.ids for prompt in self._prompts]
                completions = complete(model, tokenizer, ids, self._sampling, beat=self._watched.reporter.beat)
        finally:
            model.train(trains)
        return [tokenizer.decode(each, skip_special_tokens=True) for each in completions]


def _lines_of(step: int, written: Iterable[tuple[Prompt, str]]) -> Iterable[str]:
    for number, (prompt, text) in enumerate(written):
        sample = {"number": number, "step": step, "prompt": prompt.text, "completion": text}
        yield json.dumps(sample if prompt.expected is None else sample | {"expected": prompt.expected}) + "\n"
