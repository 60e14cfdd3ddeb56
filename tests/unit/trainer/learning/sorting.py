"""The sorting task: `3142=` is answered with its digits, up (`1234`) or down (`4321`).

A start that sorts up or down with even chances can be aligned to sort up within seconds, and how far it got can be
measured in full: by the log-probabilities of both answers, and by what it says when it is asked.
"""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DIGITS = 4
HELD_OUT = 1000
SEEDS = (1, 2, 3)
CONTROL = 0.2
"""What stays below this has learnt the opposite."""
TASK_LENGTH = 2 * DIGITS + 2
"""A prompt, an answer and its end, in tokens: one per character."""


@dataclass(frozen=True)
class Claim:
    """What a method is told, and the share of sampled answers that it must get right then."""

    learning_rate: float
    block: dict[str, Any]
    batch: int
    success: float
    steps: int = 100


@dataclass(frozen=True)
class Task:
    """One row of digits, all different, so that up and down differ."""

    digits: str

    @property
    def prompt(self) -> str:
        """What is asked."""
        return f"{self.digits}="

    @property
    def up(self) -> str:
        """The answer that is to be learnt."""
        return "".join(sorted(self.digits))

    @property
    def down(self) -> str:
        """The other one, as likely at the start."""
        return self.up[::-1]


def tasks(seed: int) -> tuple[list[Task], list[Task]]:
    """Return tasks to train on and tasks that are held out, which no row of the first asks."""
    every = [Task("".join(digits)) for digits in itertools.permutations("0123456789", DIGITS)]
    random.Random(seed).shuffle(every)
    return every[HELD_OUT:], every[:HELD_OUT]


def preferences(rows: list[Task], *, swapped: bool = False) -> list[dict[str, str]]:
    """Return pairs that prefer answers up, or with labels swapped answers down."""
    names = ("rejected", "chosen") if swapped else ("chosen", "rejected")
    return [{"prompt": task.prompt, names[0]: task.up, names[1]: task.down} for task in rows]


def labels(rows: list[Task], *, swapped: bool = False) -> list[dict[str, Any]]:
    """Return answers up, each labelled as good, and down, labelled as bad, or with labels swapped."""
    answers = [(task.prompt, answer, up) for task in rows for answer, up in ((task.up, True), (task.down, False))]
    return [{"prompt": prompt, "completion": answer, "label": up != swapped} for prompt, answer, up in answers]


@dataclass(frozen=True)
class Standing:
    """How a model sorts tasks that it was not trained on.

    Attributes:
        accuracy: Share whose answer up is likelier than their answer down, by summed log-probabilities.
        success: Share that is answered with the digits up when an answer is sampled, at temperature 1.
        kl_per_token: Mean Kullback-Leibler divergence from the start, of sampled tokens' distributions; nats.
        kl_per_sequence: The same, summed over each sampled answer; nats.
    """

    accuracy: float
    success: float
    kl_per_token: float
    kl_per_sequence: float

    def tell(self, record_property: Callable[[str, object], None]) -> None:
        """Put it into the report of a test."""
        record_property("accuracy", self.accuracy)
        record_property("success", self.success)
        record_property("KL per token", self.kl_per_token)
        record_property("per sequence", self.kl_per_sequence)


class Sorter:
    """A causal model that was trained, loaded with plain Transformers."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.model = AutoModelForCausalLM.from_pretrained(folder).eval()
        self._tokenizer = AutoTokenizer.from_pretrained(folder)

    def measure(self, held_out: list[Task], start: "Sorter", *, seed: int) -> Standing:
        """Return how it sorts.

        Args:
            held_out: The tasks.
            start: The model that its training began with.
            seed: Of what is sampled.
        """
        import torch

        torch.manual_seed(seed)
        with torch.no_grad():
            ups, downs = (
                self._chances([task.prompt + answer for task, answer in zip(held_out, answers, strict=True)])
                for answers in ([task.up for task in held_out], [task.down for task in held_out])
            )
            sampled = self._sample([task.prompt for task in held_out])
            said = self._tokenizer.batch_decode(sampled[:, DIGITS + 1 :], skip_special_tokens=True)
            divergence = self._divergence(sampled, start)
        return Standing(
            accuracy=float((ups > downs).float().mean()),
            success=sum(answer == task.up for answer, task in zip(said, held_out, strict=True)) / len(held_out),
            kl_per_token=float(divergence.sum() / self._said(sampled).sum()),
            kl_per_sequence=float(divergence.sum(1).mean()),
        )

    def _ids(self, texts: list[str]) -> Any:
        return self._tokenizer(texts, return_tensors="pt").input_ids

    def _logits(self, ids: Any) -> Any:
        """Return the log-probabilities of all tokens at each place of the answer and its end."""
        return self.model(ids[:, :-1]).logits.log_softmax(-1)[:, DIGITS:]

    def _chances(self, texts: list[str]) -> Any:
        ids = self._ids([text + self._tokenizer.eos_token for text in texts])
        return self._logits(ids).gather(-1, ids[:, DIGITS + 1 :, None])[..., 0].sum(1)

    def _sample(self, prompts: list[str]) -> Any:
        return self.model.generate(
            self._ids(prompts),
            do_sample=True,
            temperature=1.0,
            top_k=0,
            top_p=1.0,
            min_new_tokens=0,
            max_new_tokens=DIGITS + 1,
            pad_token_id=self._tokenizer.pad_token_id,
            eos_token_id=self._tokenizer.eos_token_id,
        )

    def _said(self, sampled: Any) -> Any:
        """Return which tokens of the answers count: those up to the first end, with it."""
        ended = (sampled[:, DIGITS + 1 :] == self._tokenizer.eos_token_id).cumsum(1)
        return (ended - (sampled[:, DIGITS + 1 :] == self._tokenizer.eos_token_id).int()) == 0

    def _divergence(self, sampled: Any, start: "Sorter") -> Any:
        ours, theirs = self._logits(sampled), start._logits(sampled)
        return (ours.exp() * (ours - theirs)).sum(-1) * self._said(sampled)
