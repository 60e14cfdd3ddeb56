"""The commands: setup, up, down, status."""

from __future__ import annotations

import os
import shutil

from localcluster import (
    addons,
    certificates,
    cleanup,
    controlplane,
    golang,
    images,
    network,
    node,
    packages,
    processes,
    registry,
    settings,
    shell,
)

_DAEMONS = (registry.NAME, *controlplane.NAMES, *node.NAMES)
# A daemon is ended before those it talks to.
_STOP_ORDER = ("kubelet", "kube-proxy", "kube-scheduler", "kube-controller-manager")
_COMPLETE = settings.STATE / "complete"  # written once the cluster is up; tells what it was started from


def setup() -> None:
    """Install packages, build binaries and images; what is there already is kept.

    Raises:
        ClusterError: a part failed; run it again to go on where it stopped.
    """
    cleanup.remember_folders()
    packages.install()
    golang.build_all()
    images.build_own()


def up(*, smoke: bool = True) -> None:
    """Bring the cluster up: nothing to do when it is, from a clean state when it is not.

    Args:
        smoke: end with a test that volumes, names, Services and PyTorchJobs work.

    Raises:
        ClusterError: a part failed.
    """
    if os.geteuid() != 0:
        raise shell.ClusterError(
            "the local cluster needs root: run this as root, or use a cluster of your own (CLUSTER=current)"
        )
    setup()
    if _whole():
        shell.say("the cluster is up")
        images.push_own()
    else:
        _start()
    addons.apply()
    if smoke:
        addons.smoke()
    shell.say(f"ready: export KUBECONFIG={settings.KUBECONFIG}")


def _start() -> None:
    """Start from a clean state: whatever an earlier or interrupted start left is taken away first."""
    if cleanup.leftovers():
        with shell.step("clearing what an earlier start left"):
            _stop()
    certificates.ensure()
    network.up()
    with shell.step("starting registry and containerd"):
        registry.start()
        node.start_containerd()
        cleanup.containers()
        images.push_own()
        images.forget_stale()
    with shell.step("starting the control plane"):
        controlplane.start()
    with shell.step("starting the node"):
        node.start_kubelet()
    shell.write_atomically(_COMPLETE, _versions())


def _whole() -> bool:
    """Whether every daemon runs, was started from today's binaries, and the API server answers."""
    alive = all(processes.running(name) is not None for name in _DAEMONS)
    same = _COMPLETE.exists() and _COMPLETE.read_text(encoding="utf-8") == _versions()
    return alive and same and controlplane.answers()


def _versions() -> str:
    """What the binaries were built from, one line each."""
    return "".join(path.read_text(encoding="utf-8") + "\n" for path in sorted(settings.STAMPS.glob("go-*")))


def down() -> None:
    """Stop everything and take back what was changed on this machine; binaries, images and keys stay.

    Raises:
        ClusterError: something could not be taken back; the message lists it.
    """
    with shell.step("stopping the cluster"):
        _stop()
    if left := cleanup.leftovers():
        raise shell.ClusterError("the cluster is down, but this is left behind:\n  " + "\n  ".join(left))
    shell.say("the cluster is down; nothing of it is left but caches in .build/cluster")


def _stop() -> None:
    _COMPLETE.unlink(missing_ok=True)
    for name in _STOP_ORDER:
        processes.stop(name)
    if processes.running("containerd") is not None:
        cleanup.containers()
        processes.stop("containerd")
    cleanup.shims()
    processes.stop("kube-apiserver", grace=3)
    for name in {*processes.names(), *_DAEMONS}:
        processes.stop(name)
    cleanup.host()
    shutil.rmtree(settings.TEMPORARY, ignore_errors=True)


def status() -> bool:
    """Print what runs; whether the cluster is up."""
    for name in _DAEMONS:
        pid = processes.running(name)
        print(f"{name:26}{f'running (pid {pid})' if pid is not None else 'stopped'}")
    answers = controlplane.answers()
    print(f"{'API server':26}{'ready at ' + settings.API_URL if answers else 'does not answer'}")
    print(f"{'image registry':26}{settings.REGISTRY}")
    print(f"{'kubeconfig':26}{settings.KUBECONFIG}")
    return answers and all(processes.running(name) is not None for name in _DAEMONS)
