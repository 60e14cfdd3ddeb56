"""Each folder is a case: `input.yaml` tells what one pass sees, `output.yaml` what it decides.

UPDATE_GOLDEN=1 writes the outputs anew; what git then shows as changed is what there is to review.
"""

import difflib
import os
from pathlib import Path

import pytest
import scenario
import yaml

from tunesmith_api.v1alpha1.status import JobStatus
from tunesmith_operator.decide import decide

_HERE = Path(__file__).resolve().parent
CASES = sorted(path.parent.name for path in _HERE.glob("*/input.yaml"))


@pytest.mark.parametrize("case", CASES)
def test_decision(case: str) -> None:
    folder = _HERE / case
    described = yaml.safe_load((folder / "input.yaml").read_text())
    rendered = f"# {described['about']}\n{scenario.render(decide(scenario.inputs(described)))}"
    expected = folder / "output.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        expected.write_text(rendered)
    before = expected.read_text() if expected.exists() else ""
    drift = "".join(
        difflib.unified_diff(before.splitlines(keepends=True), rendered.splitlines(keepends=True), "stored", "decided")
    )
    assert not drift, f"{case}: the decision changed. If it is right, run again with UPDATE_GOLDEN=1.\n{drift}"


@pytest.mark.parametrize("case", CASES)
def test_a_decision_about_its_own_status_is_settled(case: str) -> None:
    """What one pass writes, the next one reads back the same: nothing is written twice."""
    described = yaml.safe_load((_HERE / case / "input.yaml").read_text())
    first = decide(scenario.inputs(described))
    if first.actions or first.status_first:
        return
    again = {**described, "job": {**described["job"], "status": dict(first.status)}}
    assert decide(scenario.inputs(again)).status == first.status


@pytest.mark.parametrize("case", CASES)
def test_status_is_one_that_the_api_takes(case: str) -> None:
    described = yaml.safe_load((_HERE / case / "input.yaml").read_text())
    JobStatus.model_validate(decide(scenario.inputs(described)).status)


def test_every_output_has_its_case() -> None:
    assert sorted(path.parent.name for path in _HERE.glob("*/output.yaml")) == CASES
