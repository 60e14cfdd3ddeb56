"""What a job refers to by name, read from raw JSON: what one pass has to fetch before it can decide.

A stored spec may be invalid under today's models, so nothing here assumes more than JSON: a value of the wrong shape
refers to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_api.naming import attempt_name, default_claim_name, preparation_name, run_config_name
from tunesmith_api.v1alpha1.preparation import Prepare
from tunesmith_api.v1alpha1.spec import DEFAULT_RUN_ID, JobSpec
from tunesmith_operator.inputs import JobKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tunesmith_operator.inputs import Object

_SOURCES = ("fromJob", "resumeFrom")


def run_id(job: Object) -> str:
    """Return the run that a job's spec asks for."""
    value = _mapping(job.get("spec")).get("runId")
    return value if isinstance(value, str) and value else DEFAULT_RUN_ID


def run_config(key: JobKey, job: Object) -> str:
    """Return the name of the ConfigMap of the run that a job's spec asks for."""
    return run_config_name(key.kind, key.name, run_id(job))


def child(key: JobKey, job: Object) -> str:
    """Return the name of the PyTorchJob to look at: the newest attempt's in the status, else the first one's."""
    attempts = _list(_mapping(job.get("status")).get("attempts"))
    name = _mapping(attempts[-1]).get("child") if attempts else None
    return name if isinstance(name, str) and name else attempt_name(key.kind, key.name, 1)


def child_is_of_this_run(job: Object) -> bool:
    """Return whether `child` belongs to the run that the spec asks for, so that the spec tells how many pods it has."""
    attempts = _list(_mapping(job.get("status")).get("attempts"))
    return not attempts or _mapping(attempts[-1]).get("runId") == run_id(job)


def accelerator(job: Object) -> str:
    """Return the name of the accelerator profile that a job asks for."""
    return str(_mapping(job.get("spec")).get("accelerator") or JobSpec.model_fields["accelerator"].default)


def preparation(key: JobKey, job: Object, device: str) -> str | None:
    """Return the name of the preparation's Job to look at: the newest one's in the status, else the first one's.

    None when none matters any more, or none is wanted: most passes need not look.

    Args:
        key: The job.
        job: Its object.
        device: Device type of its accelerator profile; empty when there is no such profile.
    """
    status, wanted = _mapping(job.get("status")), run_id(job)
    record = _mapping(status.get("preparation"))
    if record:
        over = record.get("result") in {"Succeeded", "Failed"}
        former = record.get("runId") != wanted and record.get("endTime") is not None
        return None if over or former else str(record.get("job"))
    if any(_mapping(attempt).get("runId") == wanted for attempt in _list(status.get("attempts"))):
        return None
    mode = _mapping(_mapping(job.get("spec")).get("prepare")).get("mode") or Prepare.model_fields["mode"].default
    if mode == "never" or (mode == "auto" and device == "cpu"):
        return None
    return preparation_name(key.kind, key.name, 1)


def dependencies(key: JobKey, job: Object) -> dict[str, JobKey]:
    """Return the jobs whose output, or checkpoint, a job takes, by the field below spec that names them.

    Follow them with `open_dependencies` to get `Inputs.jobs`.
    """
    spec = _mapping(job.get("spec"))
    blocks = {"model": _mapping(spec.get("model")), **_auxiliary_models(spec)}
    sources = {f"{path}.{field}": _mapping(block.get(field)) for path, block in blocks.items() for field in _SOURCES}
    return {
        field: JobKey(kind=str(source.get("kind") or "FineTuneJob"), namespace=key.namespace, name=source["name"])
        for field, source in sources.items()
        if isinstance(source.get("name"), str) and source["name"]
    }


def open_dependencies(key: JobKey, job: Object) -> tuple[JobKey, ...]:
    """Return the jobs that another job still waits for: one that is Complete, or whose run has begun, has what it took.

    What it took may be of an earlier run of the very job that now waits for it.
    """
    status = _mapping(job.get("status"))
    begun = status.get("startTime") and status.get("runId") == run_id(job)
    conditions = map(_mapping, _list(status.get("conditions")))
    if begun or any(each.get("type") == "Complete" and each.get("status") == "True" for each in conditions):
        return ()
    return tuple(dependencies(key, job).values())


