"""Encoded rows laid out as the trainers take them: a table that is made before training, or a stream made meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from tunesmith_trainer.data.counts import Counts
from tunesmith_trainer.data.encode import Drawn, Ids, require_rows
from tunesmith_trainer.data.packing import pack
from tunesmith_trainer.data.tables import make_table, make_windows

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

    from tunesmith_api.v1alpha1.datasets import DataProcessing
    from tunesmith_api.v1alpha1.methods.pretrain import PackingStrategy
    from tunesmith_trainer.data.corpus import Corpus

Example = dict[str, Any]
_PACKED_TOGETHER = 1000  # rows; as many as TRL packs together


@dataclass(frozen=True)
class Feed:
    """How rows become what a trainer takes.

    Attributes:
        encode: Makes token ids of rows, and what else of them is trained on, and counts them.
        columns: Names of what it makes.
        max_length: Longest sequence, in tokens.
        packing: How rows are packed; None means one row per sequence.
    """

    encode: Callable[[Drawn, Counts], Iterator[tuple[Any, ...]]]
    columns: tuple[str, ...]
    max_length: int
    packing: PackingStrategy | None = None

    def table(self, corpus: Corpus, what: str) -> tuple[Dataset, dict[str, Any]]:
        """Return one pass over the rows as a table, and what became of them.

        Args:
            corpus: The rows.
            what: What they are for, for messages.

        Raises:
            DataError: None of them can be used.
        """
        counts = Counts()
        rows = self.encode(corpus.drawn(), counts)
        more: dict[str, Any] = {}
        if self.packing == "wrapped":
            table, left_over = make_windows((ids for (ids,) in rows), self.max_length)
            more = {"windows": len(table), "leftOverTokens": left_over}
        else:
            table = make_table(rows, self.columns)
            require_rows(counts, self.max_length, what)
            if self.packing is not None:
                table = pack(table, self.max_length, self.packing)
                filled = counts.tokens / (len(table) * self.max_length)
                more = {"sequences": len(table), "filledShare": round(filled, 4)}
        return table, counts.report() | more

    def stream(self, corpus: Corpus, processing: DataProcessing, seed: int) -> tuple[IterableDataset, Progress]:
        """Return the rows as a stream that never ends, and what tells how far it was read.

        It is one stream of many passes, because the Trainer resumes within a pass alone. Each pass is shuffled by
        itself, so that every row comes once in it; `IterableDataset.shuffle` would mix the passes.

        Args:
            corpus: The rows.
            processing: How rows are shuffled.
            seed: Seed of the shuffling.
        """
        from datasets import IterableDataset

        progress = Progress()

        def endless() -> Iterator[Example]:
            progress.begin()
            for number in itertools.count():
                # The first pass tells what the data is like; later ones repeat it.
                counts = progress.counts if number == 0 else Counts()
                examples = self._examples(self.encode(corpus.drawn(number), counts))
                for example in _shuffled(examples, processing.shuffle_buffer_size, seed + number):
                    progress.examples += 1
                    yield example
                require_rows(counts, self.max_length, "train on")

        return IterableDataset.from_generator(endless), progress

    def _examples(self, rows: Iterator[tuple[Ids, ...]]) -> Iterator[Example]:
        if self.packing == "wrapped":
            return _windows(rows, self.max_length)
        if self.packing is None:
            return (dict(zip(self.columns, row, strict=True)) for row in rows)
        return self._packed(rows, self.packing)

    def _packed(self, rows: Iterator[tuple[Ids, ...]], packing: PackingStrategy) -> Iterator[Example]:
        while together := list(itertools.islice(rows, _PACKED_TOGETHER)):
            yield from pack(make_table(together, self.columns), self.max_length, packing)


@dataclass
class Progress:
    """How far a stream was read.

    Attributes:
        counts: What became of the rows of the first pass, as far as it was read.
        examples: Sequences that were handed out.
    """

    counts: Counts = field(default_factory=Counts)
    examples: int = 0

    def begin(self) -> None:
        """Begin anew, as trainers do that look at the first row before they train."""
        self.counts = Counts()
        self.examples = 0


def _shuffled(examples: Iterator[Example], size: int, seed: int) -> Iterator[Example]:
    """Yield all examples, each drawn by a seed from as many as the buffer holds.

    Args:
        examples: The examples.
        size: Examples that the buffer holds; 1 keeps their order.
        seed: Seed of the draws.
    """
    generator = np.random.default_rng(seed)
    buffer = list(itertools.islice(examples, size))
    for example in examples:
        place = int(generator.integers(size))
        yield buffer[place]
        buffer[place] = example
    yield from (buffer[place] for place in generator.permutation(len(buffer)))


def _windows(rows: Iterator[tuple[Ids, ...]], length: int) -> Iterator[Example]:
    """Yield the concatenated texts in windows; what does not fill the last is left out, unless it is all there is."""
    waiting: Ids = []
    empty = True
    for (ids,) in rows:
        waiting += ids
        while len(waiting) >= length:
            empty = False
            yield {"input_ids": waiting[:length]}
            waiting = waiting[length:]
    if empty and waiting:
        yield {"input_ids": waiting}
