"""`README.md`: the model card, with metadata as the Hub reads it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tunesmith_trainer.report import loading, view
from tunesmith_trainer.report.citations import PAPERS
from tunesmith_trainer.report.history import ACCURACY, LOSS, PAIR_ACCURACY, PERPLEXITY, REWARD
from tunesmith_trainer.report.page import templates

if TYPE_CHECKING:
    from huggingface_hub import EvalResult

    from tunesmith_trainer.report.facts import Facts

_EVALUATED = {
    LOSS: "loss",
    PERPLEXITY: "perplexity",
    REWARD: "reward",
    PAIR_ACCURACY: "accuracy",
    ACCURACY: "accuracy",
}
# What Markdown or the HTML in it would take for more than text.
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|&~])")


def render_card(facts: Facts) -> str:
    """Return the card; the same facts make the same bytes."""
    columns, counts = view.row_counts(facts)
    answer_kinds, answers = view.answers(facts)
    text: str = (
        templates()
        .get_template("card.md.jinja")
        .render(
            facts=facts,
            metadata=_metadata(facts),
            paper=PAPERS.get(facts.method),
            plain=plain,
            kind=loading.kind(facts),
            sources=view.sources(facts),
            count_columns=columns,
            counts=counts,
            answer_kinds=answer_kinds,
            answers=answers,
            before_after=view.before_after(facts),
            settings=view.settings(facts),
            provenance=view.provenance(facts),
            python_lines=loading.python_lines(facts),
            command=loading.command(facts),
        )
    )
    return text


def plain(text: str) -> str:
    """Return a text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(text).split()))


def _metadata(facts: Facts) -> str:
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        library_name="peft" if facts.artifact == "adapter" else "transformers",
        pipeline_tag=_task(facts),
        base_model=facts.spec["model"].get("name"),
        tags=["tunesmith", "trl", facts.method, *(facts.spec.get("peft") or {})],
        model_name=facts.title,
        eval_results=_results(facts) or None,
    )
    return str(data.to_yaml())


def _task(facts: Facts) -> str:
    return "text-classification" if facts.scores else "text-generation"


def _results(facts: Facts) -> list[EvalResult]:
    from huggingface_hub import EvalResult

    return [
        EvalResult(
            task_type=_task(facts),
            dataset_type="held-out",
            dataset_name="held-out rows",
            metric_type=metric,
            metric_value=round(value, 6),
        )
        for name, metric in _EVALUATED.items()
        if isinstance(value := facts.record["finalEvaluation"].get(name), float)
    ]
