"""Each field of `spec.ppo` changes the run."""

from collections.abc import Callable
from typing import Any

import pytest

from tunesmith_api.v1alpha1.methods.ppo import Ppo

Spec = Callable[..., dict[str, Any]]
TRAINING = {"maxSteps": 5}
CHANGES: dict[str, Any] = {
    "numMiniBatches": 1,
    "numPpoEpochs": 1,
    "cliprange": 0.001,
    "cliprangeValue": 0.001,
    "vfCoef": 2,
    "entropyCoef": 0.5,
    "gamma": 0.5,
    "lam": 0.1,
    "klCoef": 3,
    "klEstimator": "k3",
    "whitenRewards": True,
    "normalizeAdvantages": False,
    "generationBatchSize": 3,
    "maxCompletionLength": 4,
    "missingEosPenalty": 2,
    "temperature": 0.3,
    "topK": 5,
    "topP": 0.5,
}
ELSEWHERE = {"valueModel"}  # test_value_model
STANDING = {"lam", "topK"}


def test_every_field_has_its_case() -> None:
    assert CHANGES.keys() | ELSEWHERE == {field.alias for field in Ppo.model_fields.values()}


@pytest.mark.methods("ppo field")
@pytest.mark.parametrize(
    "field", [pytest.param(field, marks=pytest.mark.slow if field in STANDING else ()) for field in CHANGES]
)
def test_it_changes_the_run(lab: Any, base: Any, ppo_spec: Spec, field: str) -> None:
    shown: list[list[Any]] = []
    for change in ({}, {field: CHANGES[field]}, {}):
        trainer = lab.build(lab.context(f"ppo{len(shown)}", ppo_spec(ppo=change, training=TRAINING), base)).trainer
        trainer.train()
        shown.append([parameter.detach().clone() for parameter in trainer._pair.parameters()])
    before, after, again = shown
    assert all(one.equal(other) for one, other in zip(before, again, strict=True)), "nothing else does"
    assert not all(one.equal(other) for one, other in zip(before, after, strict=True))
