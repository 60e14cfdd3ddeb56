"""Token ids as datasets.Dataset tables: the one form the trainers take, at four bytes a token."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    import pyarrow as pa
    from datasets import Dataset
    from numpy.typing import NDArray

_CHUNK_ROWS = 4096


def make_table(
    rows: Iterable[tuple[Any, ...]], columns: tuple[str, ...], others: Mapping[str, pa.DataType] | None = None
) -> Dataset:
    """Return a table of ragged rows of token ids, some with a `label` or a `margin`.

    Args:
        rows: For each row the ids of each column, or its label or margin.
        columns: Names of the columns.
        others: Types of the columns that hold no token ids.
    """
    import pyarrow as pa
    from datasets import Dataset
    from datasets.table import InMemoryTable

    single = {"label": pa.bool_(), "margin": pa.float32()} | dict(others or {})
    types = {column: single.get(column, pa.list_(pa.int32())) for column in columns}
    schema = pa.schema(list(types.items()))
    iterator = iter(rows)
    batches = []
    while chunk := list(itertools.islice(iterator, _CHUNK_ROWS)):
        arrays = [pa.array(values, kind) for values, kind in zip(zip(*chunk, strict=True), types.values(), strict=True)]
        batches.append(pa.record_batch(arrays, schema=schema))
    return Dataset(InMemoryTable(pa.Table.from_batches(batches, schema=schema)))


def shuffle_table(table: Dataset, seed: int) -> Dataset:
    """Return a table in the order that `Dataset.shuffle` gives it; without a list of places, which slows reading."""
    order = np.random.default_rng(seed).permutation(len(table))
    return _taken(table, order)


def pair_with_neighbours(table: Dataset, size: int) -> Dataset:
    """Return a table with each prompt paired with the completion before it, as KTO estimates its KL divergence with.

    The first row of every `size` rows gets the completion of the last of them: a micro-batch has the same completions
    twice.

    Args:
        table: Rows of prompt and completion.
        size: Rows of a micro-batch.
    """
    from datasets import concatenate_datasets

    places = np.arange(len(table)) - 1
    starts = np.arange(0, len(table), size)
    places[starts] = np.minimum(starts + size, len(table)) - 1
    others = _taken(table.select_columns("completion_ids"), places)
    return concatenate_datasets([table, others.rename_column("completion_ids", "KL_completion_ids")], axis=1)


def _taken(table: Dataset, places: NDArray[np.int64]) -> Dataset:
    """Return the rows at these places, in memory."""
    from datasets import Dataset
    from datasets.table import InMemoryTable

    return Dataset(InMemoryTable(table.data.table.take(places)))


def make_windows(documents: Iterable[list[int]], length: int) -> tuple[Dataset, int]:
    """Return the concatenated documents cut into windows, and how many tokens are left over.

    The windows ignore where documents end, so that no token is padding; the end-of-sequence tokens between them stay
    visible to the model. What does not fill the last window is left out, unless it is all there is.

    Args:
        documents: Token ids of each document, with its end-of-sequence token.
        length: Length of a window in tokens.
    """
    tokens = np.concatenate(list(_as_arrays(documents)))
    whole = len(tokens) // length
    if whole == 0:
        return make_table([(tokens.tolist(),)], ("input_ids",)), 0
    import pyarrow as pa
    from datasets import Dataset
    from datasets.table import InMemoryTable

    offsets = np.arange(0, (whole + 1) * length, length, dtype=np.int64)
    windows = pa.LargeListArray.from_arrays(offsets, pa.array(tokens[: whole * length]))
    return Dataset(InMemoryTable.from_pydict({"input_ids": windows})), len(tokens) - whole * length


def _as_arrays(documents: Iterable[list[int]]) -> Iterator[NDArray[np.int32]]:
    iterator = iter(documents)
    while chunk := list(itertools.islice(iterator, _CHUNK_ROWS)):
        yield np.fromiter(itertools.chain.from_iterable(chunk), dtype=np.int32)
