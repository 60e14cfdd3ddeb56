"""The base of every API model, and how a model states its CEL rules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

VALIDATIONS = "x-kubernetes-validations"
REMEDY = "x-tunesmith-remedy"  # known to the generator alone; never reaches a CRD

_CEL_WORDS = frozenset({
    "as", "break", "const", "continue", "else", "false", "for", "function", "if", "import", "in", "let", "loop",
    "namespace", "null", "package", "return", "true", "var", "void", "while",
})  # fmt: skip


@dataclass(frozen=True)
class Rule:
    """One CEL rule of the CRD (`x-kubernetes-validations`).

    Attributes:
        rule: The CEL expression; `self` is the value the rule is attached to.
        message: What is wrong and what to do, shown by `kubectl apply`.
        field_path: The field below the value that the message is about, such as `.fromJob.name`.
    """

    rule: str
    message: str
    field_path: str | None = None

    def to_schema(self) -> dict[str, Any]:
        """Return the rule as the CRD spells it."""
        schema: dict[str, Any] = {"rule": self.rule, "message": self.message}
        if self.field_path:
            schema["fieldPath"] = self.field_path
        return schema


def remedy(text: str) -> dict[str, Any]:
    """Return the `json_schema_extra` that tells what to do when a field is out of its bounds, or missing.

    The generator makes a CEL rule of the bounds, with this as its message: the bounds stay declared once.
    """
    return {REMEDY: text}


def cel(*rules: Rule) -> dict[str, Any]:
    """Return the `json_schema_extra` that attaches CEL rules to one field."""
    return {VALIDATIONS: [rule.to_schema() for rule in rules]}


class ApiModel(BaseModel):
    """A block of the API: camelCase on the wire, unknown fields refused, immutable once built.

    Subclasses state rules over several of their fields in `rules`; the API server enforces them (they are not run in
    Python, so that each rule exists once).
    """

    model_config = ConfigDict(
        alias_generator=to_camel, populate_by_name=True, extra="forbid", frozen=True, use_attribute_docstrings=False
    )

    rules: ClassVar[tuple[Rule, ...]] = ()

    def to_wire(self) -> dict[str, Any]:
        """Return the JSON object of this block: camelCase, every default explicit, absent values left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def absent(path: str) -> str:
    """Return the CEL expression that a field, given by its path below `self`, or a block that it is in is not there."""
    parts = path.split(".")
    return " || ".join(f"!has(self.{'.'.join(parts[:depth])})" for depth in range(1, len(parts) + 1))


def exactly_one_of(*fields: str, remedy: str) -> Rule:
    """Return the rule that exactly one of these fields is set."""
    count = " + ".join(f"(has(self.{_identifier(field)}) ? 1 : 0)" for field in fields)
    return Rule(f"{count} == 1", f"set exactly one of {', '.join(fields)}: {remedy}")


def _identifier(field: str) -> str:
    """Return a field's name in an expression: Kubernetes escapes the words that CEL keeps for itself."""
    return f"__{field}__" if field in _CEL_WORDS else field
