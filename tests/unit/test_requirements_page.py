import subprocess
import sys
from pathlib import Path

import pytest


def test_every_requirement_has_a_field_and_a_test_or_a_reason(repository: Path) -> None:
    command = [sys.executable, "tests/requirements_page.py", "--check"]
    result = subprocess.run(command, cwd=repository, check=False, capture_output=True, text=True, timeout=60)
    assert (result.stderr, result.returncode) == ("", 0)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("field: training.maxSteps, test: unit/test_requirements_page.py::test_that_is_not_there", "there is no test"),
        ("field: training.maxStep", "there is no field spec.training.maxStep"),
        ("note: nothing", "name a field or a reason"),
    ],
)
def test_what_does_not_hold_is_told(repository: Path, tmp_path: Path, row: str, told: str) -> None:
    for folder in ("tests", "operator/docs"):
        (tmp_path / folder).mkdir(parents=True)
    script = tmp_path / "tests" / "requirements_page.py"
    script.write_text((repository / "tests" / "requirements_page.py").read_text())
    table = f"- document: Some\n  sections:\n    One:\n      - {{asks: a, {row}}}\n"
    (tmp_path / "operator/docs/requirements.yaml").write_text(table)
    result = subprocess.run([sys.executable, script], check=False, capture_output=True, text=True, timeout=60)
    assert told in result.stderr
    assert result.returncode == 1
