"""The rival of the control plane's bench: the least that a kopf operator does to make a child for each job.

One handler, one queue, one request. It freezes nothing, tells nothing, and looks at nothing else that a job needs.

    python bare_kopf.py NAMESPACE CHILD.json
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import kopf
from api import CHILDREN, ApiError, connect

WORKERS = 16


def child(template: dict[str, Any], job: dict[str, Any]) -> dict[str, Any]:
    """Return a child of a job, made after another job's."""
    metadata = template["metadata"]
    name = f"{job['name']}-ftj-1"
    owners = [{**owner, "name": job["name"], "uid": job["uid"]} for owner in metadata["ownerReferences"]]
    kept = {"labels": metadata["labels"], "annotations": metadata["annotations"]}
    return {**template, "metadata": {"name": name, "ownerReferences": owners, **kept}}


async def main(namespace: str, template: dict[str, Any]) -> None:
    """Make children until the process is ended."""
    registry, settings = kopf.OperatorRegistry(), kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def enqueue(event: Any, **_: Any) -> None:
        if event["type"] in {None, "ADDED"}:
            queue.put_nowait(event["object"]["metadata"])

    kopf.on.login(registry=registry)(kopf.login_with_kubeconfig)
    kopf.on.event("tunesmith.dev", "v1alpha1", "finetunejobs", registry=registry)(enqueue)
    async with connect(Path(os.environ["KUBECONFIG"])) as api:

        async def work() -> None:
            while True:
                job = await queue.get()
                try:
                    await api.request("POST", CHILDREN.format(namespace=namespace), child(template, job))
                except ApiError as error:
                    print(error, file=sys.stderr, flush=True)

        async with asyncio.TaskGroup() as group:
            for _ in range(WORKERS):
                group.create_task(work())
            await kopf.operator(registry=registry, settings=settings, standalone=True, namespaces=[namespace])


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(Path(sys.argv[2]).read_text())))
