"""What runs in the cluster: DNS, the volume provisioner, the training operator; and the test that they work."""

from __future__ import annotations

import json
import time
from pathlib import Path
from string import Template

from localcluster import controlplane, settings, shell

_ROLLOUTS = (
    ("kube-system", "coredns"),
    ("local-path-storage", "local-path-provisioner"),
    ("kubeflow", "training-operator"),
)
_SMOKE = "tunesmith-smoke"
_SMOKE_SECONDS = 120


def apply() -> None:
    """Apply the manifests and wait until everything of them is ready.

    Raises:
        ClusterError: a manifest was refused or something was not ready in time.
    """
    with shell.step("applying DNS, volume provisioner and training operator"):
        _server_side(_filled(settings.MANIFESTS / "coredns.yaml"))
        for name in ("local-path-provisioner", "training-operator"):
            _server_side(_rendered(name))
    with shell.step("waiting for them to be ready"):
        shell.wait_for("the training operator's certificate", _certificate_made, timeout=120)
        _show_certificate()
        for namespace, deployment in _ROLLOUTS:
            words = ["rollout", "status", f"deployment/{deployment}", "-n", namespace, "--timeout=180s"]
            controlplane.kubectl(*words, timeout=200)
        shell.wait_for("the training operator's webhook", _webhook_ready, timeout=60)


def _server_side(manifests: str) -> None:
    words = ["apply", "--server-side", "--force-conflicts", "--field-manager=tunesmith-local-cluster", "-f", "-"]
    controlplane.kubectl(*words, stdin=manifests)


def _filled(path: Path) -> str:
    return Template(path.read_text(encoding="utf-8")).substitute(
        image_prefix=settings.IMAGE_PREFIX,
        busybox=settings.BUSYBOX_IMAGE,
        dns_address=settings.DNS_ADDRESS,
        forward=_forward(),
        volumes=str(settings.VOLUMES),
        upstream="../../../upstream-manifests",
        namespace=_SMOKE,
    )


def _rendered(name: str) -> str:
    """Upstream's manifests through kustomize with our changes."""
    folder = settings.CONFIGURATION / "manifests" / name
    shell.write_atomically(folder / "kustomization.yaml", _filled(settings.MANIFESTS / name / "kustomization.yaml"))
    return controlplane.kubectl("kustomize", "--load-restrictor=LoadRestrictionsNone", str(folder))


def _forward() -> str:
    """Names outside the cluster go to this machine's DNS servers, where it has any that pods can reach."""
    try:
        lines = Path("/etc/resolv.conf").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    servers = [line.split()[1] for line in lines if line.startswith("nameserver ")]
    reachable = [server for server in servers if not server.startswith("127.") and server != "::1"]
    return f"forward . {' '.join(reachable)}" if reachable else ""


def _certificate_made() -> bool:
    """The training operator makes its webhook's certificate itself, once it runs, and puts it into a Secret."""
    words = ["get", "secret", "training-operator-webhook-cert", "-n", "kubeflow", "-o", "json"]
    return "tls.crt" in json.loads(controlplane.kubectl(*words)).get("data", {})


def _show_certificate() -> None:
    """Let the kubelet look at the operator's pods now: by itself it brings a changed Secret in only after a minute."""
    words = ["annotate", "pods", "-n", "kubeflow", "-l", "control-plane=kubeflow-training-operator", "--overwrite"]
    controlplane.kubectl(*words, f"tunesmith.dev/certificate-made={int(time.time())}")


def _webhook_ready() -> bool:
    """The operator writes its certificate into the webhook's configuration after it has started."""
    told = controlplane.kubectl("get", "validatingwebhookconfigurations", "-o", "json")
    hooks = [hook for each in json.loads(told)["items"] for hook in each["webhooks"] if "pytorchjob" in hook["name"]]
    return bool(hooks) and all(hook["clientConfig"].get("caBundle") for hook in hooks)


def smoke() -> None:
    """Run what jobs need of a cluster once, in a namespace of its own that is deleted afterwards.

    Raises:
        ClusterError: something did not work; the message tells the state of the pods.
    """
    _delete_smoke(wait=True)
    try:
        with shell.step("testing volumes, names, Services and a PyTorchJob"):
            shell.wait_for("the API server to take the test's objects", _apply_smoke, timeout=60, pause=1)
            shell.wait_for("the test's pods and PyTorchJob", _smoke_succeeded, timeout=_SMOKE_SECONDS, pause=0.5)
    except shell.ClusterError as error:
        state = controlplane.kubectl("get", "pods,pvc,pytorchjobs", "-n", _SMOKE, "-o", "wide")
        events = controlplane.kubectl("get", "events", "-n", _SMOKE, "--sort-by=.lastTimestamp")
        raise shell.ClusterError(f"the cluster's own test failed: {error}\n{state}\n{events[-3000:]}") from error
    finally:
        _delete_smoke(wait=False)


def _apply_smoke() -> bool:
    """Whether the objects were taken; a webhook that has only just started may still refuse the connection."""
    try:
        _server_side(_filled(settings.MANIFESTS / "smoke.yaml"))
    except shell.ClusterError as error:
        if "failed calling webhook" in str(error):
            return False
        raise
    return True


def _smoke_succeeded() -> bool:
    client = controlplane.kubectl("get", "pod", "client", "-n", _SMOKE, "-o", "jsonpath={.status.phase}")
    told = controlplane.kubectl("get", "pytorchjob", "smoke", "-n", _SMOKE, "-o", "json")
    conditions = json.loads(told).get("status", {}).get("conditions", [])
    if any(each["type"] == "Failed" and each["status"] == "True" for each in conditions):
        raise shell.ClusterError("the PyTorchJob failed")
    return client == "Succeeded" and any(
        each["type"] == "Succeeded" and each["status"] == "True" for each in conditions
    )


def _delete_smoke(*, wait: bool) -> None:
    words = ["delete", "namespace", _SMOKE, "--ignore-not-found", "--timeout=90s", f"--wait={str(wait).lower()}"]
    controlplane.kubectl(*words)
