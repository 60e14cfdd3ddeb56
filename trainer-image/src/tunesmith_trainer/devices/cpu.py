"""How many threads a process on a CPU may use."""

from __future__ import annotations

import math
import os
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def threads_per_process(processes: int, cgroup: Path = _CGROUP) -> int:
    """Return the threads of each process, so that all of them together use the pod's share of the cores.

    Torch counts the cores of the node, not those of the pod: more threads than cores slow each other down.

    Args:
        processes: Training processes of the pod.
        cgroup: Where control groups are mounted.
    """
    cores = len(os.sched_getaffinity(0))
    quota = _quota(cgroup)
    if quota is not None:
        cores = min(cores, max(1, math.floor(quota)))
    return max(1, cores // processes)


def _quota(cgroup: Path) -> float | None:
    """Return the cores that the control group allows, None when it sets no limit."""
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return _quota_v1(cgroup)
    return None if quota == "max" else int(quota) / int(period)


def _quota_v1(cgroup: Path) -> float | None:
    try:
        quota = int((cgroup / "cpu" / "cpu.cfs_quota_us").read_text(encoding="ascii"))
        period = int((cgroup / "cpu" / "cpu.cfs_period_us").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    return None if quota <= 0 or period <= 0 else quota / period
