"""Kubernetes quantities of memory, as far as somebody must count with them."""

from __future__ import annotations

import re
from decimal import Decimal

_QUANTITY = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(m|[kMGTPE]|[KMGTPE]i|[eE][+-]?\d+)?")
_SMALL: dict[str, Decimal] = {"": Decimal(1), "m": Decimal("0.001"), "k": Decimal(1000)}
_DECIMAL = {unit: Decimal(1000) ** power for power, unit in enumerate("MGTPE", 2)}
_BINARY = {f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", 1)}
_UNITS = _SMALL | _DECIMAL | _BINARY


class QuantityError(ValueError):
    """A text is no quantity; its message says what one looks like."""


def parse_bytes(quantity: str | int) -> int:
    """Return the bytes in a quantity such as `80Gi`, `1500M` or `2e9`, rounded down.

    Raises:
        QuantityError: It is none.
    """
    match = _QUANTITY.fullmatch(str(quantity).strip())
    if match is None:
        raise QuantityError(f"{quantity!r} is no quantity: write a number with a unit, such as 80Gi")
    number, unit = Decimal(match[1]), match[2] or ""
    if unit in _UNITS:
        return int(number * _UNITS[unit])
    return int(number * Decimal(10) ** int(unit[1:]))


def render_bytes(amount: float) -> str:
    """Return an amount of bytes as a quantity people can read: one decimal of the largest unit below it."""
    unit = max((unit for unit in _BINARY if amount >= _BINARY[unit]), key=_BINARY.__getitem__, default="")
    return f"{amount / float(_BINARY[unit]):.1f}{unit}" if unit else str(round(amount))
