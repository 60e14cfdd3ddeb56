"""Rows of files that are tables: CSV, Parquet and Arrow."""

from __future__ import annotations

import csv
import itertools
import os
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.data.raw import RawRow, is_damage
from tunesmith_trainer.errors import DataError, first_line

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from tunesmith_trainer.data.sources import SourceFile

_BATCH_ROWS = 1024
_NO_VALUE = (ValueError, OverflowError, LookupError)  # what pyarrow raises for what is no value in Python
_LONGEST_FIELD = 1 << 30  # characters; the csv module's own limit of 131,072 is less than a long document


def read_separated(file: SourceFile, lines: Iterable[tuple[int, str]], delimiter: str) -> Iterator[RawRow]:
    """Yield the rows of a table in text whose first line names the columns (RFC 4180).

    Args:
        file: The file, for messages.
        lines: Its numbered lines.
        delimiter: What stands between two fields.

    Raises:
        DataError: The first line names no columns, or a row has another number of fields.
    """
    csv.field_size_limit(_LONGEST_FIELD)
    reader = csv.reader((line for _, line in lines), delimiter=delimiter, strict=True)
    header: list[str] = []
    while True:
        first = reader.line_num + 1
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"{file.name}, line {first}: not valid CSV ({error}); put a field with a separator, line break or"
                ' double quote into double quotes, and write such a quote twice ("")'
            ) from error
        if fields is None:
            return
        if not fields:
            continue
        if not header:
            header = _header(file, first, fields)
        elif len(fields) != len(header):
            raise DataError(
                f"{file.name}, line {first}: {len(fields)} fields, and the first line names {len(header)} columns;"
                " put a field with a separator or line break into double quotes"
            )
        else:
            yield RawRow(file.name, f"line {first}", dict(zip(header, fields, strict=True)))


def _header(file: SourceFile, line: int, fields: list[str]) -> list[str]:
    names = [field.strip() for field in fields]
    for place, name in enumerate(names, start=1):
        if not name:
            raise DataError(f"{file.name}, line {line}: column {place} has no name; the first line names the columns")
        if names.index(name) != place - 1:
            raise DataError(f"{file.name}, line {line}: two columns are named {name!r}; rename one")
    return names


def read_parquet(file: SourceFile) -> Iterator[RawRow]:
    """Yield the rows of a Parquet file.

    Raises:
        DataError: It is none, or it is damaged.
    """
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

    try:
        # Of names that are no UTF-8 Arrow takes the bytes alone.
        with pa.OSFile(os.fsencode(file.path)) as source, ParquetFile(source) as table:
            yield from _rows(file, table.iter_batches(_BATCH_ROWS))
    # Names of columns may be no text, which is a ValueError.
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(file, "Parquet", error) from error


def read_arrow(file: SourceFile) -> Iterator[RawRow]:
    """Yield the rows of an Arrow file, in the file or in the stream format (the one `datasets` writes).

    Raises:
        DataError: It is none, or it is damaged.
    """
    import pyarrow as pa

    try:
        with pa.memory_map(os.fsencode(file.path)) as source:
            yield from _rows(file, _arrow_batches(source))
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _damaged(file, "Arrow", error) from error


def _arrow_batches(source: Any) -> Iterator[Any]:
    import pyarrow as pa

    magic = source.read(6)
    source.seek(0)
    if magic == b"ARROW1":
        reader = pa.ipc.open_file(source)
        return (reader.get_batch(number) for number in range(reader.num_record_batches))
    return iter(pa.ipc.open_stream(source))


def _rows(file: SourceFile, batches: Iterable[Any]) -> Iterator[RawRow]:
    number = 0
    for batch in batches:
        for start in range(0, batch.num_rows, _BATCH_ROWS):
            for values in _values(file, batch.slice(start, _BATCH_ROWS), number):
                number += 1
                yield RawRow(file.name, f"row {number}", values)


def _values(file: SourceFile, batch: Any, before: int) -> list[dict[str, Any]]:
    """Return the rows of a batch that has as many before it.

    Raises:
        DataError: A value is none of Python's: text that is no UTF-8, or a time beyond the year 9999.
    """
    try:
        return batch.to_pylist()  # type: ignore[no-any-return]  # pyarrow has no types
    except _NO_VALUE as error:
        for place, (column, name) in itertools.product(range(batch.num_rows), enumerate(batch.schema.names)):
            try:
                batch.slice(place, 1).select([column]).to_pylist()
            except _NO_VALUE as own:
                raise DataError(
                    f"{file.name}, row {before + place + 1}: column {name!r} can not be read ({first_line(own)});"
                    " write text as UTF-8 and times within the years 1 to 9999, or leave the column out"
                ) from own
        raise _damaged(file, "a table", error) from error


def _damaged(file: SourceFile, kind: str, error: Exception) -> Exception:
    if not is_damage(error):
        return error
    return DataError(
        f"{file.name}: can not be read as {kind} ({first_line(error)}); copy the file again or correct its ending"
    )
