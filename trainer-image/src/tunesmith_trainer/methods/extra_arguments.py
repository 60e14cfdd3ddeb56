"""`training.extraArguments`, read as the installed TRL's own types; a pure function for trainer and prepare step."""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from typing import TYPE_CHECKING, Any

from tunesmith_api.v1alpha1.training.extra_arguments import REFUSED_ARGUMENTS
from tunesmith_trainer.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

_FIELD = "spec.training.extraArguments"
_BOOLEANS = {"true": True, "false": False}


def extra_arguments(extra: Mapping[str, str], config: type, taken: Collection[str]) -> dict[str, Any]:
    """Return the arguments with their values, of the types that the config declares.

    Args:
        extra: Arguments and values as the spec has them.
        config: TRL's config class of the method.
        taken: Arguments that the job sets itself.

    Raises:
        InvalidSpec: One does not exist, is the job's own, is refused, or has a value that it can not take.
    """
    known = {field.name for field in dataclasses.fields(config) if field.init}
    hints = typing.get_type_hints(config)
    values = {}
    for name, text in extra.items():
        if name in REFUSED_ARGUMENTS:
            raise InvalidSpec(f"{_FIELD}.{name} is refused: {REFUSED_ARGUMENTS[name]}; remove it")
        if name in taken:
            raise InvalidSpec(f"{_FIELD}.{name}: the job sets {name} itself; use the field of the spec, and remove it")
        if name not in known:
            raise InvalidSpec(
                f"{_FIELD}.{name}: {config.__name__} of the installed TRL has no argument {name}; correct or remove it"
            )
        values[name] = _value(name, text, hints[name])
    return values


def _value(name: str, text: str, hint: Any) -> Any:
    """Return a value as the first of an argument's types that can read it: text comes last, as it reads anything."""
    kinds = sorted(_alternatives(hint), key=lambda kind: kind is str)
    for kind in kinds:
        value = _read(text, kind)
        if value is not None:
            return value
    wanted = " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds) or "nothing that text can say"
    raise InvalidSpec(f'{_FIELD}.{name}: "{text}" can not be read; the argument takes {wanted}')


def _alternatives(hint: Any) -> list[Any]:
    """Return the types of a hint that a text can be read as."""
    union = typing.get_origin(hint) in {typing.Union, types.UnionType}
    members = typing.get_args(hint) if union else (hint,)
    return [member for member in members if member in {bool, int, float, str} or typing.get_origin(member) is list]


def _read(text: str, kind: Any) -> Any:
    """Return what a text says as a value of a type, None when it says none."""
    if kind is str:
        return text
    if kind is bool:
        return _BOOLEANS.get(text.lower())
    try:
        value = json.loads(text)
    except ValueError:
        return None
    if kind is float and type(value) in {int, float}:
        return float(value)
    return value if type(value) is (typing.get_origin(kind) or kind) else None
