"""A spec that was changed when its run was frozen already, and the status did not tell yet that it had started."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_api.meta import Reason
from tunesmith_operator import policies
from tunesmith_operator.desired import freeze
from tunesmith_operator.status.attempts import Ending
from tunesmith_operator.steps import common

if TYPE_CHECKING:
    from tunesmith_operator.inputs import Decision
    from tunesmith_operator.status.situation import Situation


def refuse_edited_run(situation: Situation) -> Decision | None:
    """Stop a run that trains another spec than the job has now.

    Once the status tells that a run has started, the API server refuses such a change. Here it came a moment before:
    after the ConfigMap, which can not be changed, and maybe the first pods were made. Asking for a new run is what a
    change a moment later would have been answered with, too.
    """
    run = situation.run
    if run is None or situation.told or run.generation == situation.stamp.generation:
        return None
    spec = policies.parse_spec(situation.inputs)
    if not isinstance(spec, policies.Finding) and freeze.is_of(run, spec):
        return None
    ending = Ending("Disrupted", "Superseded", f"the spec was changed just after run {run.run_id} had been frozen")
    message = (
        f"the spec was changed (generation {situation.stamp.generation}) just after run {run.run_id} had been frozen"
        f" (generation {run.generation}), so that run was stopped. Set a new spec.runId to train the spec as it is now"
    )
    return common.fail(
        common.stopped(situation, ending),
        Reason.SPEC_CHANGED.value,
        message,
        actions=(*common.delete_child(situation), *common.delete_preparation(situation)),
    )
