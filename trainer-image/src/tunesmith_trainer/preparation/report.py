"""The report of a preparation, from what reading the data and outlining the model found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_api.v1alpha1.preparation import (
    MAX_FINDINGS,
    MAX_WARNINGS,
    WARNING_LENGTH,
    DatasetFinding,
    MemoryEstimate,
    PreparationReport,
    TokenLengths,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.models.outline import Outline

_MANY_CUT = 0.05
_LITTLE_LOSS = 0.05


def compose(context: RunContext, data: dict[str, Any], outline: Outline, memory: MemoryEstimate) -> PreparationReport:
    """Return the report.

    Args:
        context: The run.
        data: What was found in the data, as it goes into the run's record.
        outline: What is known of the model without its weights.
        memory: What training needs of one device.
    """
    train, evaluation = data["train"], data["evaluation"]
    lengths = train["tokenLength"]
    found = {
        "datasets": tuple(_datasets(data))[:MAX_FINDINGS],
        "rows": train["rows"],
        "evaluation_rows": evaluation["rows"] if evaluation else None,
        "tokens": train["tokens"],
        "token_lengths": TokenLengths(**{name: int(lengths[name]) for name in TokenLengths.model_fields}),
        "truncated_share": train["truncatedShare"],
        "dropped_rows": train["dropped"],
        "loss_share": train["lossShare"],
        "duplicate_rows": train["duplicates"],
        "parameters": outline.shape.parameters,
        "trainable_parameters": outline.shape.trained,
        "memory": memory,
    }
    report = PreparationReport(**found)
    warnings = [*_warnings(report, context.run.spec.training.max_length)]
    if data.get("chatTemplateGiven"):
        warnings.append("the tokenizer has no chat template and gets ChatML; the output carries it")
    kept = tuple(warning[:WARNING_LENGTH] for warning in warnings[:MAX_WARNINGS])
    return report.model_copy(update={"warnings": kept})


def summary(report: PreparationReport, max_length: int) -> str:
    """Return a report in a sentence."""
    read = f"{report.rows} rows to train on, half of them at most {report.token_lengths.p50} tokens long"
    if report.loss_share == 0:
        # Prompts, which are never cut, and whose loss is that of completions to come.
        return read
    return (
        f"{read}; {_percent(report.truncated_share)} are cut at {max_length}, {_percent(report.loss_share)} of the"
        " tokens carry loss"
    )


def _datasets(data: dict[str, Any]) -> Iterator[DatasetFinding]:
    drawn = {**((data["evaluation"] or {}).get("drawn") or {}), **data["train"]["drawn"]}
    for source in data["sources"]:
        rows = drawn.get(source["field"], {}).get("rows", 0)
        yield DatasetFinding(field=source["field"], format=source["format"], rows=rows)


def _warnings(report: PreparationReport, max_length: int) -> Iterator[str]:
    if report.dropped_rows:
        yield (
            f"{report.dropped_rows} rows are left out: within training.maxLength of {max_length} no token of them"
            " carries loss; raise it or shorten the prompts"
        )
    if report.truncated_share > _MANY_CUT:
        yield (
            f"{_percent(report.truncated_share)} of the rows are longer than training.maxLength of {max_length} and"
            f" lose their ends; 99 % are at most {report.token_lengths.p99} tokens long"
        )
    if report.duplicate_rows:
        yield f"{report.duplicate_rows} rows repeat earlier ones; remove them unless they are meant to count more"
    if 0 < report.loss_share < _LITTLE_LOSS:
        yield (
            f"only {_percent(report.loss_share)} of the tokens carry loss, so most of the time goes into reading"
            " prompts; shorten them, or learn from the prompts too"
        )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
