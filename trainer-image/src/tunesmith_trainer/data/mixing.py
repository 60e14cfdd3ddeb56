"""Drawing from several datasets by weight, as `datasets.interleave_datasets` draws; a test holds the two together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tunesmith_api.v1alpha1.datasets import StoppingStrategy

_DRAWS = 1000  # numbers that are drawn at once: the order of draws follows from it

_Item = TypeVar("_Item")
_END = object()


@dataclass(frozen=True)
class Mixing:
    """How rows are drawn from several datasets.

    Attributes:
        weights: Weight of each dataset.
        stopping: Whether the first dataset that runs out ends a pass, or the last; the others then begin again.
        seed: Seed of the draws.
    """

    weights: tuple[float, ...]
    stopping: StoppingStrategy
    seed: int

    @property
    def shares(self) -> list[float]:
        """The chance of each dataset to be drawn from; they add up to 1."""
        return [weight / sum(self.weights) for weight in self.weights]

    def draw(self, sources: Sequence[Callable[[], Iterator[_Item]]]) -> Iterator[_Item]:
        """Yield items of the sources, each time of one that is drawn.

        Args:
            sources: For each weight what reads the items from the first on.
        """
        ended = [False] * len(sources)
        readers = [read() for read in sources]
        waiting = [next(reader, _END) for reader in readers]
        for place in self._places():
            item = waiting[place]
            waiting[place] = next(readers[place], _END)
            if waiting[place] is _END:
                ended[place] = True
                readers[place] = sources[place]()
                waiting[place] = next(readers[place], _END)
            yield item  # type: ignore[misc]  # the end is not waiting: a source has at least one item
            if (any if self.stopping == "first_exhausted" else all)(ended):
                return

    def _places(self) -> Iterator[int]:
        generator = np.random.default_rng(self.seed)
        while True:
            yield from generator.choice(len(self.weights), size=_DRAWS, p=self.shares).tolist()
