"""Taking everything back: containers, processes, mounts, control groups, folders; and saying what is left."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from pathlib import Path

from localcluster import network, node, processes, settings, shell

_KUBELET_SOCKETS = Path("/var/lib/kubelet")
_SHIM_SOCKETS = Path("/run/containerd/s")
# Fixed in the programs that make them; removed by `down` when empty, if they were not there before.
_FOREIGN_FOLDERS = (
    _KUBELET_SOCKETS,
    Path("/var/log/containers"),
    Path("/var/log/pods"),
    Path("/var/lib/cni"),
    Path("/etc/cni"),
    Path("/run/containerd"),
)
_FOUND = settings.STATE / "foreign-folders.json"  # which of them were there before the cluster first started
_CONTROL_GROUPS = Path("/sys/fs/cgroup")


def remember_folders() -> None:
    """Note which folders outside ours exist already: only those that did not are removed by `down`."""
    if not _FOUND.exists():
        shell.write_atomically(_FOUND, json.dumps([str(path) for path in _FOREIGN_FOLDERS if path.exists()]))


def containers() -> None:
    """End and delete every container in our containerd, which must run."""
    tasks = [line.split()[0] for line in node.ctr("tasks", "ls").splitlines()[1:]]
    if tasks:
        processes.end(
            [int(line.split()[1]) for line in node.ctr("tasks", "ls").splitlines()[1:] if line.split()[1] != "0"], 0
        )
        for some in _portions(tasks):
            shell.attempt(
                ["ctr", "-a", settings.CONTAINERD_SOCKET, "-n", "k8s.io", "tasks", "delete", "--force", *some]
            )
    for some in _portions(node.ctr("containers", "ls", "-q").split()):
        node.ctr("containers", "delete", *some)


def _portions(names: list[str]) -> list[list[str]]:
    return [names[start : start + 50] for start in range(0, len(names), 50)]


def shims() -> None:
    """End shims of our containerd and what still runs in our pods' control groups."""
    processes.end(_shims(), 0)
    processes.end(_in_pods(), 0)


def _shims() -> list[int]:
    """Processes named containerd-shim that were started for our socket."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = path.read_bytes().split(b"\0")
            if b"containerd-shim" in words[0] and os.fsencode(settings.CONTAINERD_SOCKET) in words:
                found.append(int(path.parent.name))
    return found


def _in_pods() -> list[int]:
    """Processes in the control groups of our pods; another kubelet never runs beside ours (network.up refuses)."""
    found: set[int] = set()
    if not _FOUND.exists():
        return []
    for group in _pod_groups():
        for path in group.rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                found.update(int(word) for word in path.read_text(encoding="utf-8").split())
    return sorted(found - {0})  # zero stands for a process of another namespace


def _pod_groups() -> list[Path]:
    return [path for path in (_CONTROL_GROUPS / "kubepods", *_CONTROL_GROUPS.glob("*/kubepods")) if path.is_dir()]


def host() -> None:
    """Take back mounts, network, control groups and folders; the database and volumes of the cluster go too."""
    for point in reversed(_mounts()):
        if shell.attempt(["umount", point]).returncode != 0:
            shell.attempt(["umount", "--lazy", point])
    network.down()
    if _FOUND.exists():
        for group in _pod_groups():
            _remove_empty(group)
        _remove_folders()
    for path in (settings.RUN, settings.ETCD, settings.KUBELET, settings.VOLUMES, settings.POD_LOGS, settings.PIDS):
        if path.exists() and not path.is_mount() and not _mounts_below(path):
            shutil.rmtree(path)


def _remove_folders() -> None:
    """Remove what was put into folders outside ours, and those folders that are empty and were not there before."""
    before = set(json.loads(_FOUND.read_text(encoding="utf-8")))
    for link in Path("/var/log/containers").glob("*.log"):
        if link.is_symlink() and link.readlink().is_relative_to(settings.POD_LOGS):
            link.unlink()
    # A loopback's file does not tell whose it is.
    kinds = ("tunesmith-*", *(() if "/var/lib/cni" in before else ("cni-loopback-*",)))
    for result in (path for kind in kinds for path in Path("/var/lib/cni/results").glob(kind)):
        result.unlink()
    bound = Path("/proc/net/unix").read_text(encoding="utf-8")
    for socket in _SHIM_SOCKETS.glob("*"):
        if str(socket) not in bound:
            socket.unlink()
    shutil.rmtree("/run/containerd/runc/k8s.io", ignore_errors=True)
    if str(_KUBELET_SOCKETS) not in before:
        shutil.rmtree(_KUBELET_SOCKETS, ignore_errors=True)
    if "/etc/cni" not in before:
        Path("/etc/cni/net.d/cni.lock").unlink(missing_ok=True)  # buildah's
    for path in _FOREIGN_FOLDERS:
        if str(path) not in before:
            _remove_empty(path)
    _FOUND.unlink()


def _remove_empty(folder: Path) -> None:
    """Remove the empty folders in and including this one."""
    for path in sorted((*folder.rglob("*/"), folder), key=lambda each: len(each.parts), reverse=True):
        with contextlib.suppress(OSError):
            path.rmdir()


def _mounts() -> list[str]:
    """Mount points of ours, in the order they were mounted."""
    return [point for root in (settings.STATE, settings.RUN) for point in _mounts_below(root)]


def _mounts_below(root: Path) -> list[str]:
    """Mount points strictly below: the state folder may itself be a mount, and that one is not ours."""
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
    points = [re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), line.split()[4]) for line in lines]
    return [point for point in points if root in Path(point).parents]


def leftovers() -> list[str]:
    """What is still there after `down`, in words; empty when the machine is as it was."""
    found = [f"process {name}" for name in processes.names() if processes.running(name) is not None]
    found += [f"containerd shim {pid}" for pid in _shims()]
    found += [f"mount {point}" for point in _mounts()]
    found += network.leftovers()
    found += [f"folder {path}" for path in (settings.RUN,) if path.exists()]
    if _FOUND.exists():
        found += [f"control group {group}" for group in _pod_groups()]
    return found
