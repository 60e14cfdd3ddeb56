"""How training processes are started, and how they find each other."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tunesmith_api.run import FrozenRun, ResolvedModel
from tunesmith_api.v1alpha1.status import HubModel
from tunesmith_trainer.devices.cpu import threads_per_process
from tunesmith_trainer.devices.network import default_interface, gloo_interface
from tunesmith_trainer.errors import CollectiveFailed
from tunesmith_trainer.launcher import cause, child_environment, command, exit_code, wait_for_first_node

MakeRun = Callable[..., FrozenRun]
ENVIRONMENT = {"PET_MASTER_ADDR": "job-worker-0", "PET_MASTER_PORT": "23456", "PET_NODE_RANK": "1"}


def test_one_process_needs_no_launcher(make_run: MakeRun) -> None:
    assert command(make_run(), {}) == [sys.executable, "-m", "tunesmith_trainer", "worker"]


def test_several_nodes_meet_at_the_first(make_run: MakeRun) -> None:
    arguments = command(make_run(numNodes=2, numProcPerNode=4), ENVIRONMENT | {"TUNESMITH_GRACE_SECONDS": "60"})
    assert {"--nnodes=2", "--nproc-per-node=4", "--node-rank=1"} < set(arguments)
    assert {"--master-addr=job-worker-0", "--master-port=23456"} < set(arguments)
    assert {"--max-restarts=0", "--shutdown-timeout=50"} < set(arguments)


def test_several_processes_of_one_node_need_no_name(make_run: MakeRun) -> None:
    assert "--master-addr=127.0.0.1" in command(make_run(numProcPerNode=2), ENVIRONMENT)


def test_what_the_user_has_set_stays(make_run: MakeRun) -> None:
    run = make_run(numProcPerNode=2)
    assert child_environment(run, {"OMP_NUM_THREADS": "7"})["OMP_NUM_THREADS"] == "7"
    assert child_environment(run, {})["HF_HUB_DISABLE_TELEMETRY"] == "1"


def test_only_a_run_that_names_the_hub_may_ask_it(make_run: MakeRun) -> None:
    run = make_run()
    hub = ResolvedModel(base=HubModel(name="team/tiny", revision="main"))
    assert child_environment(run, {})["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in child_environment(run.model_copy(update={"model": hub}), {})
    assert "HF_HUB_OFFLINE" not in child_environment(make_run(datasets=[{"hub": {"name": "team/rows"}}]), {})


def test_a_name_that_never_comes_is_an_error_of_the_collective(make_run: MakeRun) -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return False

    environment = ENVIRONMENT | {"PET_MASTER_ADDR": "there-is-no.such-node.invalid"}
    with pytest.raises(CollectiveFailed, match=r"there-is-no\.such-node\.invalid"):
        wait_for_first_node(make_run(numNodes=2), environment, pause, limit=2.0)
    assert len(pauses) == 4
    wait_for_first_node(make_run(numNodes=2), ENVIRONMENT | {"PET_MASTER_ADDR": "localhost"}, pause)
    assert len(pauses) == 4


@pytest.mark.parametrize(
    ("files", "processes", "threads"),
    [
        ({"cpu.max": "150000 100000"}, 1, 1),
        ({"cpu.max": "max 100000"}, 1, len(os.sched_getaffinity(0))),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 1, len(os.sched_getaffinity(0))),
        ({}, 1000, 1),
    ],
)
def test_threads_follow_the_pods_share_of_the_cores(
    tmp_path: Path, files: dict[str, str], processes: int, threads: int
) -> None:
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    assert threads_per_process(processes, tmp_path) == threads


def test_the_default_route_names_the_interface(tmp_path: Path) -> None:
    routes = tmp_path / "route"
    routes.write_text("Iface\tDestination\tGateway\neth1\t0000A8C0\t00000000\neth0\t00000000\t0100A8C0\n")
    assert default_interface(routes) == "eth0"
    assert default_interface(tmp_path / "missing") is None
    assert gloo_interface(1) == "lo"


def test_a_childs_signal_becomes_an_exit_code() -> None:
    assert [exit_code(status) for status in (0, 11, -9)] == [0, 11, 137]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("program", "code"),
    [
        ("import os, time; os._exit(12) if os.environ['RANK'] == '1' else time.sleep(60)", 12),
        (
            "import os, time; os.kill(os.getpid(), 9) if os.environ['RANK'] == '1' else time.sleep(60)",
            137,
        ),
    ],
)
def test_torchruns_own_exit_code_is_that_of_the_process_that_failed(tmp_path: Path, program: str, code: int) -> None:
    script = tmp_path / "program.py"
    script.write_text(program)
    arguments = ["--standalone", "--nproc-per-node=2", "--max-restarts=0", str(script)]
    launched = subprocess.run(
        [sys.executable, "-m", "tunesmith_trainer", "launch", *arguments], check=False, timeout=90
    )
    assert launched.returncode == code


@dataclass(frozen=True)
class Failed:
    """What torchrun tells of a process."""

    exitcode: int
    timestamp: int = 1


@pytest.mark.parametrize(
    ("failures", "code"),
    [
        ([Failed(-9)], 137),
        ([Failed(201), Failed(-9)], 137),
        ([Failed(201, 1), Failed(-9, 2)], 137),
        ([Failed(-15), Failed(3)], 3),
        ([Failed(4, 2), Failed(3, 1)], 3),
        ([Failed(201), Failed(-15)], 201),
    ],
)
def test_the_cause_is_told_and_not_who_lost_the_others(failures: list[Failed], code: int) -> None:
    assert cause(failures) == code
