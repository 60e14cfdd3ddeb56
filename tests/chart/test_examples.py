"""Every example as a user would apply it: it fits the API's models, and becomes pods of the chart's profiles."""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunesmith_api.naming import job_class
from tunesmith_api.run import FrozenRun
from tunesmith_api.v1alpha1.status import BaseRecord, OutputRecord
from tunesmith_operator.desired.child import child
from tunesmith_operator.desired.freeze import Ingredients, freeze
from tunesmith_operator.desired.references import config_map_keys, dependencies
from tunesmith_operator.inputs import JobKey
from tunesmith_operator.settings import load

Object = dict[str, Any]
FOLDER = Path(__file__).resolve().parents[2] / "examples"
EXAMPLES = sorted(FOLDER.glob("*.yaml"))
PIPELINES = sorted(path.parent for path in FOLDER.glob("*/data.yaml"))


def read(file: Path) -> Object:
    job: Object = yaml.safe_load(file.read_text(encoding="utf-8"))
    return job


def steps(pipeline: Path) -> list[Path]:
    return sorted(pipeline.glob("[0-9]*.yaml"))


@pytest.fixture(scope="module")
def frozen(
    render: Callable[..., list[Object]], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], FrozenRun]:
    """Freezes an example's run as the operator of a default installation does."""
    (config,) = (each for each in render() if each["kind"] == "ConfigMap")
    file = tmp_path_factory.mktemp("config") / "config.yaml"
    file.write_text(config["data"]["config.yaml"], encoding="utf-8")
    profiles = load(file).accelerators
    source = OutputRecord(
        kind="adapter",
        claim="earlier-ftj",
        path="finetunejobs/earlier/runs/uid-1/output",
        latest_path="finetunejobs/earlier/output",
        digest=f"sha256:{'0' * 64}",
        size_bytes=1,
        base_model=BaseRecord(claim="base", path="model"),
        load="",
    )

    def run(path: Path) -> FrozenRun:
        job = read(path)
        spec = job_class(job["kind"]).model_validate({"spec": job["spec"]}).spec
        key = JobKey(job["kind"], "team", job["metadata"]["name"])
        return freeze(
            Ingredients(
                key=key,
                uid="uid",
                run_id=spec.run_id,
                generation=1,
                spec=spec,
                profile=profiles[spec.accelerator],
                sources=dict.fromkeys(dependencies(key, job), source),
                operator_version="0.1.0",
            )
        )

    return run


@pytest.mark.parametrize(
    "file", [*EXAMPLES, *(step for pipeline in PIPELINES for step in steps(pipeline))], ids=lambda file: file.stem
)
def test_an_example_becomes_pods(file: Path, frozen: Callable[[Path], FrozenRun]) -> None:
    job, run = read(file), frozen(file)
    worker = child(run, 1)["spec"]["pytorchReplicaSpecs"]["Worker"]
    assert worker["replicas"] == job["spec"].get("numNodes", 1)
    (container,) = worker["template"]["spec"]["containers"]
    accelerator = job["spec"]["accelerator"]
    assert container["image"] == f"tunesmith/trainer-{accelerator}:0.1.0"
    devices = container["resources"]["limits"].get("nvidia.com/gpu")
    wanted = str(job["spec"].get("numProcPerNode", 1)) if accelerator == "cuda" else None
    assert (None if devices is None else str(devices)) == wanted


def test_the_examples_are_numbered_without_a_gap() -> None:
    assert [int(file.name[:2]) for file in EXAMPLES] == list(range(1, len(EXAMPLES) + 1))


def test_the_page_of_the_examples_lists_each_once() -> None:
    listed = re.findall(r"\]\((\d\d-[\w.-]+\.yaml)\)", (FOLDER / "README.md").read_text(encoding="utf-8"))
    assert listed == [file.name for file in EXAMPLES]


def test_every_example_says_how_much_it_needs_and_what_it_shows() -> None:
    for file in EXAMPLES:
        assert file.read_text(encoding="utf-8").startswith("# ")
        resources = read(file)["spec"]["resourcesPerNode"]
        assert "memory" in resources["limits"]
        assert {"cpu", "memory"} <= set(resources["requests"])


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda folder: folder.name)
def test_the_jobs_of_a_pipeline_take_from_one_another_and_from_nobody_else(pipeline: Path) -> None:
    known: set[JobKey] = set()
    for file in steps(pipeline):
        job = read(file)
        key = JobKey(job["kind"], "team", job["metadata"]["name"])
        assert set(dependencies(key, job).values()) <= known
        assert bool(dependencies(key, job)) == bool(known)
        known.add(key)
    assert len(known) >= 3


@pytest.mark.parametrize("pipeline", PIPELINES, ids=lambda folder: folder.name)
def test_a_pipeline_brings_all_of_its_data_along(pipeline: Path) -> None:
    data = read(pipeline / "data.yaml")
    held = {(data["metadata"]["name"], key) for key in data["data"]}
    assert set().union(*(set(config_map_keys(read(file))) for file in steps(pipeline))) == held


@pytest.mark.parametrize(
    ("pipeline", "table", "answers", "right"),
    [
        ("pipeline", "pairs.csv", ("chosen", "rejected"), lambda given: "".join(sorted(given))),
        ("pipeline-rewards", "answers.csv", ("answer", "other"), lambda given: given[::-1]),
    ],
)
def test_only_the_answers_of_a_pipeline_say_which_way_is_right(
    pipeline: str, table: str, answers: tuple[str, str], right: Callable[[str], str]
) -> None:
    data = read(FOLDER / pipeline / "data.yaml")["data"]
    rows = list(csv.DictReader(data[table].splitlines()))
    assert len({row["prompt"] for row in rows}) == len(rows)
    for row in rows:
        answer = right(row["prompt"].removesuffix("="))
        assert tuple(row[name] for name in answers) == (answer, answer[::-1])
    texts = " ".join(row["text"] for row in csv.DictReader(data["texts.csv"].splitlines())).split()
    given_right = [answer == right(given) for given, answer in (each.split("=") for each in texts)]
    assert 0.45 < sum(given_right) / len(texts) < 0.55
