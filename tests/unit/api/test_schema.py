from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field, create_model

from tunesmith_api.base import ApiModel, Rule, cel, remedy
from tunesmith_api.schema import SchemaError, default_text, inlined, structural
from tunesmith_api.v1alpha1.types import Quantity

_RULE = Rule("self.size() > 1", "say more")
_STEP = Annotated[int, Field(ge=0, le=10)]


class Inner(ApiModel):
    """What the class says."""

    rules: ClassVar[tuple[Rule, ...]] = (Rule("has(self.a)", "set a", ".a"),)

    a: Annotated[str | None, Field(max_length=3)] = None


def field_schema(annotation: Any, default: Any = ...) -> dict[str, Any]:
    """Return the schema of the one field of a model."""
    model = create_model("Sample", __base__=ApiModel, field=(annotation, default))
    schema: dict[str, Any] = structural(inlined(model))["properties"]["field"]
    return schema


@pytest.mark.parametrize(
    ("annotation", "default", "expected"),
    [
        pytest.param(
            Annotated[str, Field(min_length=1, max_length=5, description="A word.")],
            ...,
            {"type": "string", "minLength": 1, "maxLength": 5, "description": "A word."},
            id="string",
        ),
        pytest.param(bool, ..., {"type": "boolean"}, id="boolean"),
        pytest.param(
            Annotated[str, Field(description="A word.")],
            "yes",
            {"type": "string", "description": "A word. Default: yes."},
            id="a default is told, not applied",
        ),
        pytest.param(
            Annotated[int | None, Field(ge=1, le=2**31 - 1, description="Steps. Default: as many as it takes.")],
            None,
            {
                "type": "integer",
                "format": "int32",
                "minimum": 1,
                "maximum": 2**31 - 1,
                "description": "Steps. Default: as many as it takes.",
            },
            id="absence is not null",
        ),
        pytest.param(
            Annotated[int, Field(ge=0, le=2**31)],
            ...,
            {"type": "integer", "format": "int64", "minimum": 0, "maximum": 2**31},
            id="integer beyond 31 bits",
        ),
        pytest.param(int, ..., {"type": "integer", "format": "int64"}, id="unbounded integer"),
        pytest.param(
            Annotated[float, Field(gt=0, lt=0.5)],
            ...,
            {
                "type": "number",
                "format": "double",
                "minimum": 0,
                "exclusiveMinimum": True,
                "maximum": 0.5,
                "exclusiveMaximum": True,
            },
            id="exclusive bounds are booleans beside the bound",
        ),
        pytest.param(Literal["a", "b"], ..., {"type": "string", "enum": ["a", "b"]}, id="choice"),
        pytest.param(Literal["a"], ..., {"type": "string", "enum": ["a"]}, id="one choice"),
        pytest.param(
            Annotated[tuple[_STEP, ...], Field(min_length=1, max_length=3)],
            ...,
            {
                "type": "array",
                "minItems": 1,
                "maxItems": 3,
                "items": {"type": "integer", "format": "int32", "minimum": 0, "maximum": 10},
                "x-kubernetes-list-type": "atomic",
            },
            id="list",
        ),
        pytest.param(
            Annotated[
                tuple[Literal["a"], ...], Field(max_length=3, json_schema_extra={"x-kubernetes-list-type": "set"})
            ],
            ...,
            {
                "type": "array",
                "maxItems": 3,
                "items": {"type": "string", "enum": ["a"]},
                "x-kubernetes-list-type": "set",
            },
            id="set",
        ),
        pytest.param(
            Annotated[
                dict[Annotated[str, Field(max_length=9)], Annotated[str, Field(max_length=5)]], Field(max_length=2)
            ],
            ...,
            {"type": "object", "maxProperties": 2, "additionalProperties": {"type": "string", "maxLength": 5}},
            id="map",
        ),
        pytest.param(
            Annotated[str, Field(max_length=5, json_schema_extra=cel(_RULE))],
            ...,
            {
                "type": "string",
                "maxLength": 5,
                "x-kubernetes-validations": [{"rule": "self.size() > 1", "message": "say more"}],
            },
            id="rule of a field",
        ),
        pytest.param(
            Annotated[float, Field(gt=0, le=10, json_schema_extra=remedy("leave it out"))],
            ...,
            {
                "type": "number",
                "format": "double",
                "minimum": 0,
                "exclusiveMinimum": True,
                "maximum": 10,
                "x-kubernetes-validations": [{"rule": "self <= 10.0 && self > 0.0", "message": "leave it out"}],
            },
            id="remedy makes a rule of the bounds",
        ),
        pytest.param(
            Annotated[Inner | None, Field(description="What the field says.", json_schema_extra=cel(_RULE))],
            None,
            {
                "type": "object",
                "description": "What the field says.",
                "properties": {"a": {"type": "string", "maxLength": 3}},
                "x-kubernetes-validations": [
                    {"rule": "has(self.a)", "message": "set a", "fieldPath": ".a"},
                    {"rule": "self.size() > 1", "message": "say more"},
                ],
            },
            id="block: rules of class and field both hold",
        ),
    ],
)
def test_a_field_becomes(annotation: Any, default: Any, expected: dict[str, Any]) -> None:
    schema = field_schema(annotation, default)
    rules = schema.get("x-kubernetes-validations", [])
    wanted = expected.get("x-kubernetes-validations", [])
    for rule, want in zip(rules, wanted, strict=True):
        assert {**rule, "rule": sorted(rule["rule"].split(" && "))} == {
            **want,
            "rule": sorted(want["rule"].split(" && ")),
        }
    assert {**schema, "x-kubernetes-validations": wanted} == {**expected, "x-kubernetes-validations": wanted}


