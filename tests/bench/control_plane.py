"""Measures the operator against a real API server: `make bench-control-plane`.

The training operator is at zero and its webhook is removed, so that only the operator is measured; one more row has
both running. A bare kopf operator does the same burst in the same run: how long it takes says how fast the machine is.
The table goes to the screen, and as Markdown and JSON to the output folder.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import os
import platform
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from api import CHILDREN, PODS, ApiError, connect
from operator_process import PORT, Operator, PythonProcess
from scenarios import (
    Children,
    Row,
    burst,
    cold_start,
    idle_latency,
    idle_minute,
    rival_burst,
    running,
    settled,
    until,
)
from workload import NAMESPACE, create_jobs, delete_all, fresh_namespace

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from api import Api

ROOT = Path(__file__).resolve().parents[2]
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
WEBHOOK = "validator.training-operator.kubeflow.org"
DEPLOYMENT = "/apis/apps/v1/namespaces/kubeflow/deployments/training-operator"


@dataclass(frozen=True)
class Lab:
    """What the processes of the bench are started with."""

    kubeconfig: Path
    out: Path
    config: Path

    async def operator(self) -> Operator:
        """Start the operator."""
        return await Operator.begin(self.config, self.kubeconfig, NAMESPACE, self.out / "operator.log")

    async def rival(self, child: dict[str, Any]) -> PythonProcess:
        """Start the bare kopf operator, whose children are like the one given."""
        template = self.out / "child.json"
        template.write_text(json.dumps(child))
        program = str(Path(__file__).with_name("bare_kopf.py"))
        return await PythonProcess.start(
            program, NAMESPACE, str(template), log=self.out / "rival.log", KUBECONFIG=str(self.kubeconfig)
        )


def say(text: str) -> None:
    """Tell what is going on."""
    print(f"{dt.datetime.now(dt.UTC):%H:%M:%S} {text}", flush=True)


def operator_config(folder: Path) -> Path:
    """Write the operator's configuration: its defaults, and one profile."""
    path = folder / "config.yaml"
    config = {
        "watchNamespaces": [NAMESPACE],
        "httpPort": PORT,
        "accelerators": {"cpu": {"device": "cpu", "image": "example.invalid/tunesmith/trainer-cpu:0"}},
    }
    path.write_text(yaml.safe_dump(config))
    return path


async def scale(api: Api, replicas: int) -> None:
    """Set the training operator's replicas and wait until its pods follow."""
    body = {"spec": {"replicas": replicas}}
    await api.request("PATCH", DEPLOYMENT, body, content="application/merge-patch+json")

    async def followed() -> bool:
        status = (await api.request("GET", DEPLOYMENT))["status"]
        return bool(status.get("readyReplicas", 0) == replicas and status.get("replicas", 0) == replicas)

    await until(followed, 120, f"scaling the training operator to {replicas}", pause=1)


async def prepare_cluster(api: Api) -> None:
    """Install the CRDs where they are missing; refuse a cluster where another operator would work too.

    Raises:
        SystemExit: An operator is installed.
    """
    deployments = await api.request("GET", "/apis/apps/v1/deployments?labelSelector=app.kubernetes.io/name=tunesmith")
    for deployment in deployments["items"]:
        place = f"{deployment['metadata']['namespace']}/{deployment['metadata']['name']}"
        raise SystemExit(
            f"The operator is installed as {place} and would do half of the work: helm uninstall it first."
        )
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    for file in sorted((ROOT / "crds").glob("*.yaml")):
        definition = yaml.safe_load(file.read_text())
        try:
            await api.request("POST", path, definition)
        except ApiError as error:
            if " 409 " not in str(error):
                raise

    async def served() -> bool:
        groups = await api.request("GET", "/apis")
        return any(group["name"] == "tunesmith.dev" for group in groups["groups"])

    await until(served, 60, "serving the CRDs")


@asynccontextmanager
async def training_operator_at_zero(api: Api) -> AsyncIterator[None]:
    """Stop the training operator and take its fail-closed webhook away; put both back at the end."""
    webhook = await api.request("GET", f"{WEBHOOKS}/{WEBHOOK}")
    for field in ("resourceVersion", "uid", "creationTimestamp", "generation", "managedFields"):
        webhook["metadata"].pop(field, None)
    await scale(api, 0)
    await api.request("DELETE", f"{WEBHOOKS}/{WEBHOOK}")
    try:
        yield
    finally:
        await api.request("POST", WEBHOOKS, webhook)
        await scale(api, 1)


async def remove_namespace(api: Api) -> None:
    """Delete the bench's namespace and wait until it is gone."""
    path = f"/api/v1/namespaces/{NAMESPACE}"
    try:
        await api.request("DELETE", path)
    except ApiError as error:
        if " 404 " not in str(error):
            raise
        return

    async def gone() -> bool:
        try:
            await api.request("GET", path)
        except ApiError as error:
            return " 404 " in str(error)
        return False

    await until(gone, 1200, "deleting the bench's namespace", pause=2)


