"""Each field of the blocks of `grpo` and `rloo` changes the run."""

import hashlib
from typing import Any

import pytest

from tunesmith_api.v1alpha1.methods.grpo import Grpo
from tunesmith_api.v1alpha1.methods.online import Online
from tunesmith_api.v1alpha1.methods.rloo import Rloo

BLOCKS: dict[str, type[Online]] = {"grpo": Grpo, "rloo": Rloo}
ROWS = [{"prompt": f"{a} and {a}" + " and more" * (a % 3)} for a in range(8)]
AGAIN = {"numIterations": 2}  # in the second, probabilities have moved
# Field: what it needs beside it, and what it is changed to.
SHARED: list[tuple[str, dict[str, Any], Any]] = [
    ("numGenerations", {}, 2),
    ("numGenerationsEval", {}, 2),
    ("generationBatchSize", {}, 16),
    ("stepsPerGeneration", {}, 4),
    ("maxCompletionLength", {}, 5),
    ("temperature", {}, 0.5),
    ("topK", {}, 5),
    ("topP", {}, 0.5),
    ("minP", {}, 0.2),
    ("repetitionPenalty", {}, 1.5),
    ("numIterations", {}, 2),
    ("epsilon", AGAIN, 0.01),
    ("epsilonHigh", AGAIN, 0.01),
    ("maskTruncatedCompletions", {}, True),
    ("beta", {}, 0.5),
]
CHANGES = [
    *(("grpo", *change) for change in SHARED),
    *(("grpo", "lossType", {}, loss) for loss in ("grpo", "bnpo", "dr_grpo", "sapo")),
    ("grpo", "lossType", {"epsilonHigh": 5}, "cispo"),
    ("grpo", "scaleRewards", {}, "batch"),
    ("grpo", "scaleRewards", {}, "none"),
    ("grpo", "importanceSamplingLevel", AGAIN, "sequence"),
    ("grpo", "delta", AGAIN, 1.01),
    ("grpo", "topEntropyQuantile", {}, 0.5),
    *(("rloo", *change) for change in SHARED),
    ("rloo", "normalizeAdvantages", {}, True),
    ("rloo", "rewardClipRange", {}, [0.5, 1.5]),
]
# In one micro-batch a step all means over tokens are one.
TRAINING = {
    "maxLength": 32,
    "maxSteps": 4,
    "loggingSteps": 1,
    "learningRate": 0.05,
    "perDeviceTrainBatchSize": 4,
    "gradientAccumulationSteps": 2,
    "perDeviceEvalBatchSize": 4,
}


def shown(lab: Any, base: Any, method: str, block: dict[str, Any]) -> tuple[Any, str]:
    """Return what of a run can be seen: figures and weights."""
    spec = {
        "method": method,
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put("rows.jsonl", ROWS)],
        "evaluation": {"datasets": [lab.put("held-out.jsonl", ROWS[:3])]},
        "rewards": [{"name": "vowel", "regex": {"pattern": "[ae]"}}, {"name": "short", "length": {"max": 6}}],
        "training": TRAINING,
        method: {"numGenerations": 4, "maxCompletionLength": 8} | block,
    }
    trainer = lab.build(lab.context(method, spec, base)).trainer
    trainer.train()
    trainer.evaluate()
    digest = hashlib.sha256()
    for parameter in trainer.model.parameters():
        digest.update(parameter.detach().numpy().tobytes())
    log = [
        {name: value for name, value in entry.items() if not name.endswith(("runtime", "_per_second", "step_time"))}
        for entry in trainer.state.log_history
    ]
    return log, digest.hexdigest()


def test_every_field_is_here() -> None:
    for method, block in BLOCKS.items():
        known = {field.alias for field in block.model_fields.values()}
        assert {field for of, field, *_ in CHANGES if of == method} == known - {"vllm"}


@pytest.mark.methods("online field")
@pytest.mark.parametrize(("method", "field", "beside", "value"), CHANGES)
def test_it_changes_the_run(lab: Any, base: Any, method: str, field: str, beside: dict[str, Any], value: Any) -> None:
    before, after = (shown(lab, base, method, block) for block in (beside, beside | {field: value}))
    assert before != after


@pytest.mark.slow
@pytest.mark.parametrize("method", BLOCKS)
def test_the_same_settings_give_the_same_run(lab: Any, base: Any, method: str) -> None:
    assert shown(lab, base, method, AGAIN) == shown(lab, base, method, AGAIN)
