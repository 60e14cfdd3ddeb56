"""JSON Schema as a reward reads it, and what says something in vain refused."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.rewards import Rewards
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


def test_a_completion_is_json_as_a_whole(score: Callable[..., Scores]) -> None:
    wanted = {"jsonSchema": json.dumps(PERSON)}
    whole = json.dumps(ANNA)
    texts = (f" {whole}\n", f"```json\n{whole}\n```", f"Here: {whole}", "", "NaN", "[" * 100_000, "9" * 5000)
    assert score(wanted, *texts) == [1, 0, 0, 0, 0, 0, 0]


def test_a_schema_without_end_is_not_fatal(score: Callable[..., Scores]) -> None:
    assert score({"jsonSchema": '{"$ref": "#"}'}, "1") == [None]


@pytest.mark.parametrize(
    ("schema", "fitting", "other"),
    [
        ({"oneOf": [{"type": "integer"}, {"minimum": 2}]}, 1, 3),
        (
            {"properties": {"patternProperties": {"type": "null"}}},
            {"patternProperties": None},
            {"patternProperties": 1},
        ),
        ({"prefixItems": [{"const": 1}], "if": True, "then": {"maxItems": 1}}, [1], [1, 2]),
        ({"$ref": "#/$defs/a%20b", "$defs": {"a b": {"uniqueItems": True}}}, [1, True], [1, 1.0]),
        ({"format": "date", "enum": ["then"]}, "then", "now"),
    ],
)
def test_it_is_read_as_the_draft_says(schema: Any, fitting: Any, other: Any) -> None:
    fits = parse_schema(json.dumps(schema), "field")
    assert fits(fitting)
    assert not fits(other)


def test_a_pattern_that_runs_away_is_stopped_and_counted(make: Callable[..., Rewards]) -> None:
    (function,) = make({"jsonSchema": '{"items": {"pattern": "(a|aa)+$"}}'}).functions
    texts = (json.dumps(["a" * 80 + "b"]), '["aa"]')
    assert function(prompts=["?"] * 2, completions=[*texts], completion_ids=[[1], [1]]) == [None, 1]
    assert dict(function.failures.counts) == {"pattern '(a|aa)+$' takes longer than 0.5 s": 1}


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        ("3", "field must be an object, not a number; correct it"),
        ('{"$schema": "https://example.com/mine"}', "field: $schema 'https://example.com/mine' is not understood"),
        ('{"type": "text"}', "field: $.type: 'text' is not valid under any of the given schemas; correct it"),
        ('{"properties": []}', "field: $.properties: [] is not of type 'object'"),
        ('{"items": {"minLength": "2"}}', "field: $.items.minLength: '2' is not of type 'integer'"),
        ('{"allOf": [{"requird": ["a"]}]}', "field: 'requird' is not among the keywords that are understood ($anchor"),
        ('{"patternProperties": {"a": true}}', "field: 'patternProperties' is not among the keywords"),
        ('{"$ref": "#/$defs/A"}', "field: '#/$defs/A' is not in the schema; refer to a part of it"),
        ('{"items": {"$ref": "https://example.com/a"}}', "field: 'https://example.com/a' is not in the schema"),
        ('{"$defs": {"A": {"pattern": "("}}}', "field: $['$defs'].A.pattern: '(' is not a 'regex'; correct it"),
    ],
)
def test_what_would_be_in_vain_is_refused(schema: str, message: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        parse_schema(schema, "field")
    assert message in str(caught.value)
