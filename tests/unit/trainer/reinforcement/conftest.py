"""Jobs of method ppo, and how they run as in a pod."""

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.progress import Outcome
from tunesmith_trainer.context import RunContext

# Where `naive` is.
sys.path.insert(0, str(Path(__file__).parent))

ROWS = [{"prompt": f"{number} is a {'very ' * (number % 5)}good", "answer": str(number)} for number in range(40)]
REWARDS = [
    {"name": "vowels", "regex": {"pattern": "[aeiou]{2}"}},
    {"name": "brief", "weight": 0.5, "length": {"max": 3, "margin": 6}},
]


@pytest.fixture
def ppo_spec(lab: Any) -> Callable[..., dict[str, Any]]:
    """Makes jobs: a rollout of 2 x 4 prompts, trained on twice, so that four steps belong together."""

    def spec(
        *, ppo: dict[str, Any] | None = None, training: dict[str, Any] | None = None, **more: Any
    ) -> dict[str, Any]:
        return {
            "method": "ppo",
            "model": {"fromJob": {"name": "base"}},
            "datasets": [lab.put("prompts.jsonl", ROWS)],
            "rewards": REWARDS,
            "ppo": {"maxCompletionLength": 8, "numMiniBatches": 2, "numPpoEpochs": 2} | (ppo or {}),
            "training": {
                "maxLength": 64,
                "maxSteps": 8,
                "loggingSteps": 1,
                "learningRate": 1e-3,
                "perDeviceTrainBatchSize": 4,
            }
            | (training or {}),
        } | more

    return spec


@pytest.fixture
def adapter(lab: Any, base: Any) -> Any:
    """An adapter with dropout that an earlier job has trained on the base."""
    context = lab.context(
        "earlier",
        {
            "method": "sft",
            "model": {"fromJob": {"name": "base"}},
            "peft": {"lora": {"r": 4, "loraDropout": 0.3}},
            "datasets": [lab.put("sft.jsonl", [{"prompt": row["prompt"], "completion": " idea"} for row in ROWS])],
            "training": {"maxLength": 64, "maxSteps": 4, "learningRate": 1e-2},
        },
        base,
    )
    return lab.finish(context, lab.build(context))


@pytest.fixture
def work(attempt: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """Runs attempts as a pod does, from the frozen run to an output that counts."""

    def run(context: RunContext, number: int = 1, *, stop_after: int = 0) -> Outcome:
        own = dataclasses.replace(context, attempt=number, pod_uid=f"pod-{number}")
        return attempt(own, stop_after=stop_after)

    return run
