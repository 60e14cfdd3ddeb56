"""From a pydantic model to the structural OpenAPI v3 schema that a CustomResourceDefinition asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import override

from tunesmith_api.base import REMEDY, VALIDATIONS, ApiModel, Rule

if TYPE_CHECKING:
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import core_schema

Json = dict[str, Any]

ABOUT = "x-tunesmith-about"
"""What an inlined block says of itself; its `description` is what the field that holds it says."""

_INT32_MAX = 2**31 - 1
# Told elsewhere (default: in the description; required keys: in rules) or without meaning in a structural schema.
_DROPPED = frozenset({"title", "default", "propertyNames", "additionalProperties", ABOUT, REMEDY})
_KEPT = frozenset(
    {
        "type",
        "format",
        "description",
        "enum",
        "pattern",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "maxProperties",
        "required",
        "x-kubernetes-int-or-string",
        "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys",
        VALIDATIONS,
    }
)
_HANDLED = frozenset(
    {
        "const",
        "anyOf",
        "properties",
        "items",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
    }
)


class SchemaError(Exception):
    """A model says something that a CustomResourceDefinition can not."""


class _WithRules(GenerateJsonSchema):
    """Pydantic's JSON schema, with the rules of each model on it."""

    @override
    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        json_schema = super().model_schema(schema)
        model = schema["cls"]
        if issubclass(model, ApiModel) and model.rules:
            json_schema[VALIDATIONS] = [rule.to_schema() for rule in model.rules]
        return json_schema


def inlined(model: type[ApiModel]) -> Json:
    """Return the JSON schema of a model without references and without null: the source of CRD and reference.

    Unlike the structural schema it keeps `title` (the name of a block's class), `ABOUT` and `default`.
    """
    schema = model.model_json_schema(by_alias=True, schema_generator=_WithRules)
    definitions = schema.pop("$defs", {})
    return _inline(schema, definitions)


def _inline(node: Json, definitions: Json) -> Json:
    node = dict(node)
    if "$ref" in node:
        target = definitions[node.pop("$ref").removeprefix("#/$defs/")]
        return _merge(_inline(target, definitions), node)
    branches = [branch for branch in node.get("anyOf", ()) if branch.get("type") != "null"]
    if len(branches) == 1:
        del node["anyOf"]
        return _merge(_inline(branches[0], definitions), node)
    if branches:
        node["anyOf"] = [_inline(branch, definitions) for branch in branches]
    if "properties" in node:
        node["properties"] = {name: _inline(child, definitions) for name, child in node["properties"].items()}
    for keyword in ("items", "additionalProperties"):
        if isinstance(node.get(keyword), dict):
            node[keyword] = _inline(node[keyword], definitions)
    return node


def _merge(inner: Json, outer: Json) -> Json:
    """Lay what a field says over what its type says; rules of both hold, and a block keeps its class's name."""
    merged = {**inner, **outer}
    if rules := [*inner.get(VALIDATIONS, ()), *outer.get(VALIDATIONS, ())]:
        merged[VALIDATIONS] = rules
    if inner.get("type") == "object" and "title" in inner:
        merged["title"] = inner["title"]
        merged[ABOUT] = inner.get(ABOUT, inner.get("description", ""))
    return merged


def structural(node: Json, path: str = "") -> Json:
    """Return the structural schema of an inlined one.

    Args:
        node: The schema that `inlined` returned, or a part of it.
        path: Field path of that part, for errors.

    Raises:
        SchemaError: The model uses something that a structural schema does not know.
    """
    unknown = node.keys() - _KEPT - _HANDLED - _DROPPED
    if unknown:
        raise SchemaError(f"{path or 'root'}: a CRD schema has no {', '.join(sorted(unknown))}; change the model")
    schema: Json = {key: value for key, value in node.items() if key in _KEPT}
    if description := described(node):
        schema["description"] = description
    schema.update(_enumeration(node))
    schema.update(_bounds(node))
    schema.update(_integer_format(node))
    schema.update(_children(node, path))
    return _with_remedies(schema, node)


