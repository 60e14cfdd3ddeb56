"""`report.html`: one page that needs no network and runs no script."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from tunesmith_trainer.report import charts, completions, families, loading, view

if TYPE_CHECKING:
    from jinja2 import Environment

    from tunesmith_trainer.report.facts import Facts


@cache
def templates() -> Environment:
    """Return the templates; whatever comes from data is escaped in HTML."""
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    return Environment(
        loader=PackageLoader("tunesmith_trainer.report"),
        autoescape=select_autoescape(["html.jinja"], default=False),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render_page(facts: Facts) -> str:
    """Return the page; the same facts make the same bytes."""
    columns, counts = view.row_counts(facts)
    answer_kinds, answers = view.answers(facts)
    text: str = (
        templates()
        .get_template("report.html.jinja")
        .render(
            facts=facts,
            geometry=charts,
            tiles=view.tiles(facts),
            chapters=charts.chapters(facts.entries, facts.resumed),
            folded=families.MORE,
            before_after=view.before_after(facts),
            trials=view.trials(facts),
            batches=completions.batches(facts),
            sources=view.sources(facts),
            count_columns=columns,
            counts=counts,
            answer_kinds=answer_kinds,
            answers=answers,
            settings=view.settings(facts),
            spent=view.spent(facts),
            attempts=view.attempts(facts),
            provenance=view.provenance(facts),
            python_lines=loading.python_lines(facts),
            command=loading.command(facts),
        )
    )
    return text
