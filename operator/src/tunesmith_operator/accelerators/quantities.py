"""Kubernetes quantities, as far as the operator must understand them."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

_SUFFIXES = {"m": Decimal("0.001"), "": Decimal(1), "k": Decimal(1000)}


def whole_cores(quantity: str | int) -> int:
    """Return the whole CPU cores in a quantity such as `2`, `1500m` or `2.5`; 1 where it can not be told."""
    text = str(quantity).strip()
    suffix = text[-1:] if text[-1:] in {"m", "k"} else ""
    try:
        return int(Decimal(text.removesuffix(suffix)) * _SUFFIXES[suffix])
    except (InvalidOperation, ValueError, OverflowError):
        return 1
