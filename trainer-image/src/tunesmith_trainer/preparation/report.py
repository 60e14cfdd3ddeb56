"""The report of a preparation, from what reading the data and outlining the model found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_api.v1alpha1.methods.kto import Kto
from tunesmith_api.v1alpha1.preparation import (
    MAX_FINDINGS,
    MAX_WARNINGS,
    WARNING_LENGTH,
    AnswerFinding,
    DatasetFinding,
    MemoryEstimate,
    PreparationReport,
    TokenLengths,
)
from tunesmith_trainer.data.balance import label_counts, weight_advice
from tunesmith_trainer.methods.arguments import method_block

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.models.outline import Outline

_MANY_CUT = 0.05
_LITTLE_LOSS = 0.05
_MUCH_LONGER = 2.0


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
        "token_lengths": _lengths(lengths),
        "truncated_share": train["truncatedShare"],
        "dropped_rows": train["dropped"],
        "loss_share": train["lossShare"],
        "duplicate_rows": train["duplicates"],
        "alike_pairs": train.get("alike"),
        "answers": tuple(
            AnswerFinding(kind=kind, count=each["count"], token_lengths=_lengths(each))
            for kind, each in train.get("answers", {}).items()
        ),
        "parameters": outline.shape.parameters,
        "trainable_parameters": outline.shape.trained,
        "memory": memory,
    }
    report = PreparationReport(**found)
    warnings = [*_warnings(report, context.run.spec.training.max_length)]
    if context.run.spec.method == "kto":
        advice = weight_advice(label_counts(train), method_block(context, Kto))
        warnings += [advice] if advice else []
    if data.get("chatTemplateGiven"):
        warnings.append("the tokenizer has no chat template and gets ChatML; the output carries it")
    warnings += data.get("rewardWarnings", ())
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


def _lengths(found: Mapping[str, float]) -> TokenLengths:
    return TokenLengths(**{name: int(found[name]) for name in TokenLengths.model_fields})


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
    yield from _of_answers(report)


def _of_answers(report: PreparationReport) -> Iterator[str]:
    """Yield what is probably not meant about answers that are compared with each other."""
    if report.alike_pairs:
        yield (
            f"{report.alike_pairs} pairs are the same within training.maxLength and teach nothing; raise it or remove"
            " them"
        )
    if len(report.answers) < 2:  # noqa: PLR2004 - one kind is compared with nothing
        return
    shorter, *_, longer = sorted(report.answers, key=lambda answer: answer.token_lengths.p50)
    if longer.token_lengths.p50 >= _MUCH_LONGER * max(shorter.token_lengths.p50, 1):
        yield (
            f"half of the {longer.kind} answers have {longer.token_lengths.p50} tokens or more, of the {shorter.kind}"
            f" ones {shorter.token_lengths.p50}: the model may learn length before anything else; balance them"
        )


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"