def test_a_quantity_is_int_or_string() -> None:
    schema = field_schema(Quantity)
    assert schema["x-kubernetes-int-or-string"] is True
    assert schema["anyOf"] == [{"type": "integer"}, {"type": "string"}]
    assert "type" not in schema


def test_a_required_field_with_a_remedy_is_required_by_a_rule() -> None:
    rows = Annotated[tuple[_STEP, ...], Field(min_length=1, max_length=3, json_schema_extra=remedy("add rows"))]
    model = create_model("Sample", __base__=ApiModel, rows=(rows, ...), name=(bool, ...))
    schema = structural(inlined(model))
    assert schema["required"] == ["name"]
    assert schema["x-kubernetes-validations"] == [
        {"rule": "has(self.rows)", "message": "add rows", "fieldPath": ".rows"}
    ]
    assert schema["properties"]["rows"]["x-kubernetes-validations"] == [
        {"rule": "size(self) >= 1 && size(self) <= 3", "message": "add rows"}
    ]


@pytest.mark.parametrize(
    ("annotation", "complaint"),
    [
        pytest.param(str | int, "field: a CRD field has one type", id="union"),
        pytest.param(dict[str, Any], "field: a map needs the type of its values", id="free-form map"),
        pytest.param(tuple[int, str], "field: a CRD schema has no prefixItems", id="tuple of several types"),
        pytest.param(Annotated[int, Field(multiple_of=2)], "field: a CRD schema has no multipleOf", id="keyword"),
        pytest.param(
            Annotated[bool, Field(json_schema_extra=remedy("set it"))], "a remedy needs a bound", id="boundless remedy"
        ),
    ],
)
def test_what_a_crd_can_not_say_is_refused(annotation: Any, complaint: str) -> None:
    with pytest.raises(SchemaError, match=complaint):
        field_schema(annotation)


@pytest.mark.parametrize(
    ("default", "text"),
    [
        (8, "8"),
        (0.0, "0"),
        (0.1, "0.1"),
        (True, "true"),
        (False, "false"),
        ("auto", "auto"),
        (["a", "b"], "[a, b]"),
        (None, ""),
        ([], ""),
        ("", ""),
        ({"a": 1}, ""),
    ],
)
def test_defaults_read_as_a_user_writes_them(default: Any, text: str) -> None:
    assert default_text({"default": default}) == text
