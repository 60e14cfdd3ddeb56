"""Rows of like length together, in an order that a resumed run draws again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.utils.data import Sampler
from transformers.trainer_pt_utils import get_length_grouped_indices
from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence


class LengthGroupedSampler(Sampler[int]):
    """Transformers' grouping by length, drawn from seed and epoch alone.

    Its own sampler draws from the global random state, which dropout moves on: another order after a resume, and one
    for each process of several.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int, epoch: Callable[[], int]) -> None:
        """Make a sampler.

        Args:
            lengths: Length of every row.
            batch_size: Rows that are to be of like length.
            seed: Seed of the order.
            epoch: Tells the epoch that begins.
        """
        self._lengths = lengths
        self._batch_size = batch_size
        self._seed = seed
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self._lengths)

    @override
    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed + self._epoch())
        return iter(get_length_grouped_indices(self._lengths, self._batch_size, generator=generator))
