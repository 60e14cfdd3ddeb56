"""Columns that rewards read beside the prompt: looked for before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from tunesmith_api.v1alpha1.rewards import Reward
    from tunesmith_trainer.data.corpus import Source


def require_columns(rewards: Mapping[str, Reward], sources: Iterable[Source]) -> None:
    """Refuse datasets of prompts without the right answers; what a function reads, only its code knows.

    Args:
        rewards: The rewards by their field.
        sources: The datasets; their first rows are looked at.

    Raises:
        DataError: A dataset lacks the column.
    """
    columns = {field: reward.answer.column for field, reward in rewards.items() if reward.answer is not None}
    for source in sources:
        found = next(source.rows())["columns"] if columns else {}
        for field, column in columns.items():
            if column not in found:
                listed = ", ".join(found) or "none"
                raise DataError(
                    f"{source.field}: the first row has no column {column!r} beside the prompt (found: {listed}), which"
                    f" {field}.answer compares completions with; add it, or name another one in {field}.answer.column"
                )
