"""A new runId: what is left of the former run goes first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_api.meta import Reason, State
from tunesmith_operator.status import attempts, preparation
from tunesmith_operator.status.attempts import Ending
from tunesmith_operator.steps import common

if TYPE_CHECKING:
    from tunesmith_operator.inputs import Decision
    from tunesmith_operator.status.situation import Situation


def clear_former_run(situation: Situation) -> Decision | None:
    """Stop the newest attempt when it belongs to a former run, and wait until its pods have ended."""
    attempt, wanted = situation.attempt, situation.stamp.run_id
    if attempt is None or attempt.run_id == wanted:
        return None
    held = common.held_back(situation, situation.live_pods)
    if attempt.end_time is not None and situation.child is None and held is None:
        return None
    if attempt.end_time is None:
        ending = Ending("Disrupted", "Superseded", f"run {attempt.run_id} was replaced by run {wanted}")
        status = attempts.replace_newest(situation.status, attempts.close(attempt, ending, situation.now))
        situation = situation.with_status(status)
    what, seconds = held or ("its PyTorchJob is being removed", 1.0)
    return common.going(
        situation,
        State.RESTARTING,
        Reason.RESTARTING.value,
        f"run {wanted} starts once run {attempt.run_id} is gone: {what}",
        actions=common.delete_child(situation),
        status_first=True,
        seconds=seconds,
    )


def clear_former_preparation(situation: Situation) -> Decision | None:
    """Stop a preparation that belongs to a former run."""
    record, wanted = situation.status.preparation, situation.stamp.run_id
    if record is None or record.run_id == wanted or record.end_time is not None:
        return None
    ending = Ending("Disrupted", "Superseded", f"run {record.run_id} was replaced by run {wanted}")
    closed = preparation.close(record, ending, situation.now)
    return common.going(
        situation.with_status(situation.status.model_copy(update={"preparation": closed})),
        State.RESTARTING,
        Reason.RESTARTING.value,
        f"run {wanted} starts now; the preparation of run {record.run_id} is being stopped",
        actions=common.delete_preparation(situation),
        seconds=1.0,
    )