def _auxiliary_models(spec: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the models beside the one that is trained, by their path below spec."""
    rewards = {f"rewards[{index}].model": reward for index, reward in enumerate(_list(spec.get("rewards")))}
    return {
        "referenceModel": _mapping(spec.get("referenceModel")),
        **{path: _mapping(_mapping(reward).get("model")) for path, reward in rewards.items()},
    }


def claims(key: JobKey, job: Object, jobs: Mapping[JobKey, Object]) -> frozenset[str]:
    """Return the claims that a job reads or writes, those of the jobs it depends on included.

    Args:
        key: The job.
        job: Its object.
        jobs: The jobs that `dependencies` leads to.
    """
    return input_claims(key, job, jobs) | made_claims(key, job)


def made_claims(key: JobKey, job: Object) -> frozenset[str]:
    """Return the claims that are made for a job when they do not exist: its output's and the cache's."""
    model = _mapping(_mapping(job.get("spec")).get("model"))
    return _names([output_claim(key, job), _mapping(model.get("cache")).get("claimName")])


def output_claim(key: JobKey, job: Object) -> str:
    """Return the claim that a job writes to."""
    name = _mapping(_mapping(job.get("spec")).get("output")).get("claimName")
    return name if isinstance(name, str) and name else default_claim_name(key.kind, key.name)


def input_claims(key: JobKey, job: Object, jobs: Mapping[JobKey, Object]) -> frozenset[str]:
    """Return the claims that must exist before a job starts, see `claims`."""
    spec = _mapping(job.get("spec"))
    names = [_mapping(dataset.get("claim")).get("name") for dataset in _datasets(spec)]
    model = _mapping(spec.get("model"))
    folders = (model, _mapping(model.get("tokenizer")), *_auxiliary_models(spec).values())
    names += [_mapping(block.get("path")).get("claim") for block in folders]
    names.append(_mapping(_mapping(model.get("chatTemplate")).get("claim")).get("name"))
    names += [_mapping(volume.get("persistentVolumeClaim")).get("claimName") for volume in _volumes(spec)]
    for field, source in dependencies(key, job).items():
        if source in jobs:
            names += _source_claims(source, jobs[source], resumes=field.endswith("resumeFrom"))
    return _names(names)


def _source_claims(key: JobKey, job: Object, *, resumes: bool) -> list[Any]:
    """Return the claims of the output, or of the checkpoints, of a job that another one depends on."""
    status = _mapping(job.get("status"))
    if resumes:
        return [output_claim(key, job), _mapping(_mapping(status.get("resolved")).get("baseModel")).get("claim")]
    output = _mapping(status.get("output"))
    return [output.get("claim"), _mapping(output.get("baseModel")).get("claim")]


def config_maps(job: Object) -> frozenset[str]:
    """Return the ConfigMaps that a job's datasets, chat template, reward functions and volumes refer to."""
    spec = _mapping(job.get("spec"))
    names = [source.get("name") for source in _config_map_files(spec)]
    names += [_mapping(volume.get("configMap")).get("name") for volume in _volumes(spec)]
    return _names(names)


def config_map_keys(job: Object) -> tuple[tuple[str, str], ...]:
    """Return the keys that a job reads, rows and code included, each with the name of its ConfigMap first."""
    sources = _config_map_files(_mapping(job.get("spec")))
    return tuple((str(source["name"]), str(source["key"])) for source in sources if {"name", "key"} <= source.keys())


def _config_map_files(spec: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    datasets = list(_datasets(spec))
    functions = [_mapping(dataset.get(f"{part}Function")) for dataset in datasets for part in ("prompt", "completion")]
    functions += [_mapping(_mapping(reward).get("function")) for reward in _list(spec.get("rewards"))]
    chat_template = _mapping(_mapping(spec.get("model")).get("chatTemplate"))
    return [_mapping(block.get("configMap")) for block in (*datasets, *functions, chat_template)]


def _datasets(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for dataset in (*_list(spec.get("datasets")), *_list(_mapping(spec.get("evaluation")).get("datasets"))):
        yield _mapping(dataset)


def _volumes(spec: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for volume in _list(_mapping(spec.get("podTemplate")).get("volumes")):
        yield _mapping(volume)


def _names(values: list[Any]) -> frozenset[str]:
    return frozenset(value for value in values if isinstance(value, str) and value)


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
