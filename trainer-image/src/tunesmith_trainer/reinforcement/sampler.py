"""The order in which prompts come: rollout by rollout, each for as long as it is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.utils.data import Sampler
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class RolloutSampler(Sampler[int]):
    """Draws the prompts of one rollout, repeats them for each of its steps, and goes on to the next.

    The order depends on seed and epoch alone, so that a resumed run meets the prompts it has not had. What fills no
    whole rollout at the end of an epoch is left out of it. trl.trainer.utils.RepeatSampler begins with the first
    epoch's order again after a resume.
    """

    def __init__(self, count: int, rollout: int, *, repeats: int, seed: int | None, epoch: Callable[[], int]) -> None:
        """Make a sampler.

        Args:
            count: Number of prompts.
            rollout: Prompts of one rollout, over all processes; at most `count`.
            repeats: Steps that are trained on one rollout.
            seed: Seed of the order; None keeps the prompts' own.
            epoch: Tells the epoch that begins.
        """
        self._count = count
        self._rollout = rollout
        self._repeats = repeats
        self._seed = seed
        self._epoch = epoch

    def __len__(self) -> int:
        return self._count // self._rollout * self._rollout * self._repeats

    @override
    def __iter__(self) -> Iterator[int]:
        order = list(range(self._count))
        if self._seed is not None:
            generator = torch.Generator().manual_seed(self._seed + self._epoch())
            order = torch.randperm(self._count, generator=generator).tolist()
        for start in range(0, self._count - self._rollout + 1, self._rollout):
            for _ in range(self._repeats):
                yield from order[start : start + self._rollout]
