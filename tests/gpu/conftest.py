"""Jobs on claims below a temporary folder, as in the trainer's unit tests, on an NVIDIA GPU; without one, skipped.

They need the trainer's environment with trainer-image/requirements-cuda.txt on top: pytest tests/gpu
"""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tunesmith_api.profile import AcceleratorProfile

CUDA = AcceleratorProfile(
    name="cuda",
    device="cuda",
    image="trainer",
    resource_name="nvidia.com/gpu",
    dtypes=("bfloat16", "float16", "float32"),
    backend="nccl",
)


def _module(path: str) -> ModuleType:
    """Return a file of the trainer's unit tests as a module; test folders are no packages."""
    file = Path(__file__).resolve().parents[1] / "unit" / "trainer" / path
    spec = importlib.util.spec_from_file_location(f"tunesmith_{file.parent.name}_fixtures", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


_trainer = _module("conftest.py")
_models = _module("models/conftest.py")
new_lab, pretrained, base = _trainer.new_lab, _trainer.pretrained, _trainer.base
model_folder, other = _trainer.model_folder, _models.other
pytest_collection_modifyitems = _trainer.pytest_collection_modifyitems
pytest_collection_finish, pytest_sessionfinish = _trainer.pytest_collection_finish, _trainer.pytest_sessionfinish


@pytest.fixture(autouse=True)
def _gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("this machine has no NVIDIA GPU")


@pytest.fixture
def lab(tmp_path: Path) -> Any:
    """An empty folder for jobs."""
    return _trainer.Lab(tmp_path, CUDA)
