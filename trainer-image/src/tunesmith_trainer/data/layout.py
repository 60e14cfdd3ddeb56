"""What the rows of a dataset look like: the format, found or given, and the column of each of its parts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from tunesmith_trainer.data.templates import Template, parse_template
from tunesmith_trainer.data.usercode import RowFunction, load_function
from tunesmith_trainer.errors import DataError, InvalidSpec

if TYPE_CHECKING:
    from tunesmith_api.v1alpha1.data_sources import UserFunction
    from tunesmith_api.v1alpha1.datasets import Columns, Dataset
    from tunesmith_trainer.data.raw import RawRow
    from tunesmith_trainer.data.sources import Mounts, SourceFile

Format = Literal["text", "messages", "prompt-completion", "instruction", "preference", "unpaired-preference", "prompt"]

# The parts of each format, and the columns they are looked for in. The order is the order of detection: a row of
# preferences has a prompt as well, and a chat may carry its rendered text, or a label. Last what any row with a prompt
# fits.
_PARTS: dict[Format, dict[str, tuple[str, ...]]] = {
    "preference": {
        "prompt": ("prompt", "messages", "conversations"),
        "chosen": ("chosen",),
        "rejected": ("rejected",),
        "margin": (),
    },
    "unpaired-preference": {
        "prompt": ("prompt", "messages", "conversations"),
        "completion": ("completion",),
        "label": ("label",),
    },
    "messages": {"messages": ("messages", "conversations")},
    "prompt-completion": {"prompt": ("prompt",), "completion": ("completion",)},
    "instruction": {"instruction": ("instruction",), "input": ("input",), "output": ("output", "response")},
    "text": {"text": ("text",)},
    "prompt": {"prompt": ("prompt",)},
}
# A preference may be two whole chats, which then share their prompt, and a labelled chat ends with the answer; Alpaca's
# input is often left out, and a margin is read only from a column that the user names.
_OPTIONAL = {
    ("preference", "prompt"),
    ("preference", "margin"),
    ("unpaired-preference", "completion"),
    ("instruction", "input"),
}
# Parts that a chat can be.
_CHAT_PROMPTS = {("preference", "prompt"), ("unpaired-preference", "prompt")}
# Which fields of `columns` a format listens to.
_MAPPABLE: dict[Format, tuple[str, ...]] = {
    "preference": ("prompt", "messages", "chosen", "rejected", "margin"),
    "unpaired-preference": ("prompt", "messages", "completion", "label"),
    "messages": ("messages",),
    "prompt-completion": ("prompt", "completion"),
    "instruction": ("instruction", "input", "output"),
    "text": ("text",),
    "prompt": ("prompt",),
}
TextMaker = Template | RowFunction


@dataclass(frozen=True)
class Layout:
    """How the rows of one dataset are read.

    Attributes:
        format: The format of the rows.
        columns: The column of each part of the format that the rows have.
        makers: What builds prompt and completion, or a prompt alone, when templates or functions do.
    """

    format: Format
    columns: dict[str, str]
    makers: tuple[TextMaker, ...] | None = None

    @property
    def used_columns(self) -> tuple[str, ...] | None:
        """The columns that are read; None when a reward or a function of the user's may read any."""
        if self.format == "prompt":
            return None
        if self.makers is None:
            return tuple(self.columns.values())
        if self.functions:
            return None
        return tuple(dict.fromkeys(column for maker in self.makers for column in maker.columns or ()))

    @property
    def functions(self) -> tuple[RowFunction, ...]:
        """The user's functions that rows are made with."""
        return tuple(maker for maker in self.makers or () if isinstance(maker, RowFunction))

    @property
    def code_files(self) -> tuple[SourceFile, ...]:
        """Where the code of these functions is."""
        return tuple(function.file for function in self.functions)


def find_layout(dataset: Dataset, first: RawRow, accepted: tuple[Format, ...], *, field: str, mounts: Mounts) -> Layout:
    """Return how a dataset's rows are read, judged by its first row.

    Args:
        dataset: The dataset of the spec.
        first: Its first row.
        accepted: The formats that the method trains on.
        field: Path of the dataset in the spec, for messages.
        mounts: Where ConfigMaps are, which hold the user's functions.

    Raises:
        DataError: The first row does not have the columns, or has those of a format the method does not train on.
        InvalidSpec: The spec names columns that the format does not use.
    """
    prompt = _maker(dataset.prompt_template, dataset.prompt_function, f"{field}.prompt", mounts)
    completion = _maker(dataset.completion_template, dataset.completion_function, f"{field}.completion", mounts)
    if prompt is not None:
        format_: Format = "prompt" if completion is None else "prompt-completion"
        _accept(format_, accepted, field)
        return Layout(format_, {}, (prompt,) if completion is None else (prompt, completion))
    if dataset.format == "auto":
        return _detect(dataset, first, accepted, field)
    _refuse_unused(dataset.columns, dataset.format, field)
    _accept(dataset.format, accepted, f"{field}.format")
    columns = _columns(dataset.format, dataset.columns, first)
    if columns is None:
        raise _missing(dataset.format, dataset.columns, first, field)
    return Layout(dataset.format, columns)