async def with_training_operator(api: Api, lab: Lab, count: int) -> list[Row]:
    """Create jobs with both operators running; wait for children and for their pods."""
    operator = await lab.operator()
    try:
        await operator.ready()
        children = Children()
        await children.start(api)
        begin = time.monotonic()
        await create_jobs(api, "both", 0, count)

        async def all_children() -> bool:
            return len(children.seen) >= count

        async def all_pods() -> bool:
            listed = await api.request("GET", PODS.format(namespace=NAMESPACE))
            return len(listed["items"]) >= count

        await until(all_children, 300, f"{count} children with both operators")
        made = max(children.seen.values()) - begin
        await children.stop()
        await until(all_pods, 600, f"{count} pods", pause=1)
        return [
            Row(f"both operators, {count} jobs: all children after", made, "s"),
            Row(f"both operators, {count} jobs: all pods after", time.monotonic() - begin, "s"),
        ]
    finally:
        await operator.stop()


async def alone(api: Api, lab: Lab, small: int, large: int) -> list[Row]:
    """Run every measurement that has the training operator at zero."""
    rows: list[Row] = []

    def keep(new: list[Row]) -> None:
        rows.extend(new)
        for row in new:
            say(f"  {row.name}: {row.value:.4g} {row.unit}".rstrip())

    operator = await lab.operator()
    try:
        await operator.ready()
        say("idle latency")
        keep(await idle_latency(api, 200))
        child = (await api.request("GET", f"{CHILDREN.format(namespace=NAMESPACE)}?limit=1"))["items"][0]
        await delete_all(api)
        await settled(operator)
        await operator.stop()
        say(f"{small} jobs at once, bare kopf")
        keep(await rival_burst(api, await lab.rival(child), small))
        operator = await lab.operator()
        await operator.ready()
        say(f"{small} jobs at once")
        keep(await burst(api, operator, 0, small))
        say(f"{small} running jobs")
        keep(await running(api, operator, small))
        say("an idle minute")
        await settled(operator)
        keep(await idle_minute(api, operator, small))
        say(f"{large - small} more jobs at once")
        keep(await burst(api, operator, small, large - small))
        keep(await idle_minute(api, operator, large))
        await operator.stop()
        say(f"cold start with {large}")
        operator, new = await cold_start(lab.operator, large)
        keep(new)
    finally:
        await operator.stop()
    return rows


def table(rows: list[Row], facts: dict[str, str]) -> str:
    """Return the result as Markdown."""
    lines = [f"- {name}: {value}" for name, value in facts.items()]
    lines += ["", "| measurement | value | aim |", "|---|---:|---|"]
    lines += [f"| {row.name} | {row.value:.4g} {row.unit} | {row.aim} |" for row in rows]
    return "\n".join(lines) + "\n"


def output_of(*command: str) -> str:
    """Return what a command prints."""
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def kubeconfig() -> Path:
    """Return the kubeconfig of the environment, else the local cluster's."""
    return Path(os.environ.get("KUBECONFIG") or output_of(sys.executable, "tests/cluster", "kubeconfig"))


def arguments_of_the_call() -> argparse.Namespace:
    """Return the arguments of the command line, with the output folder made."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--many", type=int, default=10000)
    parser.add_argument("--both", type=int, default=100)
    parser.add_argument("--out", type=Path, default=ROOT / ".build" / "bench")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for log in ("operator.log", "rival.log"):
        (arguments.out / log).unlink(missing_ok=True)
    return arguments


async def main(arguments: argparse.Namespace) -> None:
    """Run the bench; what it changes in the cluster is put back also when it is interrupted."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    lab = Lab(kubeconfig(), arguments.out, operator_config(arguments.out))
    async with connect(lab.kubeconfig) as api:
        await prepare_cluster(api)
        say("a fresh namespace")
        await remove_namespace(api)
        await fresh_namespace(api)
        say("both operators")
        both = await with_training_operator(api, lab, arguments.both)
        await remove_namespace(api)
        await fresh_namespace(api)
        async with training_operator_at_zero(api):
            rows = await alone(api, lab, arguments.jobs, arguments.many)
            await remove_namespace(api)
    facts = {
        "date": f"{dt.datetime.now(dt.UTC):%Y-%m-%d}",
        "commit": output_of("git", "rev-parse", "--short", "HEAD"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}; API server, etcd, kubelet and operator share it",
        "note": "training operator at zero and its webhook removed, except in the rows that say both operators;"
        " all jobs share one output claim",
    }
    text = table(rows + both, facts)
    (arguments.out / "control-plane.md").write_text(text)
    result = {"facts": facts, "rows": [asdict(row) for row in rows + both]}
    (arguments.out / "control-plane.json").write_text(json.dumps(result, indent=1) + "\n")
    print(f"\n{text}")


if __name__ == "__main__":
    asyncio.run(main(arguments_of_the_call()))
