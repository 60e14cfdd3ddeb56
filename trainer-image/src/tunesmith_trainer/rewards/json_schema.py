"""JSON Schema, draft 2020-12, as `jsonschema` reads it; but its patterns search within a bounded time."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, NoReturn

from jsonschema.exceptions import SchemaError, ValidationError
from jsonschema.validators import Draft202012Validator, extend
from referencing import Registry, Resource
from referencing.exceptions import Unresolvable
from referencing.jsonschema import DRAFT202012

from tunesmith_trainer.data.raw import describe
from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.rewards.patterns import Pattern

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from referencing._core import Resolver

_DRAFT = "https://json-schema.org/draft/2020-12/schema"
# What says something of a schema and not of a value, and what another keyword reads.
_DESCRIBING = {
    *("$anchor", "$comment", "$defs", "$dynamicAnchor", "$id", "$schema", "contentEncoding", "contentMediaType"),
    *("contentSchema", "default", "deprecated", "description", "else", "examples", "maxContains", "minContains"),
    *("readOnly", "then", "title", "writeOnly"),
}
# The library searches with `re` for them, and what a model samples could keep that busy without end.
_UNBOUNDED = {"patternProperties"}
_KNOWN = frozenset(_DESCRIBING.union(Draft202012Validator.VALIDATORS) - _UNBOUNDED)


def parse_json(text: str) -> Any:
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


def parse_schema(text: str, field: str) -> Callable[[Any], bool]:
    """Return what tells whether a JSON value fits a schema.

    A misspelt keyword would hold back nothing, and be noticed by nobody: what the draft does not know is
    refused, as is a reference to what is not in the schema itself.

    Args:
        text: The schema as the user wrote it.
        field: Path of the spec's field, for messages.

    Raises:
        InvalidSpec: It is no schema, or says something that is not understood here.
    """
    try:
        schema = parse_json(text)
    except ValueError as error:
        raise InvalidSpec(f"{field} is no JSON: {error}; correct it") from error
    if not isinstance(schema, dict):
        raise InvalidSpec(f"{field} must be an object, not {describe(schema)}; correct it")
    if (draft := schema.get("$schema", _DRAFT)) != _DRAFT:
        raise InvalidSpec(f"{field}: $schema {draft!r} is not understood; say it in draft {_DRAFT}")
    try:
        Draft202012Validator.check_schema(schema, Draft202012Validator.FORMAT_CHECKER)
    except SchemaError as error:
        raise InvalidSpec(f"{field}: {error.json_path}: {error.message}; correct it") from error
    root = DRAFT202012.create_resource(schema)
    _check(root, Registry().with_resource("", root).resolver(), field)
    # The library's own registry would fetch what it does not know from the network.
    validator = _Validator(schema, registry=Registry())
    return lambda value: bool(validator.is_valid(value))


def _check(schema: Resource[Any], resolver: Resolver[Any], field: str) -> None:
    """Refuse what a schema, or one within it, says in vain."""
    contents = schema.contents
    if isinstance(contents, dict):
        if unknown := sorted(contents.keys() - _KNOWN):
            raise InvalidSpec(
                f"{field}: {unknown[0]!r} is not among the keywords that are understood ({', '.join(sorted(_KNOWN))});"
                " correct it, or say it with those"
            )
        for reference in (contents[keyword] for keyword in ("$ref", "$dynamicRef") if keyword in contents):
            try:
                resolver.lookup(reference)
            except Unresolvable as error:
                raise InvalidSpec(
                    f"{field}: {reference!r} is not in the schema; refer to a part of it, as in #/$defs/name"
                ) from error
    for part in schema.subresources():
        _check(part, resolver.in_subresource(part), field)


def _pattern(validator: Any, pattern: str, value: Any, _: Any) -> Iterator[ValidationError]:
    """Search for a pattern as `Pattern` does; a keyword's check in the form that the library asks for."""
    if validator.is_type(value, "string") and not Pattern(pattern, "jsonSchema").found_in(value):
        yield ValidationError(f"{value!r} does not match {pattern!r}")


_Validator: Any = extend(Draft202012Validator, {"pattern": _pattern})  # type: ignore[no-untyped-call]  # of the stubs
