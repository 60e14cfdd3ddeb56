"""Raw rows of a file, one at a time, with errors that name file and line."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from tunesmith_trainer.data.compression import open_file
from tunesmith_trainer.data.raw import RawRow, denied, describe
from tunesmith_trainer.data.tabular import read_arrow, read_parquet, read_separated
from tunesmith_trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tunesmith_trainer.data.sources import SourceFile

_BYTE_ORDER_MARK = "\ufeff"
_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # the escape of half a character; two in a row are a whole one


def read_file(file: SourceFile) -> Iterator[RawRow]:
    """Yield the rows of a file: paragraphs of a text, objects of JSON, rows of a table.

    Raises:
        DataError: The file is not what its ending says, it has no row, or the pod may not read it.
    """
    empty = True
    try:
        for row in _READERS[file.kind](file):
            empty = False
            yield row
    except PermissionError as error:
        raise denied(file.name) from error
    if empty:
        raise DataError(f"{file.name} has no row; fill it or take it out of the dataset")


def _lines(file: SourceFile) -> Iterator[tuple[int, str]]:
    with open_file(file) as stream:
        for number, line in enumerate(stream, start=1):
            try:
                text = line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{file.name}, line {number}: byte {error.start + 1} of the line is not UTF-8;"
                    " convert the file to UTF-8"
                ) from error
            yield number, text.removeprefix(_BYTE_ORDER_MARK) if number == 1 else text


def _read_text(file: SourceFile) -> Iterator[RawRow]:
    paragraph: list[str] = []
    start = 0
    for number, line in _lines(file):
        if line.strip():
            start = start if paragraph else number
            paragraph.append(line)
        elif paragraph:
            yield _paragraph(file, start, paragraph)
            paragraph = []
    if paragraph:
        yield _paragraph(file, start, paragraph)


def _paragraph(file: SourceFile, start: int, lines: list[str]) -> RawRow:
    return RawRow(file.name, f"line {start}", {"text": "".join(lines).strip()})


def _read_json_lines(file: SourceFile) -> Iterator[RawRow]:
    for number, line in _lines(file):
        if line.strip():
            row = _object(file, f"line {number}", _parse_line(file, number, line))
            yield _whole_characters(row) if _has_halves(line) else row


def _parse_line(file: SourceFile, number: int, line: str) -> object:
    try:
        return _loads(f"{file.name}, line {number}", line)
    except ValueError as error:
        whole_array = number == 1 and line.lstrip().startswith("[")
        remedy = "rename a file that is one JSON array to .json" if whole_array else "write one JSON object per line"
        raise DataError(f"{file.name}, line {number}: not valid JSON ({_reason(error)}); {remedy}") from error


def _read_json(file: SourceFile) -> Iterator[RawRow]:
    text = "".join(line for _, line in _lines(file))
    try:
        rows = _loads(file.name, text) if text.strip() else []
    except ValueError as error:
        several = isinstance(error, json.JSONDecodeError) and error.msg == "Extra data"
        remedy = "rename a file with one object per line to .jsonl" if several else "correct it there"
        raise DataError(f"{file.name}: not valid JSON ({_reason(error)}); {remedy}") from error
    if not isinstance(rows, list):
        raise DataError(
            f"{file.name}: the top level is {describe(rows)}, not an array;"
            " write [ {...}, {...} ], or one object per line in a .jsonl file"
        )
    halves = _has_halves(text)
    for number, value in enumerate(rows, start=1):
        row = _object(file, f"row {number}", value)
        yield _whole_characters(row) if halves else row


def _loads(place: str, text: str) -> object:
    try:
        return json.loads(text)
    except RecursionError as error:
        raise DataError(f"{place}: arrays or objects are nested too deeply to be read; flatten them") from error


def _object(file: SourceFile, position: str, value: object) -> RawRow:
    if not isinstance(value, dict):
        raise DataError(f"{file.name}, {position}: {describe(value)}, not an object; write a row as {{...}}")
    return RawRow(file.name, position, value)


def _has_halves(text: str) -> bool:
    """Whether JSON has escapes of halves of characters, lone or not; most has no escape at all, which is seen fast."""
    return "\\u" in text and _HALF.search(text) is not None


def _whole_characters(row: RawRow) -> RawRow:
    """Return a row all of whose text can be encoded, which half a character can not be.

    Raises:
        DataError: It can not.
    """
    try:
        json.dumps(row.values, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = f"\\u{ord(error.object[error.start]):04x}"
        raise row.error(
            f"the escape {half} is half of a character, as of an emoji that was cut", "write both halves or remove it"
        ) from error
    return row


def _reason(error: ValueError) -> str:
    if isinstance(error, json.JSONDecodeError):
        place = f"line {error.lineno}, column {error.colno}" if error.lineno > 1 else f"column {error.colno}"
        # Some of the decoder's messages end in "at", others do not.
        return f"{error.msg.removesuffix(' at')} at {place}"
    return str(error)


def _read_commas(file: SourceFile) -> Iterator[RawRow]:
    return read_separated(file, _lines(file), ",")


def _read_tabs(file: SourceFile) -> Iterator[RawRow]:
    return read_separated(file, _lines(file), "\t")


_READERS = {
    ".txt": _read_text,
    ".json": _read_json,
    ".jsonl": _read_json_lines,
    ".csv": _read_commas,
    ".tsv": _read_tabs,
    ".parquet": read_parquet,
    ".arrow": read_arrow,
}
