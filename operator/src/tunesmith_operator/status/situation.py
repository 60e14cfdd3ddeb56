"""What one pass makes of its inputs before it decides: the stored status read back, objects told apart by owner."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from tunesmith_operator.desired import metadata, references, run_config
from tunesmith_operator.status import attempts, child, pods, preparation, short, stored, times
from tunesmith_operator.status.conditions import Stamp
from tunesmith_operator.status.resolved import resolved

if TYPE_CHECKING:
    from datetime import datetime

    from tunesmith_api.run import FrozenRun
    from tunesmith_api.v1alpha1.status import Attempt, JobStatus
    from tunesmith_operator.inputs import Inputs, Object
    from tunesmith_operator.status.child import Child
    from tunesmith_operator.status.pods import Pod
    from tunesmith_operator.status.preparation import BatchJob


@dataclass(frozen=True)
class Situation:
    """What is known about a job.

    Attributes:
        inputs: What was gathered.
        uid: UID of the job.
        stamp: What its next status carries.
        told: Whether the stored status tells that the run has started: from then on its spec can not be changed.
        status: Its status, without what spoke of a former run, and with what an earlier pass that was cut short did
            not tell: that the run is frozen, and the child's UID.
        run: The frozen run; None when there is none, or none that can be read.
        run_problem: Why the run's ConfigMap can not be read; empty when it can, or is not there.
        child: PyTorchJob of the newest attempt, when it is the job's own.
        pods: All pods that carry the name of that PyTorchJob.
        batch_job: Job of the newest preparation, when it is the job's own and its end is not known for good.
    """

    inputs: Inputs
    uid: str
    stamp: Stamp
    told: bool
    status: JobStatus
    run: FrozenRun | None
    run_problem: str
    child: Child | None
    pods: tuple[Pod, ...]
    batch_job: BatchJob | None

    @property
    def now(self) -> datetime:
        """The time of the pass."""
        return self.inputs.now

    @property
    def attempt(self) -> Attempt | None:
        """The newest attempt, of whichever run."""
        return attempts.newest(self.status)

    @property
    def own_pods(self) -> tuple[Pod, ...]:
        """Pods of the newest attempt: a pod of the same name that another PyTorchJob made is none of them."""
        attempt = self.attempt
        return tuple(pod for pod in self.pods if attempt and attempt.child_uid and pod.owner_uid == attempt.child_uid)

    @property
    def live_pods(self) -> tuple[Pod, ...]:
        """Pods of the newest attempt's name in which something may still run."""
        return tuple(pod for pod in self.pods if not pod.terminal)

    @property
    def preparation_pod(self) -> Pod | None:
        """The pod of the newest preparation: the one that was seen first."""
        record = self.status.preparation
        if record is None:
            return None
        found = [pods.read(pod, self.inputs.terminations) for pod in self.inputs.preparation_pods]
        own = [pod for pod in found if pod.owner_uid == record.job_uid]
        return next((pod for pod in own if record.pod_uid in {None, pod.uid}), None)

    def with_status(self, status: JobStatus) -> Situation:
        """Return the situation with another status."""
        return replace(self, status=status)

    def strangers(self) -> tuple[Object, ...]:
        """Return objects of names that the job needs, and that are not its own."""
        needed = (
            self.inputs.run_config,
            self.inputs.child if self.attempt is None else None,
            self.inputs.preparation if self.status.preparation is None else None,
        )
        return tuple(obj for obj in needed if obj is not None and metadata.owner_uid(obj) != self.uid)


def observe(inputs: Inputs) -> Situation:
    """Return what is known about a job."""
    meta = inputs.job.get("metadata", {})
    uid = str(meta.get("uid", ""))
    stamp = Stamp(inputs.now, int(meta.get("generation") or 0), references.run_id(inputs.job))
    run, problem = _run(inputs, uid)
    found = child.read(inputs.child) if inputs.child is not None else None
    own = found if found is not None and found.owner_uid == uid else None
    job = preparation.read(inputs.preparation) if inputs.preparation is not None else None
    own_job = job if job is not None and job.owner_uid == uid else None
    before = _of_run(stored.read(inputs.job.get("status")), stamp.run_id)
    status = preparation.remember(_remember(before, own, inputs.now), own_job, inputs.now)
    told = before.start_time is not None
    if run is not None and not told:
        status = _started(status, run, inputs)
    newest = attempts.newest(status)
    if own is not None and newest is not None and newest.child_uid != own.uid:
        own = None  # another PyTorchJob of the attempt's name: the attempt's own is gone
    if own_job is not None and status.preparation is not None and status.preparation.job_uid != own_job.uid:
        own_job = None
    return Situation(
        inputs=inputs,
        uid=uid,
        stamp=stamp,
        told=told,
        status=status.model_copy(update={"model": short.model(inputs.job)}),
        run=run,
        run_problem=problem,
        child=own,
        pods=tuple(pods.read(pod, inputs.terminations) for pod in inputs.pods),
        batch_job=own_job,
    )


def _run(inputs: Inputs, uid: str) -> tuple[FrozenRun | None, str]:
    if inputs.run_config is None or metadata.owner_uid(inputs.run_config) != uid:
        return None, ""
    try:
        return run_config.read(inputs.run_config), ""
    except run_config.UnreadableRunError as error:
        return None, str(error)


def _of_run(status: JobStatus, run_id: str) -> JobStatus:
    """Forget what a former run left in the status, but for its attempts and its preparation: their numbers go on."""
    if status.run_id in {None, run_id}:
        return status
    former = preparation.slim(status.preparation)
    return type(status)(conditions=status.conditions, attempts=status.attempts, preparation=former)


def _started(status: JobStatus, run: FrozenRun, inputs: Inputs) -> JobStatus:
    """Tell since when a run is frozen, and what it trains with."""
    frozen = times.parse((inputs.run_config or {}).get("metadata", {}).get("creationTimestamp"))
    return status.model_copy(update={"start_time": times.render(frozen or inputs.now), "resolved": resolved(run)})


def _remember(status: JobStatus, own: Child | None, now: datetime) -> JobStatus:
    """Write down the UID of a PyTorchJob that is seen for the first time, and the run that it was made for.

    That is another run than planned when a pass created it, was cut short, and a new runId came in between.
    """
    if own is None:
        return status
    newest = attempts.newest(status)
    if newest is None:
        return attempts.append(status, attempts.adopted(own, now))
    if newest.child_uid is None and newest.child == own.name:
        seen = {"child_uid": own.uid, "run_id": own.run_id or newest.run_id}
        return attempts.replace_newest(status, newest.model_copy(update=seen))
    return status
