"""The pipeline of the examples, as it is: each step is good enough for the gate of the next, and both ends learn."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tunesmith_api.run import ResolvedModel
from tunesmith_api.v1alpha1.gate import Gate
from tunesmith_api.v1alpha1.status import VolumePath

pytestmark = pytest.mark.timeout(1500)
PIPELINE = Path(__file__).resolve().parents[4] / "examples" / "pipeline"
STEPS = sorted(PIPELINE.glob("[0-9]*.yaml"))


def put_data(lab: Any) -> None:
    config_map = yaml.safe_load((PIPELINE / "data.yaml").read_text(encoding="utf-8"))
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


@pytest.mark.methods("method")
def test_every_gate_opens_and_both_ends_learn(lab: Any, finished: Any, record_property: Any) -> None:
    put_data(lab)
    made: dict[str, ResolvedModel] = {}
    records: dict[str, Any] = {}

    def take(block: dict[str, Any]) -> ResolvedModel | None:
        if "fromJob" not in block:
            return None
        admit(block["fromJob"], records[block["fromJob"]["name"]]["finalEvaluation"])
        return made[block["fromJob"]["name"]]

    for file in STEPS:
        job = yaml.safe_load(file.read_text(encoding="utf-8"))
        name, spec = job["metadata"]["name"], job["spec"]
        rewards = {reward["name"]: take(reward["model"]) for reward in spec.get("rewards", ())}
        made[name] = finished(name, spec, take(spec["model"]), reward_models=rewards)
        records[name] = record_of(lab, made[name])
        for figure, value in records[name]["finalEvaluation"].items():
            if figure in {"eval_loss", "eval_accuracy", "eval_rewards/accuracies"}:
                record_property(f"{name} {figure}", f"{value:.3f}")
    assert records["sorter-dpo"]["finalEvaluation"]["eval_rewards/accuracies"] >= 0.95
    scores = [entry["objective/scores"] for entry in records["sorter-ppo"]["metrics"] if "objective/scores" in entry]
    record_property("sorter-ppo objective/scores", f"{scores[0]:.2f} → {scores[-1]:.2f}")
    assert scores[-1] > scores[0] + 1
