from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from tunesmith_api.schema import inlined
from tunesmith_api.v1alpha1 import AlignmentJob, AlignmentJobSpec, FineTuneJob, FineTuneJobSpec
from tunesmith_api.v1alpha1.jobs import KINDS
from tunesmith_api.v1alpha1.status import JobStatus

Json = dict[str, Any]

MINIMAL: Json = {
    "method": "sft",
    "model": {"path": {"claim": "models"}},
    "datasets": [{"claim": {"name": "data", "path": "train.jsonl"}}],
}


def fields(node: Any, path: str = "") -> set[str]:
    """Return the paths of all fields of a YAML object, list indices left out."""
    if isinstance(node, list):
        return {found for item in node for found in fields(item, path)}
    if isinstance(node, dict):
        return {found for name, child in node.items() for found in fields(child, f"{path}.{name}")} | {path}
    return {path}


def declared(node: Json, path: str = "") -> set[str]:
    """Return the paths of all fields of an inlined schema; the keys of a map are the user's."""
    if "items" in node:
        return declared(node["items"], path)
    children = node.get("properties", {}).items()
    return {path}.union(*(declared(child, f"{path}.{name}") for name, child in children))


def test_a_minimal_spec_takes_the_defaults() -> None:
    spec = FineTuneJobSpec.model_validate(MINIMAL)
    assert spec.accelerator == "cuda"
    assert spec.run_id == "1"
    assert spec.training.per_device_train_batch_size == 8
    assert spec.peft is None
    assert spec.run_policy.backoff_limit == 3


def test_the_wire_form_is_camel_case_with_defaults_and_without_null() -> None:
    wire = FineTuneJobSpec.model_validate(MINIMAL).to_wire()
    assert wire["training"]["gradientAccumulationSteps"] == 1
    assert wire["runPolicy"] == {"backoffLimit": 3, "maxDisruptions": 20}
    assert "peft" not in wire
    assert "maxSteps" not in wire["training"]


def test_the_wire_form_reads_back_as_the_same_spec() -> None:
    spec = FineTuneJobSpec.model_validate(MINIMAL)
    assert FineTuneJobSpec.model_validate(spec.to_wire()) == spec


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"trainings": {}}, "trainings"),
        ({"method": "dpo"}, "method"),
        ({"datasets": []}, "datasets"),
        ({"numNodes": 0}, "numNodes"),
        ({"training": {"learningRate": 0}}, "training.learningRate"),
        ({"training": {"maxSteps": -1}}, "training.maxSteps"),
        ({"peft": {"lora": {"r": 0}}}, "peft.lora.r"),
        ({"podTemplate": {"containers": []}}, "podTemplate.containers"),
    ],
)
def test_bounds_and_unknown_fields_are_refused_without_an_api_server_too(change: Json, place: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        FineTuneJobSpec.model_validate({**MINIMAL, **change})
    assert [".".join(map(str, error["loc"])) for error in refusal.value.errors()] == [place]


def test_a_spec_can_not_be_changed() -> None:
    spec = FineTuneJobSpec.model_validate(MINIMAL)
    with pytest.raises(ValidationError, match="frozen"):
        spec.num_nodes = 2  # type: ignore[misc] # what the type checker refuses must fail at run time as well


@pytest.mark.parametrize("job", KINDS, ids=lambda job: str(job.kind()))
def test_a_rule_s_field_is_spelled_as_on_the_wire(job: type[FineTuneJob | AlignmentJob]) -> None:
    rule = job.rules[1].rule
    spec = FineTuneJobSpec if job is FineTuneJob else AlignmentJobSpec
    for name, field in spec.model_fields.items():
        compared = f"self.spec.{field.alias or name} == oldSelf.spec." in rule
        assert compared == (name not in {"run_policy", "run_id"}), name


@pytest.fixture
def valid(repository: Path) -> list[tuple[type[FineTuneJobSpec | AlignmentJobSpec], Json]]:
    """Specs of tests/contract/valid with their classes; the API server takes them too (tests/e2e/test_admission.py)."""
    paths = sorted((repository / "tests" / "contract" / "valid").glob("*.yaml"))
    objects = [yaml.safe_load(path.read_text(encoding="utf-8")) for path in paths]
    classes: dict[str, type[FineTuneJobSpec | AlignmentJobSpec]] = {
        "FineTuneJob": FineTuneJobSpec,
        "AlignmentJob": AlignmentJobSpec,
    }
    return [(classes[content["kind"]], content["spec"]) for content in objects]


def test_valid_files_are_read(valid: list[tuple[type[FineTuneJobSpec | AlignmentJobSpec], Json]]) -> None:
    assert len(valid) >= 7
    for model, spec in valid:
        parsed = model.model_validate(spec)
        assert model.model_validate(parsed.to_wire()) == parsed


def test_valid_files_use_every_field(valid: list[tuple[type[FineTuneJobSpec | AlignmentJobSpec], Json]]) -> None:
    used = {path for _, spec in valid for path in fields(spec)}
    # The rows to evaluate on are of the same class as those to train on.
    used |= {path.replace(".datasets", ".evaluation.datasets", 1) for path in used if path.startswith(".datasets")}
    known = {path for job in KINDS for path in declared(inlined(job)["properties"]["spec"])}
    refused = {path for path in known if path.startswith(".podTemplate.volumes.hostPath")}
    assert known - refused <= used


def test_the_status_file_uses_every_field_and_reads_back_as_it_is(repository: Path) -> None:
    text = (repository / "tests" / "contract" / "status.yaml").read_text(encoding="utf-8")
    status = yaml.safe_load(text)
    assert JobStatus.model_validate(status).to_wire() == status
    assert declared(inlined(JobStatus)) == fields(status)


def test_every_bad_file_says_why_it_is_refused(repository: Path) -> None:
    paths = sorted((repository / "tests" / "contract" / "bad").glob("*.yaml"))
    assert len(paths) >= 31
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert text.startswith("# refused: "), path.name
        assert yaml.safe_load(text)["apiVersion"] == "tunesmith.dev/v1alpha1", path.name
