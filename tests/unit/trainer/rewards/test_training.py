"""A training with rewards of every kind: each told on its own, failures counted, the weighted sum learnt from."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.run import ResolvedModel
from tunesmith_api.v1alpha1.status import VolumePath

# Every second call fails.
CODE = """
calls = 0

def moody(prompts, completions, completion_ids, topic):
    global calls
    calls += 1
    if calls % 2:
        raise RuntimeError(f"call {calls}")
    return [float(len(text)) for text in topic]
"""
REWARDS: list[dict[str, Any]] = [
    {"name": "own", "function": {"configMap": {"name": "code", "key": "own.py"}, "function": "moody"}},
    {"name": "helpful", "weight": 0.5, "model": {"path": {"claim": "judges", "path": "judge"}}},
    {"name": "short", "weight": -2, "length": {"max": 4, "margin": 8}},
    {"name": "watched", "weight": 0, "repetition": {"ngramSize": 1}},
]
WEIGHTS = {"own": 1, "helpful": 0.5, "short": -2, "watched": 0}


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grpo", "rloo"])
def test_each_reward_is_told_and_what_fails_is_counted(lab: Any, base: Any, judge: Path, method: str) -> None:
    code = lab.root / "tunesmith/configmaps/code/own.py"
    code.parent.mkdir(parents=True)
    code.write_text(CODE)
    rows = [{"prompt": f"{number} ", "topic": "abc"} for number in range(32)]
    spec = {
        "method": method,
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put("prompts.jsonl", rows)],
        "rewards": REWARDS,
        "training": {"maxLength": 32, "maxSteps": 4, "loggingSteps": 1, "perDeviceTrainBatchSize": 8},
        method: {"numGenerations": 4, "maxCompletionLength": 12},
    }
    context = lab.context("scored", spec, base)
    models = {"helpful": ResolvedModel(base=VolumePath(claim="judges", path="judge"))}
    plan = lab.build(replace(context, run=context.run.model_copy(update={"reward_models": models})))
    plan.trainer.train()
    entries = [entry for entry in plan.trainer.state.log_history if "loss" in entry]
    assert [entry["rewards/own/failures"] for entry in entries] == [1, 0, 1, 0]
    for entry in entries[1::2]:
        assert entry["rewards/own/mean"] == 3
        parts = [weight * entry[f"rewards/{name}/mean"] for name, weight in WEIGHTS.items()]
        assert entry["reward"] == pytest.approx(sum(parts), abs=1e-4)
    report = json.loads(json.dumps(plan.data_report["rewards"]))
    assert report == {
        "own": {
            "weight": 1,
            "failures": {"moody of key own.py of ConfigMap code raises RuntimeError at line 8": 16},
        },
        "helpful": {"weight": 0.5, "foreignTokenizer": False, "failures": {}},
        "short": {"weight": -2, "failures": {}},
        "watched": {"weight": 0, "failures": {}},
    }