def described(node: Json) -> str:
    """Return the description in one line, with the default at its end.

    A default in the schema would make the API server write it into every stored object.
    """
    text = " ".join(node.get("description", "").split())
    default = default_text(node)
    return f"{text} Default: {default}." if text and default and "Default:" not in text else text


def default_text(node: Json) -> str:
    """Return the default as a user would write it, empty when there is none to tell."""
    default = node.get("default")
    if default is None or isinstance(default, dict) or default in ([], ""):
        return ""
    if isinstance(default, bool):
        return "true" if default else "false"
    if isinstance(default, list):
        return f"[{', '.join(str(item) for item in default)}]"
    return str(whole(default))


def whole(value: Any) -> Any:
    """Return a number without fraction as an integer, as people write it; other values as they are."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _enumeration(node: Json) -> Json:
    return {"enum": [node["const"]]} if "const" in node else {}


def _bounds(node: Json) -> Json:
    """Return the bounds of a number as OpenAPI 3.0 spells them: exclusiveness is a boolean beside the bound."""
    bounds: Json = {}
    for bound, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
        if exclusive in node:
            bounds |= {bound: whole(node[exclusive]), exclusive: True}
        elif bound in node:
            bounds[bound] = whole(node[bound])
    return bounds


def _integer_format(node: Json) -> Json:
    if node.get("type") == "number":
        return {"format": "double"}
    if node.get("type") != "integer":
        return {}
    small = node.get("maximum", _INT32_MAX + 1) <= _INT32_MAX
    return {"format": "int32" if small else "int64"}


def _children(node: Json, path: str) -> Json:
    if node.get("x-kubernetes-int-or-string"):
        return {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    if "anyOf" in node:
        raise SchemaError(f"{path}: a CRD field has one type; only x-kubernetes-int-or-string may be a union")
    if "properties" in node:
        children = node["properties"].items()
        return {"properties": {name: structural(child, f"{path}.{name}".strip(".")) for name, child in children}}
    if node.get("type") == "array":
        list_type = node.get("x-kubernetes-list-type", "atomic")
        return {"items": structural(node["items"], f"{path}[]"), "x-kubernetes-list-type": list_type}
    if node.get("type") == "object":
        return {"additionalProperties": _values(node, path)}
    return {}


def _values(node: Json, path: str) -> Json:
    values = node.get("additionalProperties")
    if not isinstance(values, dict):
        raise SchemaError(f"{path}: a map needs the type of its values, an object needs fields")
    return structural(values, f"{path}.*")


def _with_remedies(schema: Json, node: Json) -> Json:
    """State what fields with a remedy require a second time as rules, whose messages tell the remedy.

    A missing required field stops the API server before it evaluates any rule, so there the rule takes the place.
    """
    rules = list(schema.get(VALIDATIONS, ()))
    if REMEDY in node:
        rules.append(Rule(_bound_rule(node), node[REMEDY]).to_schema())
    for name, child in node.get("properties", {}).items():
        if REMEDY in child and name in schema.get("required", ()):
            schema["required"] = [other for other in schema["required"] if other != name]
            rules.append(Rule(f"has(self.{name})", child[REMEDY], f".{name}").to_schema())
    if rules:
        schema[VALIDATIONS] = rules
    return schema


def _bound_rule(node: Json) -> str:
    literal = float if node.get("type") == "number" else int
    subject = "size(self)" if node.get("type") == "array" else "self"
    comparisons = {
        "minimum": ">=",
        "exclusiveMinimum": ">",
        "maximum": "<=",
        "exclusiveMaximum": "<",
        "minItems": ">=",
        "maxItems": "<=",
    }
    terms = [f"{subject} {sign} {literal(node[key])}" for key, sign in comparisons.items() if key in node]
    if not terms:
        raise SchemaError(f"a remedy needs a bound to speak of: {node.get('description')}")
    return " && ".join(terms)
