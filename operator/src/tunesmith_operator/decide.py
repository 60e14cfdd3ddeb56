"""What to do next about a job: an ordered list of steps, of which the first that decides wins."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tunesmith_operator.status.situation import Situation, observe
from tunesmith_operator.steps.begin import next_attempt
from tunesmith_operator.steps.edited import refuse_edited_run
from tunesmith_operator.steps.end import end_attempt
from tunesmith_operator.steps.finished import leave_deleted, leave_finished
from tunesmith_operator.steps.former_run import clear_former_preparation, clear_former_run
from tunesmith_operator.steps.freeze import freeze, refuse_strangers, refuse_unreadable_run
from tunesmith_operator.steps.watch import create_again, watch

if TYPE_CHECKING:
    from tunesmith_operator.inputs import Decision, Inputs

Step = Callable[[Situation], "Decision | None"]

STEPS: tuple[Step, ...] = (
    leave_deleted,
    leave_finished,
    # From here on the run that the spec asks for is not over.
    clear_former_run,
    clear_former_preparation,
    refuse_strangers,
    refuse_unreadable_run,
    refuse_edited_run,
    freeze,
    # From here on the run is frozen, and nothing but the frozen run says what is trained.
    next_attempt,
    # From here on an attempt of the run is under way, as far as the status knows.
    create_again,
    end_attempt,
)


def decide(inputs: Inputs) -> Decision:
    """Return what to do about a job; equal inputs give equal decisions, and nothing else is looked at."""
    situation = observe(inputs)
    for step in STEPS:
        decision = step(situation)
        if decision is not None:
            return decision
    return watch(situation)
