"""JSON Schema as far as it is understood, and the rest refused; the verdicts are those of jsonschema 4.26."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.rewards.base import Scores
from tunesmith_trainer.rewards.json_schema import parse_schema

PERSON: dict[str, Any] = {
    "title": "Person",
    "type": "object",
    "required": ["name", "age"],
    "additionalProperties": False,
    "properties": {
        "name": {"type": "string", "minLength": 2, "maxLength": 9, "pattern": "^[A-Z]"},
        "age": {"type": "integer", "minimum": 0, "exclusiveMaximum": 150},
        "mail": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        "kind": {"enum": ["a", 1, None]},
        "friends": {"type": "array", "items": {"$ref": "#"}, "minItems": 1, "maxItems": 2},
        "home": {"$ref": "#/$defs/Home"},
    },
    "$defs": {"Home": {"type": ["object", "null"], "properties": {"zip": {"const": True}}, "additionalProperties": {}}},
}
ANNA = {"name": "Anna", "age": 3}
VALUES: list[tuple[Any, bool]] = [
    (ANNA, True),
    (ANNA | {"age": 3.0}, True),
    (ANNA | {"age": 3.5}, False),
    (ANNA | {"age": True}, False),
    (ANNA | {"age": -1}, False),
    (ANNA | {"age": 150}, False),
    (ANNA | {"name": "A"}, False),
    (ANNA | {"name": "anna"}, False),
    (ANNA | {"name": "Ä" * 4}, False),
    (ANNA | {"name": "A" + "ä" * 9}, False),
    (ANNA | {"mail": None, "kind": 1}, True),
    (ANNA | {"mail": 5}, False),
    (ANNA | {"kind": True}, False),
    (ANNA | {"friends": [ANNA]}, True),
    (ANNA | {"friends": [ANNA | {"friends": []}]}, False),
    (ANNA | {"friends": [{}]}, False),
    (ANNA | {"home": {"zip": True, "other": 1}}, True),
    (ANNA | {"home": {"zip": 1}}, False),
    (ANNA | {"home": None}, True),
    (ANNA | {"more": 1}, False),
    ({"name": "Anna"}, False),
    ([ANNA], False),
    (None, False),
]


@pytest.mark.parametrize(("value", "fits"), VALUES)
def test_values_that_fit_and_that_do_not(value: Any, fits: bool) -> None:
    assert parse_schema(json.dumps(PERSON), "field")(value) is fits
    assert parse_schema("true", "field")(value)
    assert not parse_schema("false", "field")(value)


def test_a_completion_is_json_as_a_whole(score: Callable[..., Scores]) -> None:
    wanted = {"jsonSchema": json.dumps(PERSON)}
    whole = json.dumps(ANNA)
    texts = (f" {whole}\n", f"```json\n{whole}\n```", f"Here: {whole}", "", "NaN", "[" * 100_000, "9" * 5000)
    assert score(wanted, *texts) == [1, 0, 0, 0, 0, 0, 0]


def test_a_schema_without_end_is_not_fatal(score: Callable[..., Scores]) -> None:
    assert score({"jsonSchema": '{"$ref": "#"}'}, "1") == [None]


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("3", "field: # must be an object, not a number"),
        ('{"type": "text"}', "field: #/type must be of null, boolean, string, number"),
        ('{"properties": []}', "field: #/properties must be an object, not an array"),
        ('{"items": {"minLength": "2"}}', "field: #/items/minLength must be a number, not a string"),
        ('{"oneOf": [true]}', "field: #/oneOf is not among the keywords that are understood ($defs, $ref"),
        ('{"$ref": "#/$defs/A"}', "field: #/$ref '#/$defs/A' is not there"),
        ('{"$defs": {"A": {"pattern": "("}}}', "field: #/$defs/A/pattern: '(' is no regular expression"),
    ],
)
def test_what_is_not_understood_is_refused(schema: str, message: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_schema(schema, "field")
    assert message in str(caught.value)
