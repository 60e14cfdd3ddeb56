"""What is generated of the models, made once: it takes seconds."""

import pytest

from tunesmith_api.generate import files


@pytest.fixture(scope="session")
def generated() -> dict[str, str]:
    """Every generated file by its path."""
    return files()
