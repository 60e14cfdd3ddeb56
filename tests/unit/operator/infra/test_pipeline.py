"""A pipeline of jobs, as a running operator takes it through failures and what mends them."""

from pathlib import Path
from typing import Any

from api_server import ApiServer
from running import operator, until

Object = dict[str, Any]
CHAIN = ("base", "answers", "preferences")
PLURALS = {"base": "finetunejobs", "answers": "finetunejobs", "preferences": "alignmentjobs"}
BEGUN = "TrainingOperatorSilent"
"""Reason of a job whose attempt was created: nobody makes its pods here."""
PATIENCE = 10.0
"""Seconds; less than after which a waiting job is looked at without any event."""


def apply(api: ApiServer, name: str, run_id: str = "1", **spec: Any) -> None:
    known = api.objects.get((PLURALS[name], "default", name), {})
    kind = "AlignmentJob" if PLURALS[name] == "alignmentjobs" else "FineTuneJob"
    common = {"accelerator": "cpu", "runId": run_id, "datasets": [{"claim": {"name": "models", "path": "rows.jsonl"}}]}
    metadata = {**known.get("metadata", {}), "name": name, "generation": int(run_id)}
    api.put(PLURALS[name], {**known, "kind": kind, "metadata": metadata, "spec": {**common, **spec}})


def apply_chain(api: ApiServer) -> None:
    """Apply the last job first; the gate is between the first two."""
    gated = {"name": "base", "gate": {"metric": "eval_loss", "max": 2}}
    apply(api, "preferences", method="dpo", model={"fromJob": {"name": "answers"}}, referenceModel=taking("base"))
    apply(api, "answers", method="sft", model={"fromJob": gated})
    apply_base(api)


def apply_base(api: ApiServer, run_id: str = "1") -> None:
    apply(api, "base", run_id, method="sft", model={"path": {"claim": "models", "path": "tiny"}})


def taking(name: str) -> Object:
    return {"fromJob": {"name": name}}


def end(api: ApiServer, name: str, condition: str, **fields: Any) -> None:
    """End a job as its trainer would have it, in the status alone."""
    job = api.objects[PLURALS[name], "default", name]
    told = {"status": "True", "observedGeneration": 1, "lastTransitionTime": "2026-01-31T12:00:00Z"}
    conditions = [{"type": condition, **told, "reason": "DataError", "message": "It ended."}]
    status = {
        **job["status"],
        "state": condition,
        "conditions": conditions,
        "observedGeneration": job["metadata"]["generation"],
        "completionTime": "2026-01-31T12:00:00Z",
        **fields,
    }
    api.put(PLURALS[name], {**job, "status": status})


def complete(api: ApiServer, name: str, *, loss: str) -> None:
    job = api.objects[PLURALS[name], "default", name]
    figures = [{"name": "eval_loss", "value": loss}]
    progress = {"lastUpdatedTime": "2026-01-31T12:00:00Z", "metrics": figures}
    output = {
        "kind": "model", "claim": "models", "path": f"{name}/{job['spec']['runId']}", "latestPath": "latest",
        "digest": f"sha256:{'0' * 64}", "sizeBytes": 1, "load": "",
    }  # fmt: skip
    end(api, name, "Complete", progress=progress, output=output)


def outlook(api: ApiServer) -> dict[str, str]:
    """Return the reason of each job's Ready."""
    found = {}
    for name in CHAIN:
        conditions = (api.objects[PLURALS[name], "default", name].get("status") or {}).get("conditions") or []
        found[name] = next((str(each.get("reason")) for each in conditions if each["type"] == "Ready"), "")
    return {name: reason for name, reason in found.items() if reason}


async def test_it_fails_and_mends_as_a_whole(api: ApiServer, config: Path, unused_tcp_port: int) -> None:
    api.put("persistentvolumeclaims", {"metadata": {"name": "base-ftj"}, "status": {"phase": "Bound"}})
    async with operator(config, unused_tcp_port, resyncSeconds=600) as running:
        await until(lambda: "leads" in running.log)
        apply_chain(api)
        waiting = {"answers": "WaitingForJob", "preferences": "WaitingForJob"}
        await until(lambda: outlook(api) == {"base": BEGUN, **waiting}, PATIENCE)
        end(api, "base", "Failed")
        stopped = {"answers": "DependencyFailed", "preferences": "DependencyFailed"}
        await until(lambda: outlook(api) == stopped, PATIENCE)
        apply_base(api, "2")
        await until(lambda: outlook(api) == {"base": BEGUN, **waiting}, PATIENCE)
        complete(api, "base", loss="2.1")
        await until(lambda: outlook(api) == {"answers": "GateNotMet", "preferences": "DependencyFailed"}, PATIENCE)
        apply_base(api, "3")
        await until(lambda: outlook(api) == {"base": BEGUN, **waiting}, PATIENCE)
        complete(api, "base", loss="1.9")
        await until(lambda: outlook(api).get("answers") == BEGUN, PATIENCE)
        complete(api, "answers", loss="1.5")
        await until(lambda: outlook(api) == {"preferences": BEGUN}, PATIENCE)
        frozen = api.objects["configmaps", "default", "preferences-alj-run-1"]["data"]["run.json"]
        assert '"path":"base/3"' in frozen
        assert '"path":"answers/1"' in frozen
    made = sorted(name for plural, _, name in api.objects if plural == "pytorchjobs")
    assert made == ["answers-ftj-1", "base-ftj-3", "preferences-alj-1"]
