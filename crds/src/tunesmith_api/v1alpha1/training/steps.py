"""Numbers of steps that may also be a share of all steps, as in transformers.TrainingArguments."""

from __future__ import annotations

from tunesmith_api.base import Rule

WHOLE_OR_SHARE = Rule(
    "self < 1.0 || self == double(int(self))",
    "must be a whole number of steps, or a share of all steps below 1: write 100 or 0.05, not 1.5",
)
