"""kubectl and helm as the demo and the end-to-end tests use them: with a namespace, a limit and a clear error."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "charts" / "tunesmith"
_CLUSTER_TOOL = (sys.executable, "tests/cluster")
_COMMAND_LIMIT = 60.0
# Nothing is fetched, and what is printed is the result alone.
_POD_ENVIRONMENT = {
    "HOME": "/tmp",  # noqa: S108 - in the pod
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TQDM_DISABLE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore",
}

Object = dict[str, Any]


class CommandError(RuntimeError):
    """A command failed or took too long; the message holds the command and what it said.

    Attributes:
        output: What it wrote to its standard output and error.
    """

    def __init__(self, command: Iterable[str], problem: str, output: str) -> None:
        super().__init__(f"{' '.join(command)}: {problem}\n{output.strip()}")
        self.output = output


def run(
    command: tuple[str, ...],
    environment: Mapping[str, str] | None = None,
    *,
    stdin: str | bytes | None = None,
    limit: float = _COMMAND_LIMIT,
) -> str:
    """Run a command in the repository's root and return its standard output.

    Args:
        command: The program and its arguments.
        environment: Its whole environment; absent means this process's.
        stdin: What it reads.
        limit: Seconds after which it is stopped.

    Raises:
        CommandError: It failed, is missing or took longer than the limit.
    """
    data = stdin.encode() if isinstance(stdin, str) else (stdin or b"")
    try:
        result = subprocess.run(
            command, env=environment, input=data, capture_output=True, check=False, timeout=limit, cwd=REPOSITORY
        )
    except subprocess.TimeoutExpired as error:
        raise CommandError(
            command, f"stopped after {limit:.0f} s", str(error.output or b"", "utf-8", "replace")
        ) from error
    except FileNotFoundError as error:
        raise CommandError(command, "there is no such program on the PATH", "") from error
    output = result.stdout.decode(errors="replace")
    if result.returncode:
        raise CommandError(command, f"exit status {result.returncode}", output + result.stderr.decode(errors="replace"))
    return output


def cluster_environment() -> dict[str, str]:
    """Return the environment in which kubectl and helm reach the cluster.

    The local cluster's, unless CLUSTER=current asks for the context that kubectl uses anyway.

    Raises:
        CommandError: The local cluster's tool failed.
    """
    if os.environ.get("CLUSTER") == "current":
        return dict(os.environ)
    lines = run((*_CLUSTER_TOOL, "env"))
    listing = run(("bash", "-c", f"{lines}\nenv -0"))
    return dict(entry.split("=", 1) for entry in listing.split("\0") if "=" in entry)


def images() -> dict[str, str]:
    """Return the references of the project's images by name: `operator`, `trainer-cpu`.

    OPERATOR_IMAGE and TRAINER_IMAGE in the environment name them; otherwise the local cluster's tool builds them. With
    CLUSTER=current nothing is built: what is not named keeps the chart's default.

    Raises:
        CommandError: They could not be built or pushed to the local cluster's registry.
    """
    variables = {"operator": "OPERATOR_IMAGE", "trainer-cpu": "TRAINER_IMAGE"}
    given = {name: os.environ[variable] for name, variable in variables.items() if os.environ.get(variable)}
    if len(given) == len(variables) or os.environ.get("CLUSTER") == "current":
        return given
    lines = run((*_CLUSTER_TOOL, "images"), limit=2400).splitlines()
    pairs = (line.split() for line in lines)
    return {pair[0]: pair[1] for pair in pairs if len(pair) == 2 and "/" in pair[1]} | given  # noqa: PLR2004 - name, reference


@dataclass(frozen=True)
class Kubectl:
    """kubectl in one namespace.

    Attributes:
        environment: Environment that leads to the cluster.
        namespace: Namespace of every command.
    """

    environment: Mapping[str, str]
    namespace: str

    def __call__(self, *arguments: str, stdin: str | bytes | None = None, limit: float = _COMMAND_LIMIT) -> str:
        """Run kubectl and return its standard output.

        Raises:
            CommandError: It failed.
        """
        return run(("kubectl", "--namespace", self.namespace, *arguments), self.environment, stdin=stdin, limit=limit)

    def get(self, kind: str, name: str) -> Object | None:
        """Return an object, or None when there is none of that name.

        Raises:
            CommandError: kubectl failed otherwise.
        """
        text = self("get", kind, name, "--output", "json", "--ignore-not-found")
        found: Object | None = json.loads(text) if text.strip() else None
        return found

    def list(self, kind: str, selector: str = "") -> list[Object]:
        """Return the objects of a kind, in the order of their names.

        Raises:
            CommandError: kubectl failed.
        """
        found: list[Object] = json.loads(self("get", kind, "--selector", selector, "--output", "json"))["items"]
        return found

    def apply(self, *objects: Object) -> None:
        """Create or update objects.

        Raises:
            CommandError: The API server refused one.
        """
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        # Server-side: what is large would not fit into client-side apply's annotation.
        self("apply", "--server-side", "--filename", "-", stdin=json.dumps(items))

    def try_to(self, *arguments: str) -> str:
        """Run kubectl and return what it said, also when it failed: for diagnoses."""
        try:
            return self(*arguments)
        except CommandError as error:
            return str(error)


def restricted_namespace(name: str) -> Object:
    """Return a namespace that admits restricted pods only."""
    labels = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def config_map(name: str, files: Mapping[str, str]) -> Object:
    """Return a ConfigMap of text files."""
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": dict(files)}


def claim(name: str, size: str = "1Gi") -> Object:
    """Return a PersistentVolumeClaim of the default storage class."""
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": spec}


def python_pod(
    name: str, image: str, command: tuple[str, ...], *, claims: Mapping[str, bool], configs: Iterable[str] = ()
) -> Object:
    """Return a restricted pod that sees claims and ConfigMaps where the trainer sees them.

    Args:
        name: Name of the pod.
        image: An image with Python.
        command: The command.
        claims: Names of claims; the value says whether they may be written to.
        configs: Names of ConfigMaps.
    """
    sources: list[tuple[Object, Object]] = [({"name": "tmp", "emptyDir": {}}, {"name": "tmp", "mountPath": "/tmp"})]  # noqa: S108 - in the pod
    for index, (claim_name, writable) in enumerate(claims.items()):
        volume = {"name": f"claim-{index}", "persistentVolumeClaim": {"claimName": claim_name}}
        path = f"/tunesmith/claims/{claim_name}"
        sources.append((volume, {"name": volume["name"], "mountPath": path, "readOnly": not writable}))
    for index, config in enumerate(configs):
        volume = {"name": f"config-{index}", "configMap": {"name": config}}
        sources.append((volume, {"name": volume["name"], "mountPath": f"/tunesmith/configmaps/{config}"}))
    container = {
        "name": "python",
        "image": image,
        "command": list(command),
        "env": [{"name": name, "value": value} for name, value in _POD_ENVIRONMENT.items()],
        "volumeMounts": [mount for _, mount in sources],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    spec = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [container],
        "volumes": [volume for volume, _ in sources],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
