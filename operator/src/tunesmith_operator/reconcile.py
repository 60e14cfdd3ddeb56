"""One pass over one job: gather → decide → apply → status. The only path by which anything is changed."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from tunesmith_operator import metrics
from tunesmith_operator.apply import Applier
from tunesmith_operator.errors import ConflictError, NotFoundError, NotLeadingError, StaleError
from tunesmith_operator.inputs import Decision, Inputs
from tunesmith_operator.logs import job_context
from tunesmith_operator.queue import RETRY, TIMER
from tunesmith_operator.resources import BATCH_JOB, BY_KIND, CLAIM, CONFIG_MAP, PYTORCHJOB
from tunesmith_operator.status.writing import PROGRESS_SECONDS
from tunesmith_operator.store import is_settled
from tunesmith_operator.triggers import CHILD, RESYNC, STATUS

if TYPE_CHECKING:
    from tunesmith_operator.apply import Applied
    from tunesmith_operator.gather import Gatherer
    from tunesmith_operator.inputs import JobKey, Object
    from tunesmith_operator.kube import KubeClient
    from tunesmith_operator.queue import Triggers

logger = logging.getLogger(__name__)

Decide = Callable[[Inputs], Decision]
WorthWriting = Callable[[Mapping[str, Any], Mapping[str, Any], datetime | None, datetime], bool]

_TRIES: Final = 3
_ROUNDS: Final = 4
_AGAIN_SECONDS: Final = 1.0
_NOT_LEADING_SECONDS: Final = 2.0
_STALE_SECONDS: Final = 10.0
_UNDONE: Final = frozenset({TIMER, RETRY})
"""A job that is over is looked at for these only when it still had pods, or a deletion failed."""
_UNEVENTFUL: Final = frozenset({STATUS, TIMER, RESYNC})
_MOST_PUT_OFF: Final = 10_000
"""Statuses that wait at most, 1 to 2 KiB each."""


@dataclass
class Memory:
    """What passes share with the rest of the operator."""

    hint: Callable[[JobKey], Object | None]
    """Takes a job's object that the watch has just told, if it is at hand."""
    poll: Callable[[JobKey, tuple[str, str] | None], None]
    wrote: Callable[[Mapping[str, Any]], None]
    forget: Callable[[JobKey], None]
    pressed: Callable[[], bool]
    """Whether many jobs wait for their first pass."""
    later: Callable[[JobKey], None]
    """Has a status that was put off written when there is time."""


@dataclass
class _Pass:
    """What a pass has done so far."""

    job: Object
    """As the API server has it."""
    changed: bool = False


@dataclass(frozen=True, slots=True)
class _PutOff:
    """The first status of a job, which is still to be written."""

    version: str
    """The resourceVersion of the job that it was made for."""
    status: bytes
    """As JSON, which takes a fifth of the room."""
    requeue_after: float | None


