"""Reads what one pass needs into a frozen `Inputs`: live, at once, and nothing that will not be looked at."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Protocol

from tunesmith_api.labels import BATCH_JOB_NAME, PYTORCHJOB_NAME
from tunesmith_api.naming import default_claim_name
from tunesmith_operator import __version__
from tunesmith_operator.desired import references
from tunesmith_operator.inputs import Inputs, JobKey, Object
from tunesmith_operator.resources import BATCH_JOB, BY_KIND, CLAIM, CONFIG_MAP, POD, PYTORCHJOB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from tunesmith_api.profile import AcceleratorProfile
    from tunesmith_operator.inputs import ProgressSample, Termination
    from tunesmith_operator.kube import KubeClient
    from tunesmith_operator.permissions import Permissions
    from tunesmith_operator.resources import Resource

_MOST_JOBS: Final = 32
"""Jobs that are read because others wait for them; no sensible pipeline has more, and a cycle ends by itself."""
_FEW_PODS: Final = 4
_SHARED_SECONDS: Final = 2.0
_SHARED_LIMIT: Final = 1000


_Own = tuple[Object | None, Object | None, tuple[Object, ...], Object | None, tuple[Object, ...]]
_Referred = tuple[dict[JobKey, Object], dict[str, Object], dict[str, frozenset[str]]]


class Samples(Protocol):
    """Where the newest progress of a job is found."""

    def sample(self, key: JobKey) -> ProgressSample | None:
        """Return the newest progress of a job's pod."""


@dataclass(frozen=True)
class View:
    """What is known without asking the API server."""

    profiles: Mapping[str, AcceleratorProfile]
    permissions: Permissions
    samples: Samples
    terminations: Callable[[JobKey], Mapping[str, Termination]]
    installed: Callable[[], bool]
    """Whether the API server serves PyTorchJob."""


