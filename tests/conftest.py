"""Fixtures of every suite; imports nothing but pytest, so that both environments can load it."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root folder of the repository."""
    return Path(__file__).resolve().parent.parent