class Reconciler:
    """Does passes."""

    def __init__(
        self,
        client: KubeClient,
        gatherer: Gatherer,
        memory: Memory,
        *,
        decide: Decide,
        worth_writing: WorthWriting,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._gatherer = gatherer
        self._applier = Applier(client, memory.wrote)
        self._memory = memory
        self._decide = decide
        self._worth_writing = worth_writing
        self._clock = clock
        self._last_write: dict[JobKey, datetime] = {}
        self._put_off: dict[JobKey, _PutOff] = {}

    async def work(self, key: JobKey, triggers: Triggers) -> float | None:
        """Do a pass over a job; return the seconds after which it wants another one.

        Raises:
            ApiError: The API server did not let it finish; try again later.
        """
        started = self._clock()
        with job_context(f"{key.kind}/{key.namespace}/{key.name}"):
            try:
                result, delay = await self._until_fresh(key, triggers)
            except BaseException:
                metrics.reconciled("error", self._clock() - started)
                raise
        if result == "changed" and triggers == {RESYNC}:
            metrics.resync_repaired()
        metrics.reconciled(result, self._clock() - started)
        return delay

    async def _until_fresh(self, key: JobKey, triggers: Triggers) -> tuple[str, float | None]:
        """Do a pass, and again when what it saw changed under its hands."""
        trust = True
        for _ in range(_TRIES):
            try:
                if put_off := self._put_off.pop(key, None):
                    if triggers <= _UNEVENTFUL:
                        return await self._catch_up(key, put_off)
                    trust = False  # it was started, whatever its missing status says
                return await self._once(key, triggers, trust=trust)
            except (ConflictError, StaleError) as error:
                logger.debug("begins again: %s", error)
                trust = False
            except NotLeadingError:
                return "retry", _NOT_LEADING_SECONDS
        return "retry", _AGAIN_SECONDS

    async def _once(self, key: JobKey, triggers: Triggers, *, trust: bool) -> tuple[str, float | None]:
        started = self._clock()
        hint = self._memory.hint(key)
        job = hint if trust and hint is not None else await self._gatherer.job(key)
        if job is None:
            self._forget(key)
            return "gone", None
        inputs = await self._look(key, job, triggers, trust=trust)
        if self._clock() - started > _STALE_SECONDS:
            raise StaleError("reading took so long that the first of it may be outdated")
        done = _Pass(job)
        decision = await self._act(inputs, done, hopeful=trust)
        if done.changed and not job.get("status") and self._may_put_off(key, job, decision):
            return "changed", decision.requeue_after
        await self._write_status(key, done, decision.status)
        self._memory.poll(key, decision.poll)
        return "changed" if done.changed else "unchanged", _delay(decision, done.job)

    def _may_put_off(self, key: JobKey, job: Object, decision: Decision) -> bool:
        """Put the first status of a job off while others wait for their pods: it can be told a little later."""
        if not self._memory.pressed() or len(self._put_off) >= _MOST_PUT_OFF:
            return False
        status = json.dumps(decision.status).encode()
        self._put_off[key] = _PutOff(job["metadata"]["resourceVersion"], status, decision.requeue_after)
        self._memory.later(key)
        return True

    async def _catch_up(self, key: JobKey, put_off: _PutOff) -> tuple[str, float | None]:
        """Write a status that was put off; nothing has happened to the job since."""
        metadata = {"name": key.name, "namespace": key.namespace, "resourceVersion": put_off.version}
        await self._write_status(key, _Pass({"metadata": metadata}), json.loads(put_off.status))
        return "changed", put_off.requeue_after

    async def _look(self, key: JobKey, job: Object, triggers: Triggers, *, trust: bool) -> Inputs:
        if is_settled(job) and not any(trigger.startswith(CHILD) or trigger in _UNDONE for trigger in triggers):
            return self._gatherer.alone(key, job)
        if trust and not job.get("status"):
            inputs = await self._gatherer.fresh(key, job)
            if inputs.pods:
                raise StaleError("there are pods of its name: its own, whose status was lost, or an earlier job's")
            return inputs
        return await self._gatherer.everything(key, job)

    async def _act(self, inputs: Inputs, done: _Pass, *, hopeful: bool) -> Decision:
        """Decide and act until there is nothing to do but to wait; return the decision whose status holds."""
        decision = self._decide(inputs)
        for _ in range(_ROUNDS):
            if decision.status_first:
                await self._write_status(inputs.key, done, decision.status)
                inputs = replace(inputs, job=done.job)
            if not decision.actions:
                return decision
            applied = await self._applier.apply(inputs.key, inputs.job, decision, hopeful=hopeful)
            done.changed = done.changed or applied.done > 0
            if applied.adopted:
                await self._write_status(inputs.key, done, decision.status)
                raise StaleError("what was to be made is there: its pods have to be read")
            made = _with_made(inputs, applied)
            if applied.refusal is not None:
                return self._decide(replace(made, child_error=applied.refusal))
            if made == inputs:
                return decision
            # The status needs not be written in between: nothing would read it.
            inputs = replace(made, job={**made.job, "status": decision.status})
            decision = self._decide(inputs)
        return decision

    async def _write_status(self, key: JobKey, done: _Pass, status: Mapping[str, Any]) -> None:
        old, now = done.job.get("status") or {}, datetime.now(UTC)
        if status == old or not self._worth_writing(old, status, self._last_write.get(key), now):
            return
        try:
            written = await self._client.write_status(BY_KIND[key.kind], done.job, status)
        except NotFoundError:
            raise StaleError("the job was deleted meanwhile") from None
        self._memory.wrote(written)
        self._last_write[key] = now
        if status.get("completionTime"):
            self._last_write.pop(key, None)
        _tell(old, status)
        done.job, done.changed = written, True

    def _forget(self, key: JobKey) -> None:
        self._last_write.pop(key, None)
        self._memory.poll(key, None)
        self._memory.forget(key)


def _delay(decision: Decision, job: Object) -> float | None:
    """Return when to look again: also for a status that was not worth a write yet."""
    delays = [delay for delay in (decision.requeue_after,) if delay is not None]
    if decision.status != (job.get("status") or {}):
        delays.append(PROGRESS_SECONDS)
    return min(delays, default=None)


def _with_made(inputs: Inputs, applied: Applied) -> Inputs:
    """Return what the next pass would see of the objects that the actions have made or found."""
    made = {kind: obj for (kind, _), obj in applied.objects.items()}
    claims = {name: obj for (kind, name), obj in applied.objects.items() if kind == CLAIM.kind}
    inputs = replace(
        inputs, run_config=made.get(CONFIG_MAP.kind, inputs.run_config), claims={**inputs.claims, **claims}
    )
    if PYTORCHJOB.kind in made:
        inputs = replace(inputs, child=made[PYTORCHJOB.kind], pods=())
    if BATCH_JOB.kind in made:
        inputs = replace(inputs, preparation=made[BATCH_JOB.kind], preparation_pods=())
    return inputs


def _tell(old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """Log and count what a user would want to know of a change."""
    ended = {attempt["number"] for attempt in old.get("attempts") or [] if attempt.get("endTime")}
    for attempt in new.get("attempts") or []:
        if attempt.get("endTime") and attempt["number"] not in ended:
            metrics.attempt_ended(str(attempt.get("result") or "Unknown"))
            logger.info(
                "attempt %d ended: %s %s: %s",
                attempt["number"], attempt.get("result"), attempt.get("reason"), attempt.get("message"),
            )  # fmt: skip
    before, after = old.get("preparation") or {}, new.get("preparation") or {}
    if after.get("endTime") and after["endTime"] != before.get("endTime"):
        logger.info(
            "preparation %d ended: %s %s: %s",
            after["number"], after.get("result"), after.get("reason"), after.get("message"),
        )  # fmt: skip
    if new.get("state") != old.get("state"):
        ready: Mapping[str, Any] = next(
            (condition for condition in new.get("conditions") or [] if condition.get("type") == "Ready"), {}
        )
        logger.info("%s: %s: %s", new.get("state"), ready.get("reason"), ready.get("message"))
