"""What the blocks of the methods share that learn from pairs of answers, one of which is preferred."""

from __future__ import annotations

from tunesmith_api.v1alpha1.methods.base import MethodBlock


class Pairs(MethodBlock):
    """A method whose rows are pairs of answers."""

    formats = ("preference",)
    rows = "preference rows: prompt, chosen, rejected (no templates)"
