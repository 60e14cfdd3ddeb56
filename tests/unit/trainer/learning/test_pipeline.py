"""The pipelines of the examples, as they are: each step is good enough for the gate of the next, and all ends learn."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunesmith_api.run import ResolvedModel
from tunesmith_api.v1alpha1.gate import Gate
from tunesmith_api.v1alpha1.status import VolumePath

pytestmark = pytest.mark.timeout(1500)
EXAMPLES = Path(__file__).resolve().parents[4] / "examples"


def put_data(lab: Any, pipeline: Path) -> None:
    config_map = yaml.safe_load((pipeline / "data.yaml").read_text(encoding="utf-8"))
    folder = lab.root / "tunesmith/configmaps" / config_map["metadata"]["name"]
    folder.mkdir(parents=True)
    for key, text in config_map["data"].items():
        (folder / key).write_text(text, encoding="utf-8")


def record_of(lab: Any, model: ResolvedModel) -> Any:
    output = model.adapter or model.base
    assert isinstance(output, VolumePath)
    return json.loads(lab.path(output.claim, f"{output.path}/run-record.json").read_text(encoding="utf-8"))


def admit(taken: dict[str, Any], figures: dict[str, float]) -> None:
    """Hold figures against the gate of the block that takes their model."""
    if "gate" not in taken:
        return
    gate = Gate.model_validate(taken["gate"])
    value = figures[gate.metric]
    assert gate.min is None or value >= gate.min, taken
    assert gate.max is None or value <= gate.max, taken


@pytest.fixture
def records(request: pytest.FixtureRequest, lab: Any, finished: Any, record_property: Any) -> dict[str, Any]:
    """The run record of each job of a pipeline, by its name."""
    pipeline = EXAMPLES / request.param
    put_data(lab, pipeline)
    made: dict[str, ResolvedModel] = {}
    records: dict[str, Any] = {}

    def take(block: dict[str, Any]) -> ResolvedModel | None:
        if "fromJob" not in block:
            return None
        admit(block["fromJob"], records[block["fromJob"]["name"]]["finalEvaluation"])
        return made[block["fromJob"]["name"]]

    for file in sorted(pipeline.glob("[0-9]*.yaml")):
        job = yaml.safe_load(file.read_text(encoding="utf-8"))
        name, spec = job["metadata"]["name"], job["spec"]
        rewards = {reward["name"]: take(reward["model"]) for reward in spec.get("rewards", ()) if "model" in reward}
        made[name] = finished(name, spec, take(spec["model"]), reward_models=rewards)
        records[name] = record_of(lab, made[name])
        for figure, value in (records[name]["finalEvaluation"] or {}).items():
            if figure in {"eval_loss", "eval_accuracy", "eval_rewards/accuracies"}:
                record_property(f"{name} {figure}", f"{value:.3f}")
    return records


def course(record: dict[str, Any], figure: str) -> list[float]:
    """Return a figure over the run."""
    return [entry[figure] for entry in record["metrics"] if figure in entry]


@pytest.mark.methods("method")
@pytest.mark.parametrize("records", ["pipeline"], indirect=True)
def test_every_gate_opens_and_both_ends_learn(records: dict[str, Any], record_property: Any) -> None:
    assert records["sorter-dpo"]["finalEvaluation"]["eval_rewards/accuracies"] >= 0.95
    scores = course(records["sorter-ppo"], "objective/scores")
    record_property("sorter-ppo objective/scores", f"{scores[0]:.2f} → {scores[-1]:.2f}")
    assert scores[-1] > scores[0] + 1


@pytest.mark.methods("method")
@pytest.mark.parametrize("records", ["pipeline-rewards"], indirect=True)
def test_the_right_answer_is_learnt_from_rewards_alone(records: dict[str, Any], record_property: Any) -> None:
    right = course(records["echo-grpo"], "rewards/right/mean")
    record_property("echo-grpo rewards/right/mean", f"{right[0]:.2f} → {right[-1]:.2f}")
    assert right[0] < 0.65
    assert right[-1] > 0.9
