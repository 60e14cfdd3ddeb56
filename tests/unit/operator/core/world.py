"""A cluster in memory that carries out decisions.

API server, training operator, Job controller, kubelet and clock, as far as one job needs them. It is no stand-in for a
test on a real cluster; it makes thousands of orders of events cheap.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import scenario

from tunesmith_api import labels
from tunesmith_operator.decide import decide
from tunesmith_operator.desired import references
from tunesmith_operator.inputs import Create, Decision, Inputs, JobKey, Termination
from tunesmith_operator.status import times
from tunesmith_operator.status.pods import termination_of

Object = dict[str, Any]
START = scenario.moment("2026-01-31T12:00:00Z")
GRACE_SECONDS = 60
TRAINING_SECONDS = 20
REPORT = {
    "rows": 1, "tokens": 1, "tokenLengths": {"p50": 1, "p90": 1, "p99": 1, "max": 1}, "truncatedShare": 0,
    "droppedRows": 0, "lossShare": 1, "duplicateRows": 0,
}  # fmt: skip


class KilledError(Exception):
    """The operator was killed between two writes."""


@dataclass
class World:
    """One job and what exists because of it."""

    job: Object
    now: datetime = START
    claims: dict[str, Object] = field(default_factory=dict)
    run_configs: dict[str, Object] = field(default_factory=dict)
    children: dict[str, Object] = field(default_factory=dict)
    batch_jobs: dict[str, Object] = field(default_factory=dict)
    pods: dict[str, Object] = field(default_factory=dict)
    """By UID."""
    terminations: dict[str, Termination] = field(default_factory=dict)
    training_operator: bool = True
    writes_left: int | None = None
    """After so many writes the operator is killed; None: never."""
    writes: list[str] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    """Names of all PyTorchJobs and Jobs that were ever made."""
    most_live: int = 0
    """Largest number of attempts that had a running pod at one time."""
    _uids: int = 0

    @property
    def status(self) -> Object:
        """The stored status."""
        return dict(self.job.get("status") or {})

    @property
    def attempts(self) -> list[Object]:
        """The attempts in the stored status."""
        return list(self.status.get("attempts", []))

    def ready(self) -> tuple[str, str]:
        """Return status and reason of Ready."""
        ready = next(c for c in self.status["conditions"] if c["type"] == "Ready")
        return ready["status"], ready["reason"]

    def live_pods(self) -> list[Object]:
        """Return the pods in which something runs."""
        return [pod for pod in self.pods.values() if pod["status"]["phase"] in {"Pending", "Running"}]

    def pass_once(self) -> Decision:
        """Do one pass as the operator does it; a kill loses the rest of it, and what was only in memory."""
        decision = decide(self.inputs())
        try:
            if decision.status_first:
                self._write_status(decision)
            for action in decision.actions:
                self._apply(action)
            self._write_status(decision)
        except KilledError:
            self.writes_left = None
            self.terminations.clear()
        return decision

    def inputs(self) -> Inputs:
        """Return what a pass sees now."""
        attempts = self.attempts
        meta, spec = self.job["metadata"], self.job["spec"]
        child = attempts[-1]["child"] if attempts else f"{meta['name']}-ftj-1"
        key = JobKey(self.job["kind"], meta["namespace"], meta["name"])
        device = scenario.PROFILES.get(spec["accelerator"], {}).get("device", "")
        preparation = references.preparation(key, self.job, device)
        return Inputs(
            now=self.now,
            operator_version=scenario.VERSION,
            profiles=scenario.profiles(scenario.PROFILES),
            key=key,
            job=self.job,
            run_config=self.run_configs.get(f"{meta['name']}-ftj-run-{spec.get('runId', '1')}"),
            child=self.children.get(child),
            pods=self._labelled(labels.PYTORCHJOB_NAME, child),
            preparation=self.batch_jobs.get(preparation or ""),
            preparation_pods=self._labelled(labels.BATCH_JOB_NAME, preparation or ""),
            terminations=dict(self.terminations),
            claims=dict(self.claims),
        )

    def _labelled(self, label: str, name: str) -> tuple[Object, ...]:
        return tuple(pod for pod in self.pods.values() if pod["metadata"]["labels"].get(label) == name)

    def advance(self, seconds: float) -> None:
        """Let time pass and everybody but the operator do what is due."""
        self.now += timedelta(seconds=seconds)
        self._collect_garbage()
        if self.training_operator:
            for child in self.children.values():
                self._make_pods(child)
        for batch_job in self.batch_jobs.values():
            self._run_batch_job(batch_job)
        for uid, pod in list(self.pods.items()):
            deadline = times.parse(pod["metadata"].get("deletionTimestamp"))
            if deadline is not None and (pod["status"]["phase"] not in {"Pending", "Running"} or self.now >= deadline):
                self.terminate(uid, 143)
                self._tell(self.pods.pop(uid))
        live = {pod["metadata"]["labels"].get(labels.PYTORCHJOB_NAME) for pod in self.live_pods()}
        self.most_live = max(self.most_live, len(live - {None}))

    def terminate(self, uid: str, code: int, **outcome: Any) -> None:
        """End the container of a pod that runs."""
        pod = self.pods[uid]
        if pod["status"]["phase"] not in {"Pending", "Running"}:
            return
        marks = pod["metadata"]["labels"]
        number = int(marks.get(labels.ATTEMPT) or marks[labels.PREPARATION])
        message = scenario.outcome(outcome, attempt=number, uid=uid, code=code) if outcome else ""
        name = "pytorch" if labels.ATTEMPT in marks else "prepare"
        ended = {"exitCode": code, "reason": "Error", "message": message, "finishedAt": times.render(self.now)}
        pod["status"] |= {
            "phase": "Failed" if code else "Succeeded",
            "containerStatuses": [{"name": name, "state": {"terminated": ended}}],
        }
        self._tell(pod)

    def succeed(self) -> None:
        """End every pod that runs well, with an output or a report."""
        output = {"kind": "model", "path": "x", "digest": "sha256:" + "a" * 64, "sizeBytes": 1}
        for pod in self.live_pods():
            uid = pod["metadata"]["uid"]
            if labels.PREPARATION in pod["metadata"]["labels"]:
                self.terminate(uid, 0, message="fit", preparation=REPORT)
            else:
                self.terminate(uid, 0, message="trained", lastStep=100, totalSteps=100, output=output)

    def delete_pod(self, uid: str, *, force: bool = False) -> None:
        """Delete a pod as kubectl does."""
        if force:
            del self.pods[uid]
            return
        deadline = times.render(self.now + timedelta(seconds=GRACE_SECONDS))
        self.pods[uid]["metadata"] |= {"deletionTimestamp": deadline, "deletionGracePeriodSeconds": GRACE_SECONDS}

    def delete_child(self, name: str) -> None:
        """Delete a PyTorchJob; the garbage collector follows."""
        del self.children[name]

    def delete_batch_job(self, name: str) -> None:
        """Delete a Job; the garbage collector follows."""
        del self.batch_jobs[name]

    def settle(self, limit: int = 200) -> None:
        """Let passes and time follow each other until the run has ended; pods run for a while and then succeed."""
        run = self.job["spec"].get("runId", "1")
        for _ in range(limit):
            self.pass_once()
            if self.status.get("completionTime") and self.status["runId"] == run:
                return
            self.advance(5)
            live = self.live_pods()
            if all(self._age(pod) > TRAINING_SECONDS and "deletionTimestamp" not in pod["metadata"] for pod in live):
                self.succeed()
        raise AssertionError(f"the job has not ended: {self.status}")

    def _age(self, pod: Object) -> float:
        created = times.parse(pod["metadata"]["creationTimestamp"])
        return (self.now - created).total_seconds() if created else 0.0

    def _write(self, what: str) -> None:
        if self.writes_left == 0:
            raise KilledError
        if self.writes_left is not None:
            self.writes_left -= 1
        self.writes.append(what)

    def _write_status(self, decision: Decision) -> None:
        if dict(decision.status) != self.status:
            self._write(f"status {decision.status.get('state')}")
            self.job = {**self.job, "status": dict(decision.status)}

    def _apply(self, action: Any) -> None:
        if not isinstance(action, Create):
            owned = self.batch_jobs if action.kind == "Job" else self.children
            child = owned.get(action.name)
            if child is not None and child["metadata"]["uid"] == action.uid:
                self._write(f"delete {action.name}")
                del owned[action.name]
            return
        manifest: Object = dict(action.manifest)
        name = manifest["metadata"]["name"]
        store = {
            "PersistentVolumeClaim": self.claims,
            "ConfigMap": self.run_configs,
            "PyTorchJob": self.children,
            "Job": self.batch_jobs,
        }[manifest["kind"]]
        if name in store:
            return
        self._write(f"create {manifest['kind']} {name}")
        made = {"uid": self._uid(name), "creationTimestamp": times.render(self.now)}
        store[name] = {**manifest, "metadata": {**manifest["metadata"], **made}}
        if manifest["kind"] in {"PyTorchJob", "Job"}:
            self.created.append(name)

    def _make_pods(self, child: Object) -> None:
        name, uid = child["metadata"]["name"], child["metadata"]["uid"]
        owned = [pod for pod in self.pods.values() if pod["metadata"]["ownerReferences"][0]["uid"] == uid]
        if any(pod["status"]["phase"] == "Failed" for pod in owned):
            return  # the PyTorchJob has failed
        there = {pod["metadata"]["labels"][labels.REPLICA_INDEX] for pod in owned}
        for index in range(child["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"]):
            if str(index) not in there:
                self._make_worker(child, name, index)

    def _run_batch_job(self, batch_job: Object) -> None:
        """Make the one pod of a Job, or tell how it ended."""
        name, uid = batch_job["metadata"]["name"], batch_job["metadata"]["uid"]
        owned = [pod for pod in self.pods.values() if pod["metadata"]["ownerReferences"][0]["uid"] == uid]
        conditions = batch_job.setdefault("status", {}).setdefault("conditions", [])
        if not owned and not conditions and not batch_job["status"].get("begun"):
            batch_job["status"]["begun"] = True
            self._make_pod(batch_job, f"{name}-x7k2p", {labels.BATCH_JOB_NAME: name}, "prepare")
        elif not conditions and not any(pod["status"]["phase"] in {"Pending", "Running"} for pod in owned):
            well = any(pod["status"]["phase"] == "Succeeded" for pod in owned)
            conditions.append({"type": "Complete" if well else "Failed", "status": "True", "message": "it ended"})

    def _make_worker(self, child: Object, name: str, index: int) -> None:
        marks = {labels.PYTORCHJOB_NAME: name, labels.REPLICA_INDEX: str(index)}
        self._make_pod(child, f"{name}-worker-{index}", marks, "pytorch")

    def _make_pod(self, owner: Object, name: str, more: dict[str, str], container: str) -> None:
        pod_uid = self._uid(name)
        marks = {**owner["metadata"]["labels"], **more}
        self.pods[pod_uid] = {
            "metadata": {
                "name": name,
                "uid": pod_uid,
                "labels": marks,
                "creationTimestamp": times.render(self.now),
                "ownerReferences": [{"uid": owner["metadata"]["uid"], "controller": True}],
            },
            "spec": {"nodeName": "node-a"},
            "status": {
                "phase": "Running",
                "podIP": "10.0.0.1",
                "containerStatuses": [{"name": container, "state": {"running": {"startedAt": times.render(self.now)}}}],
            },
        }

    def _collect_garbage(self) -> None:
        owners = {child["metadata"]["uid"] for child in (*self.children.values(), *self.batch_jobs.values())}
        for uid, pod in list(self.pods.items()):
            if (
                pod["metadata"]["ownerReferences"][0]["uid"] not in owners
                and "deletionTimestamp" not in pod["metadata"]
            ):
                self.delete_pod(uid)

    def _tell(self, pod: Object) -> None:
        ended = termination_of(pod)
        if ended is not None:
            self.terminations[pod["metadata"]["uid"]] = ended

    def _uid(self, name: str) -> str:
        self._uids += 1
        return f"{name}/{self._uids}"
