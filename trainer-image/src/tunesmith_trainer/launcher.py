"""How the training processes of a node are started: one directly, several through torchrun."""

from __future__ import annotations

import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.pod import ENV_GRACE_SECONDS, RENDEZVOUS_PORT
from tunesmith_api.run import FrozenRun
from tunesmith_trainer.devices.cpu import threads_per_process
from tunesmith_trainer.devices.network import gloo_interface
from tunesmith_trainer.errors import CollectiveFailed

ENV_MASTER_ADDRESS = "PET_MASTER_ADDR"
ENV_MASTER_PORT = "PET_MASTER_PORT"
ENV_NODE_RANK = "PET_NODE_RANK"
DEFAULT_GRACE_SECONDS = 60.0

_NAME_SECONDS = 900.0  # an image of many gigabytes may have to reach the first node
_NAME_INTERVAL_SECONDS = 0.5
_RENDEZVOUS_SECONDS = 900
_SHUTDOWN_MARGIN_SECONDS = 10
_EXIT_BY_SIGNAL = 128
_VICTIMS = frozenset({int(ExitCode.COLLECTIVE_FAILED), _EXIT_BY_SIGNAL + signal.SIGTERM})


class Failure(Protocol):
    """What torchrun tells of a process that failed."""

    @property
    def exitcode(self) -> int:
        """Its status, negative when a signal ended it."""

    @property
    def timestamp(self) -> int:
        """When that was seen, in seconds."""


def grace_seconds(environment: Mapping[str, str]) -> float:
    """Return the seconds between SIGTERM and SIGKILL."""
    return float(environment.get(ENV_GRACE_SECONDS) or DEFAULT_GRACE_SECONDS)


def node_rank(environment: Mapping[str, str]) -> int:
    """Return the rank of this pod among the run's."""
    return int(environment.get(ENV_NODE_RANK) or 0)


def command(run: FrozenRun, environment: Mapping[str, str]) -> list[str]:
    """Return the command that runs this node's training processes."""
    program = [sys.executable, "-m", "tunesmith_trainer"]
    if run.world_size == 1:
        return [*program, "worker"]
    # On one node nobody else has to find the first process: no name has to be known for that.
    address = environment[ENV_MASTER_ADDRESS] if run.spec.num_nodes > 1 else "127.0.0.1"
    shutdown = max(1, int(grace_seconds(environment)) - _SHUTDOWN_MARGIN_SECONDS)
    return [
        *program,
        "launch",
        "--rdzv-backend=static",
        f"--rdzv-conf=timeout={_RENDEZVOUS_SECONDS}",
        f"--nnodes={run.spec.num_nodes}",
        f"--node-rank={node_rank(environment)}",
        f"--nproc-per-node={run.spec.num_proc_per_node}",
        f"--master-addr={address}",
        f"--master-port={environment.get(ENV_MASTER_PORT, RENDEZVOUS_PORT)}",
        "--max-restarts=0",
        "--monitor-interval=0.2",
        f"--shutdown-timeout={shutdown}",
        "-m",
        "tunesmith_trainer",
        "worker",
    ]


def child_environment(run: FrozenRun, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the training processes."""
    wanted = {"HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
    if not run.uses_hub:
        # Whatever a library may be tempted to ask: a run that names nothing of the Hub does not depend on it.
        wanted["HF_HUB_OFFLINE"] = "1"
    if run.profile.device == "cpu":
        wanted["OMP_NUM_THREADS"] = str(threads_per_process(run.spec.num_proc_per_node))
    if run.world_size > 1 and run.profile.backend == "gloo":
        interface = gloo_interface(run.spec.num_nodes)
        if interface:
            wanted["GLOO_SOCKET_IFNAME"] = interface
    # What the operator, the installation or the user has set stays.
    return wanted | dict(environment)


def wait_for_first_node(
    run: FrozenRun, environment: Mapping[str, str], pause: Callable[[float], bool], *, limit: float = _NAME_SECONDS
) -> None:
    """Wait until the name of the first node can be resolved: it comes into being with that node's pod.

    Args:
        run: The frozen run; with one node there is nothing to wait for.
        environment: Names the first node.
        pause: Sleeps for some seconds and says whether to give up, because the pod was told to stop.
        limit: Seconds to wait at most.

    Raises:
        CollectiveFailed: The name can not be resolved in time.
    """
    if run.spec.num_nodes == 1:
        return
    name = environment[ENV_MASTER_ADDRESS]
    for _ in range(max(1, int(limit / _NAME_INTERVAL_SECONDS))):
        if _resolves(name) or pause(_NAME_INTERVAL_SECONDS):
            return
    raise CollectiveFailed(
        f"The name {name} of the first node could not be resolved in {limit:.0f} s: look at that pod, and at the"
        " cluster's DNS"
    )


def _resolves(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None)
    except OSError:
        return False
    return True


def launch(arguments: list[str]) -> int:
    """Run torchrun in this process and return the exit code of the process whose failure was the cause.

    torchrun's own program ends with 1 whatever happened to its children.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    try:
        run(parse_args(arguments))
    except ChildFailedError as error:
        return cause(error.failures.values())
    except SignalException as error:
        return _EXIT_BY_SIGNAL + int(error.sigval)
    return 0


def cause(failures: Iterable[Failure]) -> int:
    """Return the exit code of the first process that failed by itself.

    Processes that lost the others, or were ended for their sake, may be seen to fail first or in the same moment.

    Args:
        failures: What torchrun saw, at least one.
    """
    codes = [exit_code(failure.exitcode) for failure in sorted(failures, key=lambda failure: failure.timestamp)]
    return next((code for code in codes if code not in _VICTIMS), codes[0])


def exit_code(status: int) -> int:
    """Return a child's status as an exit code: killed by signal n is 128 + n."""
    return _EXIT_BY_SIGNAL - status if status < 0 else status
