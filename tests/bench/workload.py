"""What the bench puts before the operator: jobs, and pods that answer like trainers."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from aiohttp import web
from api import CHILDREN, JOBS, PAGE, PODS

if TYPE_CHECKING:
    from api import Api

NAMESPACE = "tunesmith-bench"
CLAIM = "bench-output"
PROGRESS_PORT = 8080


def job(name: str) -> dict[str, Any]:
    """Return a job of the smallest useful size; all share one output claim, which is made beforehand."""
    return {
        "apiVersion": "tunesmith.dev/v1alpha1",
        "kind": "FineTuneJob",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "method": "sft",
            "model": {"path": {"claim": CLAIM, "path": "model"}},
            "datasets": [{"claim": {"name": CLAIM, "path": "data.jsonl"}}],
            "peft": {"lora": {}},
            "training": {"maxSteps": 100},
            "accelerator": "cpu",
            "output": {"claimName": CLAIM},
        },
    }


async def fresh_namespace(api: Api) -> None:
    """Create the bench's namespace and its claim; they must not exist yet."""
    await api.request("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
    claim = {
        "metadata": {"name": CLAIM},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    await api.request("POST", f"/api/v1/namespaces/{NAMESPACE}/persistentvolumeclaims", claim)


async def create_jobs(api: Api, prefix: str, first: int, count: int) -> None:
    """Create numbered jobs, sixteen requests at a time."""
    path = JOBS.format(namespace=NAMESPACE)
    await api.for_each("POST", [(path, job(f"{prefix}-{number:05d}")) for number in range(first, first + count)])


async def delete_all(api: Api) -> None:
    """Delete every job, child and pod of the bench, and wait until they are gone.

    Raises:
        TimeoutError: That took longer than two minutes.
    """
    for path in (JOBS, CHILDREN, PODS):
        await api.request(
            "DELETE", path.format(namespace=NAMESPACE) + "?propagationPolicy=Background&gracePeriodSeconds=0"
        )
    async with asyncio.timeout(120):
        for path in (JOBS, CHILDREN, PODS):
            while (await api.request("GET", f"{path.format(namespace=NAMESPACE)}?limit=1"))["items"]:
                await asyncio.sleep(0.5)


class Trainers:
    """Pods without a kubelet: their status says Running, and one server answers for all of their addresses.

    Loopback has sixteen million addresses; each pod is given one of its own.
    """

    def __init__(self) -> None:
        self._uid_by_address: dict[str, str] = {}
        self._began = time.monotonic()
        self._runner: web.AppRunner | None = None
        self.polls = 0

    async def start(self) -> None:
        """Serve /progress on every address of this machine."""
        app = web.Application()
        app.router.add_get("/progress", self._answer)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "0.0.0.0", PROGRESS_PORT).start()  # noqa: S104 - 127.1.x.y is more than loopback's one

    async def stop(self) -> None:
        """Stop serving."""
        if self._runner:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        self.polls += 1
        address = request.host.partition(":")[0]
        step = int(time.monotonic() - self._began)
        return web.json_response(
            {
                "attempt": 1,
                "podUid": self._uid_by_address[address],
                "phase": "training",
                "currentStep": step,
                "totalSteps": 100_000,
                "metrics": {"loss": 2.0 + 1 / (step + 1)},
                "worldSize": 1,
                "estimatedRemainingSeconds": 100_000 - step,
            }
        )

    async def run_children(self, api: Api, count: int) -> None:
        """Give that many children a running pod each."""
        children = CHILDREN.format(namespace=NAMESPACE)
        token = ""
        items: list[dict[str, Any]] = []
        while len(items) < count:
            page = await api.request("GET", f"{children}?limit={PAGE}&continue={token}")
            items += page["items"]
            token = page["metadata"].get("continue", "")
            if not token:
                break
        pods = PODS.format(namespace=NAMESPACE)
        await api.for_each("POST", [(pods, _pod(child)) for child in items[:count]])
        listed = await api.request("GET", pods)
        statuses = []
        for number, pod in enumerate(listed["items"]):
            address = f"127.1.{number // 250}.{number % 250 + 1}"
            self._uid_by_address[address] = pod["metadata"]["uid"]
            statuses.append((f"{pods}/{pod['metadata']['name']}/status", {**pod, "status": _running(pod, address)}))
        await api.for_each("PUT", statuses)


def _pod(child: dict[str, Any]) -> dict[str, Any]:
    template = child["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]
    name = child["metadata"]["name"]
    owner = {
        "apiVersion": "kubeflow.org/v1",
        "kind": "PyTorchJob",
        "name": name,
        "uid": child["metadata"]["uid"],
        "controller": True,
    }
    labels = {
        **template["metadata"].get("labels", {}),
        "training.kubeflow.org/job-name": name,
        "training.kubeflow.org/replica-index": "0",
        "training.kubeflow.org/replica-type": "worker",
    }
    return {
        "metadata": {"name": f"{name}-worker-0", "labels": labels, "ownerReferences": [owner]},
        # No scheduler answers to this name, so no kubelet takes the pod.
        "spec": {**template["spec"], "schedulerName": "none"},
    }


def _running(pod: dict[str, Any], address: str) -> dict[str, Any]:
    container = pod["spec"]["containers"][0]
    since = pod["metadata"]["creationTimestamp"]
    return {
        "phase": "Running",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "startTime": since,
        "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": since}
            for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")
        ],
        "containerStatuses": [
            {
                "name": container["name"],
                "image": container["image"],
                "imageID": "",
                "ready": True,
                "restartCount": 0,
                "state": {"running": {"startedAt": since}},
            }
        ],
    }
