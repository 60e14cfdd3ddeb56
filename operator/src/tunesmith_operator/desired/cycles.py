"""Whether a job waits for itself, over the jobs that it depends on."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith_operator.desired import references

if TYPE_CHECKING:
    from tunesmith_operator.inputs import Inputs, JobKey


@dataclass(frozen=True)
class Cycle:
    """A way on which a job depends on itself.

    Attributes:
        field: The field below spec that begins it.
        path: The jobs on it, from the job to itself.
    """

    field: str
    path: tuple[JobKey, ...]


def find(inputs: Inputs) -> Cycle | None:
    """Return the shortest way on which the job waits for itself; None when there is none.

    One further on is not the job's own: the jobs in it fail, and this one waits for them.
    """
    reached: set[JobKey] = set()
    ways = deque(
        Cycle(field, (inputs.key, other)) for field, other in references.dependencies(inputs.key, inputs.job).items()
    )
    while ways:
        way = ways.popleft()
        end = way.path[-1]
        if end == inputs.key:
            return way
        if end in inputs.jobs and end not in reached:
            reached.add(end)
            onward = references.open_dependencies(end, inputs.jobs[end])
            ways.extend(Cycle(way.field, (*way.path, other)) for other in onward)
    return None
