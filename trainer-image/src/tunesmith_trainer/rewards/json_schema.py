"""JSON Schema (draft 2020-12), as far as it tells the shape of an answer; what is not known is refused, not skipped.

Own code, since the trainer's images carry no library for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

from tunesmith_trainer.data.raw import describe
from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.rewards.patterns import Pattern

Json = Any
Check = Callable[[Json], bool]


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_TYPES: dict[str, Check] = {
    "null": lambda value: value is None,
    "boolean": lambda value: isinstance(value, bool),
    "string": lambda value: isinstance(value, str),
    "number": _is_number,
    "integer": lambda value: _is_number(value) and value % 1 == 0,
    "array": lambda value: isinstance(value, list),
    "object": lambda value: isinstance(value, dict),
}
# What each bound is about, and what must hold of a value and the bound; it says nothing of other values.
_BOUNDS: dict[str, tuple[str, Callable[[Json, Json], bool]]] = {
    "minLength": ("string", lambda value, least: len(value) >= least),
    "maxLength": ("string", lambda value, most: len(value) <= most),
    "minItems": ("array", lambda value, least: len(value) >= least),
    "maxItems": ("array", lambda value, most: len(value) <= most),
    "minimum": ("number", lambda value, least: value >= least),
    "maximum": ("number", lambda value, most: value <= most),
    "exclusiveMinimum": ("number", lambda value, bound: value > bound),
    "exclusiveMaximum": ("number", lambda value, bound: value < bound),
}
_DESCRIBING = frozenset({"$schema", "$id", "$comment", "title", "description", "default", "examples", "format"})
_WITH_OTHERS = frozenset({"$defs"})  # read where other keywords need them
_DEFINITION = "#/$defs/"


def parse_json(text: str) -> Json:
    """Return the JSON value that a text is.

    Raises:
        ValueError: The text is no JSON, or more than that.
    """

    def refuse(name: str) -> NoReturn:
        raise ValueError(f"{name} is no JSON")

    try:
        return json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_schema(text: str, field: str) -> Check:
    """Return what tells whether a JSON value fits a schema.

    Args:
        text: The schema as the user wrote it.
        field: Path of the spec's field, for messages.

    Raises:
        InvalidSpec: It is no schema, or says something that is not understood here.
    """
    try:
        root = parse_json(text)
    except ValueError as error:
        raise InvalidSpec(f"{field} is no JSON: {error}; correct it") from error
    return _Reader(root, field).check


class _Reader:
    """Makes one check of each schema in a schema."""

    def __init__(self, root: Json, field: str) -> None:
        self._field = field
        self._keywords: dict[str, Callable[[Json, Json, str], Check]] = {
            "type": self._type,
            "enum": self._enum,
            "const": lambda constant, *_: lambda value: _same(value, constant),
            "pattern": self._pattern,
            "required": self._required,
            "properties": self._properties,
            "additionalProperties": self._additional,
            "items": self._items,
            "anyOf": self._any_of,
            "$ref": self._reference,
        }
        definitions = root.get("$defs", {}) if isinstance(root, dict) else {}
        self._definitions = dict.fromkeys(self._want(definitions, dict, "#/$defs"), _TYPES["null"])
        for name, schema in definitions.items():
            self._definitions[name] = self._read(schema, f"{_DEFINITION}{name}")
        self.check = self._read(root, "#")

    def _read(self, schema: Json, place: str) -> Check:
        if isinstance(schema, bool):
            return lambda _: schema
        checks = [
            self._keyword(keyword, argument, schema, f"{place}/{keyword}")
            for keyword, argument in self._want(schema, dict, place).items()
            if keyword not in _DESCRIBING | _WITH_OTHERS
        ]
        return lambda value: all(check(value) for check in checks)

    def _keyword(self, keyword: str, argument: Json, schema: Json, place: str) -> Check:
        if keyword in _BOUNDS:
            about, holds = _BOUNDS[keyword]
            if not _is_number(argument):
                raise self._wrong(place, f"must be a number, not {describe(argument)}")
            return lambda value: not _TYPES[about](value) or holds(value, argument)
        if keyword not in self._keywords:
            known = ", ".join(sorted({*self._keywords, *_BOUNDS, *_WITH_OTHERS}))
            raise self._wrong(place, f"is not among the keywords that are understood ({known}); say it with those")
        return self._keywords[keyword](argument, schema, place)

    def _type(self, argument: Json, _: Json, place: str) -> Check:
        names = [argument] if isinstance(argument, str) else self._want(argument, list, place)
        if unknown := [name for name in names if name not in _TYPES]:
            raise self._wrong(place, f"must be of {', '.join(_TYPES)}, not {unknown[0]!r}")
        return lambda value: any(_TYPES[name](value) for name in names)

    def _enum(self, argument: Json, _: Json, place: str) -> Check:
        values = self._want(argument, list, place)
        return lambda value: any(_same(value, each) for each in values)

    def _pattern(self, argument: Json, _: Json, place: str) -> Check:
        pattern = Pattern(self._want(argument, str, place), f"{self._field}: {place}")
        return lambda value: not isinstance(value, str) or pattern.found_in(value)

    def _required(self, argument: Json, _: Json, place: str) -> Check:
        names = self._want(argument, list, place)
        return lambda value: not isinstance(value, dict) or all(name in value for name in names)

    def _properties(self, argument: Json, _: Json, place: str) -> Check:
        schemas = self._want(argument, dict, place)
        checks = {name: self._read(schema, f"{place}/{name}") for name, schema in schemas.items()}
        return lambda value: (
            not isinstance(value, dict) or all(check(value[name]) for name, check in checks.items() if name in value)
        )

    def _additional(self, argument: Json, schema: Json, place: str) -> Check:
        check, others = self._read(argument, place), schema.get("properties", {})
        return lambda value: (
            not isinstance(value, dict) or all(check(each) for name, each in value.items() if name not in others)
        )

    def _items(self, argument: Json, _: Json, place: str) -> Check:
        check = self._read(argument, place)
        return lambda value: not isinstance(value, list) or all(check(item) for item in value)

    def _any_of(self, argument: Json, _: Json, place: str) -> Check:
        schemas = self._want(argument, list, place)
        checks = [self._read(schema, f"{place}/{number}") for number, schema in enumerate(schemas)]
        return lambda value: any(check(value) for check in checks)

    def _reference(self, argument: Json, _: Json, place: str) -> Check:
        if argument == "#":
            return lambda value: self.check(value)  # noqa: PLW0108 - it is there once all is read
        name = str(argument).removeprefix(_DEFINITION)
        if name not in self._definitions:
            raise self._wrong(place, f"{argument!r} is not there; refer to one of $defs at the top, as {_DEFINITION}a")
        return lambda value: self._definitions[name](value)  # noqa: PLW0108 - a later one may still be read

    def _want(self, value: Json, kind: type, place: str) -> Json:
        if not isinstance(value, kind):
            raise self._wrong(place, f"must be {describe(kind())}, not {describe(value)}")
        return value

    def _wrong(self, place: str, problem: str) -> InvalidSpec:
        return InvalidSpec(f"{self._field}: {place} {problem}")


def _same(one: Json, other: Json) -> bool:
    """Return whether two JSON values are equal; Python takes true for 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    return bool(one == other)
