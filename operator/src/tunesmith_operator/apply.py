"""Carries out the actions of a decision. Doing one twice is the same as doing it once."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunesmith_operator.desired import metadata
from tunesmith_operator.errors import AlreadyExistsError, NotFoundError, RefusedError, StaleError
from tunesmith_operator.inputs import ChildError, Delete
from tunesmith_operator.resources import BATCH_JOB, BY_KIND, CONFIG_MAP, PYTORCHJOB

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tunesmith_operator.inputs import Create, Decision, JobKey, Object
    from tunesmith_operator.kube import KubeClient

logger = logging.getLogger(__name__)

_NAME_TAKEN = 409


@dataclass
class Applied:
    """What came of the actions."""

    hopeful: bool = False
    done: int = 0
    adopted: bool = False
    """Whether a PyTorchJob or a Job was there already: what a former pass made, with pods that were not read."""
    objects: dict[tuple[str, str], Object] = field(default_factory=dict)
    """What exists now, by kind and name."""
    refusal: ChildError | None = None
    """Why the API server would not create an object; the actions after it were not tried."""


class Applier:
    """Creates and deletes the children of jobs."""

    def __init__(self, client: KubeClient, wrote: Callable[[Mapping[str, Any]], None]) -> None:
        """Make one.

        Args:
            client: Talks to the API server.
            wrote: Told each object that was created, as the API server returned it.
        """
        self._client = client
        self._wrote = wrote

    async def apply(self, key: JobKey, job: Object, decision: Decision, *, hopeful: bool = False) -> Applied:
        """Carry out the actions in their order.

        Args:
            key: The job.
            job: Its object.
            decision: What to do.
            hopeful: Whether the decision rests on the hope that nothing of the job exists yet.

        Raises:
            StaleError: The hope was wrong, and nothing after that was done.
            UnavailableError: It is unknown what was done; decide again.
        """
        applied = Applied(hopeful=hopeful)
        for action in decision.actions:
            if isinstance(action, Delete):
                await self._delete(key, action)
            elif (refusal := await self._create(key, job, action, applied)) is not None:
                applied.refusal = refusal
                return applied
            applied.done += 1
        return applied

    async def _delete(self, key: JobKey, action: Delete) -> None:
        if await self._client.delete(BY_KIND[action.kind], key.namespace, action.name, action.uid):
            logger.info("%s %s deleted", action.kind, action.name)

    async def _create(self, key: JobKey, job: Object, action: Create, applied: Applied) -> ChildError | None:
        kind, name = str(action.manifest["kind"]), str(action.manifest["metadata"]["name"])
        try:
            obj = await self._client.create(BY_KIND[kind], key.namespace, action.manifest)
        except AlreadyExistsError:
            if applied.hopeful:
                raise StaleError(f"{kind} {name} exists already") from None
            return await self._adopt(key, job, action, applied)
        except (RefusedError, NotFoundError) as error:
            logger.warning("%s %s is refused: %s", kind, name, error)
            return ChildError(status=error.status, reason=error.reason, message=error.message)
        self._wrote(obj)
        applied.objects[kind, name] = obj
        # The frozen run goes along with its first attempt, which is told.
        logger.log(logging.DEBUG if kind == CONFIG_MAP.kind else logging.INFO, "%s %s created", kind, name)
        return None

    async def _adopt(self, key: JobKey, job: Object, action: Create, applied: Applied) -> ChildError | None:
        """Look at what has the name already: our own from a pass that was cut short, a leftover, or a stranger's."""
        kind, name = str(action.manifest["kind"]), str(action.manifest["metadata"]["name"])
        existing = await self._client.find(BY_KIND[kind], key.namespace, name)
        if existing is None:
            raise StaleError(f"{kind} {name} vanished while it was looked at")
        if action.adopt == "any" or metadata.owner_uid(existing) == job["metadata"]["uid"]:
            applied.objects[kind, name] = existing
            applied.adopted = applied.adopted or kind in {PYTORCHJOB.kind, BATCH_JOB.kind}
            return None
        if metadata.is_leftover(existing, key.kind, key.name):
            message = f"{kind} {name} of an earlier {key.kind} of this name is still being removed"
            return ChildError(status=_NAME_TAKEN, reason="Leftover", message=message, leftover=True)
        return ChildError(
            status=_NAME_TAKEN,
            reason="NameConflict",
            message=f"{kind} {name} exists and is not of this {key.kind}: delete it, or give the job another name",
        )
