"""Every example, as the API server sees it."""

from pathlib import Path

import pytest
from kube import Kubectl

_FOLDER = Path(__file__).resolve().parents[2] / "examples"
EXAMPLES = sorted([*_FOLDER.glob("*.yaml"), *_FOLDER.glob("pipeline*/*.yaml")])


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.stem)
def test_the_api_server_accepts_the_example(file: Path, operator: Kubectl) -> None:
    told = operator("create", "--dry-run=server", "--validate=strict", "--filename", str(file))
    assert "created (server dry run)" in told
