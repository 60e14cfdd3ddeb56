"""A small API server in this process, and the operator's client; also the golden tests' scenario builder."""

import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[3] / "golden"))

from api_server import Address, ApiServer, serving

from tunesmith_operator.backoff import Backoff
from tunesmith_operator.kube import KubeClient
from tunesmith_operator.ratelimit import TokenBucket


@pytest.fixture
async def api() -> AsyncIterator[ApiServer]:
    """An API server that serves all kinds the operator touches."""
    async with serving() as server:
        yield server


@pytest.fixture
def address(api: ApiServer) -> Address:
    """Where it is."""
    return Address(api.url)


@pytest.fixture
async def client(address: Address) -> AsyncIterator[KubeClient]:
    """The operator's client, impatient enough for tests."""
    async with aiohttp.ClientSession() as session:
        yield KubeClient(address, session, TokenBucket(10_000, 10_000), patience=Backoff(first=0.01, limit=0.05))


@pytest.fixture
def config(tmp_path: Path, api: ApiServer) -> Path:
    """Settings and a kubeconfig in a folder."""
    kubeconfig = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "x", "cluster": {"server": api.url}}],
        "users": [{"name": "x", "user": {"token": "secret"}}],
        "contexts": [{"name": "x", "context": {"cluster": "x", "user": "x"}}],
        "current-context": "x",
    }
    (tmp_path / "kubeconfig").write_text(json.dumps(kubeconfig))
    api.put("persistentvolumeclaims", {"metadata": {"name": "models"}, "status": {"phase": "Bound"}})
    return tmp_path
