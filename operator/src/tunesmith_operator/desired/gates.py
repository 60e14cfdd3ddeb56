"""Whether what another job made is as good as the job that takes it asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_operator.status import stored

if TYPE_CHECKING:
    from tunesmith_api.v1alpha1.gate import Gate
    from tunesmith_operator.inputs import Object


def unmet(gate: Gate, name: str, job: Object, field: str) -> str | None:
    """Return why the last figures of a Complete job do not open a gate, and what to do; None when they do.

    Args:
        gate: What is asked for.
        name: Kind and name of the other job.
        job: Its object.
        field: The field below spec that names it.
    """
    progress = stored.read(job.get("status")).progress
    figures = {metric.name: metric.value for metric in progress.metrics} if progress else {}
    told = figures.get(gate.metric)
    if told is not None and _within(gate, told):
        return None
    if told is None:
        result = f"without a figure {gate.metric}; it has {', '.join(figures) or 'none'}"
        remedy = "Have that job evaluate, or name one of these; or remove the gate."
    else:
        result = f"with {gate.metric} {told}"
        remedy = "Train it better and run it again under a new spec.runId, or change the gate."
    bounds = (("at least", gate.min), ("at most", gate.max))
    wanted = " and ".join(f"{words} {bound:g}" for words, bound in bounds if bound is not None)
    return (
        f"{name} is Complete {result}, and spec.{field}.gate asks for {gate.metric} of {wanted}. {remedy} This job"
        " starts by itself once the gate is met."
    )


def _within(gate: Gate, told: str) -> bool:
    """Return whether a figure of a status, which may be no number, is within the bounds."""
    try:
        value = float(told)
    except ValueError:
        return False
    return (gate.min is None or value >= gate.min) and (gate.max is None or value <= gate.max)
