"""Builds `Inputs` from a few lines of YAML and renders a `Decision` as YAML.

Whatever the operator would have made itself (a frozen run, a PyTorchJob) is made by the operator's own code, so a case
says only what it is about.
"""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import yaml

from tunesmith_api import labels
from tunesmith_api.naming import attempt_name, job_class, preparation_name
from tunesmith_api.profile import AcceleratorProfile
from tunesmith_api.progress import Progress
from tunesmith_api.run import FrozenRun
from tunesmith_operator.desired import dependencies, run_config
from tunesmith_operator.desired.child import child as desired_child
from tunesmith_operator.desired.freeze import Ingredients, freeze
from tunesmith_operator.desired.preparation import preparation as desired_preparation
from tunesmith_operator.inputs import ChildError, Create, Decision, Inputs, JobKey, ProgressSample, Termination
from tunesmith_operator.permissions import Permissions

Object = dict[str, Any]

PROFILES: dict[str, Object] = {
    "cpu": {"device": "cpu", "image": "registry.example/trainer-cpu@sha256:c0", "dtypes": ["float32", "bfloat16"]},
    "cuda": {
        "device": "cuda",
        "image": "registry.example/trainer-cuda@sha256:d0",
        "imagePullSecrets": ["registry"],
        "resourceName": "nvidia.com/gpu",
        "dtypes": ["bfloat16", "float16", "float32"],
        "backend": "nccl",
        "sharedMemory": "8Gi",
        "nodeSelector": {"accelerator": "nvidia"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
        "runtimeClassName": "nvidia",
        "env": {"NCCL_DEBUG": "WARN"},
        "securityContext": {"fsGroup": 0},
    },
}
VERSION = "0.1.0"


def profiles(wanted: Mapping[str, Object]) -> dict[str, AcceleratorProfile]:
    """Return profiles by name."""
    return {name: AcceleratorProfile.model_validate({"name": name, **fields}) for name, fields in wanted.items()}


def inputs(case: Mapping[str, Any]) -> Inputs:
    """Return the inputs that a case describes; see the cases for the fields."""
    job = whole_job(case["job"])
    key = _key(job)
    jobs = {_key(other): whole_job(other) for other in case.get("jobs", [])}
    run = _frozen(case, key, job, jobs)
    child, preparation = case.get("child"), case.get("preparation")
    return Inputs(
        now=moment(case["now"]),
        operator_version=case.get("operatorVersion", VERSION),
        profiles=profiles(case.get("profiles", PROFILES)),
        permissions=Permissions.model_validate(case.get("permissions", {})),
        key=key,
        job=job,
        run_config=_run_config(case, run),
        child=_child(run, child) if run is not None and child is not None else None,
        pods=tuple(pod(key, entry) for entry in case.get("pods", [])),
        preparation=_preparation(run, preparation) if run is not None and preparation is not None else None,
        preparation_pods=tuple(pod(key, {"preparation": 1, **entry}) for entry in case.get("preparationPods", [])),
        terminations={uid: _termination(entry) for uid, entry in case.get("terminations", {}).items()},
        claims={name: {"status": {"phase": phase}} for name, phase in case.get("claims", {}).items()},
        config_maps={name: frozenset(keys) for name, keys in case.get("configMaps", {}).items()},
        jobs=jobs,
        sample=_sample(case.get("sample")),
        training_operator_installed=case.get("trainingOperatorInstalled", True),
        child_error=ChildError(**case["childError"]) if "childError" in case else None,
    )


def render(decision: Decision) -> str:
    """Return a decision as YAML; the JSON in a ConfigMap is written out, so that a change in it can be read."""
    actions = [
        {"create": _readable(action.manifest), "adopt": action.adopt}
        if isinstance(action, Create)
        else {"delete": {"kind": action.kind, "name": action.name, "uid": action.uid}}
        for action in decision.actions
    ]
    document: Object = {"status": decision.status, "actions": actions, "statusFirst": decision.status_first}
    if decision.requeue_after is not None:
        document["requeueAfter"] = decision.requeue_after
    if decision.poll is not None:
        document["poll"] = list(decision.poll)
    plain = json.loads(json.dumps(document))
    return str(yaml.safe_dump(plain, sort_keys=False, width=120, allow_unicode=True))


def whole_job(job: Mapping[str, Any]) -> Object:
    """Return a job with the fields that the API server fills in."""
    metadata = {"namespace": "team", "uid": f"uid-of-{job['metadata']['name']}", "generation": 1, **job["metadata"]}
    return {"apiVersion": labels.API_VERSION, **job, "metadata": metadata}


def pod(key: JobKey, entry: Mapping[str, Any]) -> Object:
    """Return a pod from a short description: `index`, `uid`, `owner`, then what its status says.

    `preparation` makes it the pod of the preparation of that number.
    """
    metadata = {
        "namespace": key.namespace,
        "uid": entry["uid"],
        "creationTimestamp": entry.get("created", "2026-01-31T12:00:01Z"),
        **(_of_preparation(key, entry) if "preparation" in entry else _of_attempt(key, entry)),
    }
    if "deleted" in entry:
        metadata |= {"deletionTimestamp": entry["deleted"], "deletionGracePeriodSeconds": 60}
    state = _container_state(entry)
    status: Object = {"phase": entry.get("phase", _phase(entry)), "podIP": entry.get("ip", ""), "conditions": []}
    if state:
        name = "prepare" if "preparation" in entry else "pytorch"
        status["containerStatuses"] = [{"name": name, "image": "registry.example/trainer-cpu", "state": state}]
    if "scheduled" in entry:
        scheduled = {"type": "PodScheduled", "status": "True", "lastTransitionTime": entry["scheduled"]}
        status["conditions"].append(scheduled)
    if "unschedulable" in entry:
        status["conditions"].append({"type": "PodScheduled", "status": "False", "message": entry["unschedulable"]})
    status["conditions"] += entry.get("conditions", [])
    status |= {field: entry[field] for field in ("reason", "message") if field in entry}
    return {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": entry.get("node", "")}, "status": status}


def _of_attempt(key: JobKey, entry: Mapping[str, Any]) -> Object:
    index = entry.get("index", 0)
    child = attempt_name(key.kind, key.name, entry.get("attempt", 1))
    owner = {"kind": "PyTorchJob", "name": child, "uid": entry.get("owner", "child-1"), "controller": True}
    return {
        "name": f"{child}-worker-{index}",
        "labels": {labels.PYTORCHJOB_NAME: child, labels.REPLICA_INDEX: str(index)},
        "ownerReferences": [owner],
    }


def _of_preparation(key: JobKey, entry: Mapping[str, Any]) -> Object:
    job = preparation_name(key.kind, key.name, entry["preparation"])
    owner = {"kind": "Job", "name": job, "uid": entry.get("owner", "prep-1"), "controller": True}
    return {"name": f"{job}-x7k2p", "labels": {labels.BATCH_JOB_NAME: job}, "ownerReferences": [owner]}


def outcome(fields: Mapping[str, Any], *, attempt: int, uid: str, code: int) -> str:
    """Return a termination message of the trainer."""
    known = {"attempt": attempt, "podUid": uid, "exitCode": code, "reason": "Unknown", "message": "", **fields}
    return json.dumps(known)


def moment(text: str) -> datetime:
    """Return the moment that a timestamp names."""
    return datetime.fromisoformat(text)


def frozen_run(
    key: JobKey, job: Object, wanted: Mapping[str, Object], *, version: str, jobs: Mapping[JobKey, Object]
) -> FrozenRun:
    """Return the run that an operator of a version and with some profiles would freeze."""
    spec = job_class(key.kind).model_validate({"spec": job["spec"]}).spec
    probe = Inputs(moment("2026-01-31T12:00:00Z"), version, {}, key, job, jobs=jobs)
    sources = dependencies.look(probe, spec)
    return freeze(
        Ingredients(
            key=key,
            uid=job["metadata"]["uid"],
            run_id=spec.run_id,
            generation=job["metadata"]["generation"],
            spec=spec,
            profile=profiles(wanted)[spec.accelerator],
            sources={} if isinstance(sources, dependencies.Missing) else sources,
            operator_version=version,
        )
    )


def _key(job: Mapping[str, Any]) -> JobKey:
    return JobKey(job["kind"], job["metadata"].get("namespace", "team"), job["metadata"]["name"])


def _frozen(case: Mapping[str, Any], key: JobKey, job: Object, jobs: Mapping[JobKey, Object]) -> FrozenRun | None:
    """Freeze the run of `spec.runId`, or of an older spec, as the operator would have that froze it."""
    told = case.get("frozen")
    if told is None:
        return None
    known = told.get("profiles", case.get("profiles", PROFILES))
    metadata = {**job["metadata"], "generation": told.get("generation", job["metadata"]["generation"])}
    frozen_job = {**job, "metadata": metadata, "spec": told.get("spec", job["spec"])}
    if "jobs" in told:
        jobs = {_key(other): whole_job(other) for other in told["jobs"]}
    return frozen_run(key, frozen_job, known, version=told.get("operatorVersion", VERSION), jobs=jobs)


def _run_config(case: Mapping[str, Any], run: FrozenRun | None) -> Object | None:
    if run is None or case["frozen"].get("deleted") or run.run_id != case["job"]["spec"].get("runId", "1"):
        return None
    overlay: Object = case["frozen"].get("overlay", {})
    return {**run_config.run_config(run), **overlay}


def _child(run: FrozenRun, entry: Mapping[str, Any]) -> Object:
    made = desired_child(run, entry.get("attempt", 1))
    metadata = {
        **made["metadata"],
        "uid": entry.get("uid", "child-1"),
        "creationTimestamp": entry.get("created", "2026-01-31T12:00:00Z"),
    }
    if "owners" in entry:
        metadata["ownerReferences"] = entry["owners"]
    if entry.get("deleting"):
        metadata["deletionTimestamp"] = "2026-01-31T12:10:00Z"
    spec = {**made["spec"], "runPolicy": {**made["spec"]["runPolicy"], **entry.get("runPolicy", {})}}
    return {**made, "metadata": metadata, "spec": spec, "status": {"conditions": entry.get("conditions", [])}}


def _preparation(run: FrozenRun, entry: Mapping[str, Any]) -> Object:
    made = desired_preparation(run, entry.get("number", 1))
    metadata = {
        **made["metadata"],
        "uid": entry.get("uid", "prep-1"),
        "creationTimestamp": entry.get("created", "2026-01-31T12:00:00Z"),
    }
    if "owners" in entry:
        metadata["ownerReferences"] = entry["owners"]
    spec = {**made["spec"], **entry.get("spec", {})}
    return {**made, "metadata": metadata, "spec": spec, "status": {"conditions": entry.get("conditions", [])}}


def _container_state(entry: Mapping[str, Any]) -> Object:
    if "terminated" in entry:
        ended = dict(entry["terminated"])
        told = ended.pop("outcome", None)
        if told is not None:
            number = entry.get("preparation", entry.get("attempt", 1))
            ended["message"] = outcome(told, attempt=number, uid=entry["uid"], code=ended["exitCode"])
        return {"terminated": {"startedAt": entry.get("started"), **ended}}
    if "waiting" in entry:
        return {"waiting": entry["waiting"]}
    return {"running": {"startedAt": entry["started"]}} if "started" in entry else {}


def _phase(entry: Mapping[str, Any]) -> str:
    if "terminated" in entry:
        return "Failed" if entry["terminated"]["exitCode"] else "Succeeded"
    return "Running" if "started" in entry else "Pending"


def _termination(entry: Mapping[str, Any]) -> Termination:
    message = entry.get("message", "")
    if "outcome" in entry:
        message = outcome(entry["outcome"], attempt=entry.get("attempt", 1), uid=entry["uid"], code=entry["exitCode"])
    return Termination(
        exit_code=entry["exitCode"],
        reason=entry.get("reason", "Error"),
        message=message,
        disrupted=entry.get("disrupted", False),
        disruption=entry.get("disruption", ""),
        finished=moment(entry["finished"]) if "finished" in entry else None,
        deletion_requested=moment(entry["deletionRequested"]) if "deletionRequested" in entry else None,
    )


def _sample(entry: Mapping[str, Any] | None) -> ProgressSample | None:
    if entry is None:
        return None
    fields = dict(entry)
    received = moment(fields.pop("received"))
    return ProgressSample(Progress.model_validate({"attempt": 1, "podUid": "pod-0", **fields}), received)


def _readable(manifest: Mapping[str, Any]) -> Object:
    if manifest["kind"] != "ConfigMap":
        return dict(manifest)
    return {**manifest, "data": {key: json.loads(text) for key, text in manifest["data"].items()}}
