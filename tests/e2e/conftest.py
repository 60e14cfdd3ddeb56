"""The cluster, the operator installed with its chart, and a restricted namespace per test."""

import itertools
import sys
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

_HERE = Path(__file__).resolve().parent
# The demo's kubectl and installation are what a user has; the tests use the same.
sys.path.insert(0, str(_HERE))
sys.path.insert(0, str(_HERE.parents[1] / "examples" / "demo"))

import install  # noqa: E402 - found through the line above
import jobs  # noqa: E402 - found through the line above
from kube import Kubectl, cluster_environment, config_map, images, restricted_namespace  # noqa: E402 - found through the line above
from watching import Watched  # noqa: E402 - found through the line above

Object = dict[str, Any]
Apply = Callable[..., Watched]
# Faster looks than the defaults, so that tests see a job move and need not wait for it.
VALUES: Object = {"settings": {"pollSeconds": 1, "statusSeconds": 2, "logLevel": "debug"}}
_numbers = itertools.count(1)
_failed = pytest.StashKey[bool]()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test here: it needs the cluster, and may take as long as the longest wait in it."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(600))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember a failure, so that the namespace tells what was going on before it goes; and tell it at once."""
    report = yield
    if report.failed:
        item.stash[_failed] = True
        reporter = item.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.write_line(f"\n{item.nodeid}\n{report.longreprtext}")
    return report


@pytest.fixture(scope="session")
def environment() -> dict[str, str]:
    """The environment in which kubectl and helm reach the cluster."""
    return cluster_environment()


@pytest.fixture(scope="session")
def references() -> dict[str, str]:
    """References of the images by name."""
    return images()


@pytest.fixture(scope="session")
def installed(environment: dict[str, str], references: dict[str, str]) -> Callable[..., Kubectl]:
    """Installs or upgrades the operator with further values and waits until it is ready."""
    kubectl = Kubectl(environment, install.NAMESPACE)

    def run(values: Object | None = None) -> Kubectl:
        merged = {**VALUES, **(values or {})}
        install.install(kubectl, references, merged)
        return kubectl

    return run


@pytest.fixture(scope="session")
def operator(installed: Callable[..., Kubectl]) -> Kubectl:
    """Kubectl in the namespace of the running operator."""
    return installed()


def _make_namespace(environment: dict[str, str], prefix: str) -> Kubectl:
    name = f"e2e-{prefix[:30].strip('-')}-{next(_numbers)}-{int(time.time()) % 100000}"
    space = Kubectl(environment, name)
    space.apply(
        restricted_namespace(name),
        config_map(jobs.TEXTS, {"train.jsonl": jobs.texts()}),
        config_map(jobs.QUESTIONS, {"train.jsonl": jobs.questions()}),
    )
    return space


def _diagnose(space: Kubectl, operator: Kubectl) -> None:
    for arguments in (
        ("get", "finetunejobs,alignmentjobs", "--output", "yaml"),
        ("get", "pytorchjobs,jobs.batch,pods,persistentvolumeclaims", "--output", "wide"),
        ("get", "events", "--sort-by", ".lastTimestamp"),
        ("logs", "--selector", "tunesmith.dev/job-name", "--tail", "60", "--prefix"),
    ):
        print(f"\n$ kubectl {' '.join(arguments)}\n{space.try_to(*arguments)}")
    print(f"\nThe operator:\n{operator.try_to('logs', f'deployment/{install.RELEASE}', '--tail', '80')}")


@pytest.fixture
def space(environment: dict[str, str], operator: Kubectl, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """Kubectl in a fresh namespace that admits restricted pods only and has data; deleted in the end."""
    kubectl = _make_namespace(environment, request.node.originalname.removeprefix("test_").replace("_", "-"))
    yield kubectl
    if request.node.stash.get(_failed, default=False):
        _diagnose(kubectl, operator)
    kubectl("delete", "namespace", kubectl.namespace, "--wait=false", "--ignore-not-found")


@pytest.fixture(scope="module")
def shared_space(environment: dict[str, str], operator: Kubectl, request: pytest.FixtureRequest) -> Iterator[Kubectl]:
    """The same, for all tests of a file."""
    kubectl = _make_namespace(
        environment, request.module.__name__.rpartition(".")[2].removeprefix("test_").replace("_", "-")
    )
    yield kubectl
    if request.session.testsfailed:
        _diagnose(kubectl, operator)
    kubectl("delete", "namespace", kubectl.namespace, "--wait=false", "--ignore-not-found")


def _apply(space: Kubectl, *manifests: Object) -> Watched:
    space.apply(*manifests)
    last = manifests[-1]
    return Watched(space, last["kind"], last["metadata"]["name"])


@pytest.fixture
def apply(space: Kubectl) -> Apply:
    """Applies objects to the test's namespace and returns the last one to watch."""
    return lambda *manifests: _apply(space, *manifests)


@pytest.fixture(scope="module")
def apply_shared(shared_space: Kubectl) -> Apply:
    """Applies objects to the file's namespace and returns the last one to watch."""
    return lambda *manifests: _apply(shared_space, *manifests)