class _Shared:
    """Claims and ConfigMaps that were just read for another job.

    Only what exists is kept, and only for a moment: a thousand jobs that are applied together name the same few.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._kept: dict[tuple[Resource, str, str], tuple[float, Any]] = {}

    def get(self, resource: Resource, namespace: str, name: str) -> Any:
        until, value = self._kept.get((resource, namespace, name), (0.0, None))
        return value if self._clock() < until else None

    def put(self, resource: Resource, namespace: str, name: str, value: Any) -> None:
        if len(self._kept) >= _SHARED_LIMIT:
            self._kept.clear()
        self._kept[resource, namespace, name] = (self._clock() + _SHARED_SECONDS, value)


class Gatherer:
    """Reads the inputs of passes."""

    def __init__(self, client: KubeClient, view: View, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._client = client
        self._view = view
        self._shared = _Shared(clock)

    async def job(self, key: JobKey) -> Object | None:
        """Read a job; None when it does not exist."""
        return await self._client.find(BY_KIND[key.kind], key.namespace, key.name)

    def alone(self, key: JobKey, job: Object) -> Inputs:
        """Return the inputs of a job that is over: nothing else matters to it."""
        return self._inputs(key, job)

    async def everything(self, key: JobKey, job: Object) -> Inputs:
        """Read all that a decision about a job may depend on."""
        own, referred = await asyncio.gather(self._own(key, job, references.child(key, job)), self._referred(key, job))
        names = ("run_config", "child", "pods", "preparation", "preparation_pods", "jobs", "claims", "config_maps")
        return self._inputs(key, job, **dict(zip(names, (*own, *referred), strict=True)))

    async def fresh(self, key: JobKey, job: Object) -> Inputs:
        """Read what a job that never started refers to, in the hope that nothing of its own exists yet.

        Where that is wrong, creating meets what exists, and `everything` has to be read. Pods are looked for: those of
        an earlier job of this name outlive its other children by their grace period.
        """
        pods, (jobs, claims, config_maps) = await asyncio.gather(
            self._pods(key, job, references.child(key, job)), self._referred(key, job, hopeful=True)
        )
        return self._inputs(key, job, pods=pods, jobs=jobs, claims=claims, config_maps=config_maps)

    def _inputs(self, key: JobKey, job: Object, **seen: Any) -> Inputs:
        return Inputs(
            now=datetime.now(UTC),
            operator_version=__version__,
            profiles=self._view.profiles,
            permissions=self._view.permissions,
            key=key,
            job=job,
            terminations=self._view.terminations(key),
            sample=self._view.samples.sample(key),
            training_operator_installed=self._view.installed(),
            **seen,
        )

    async def _own(self, key: JobKey, job: Object, child: str) -> _Own:
        run_config, child_object, pods, (preparation, preparation_pods) = await asyncio.gather(
            self._client.find(CONFIG_MAP, key.namespace, references.run_config(key, job)),
            self._client.find(PYTORCHJOB, key.namespace, child),
            self._pods(key, job, child),
            self._preparation(key, job),
        )
        return run_config, child_object, pods, preparation, preparation_pods

    async def _preparation(self, key: JobKey, job: Object) -> tuple[Object | None, tuple[Object, ...]]:
        profile = self._view.profiles.get(references.accelerator(job))
        name = references.preparation(key, job, profile.device if profile else "")
        if name is None:
            return None, ()
        return await asyncio.gather(
            self._client.find(BATCH_JOB, key.namespace, name),
            self._listed(key, f"{BATCH_JOB_NAME}={name}"),
        )

    async def _pods(self, key: JobKey, job: Object, child: str) -> tuple[Object, ...]:
        """Read the pods of a PyTorchJob, also when it is gone.

        Few are read by their names: a list that must be up to date waits for the API server's cache, up to 100 ms.
        """
        nodes = (job.get("spec") or {}).get("numNodes", 1)
        if references.child_is_of_this_run(job) and isinstance(nodes, int) and nodes <= _FEW_PODS:
            names = [f"{child}-worker-{index}" for index in range(nodes)]
            pods = await asyncio.gather(*(self._client.find(POD, key.namespace, name) for name in names))
            return tuple(pod for pod in pods if pod is not None)
        return await self._listed(key, f"{PYTORCHJOB_NAME}={child}")

    async def _listed(self, key: JobKey, labels: str) -> tuple[Object, ...]:
        pages = self._client.pages(POD, key.namespace, labels=labels)
        return tuple([pod async for page in pages for pod in page])

    async def _referred(self, key: JobKey, job: Object, *, hopeful: bool = False) -> _Referred:
        jobs = await self._upstream(key, job)
        wanted = references.claims(key, job, jobs)
        if hopeful and not _names_output(job):
            # The claim that is made for this job alone: creating it tells whether it exists.
            wanted -= {default_claim_name(key.kind, key.name)}
        claims, maps = await asyncio.gather(
            self._each(CLAIM, key.namespace, wanted, lambda claim: claim),
            self._each(CONFIG_MAP, key.namespace, references.config_maps(job), _keys),
        )
        return jobs, claims, maps

    async def _upstream(self, key: JobKey, job: Object) -> dict[JobKey, Object]:
        """Read the jobs that a job depends on, and those that they still wait for, the nearest first."""

        async def read(other: JobKey) -> Object | None:
            if other == key:
                return job
            return await self.job(other) if other.kind in BY_KIND else None

        found: dict[JobKey, Object] = {}
        asked: set[JobKey] = set()
        wanted = [*references.dependencies(key, job).values()]
        while wanted := [each for each in dict.fromkeys(wanted) if each not in asked][: _MOST_JOBS - len(asked)]:
            asked.update(wanted)
            objects = await asyncio.gather(*map(read, wanted))
            level = {each: other for each, other in zip(wanted, objects, strict=True) if other is not None}
            found |= level
            wanted = [each for pair in level.items() for each in references.open_dependencies(*pair)]
        return found

    async def _each(
        self, resource: Resource, namespace: str, names: Iterable[str], part: Callable[[Object], Any]
    ) -> dict[str, Any]:
        async def one(name: str) -> tuple[str, Any]:
            value = self._shared.get(resource, namespace, name)
            if value is None and (obj := await self._client.find(resource, namespace, name)) is not None:
                value = part(obj)
                self._shared.put(resource, namespace, name, value)
            return name, value

        return {name: value for name, value in await asyncio.gather(*map(one, names)) if value is not None}


def _names_output(job: Object) -> bool:
    return bool(((job.get("spec") or {}).get("output") or {}).get("claimName"))


def _keys(config_map: Object) -> frozenset[str]:
    return frozenset(config_map.get("data") or ()) | frozenset(config_map.get("binaryData") or ())