def _maker(template: str | None, function: UserFunction | None, field: str, mounts: Mounts) -> TextMaker | None:
    """Return what builds the prompt or the completion.

    Args:
        template: The spec's template for it.
        function: The spec's function for it.
        field: How both fields begin in the spec, for messages.
        mounts: Where ConfigMaps are.
    """
    if function is not None:
        return load_function(function, f"{field}Function", mounts)
    if template is None:
        return None
    parsed = parse_template(template, f"{field}Template")
    if not parsed.columns:
        raise InvalidSpec(f"{field}Template names no column, so that all rows are the same; write {{column}}")
    return parsed


def _accept(format_: Format, accepted: tuple[Format, ...], field: str) -> None:
    if format_ not in accepted:
        raise InvalidSpec(
            f"{field}: the method does not train on {format_} rows; it takes {', '.join(accepted)}:"
            " change the dataset or the method"
        )


def _detect(dataset: Dataset, first: RawRow, accepted: tuple[Format, ...], field: str) -> Layout:
    wanted = _wanted(dataset.columns)
    for part in sorted(wanted):
        if _mapped(dataset.columns, part) not in first.values:
            raise missing_column(first, (str(_mapped(dataset.columns, part)),), f"correct {field}.columns.{part}")
    found = {name: columns for name in _PARTS if (columns := _columns(name, dataset.columns, first)) is not None}
    # A column that the user maps must be used, so a format that ignores it is not meant.
    fitting = {name: columns for name, columns in found.items() if wanted <= set(_MAPPABLE[name])}
    for name, columns in fitting.items():
        if name in accepted:
            return Layout(name, columns)
    listing = ", ".join(first.values) or "none"
    if fitting:
        # Whatever has a prompt could do without the rest, which says little of what it is.
        shapes = [name for name in fitting if name != "prompt" or len(fitting) == 1]
        raise DataError(
            f"{first.file}: its columns ({listing}) are those of {' and '.join(shapes)} rows, and the method trains on"
            f" {', '.join(accepted)}; change the dataset or the method, or name the columns in {field}.columns"
        )
    raise DataError(
        f"{first.file}: its columns ({listing}) fit no format; name them in {field}.columns, or build prompt and"
        f" completion with {field}.promptTemplate and completionTemplate. Looked for: {_looked_for(accepted)}"
    )


def _looked_for(accepted: tuple[Format, ...]) -> str:
    return "; ".join(
        f"{' + '.join(names[0] for part, names in _PARTS[name].items() if (name, part) not in _OPTIONAL)} ({name})"
        for name in accepted
    )


def _columns(format_: Format, mapping: Columns | None, first: RawRow) -> dict[str, str] | None:
    """Return the column of each part that the first row has, None when it lacks one that must be there."""
    columns: dict[str, str] = {}
    for part in _PARTS[format_]:
        column = next((name for name in _candidates(format_, part, mapping) if name in first.values), None)
        if column is not None:
            columns[part] = column
        elif (format_, part) not in _OPTIONAL or _mapped(mapping, part):
            return None
    return columns


def _candidates(format_: Format, part: str, mapping: Columns | None) -> tuple[str, ...]:
    mapped = _mapped(mapping, part)
    if mapped is None and (format_, part) in _CHAT_PROMPTS:
        mapped = _mapped(mapping, "messages")
    return (mapped,) if mapped is not None else _PARTS[format_][part]


def _mapped(mapping: Columns | None, part: str) -> str | None:
    return None if mapping is None else getattr(mapping, part, None)


def _wanted(mapping: Columns | None) -> set[str]:
    return set() if mapping is None else set(mapping.model_dump(exclude_none=True))


def _refuse_unused(mapping: Columns | None, format_: Format, field: str) -> None:
    unused = sorted(_wanted(mapping) - set(_MAPPABLE[format_]))
    if unused:
        raise InvalidSpec(
            f"{field}.columns.{unused[0]} is not used: format {format_} takes {', '.join(_MAPPABLE[format_])};"
            " remove it"
        )


def _missing(format_: Format, mapping: Columns | None, first: RawRow, field: str) -> DataError:
    for part in _PARTS[format_]:
        names = _candidates(format_, part, mapping)
        if (format_, part) in _OPTIONAL and not _mapped(mapping, part):
            continue
        if not any(name in first.values for name in names):
            return missing_column(first, names, f"correct the file or name the column in {field}.columns.{part}")
    raise AssertionError(f"the first row of {first.file} lacks no column of format {format_}")


def missing_column(row: RawRow, names: tuple[str, ...], remedy: str) -> DataError:
    """Return the error that a row lacks a column that is looked for under these names."""
    found = ", ".join(row.values) or "none"
    return row.error(f"column {' or '.join(map(repr, names))} is missing (found: {found})", remedy)
