"""The demo: pretrain, fine-tune and align a tiny model on a real Kubernetes, then check the result outside Tunesmith.

`make demo` runs it on the local cluster. With CLUSTER=current it uses the current context; OPERATOR_IMAGE and
TRAINER_IMAGE then name the images that its nodes can pull.
"""

import io
import json
import re
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import corpus
import install
from follow import Job, JobFailedError, follow
from kube import (
    CHART,
    CommandError,
    Kubectl,
    Object,
    claim,
    cluster_environment,
    config_map,
    images,
    python_pod,
    restricted_namespace,
)

_NAMESPACE = "tunesmith-demo"
_EXAMPLES = Path(__file__).resolve().parents[1]
_JOBS = (
    ("01-pretrain-tiny.yaml", Job("finetunejob", "tiny-llama"), "pretrain"),
    ("02-sft-lora.yaml", Job("finetunejob", "tiny-answers"), "sft"),
    ("03-dpo.yaml", Job("alignmentjob", "tiny-preferences"), "dpo"),
)
_JOB_LIMIT = 900.0
_POD_LIMIT = 300.0
# The jobs take a minute: look more often than the chart's defaults do.
_VALUES = {"settings": {"pollSeconds": 1, "statusSeconds": 2}}
_DATA_CLAIM = "demo-data"
_PREFERENCES = "demo-preferences"


def main() -> int:
    """Run the demo and return its exit status."""
    started = time.monotonic()
    try:
        checked = _demo()
    except (CommandError, JobFailedError) as error:
        print(f"\nThe demo failed after {time.monotonic() - started:.0f} s.\n{error}", file=sys.stderr)
        return 1
    print(f"\nDone in {time.monotonic() - started:.0f} s." if checked else "\nThe check failed: see above.")
    return 0 if checked else 1


def _demo() -> bool:
    environment = cluster_environment()
    kubectl = Kubectl(environment, _NAMESPACE)
    with _step("Images"):
        references = images()
    trainer = references.get("trainer-cpu", f"tunesmith/trainer-cpu:{_app_version()}")
    with _step("Operator, with its Helm chart"):
        install.install(Kubectl(environment, install.NAMESPACE), references, _VALUES)
    with _step(f"Namespace {_NAMESPACE}, which admits restricted pods only; one of an earlier demo is deleted first"):
        kubectl("delete", "namespace", _NAMESPACE, "--ignore-not-found", "--timeout", "180s", limit=200)
        kubectl.apply(restricted_namespace(_NAMESPACE))
    with _step("Data: Python's own documentation, on a claim and in a ConfigMap"):
        _load_data(kubectl, trainer)
    with _step("Three jobs; the second and the third wait for the one before"):
        for file, _, _ in _JOBS:
            kubectl("apply", "--filename", str(_EXAMPLES / file))
        finished = [follow(kubectl, job, _JOB_LIMIT) for _, job, _ in _JOBS]
    print("\n$ kubectl get finetunejobs,alignmentjobs\n" + kubectl("get", "finetunejobs,alignmentjobs"))
    with _step("Check, with plain peft and transformers in a pod of its own"):
        checked = _check(kubectl, trainer, finished)
    _where_to_look(finished)
    return checked


@contextmanager
def _step(title: str) -> Iterator[None]:
    print(f"==> {title}", flush=True)
    started = time.monotonic()
    yield
    print(f"    {time.monotonic() - started:.0f} s", flush=True)


def _load_data(kubectl: Kubectl, image: str) -> None:
    texts, questions = corpus.split(corpus.corpus()), corpus.split(corpus.questions())
    files = {
        f"{folder}/{name}.jsonl": corpus.json_lines(rows)
        for folder, parts in (("corpus", texts), ("questions", questions))
        for name, rows in zip(("train", "held-out"), parts, strict=True)
    }
    names = ("train.jsonl", "held-out.jsonl")
    pairs = {name: corpus.json_lines(corpus.preferences(rows)) for name, rows in zip(names, questions, strict=True)}
    kubectl.apply(claim(_DATA_CLAIM, "64Mi"), config_map(_PREFERENCES, pairs))
    load_claim(kubectl, image, _DATA_CLAIM, files)
    sizes = ", ".join(f"{len(part[0])} {name}" for name, part in (("texts", texts), ("questions", questions)))
    print(f"    {sizes} to train on; every tenth row is held out", flush=True)


def load_claim(kubectl: Kubectl, image: str, claim_name: str, files: dict[str, str]) -> None:
    """Write text files to a claim through a pod that lives as long as that takes.

    Args:
        kubectl: kubectl in the claim's namespace.
        image: An image with Python.
        claim_name: The claim.
        files: Contents by path below the claim's root.

    Raises:
        CommandError: The pod did not start or could not write.
    """
    pod = f"load-{claim_name}"
    kubectl.apply(python_pod(pod, image, ("sleep", "600"), claims={claim_name: True}))
    _wait_for_pod(kubectl, pod, "jsonpath={.status.phase}=Running")
    unpack = "import sys, tarfile; tarfile.open(fileobj=sys.stdin.buffer, mode='r|').extractall(sys.argv[1])"
    target = f"/tunesmith/claims/{claim_name}"
    kubectl("exec", "--stdin", pod, "--", "python3", "-c", unpack, target, stdin=_archive(files), limit=120)
    kubectl("delete", "pod", pod, "--wait=false")


def _archive(files: dict[str, str]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for path, text in files.items():
            data = text.encode()
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _wait_for_pod(kubectl: Kubectl, pod: str, state: str) -> None:
    seconds = int(_POD_LIMIT)
    try:
        kubectl("wait", f"pod/{pod}", f"--for={state}", f"--timeout={seconds}s", limit=_POD_LIMIT + 10)
    except CommandError as error:
        told = kubectl.try_to("describe", "pod", pod) + kubectl.try_to("logs", pod, "--tail", "40")
        raise CommandError(("kubectl", "wait", f"pod/{pod}"), f"it did not come to {state}", told) from error


def _check(kubectl: Kubectl, image: str, finished: list[Object]) -> bool:
    outputs = [job["status"]["output"] for job in finished]
    claims = {_DATA_CLAIM: False} | {output["claim"]: False for output in outputs}
    paths = {
        name: f"/tunesmith/claims/{output['claim']}/{output['path']}"
        for (_, _, name), output in zip(_JOBS, outputs, strict=True)
    }
    paths["texts"] = f"/tunesmith/claims/{_DATA_CLAIM}/corpus/held-out.jsonl"
    paths["questions"] = f"/tunesmith/claims/{_DATA_CLAIM}/questions/held-out.jsonl"
    paths["preferences"] = f"/tunesmith/configmaps/{_PREFERENCES}/held-out.jsonl"
    script = Path(__file__).with_name("check.py").read_text(encoding="utf-8")
    folder = "/tunesmith/configmaps/check"
    pod = python_pod(
        "check",
        image,
        ("python", f"{folder}/check.py", f"{folder}/check.json"),
        claims=claims,
        configs=("check", _PREFERENCES),
    )
    kubectl.apply(config_map("check", {"check.py": script, "check.json": json.dumps(paths)}), pod)
    _wait_for_pod(kubectl, "check", "jsonpath={.status.containerStatuses[0].state.terminated.exitCode}")
    print(kubectl("logs", "check"), flush=True)
    done = kubectl.get("pod", "check") or {}
    return bool(done["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 0)


def _where_to_look(finished: list[Object]) -> None:
    last = finished[-1]["status"]["output"]
    print(f"""
Where to look next (kubectl and helm of the local cluster: eval "$(python3 tests/cluster env)"):
  kubectl -n {_NAMESPACE} describe alignmentjob tiny-preferences
  kubectl -n {_NAMESPACE} get configmaps,pytorchjobs,persistentvolumeclaims
  kubectl explain finetunejob.spec.training
  The aligned adapter: claim {last["claim"]}, {last["path"]}
  {last["digest"]}
Load it where the claims are mounted as in the job's pods:
  {last["load"].strip().replace(chr(10), chr(10) + "  ")}
Clean up:
  kubectl delete namespace {_NAMESPACE}
  helm -n {install.NAMESPACE} uninstall {install.RELEASE}
  make cluster-down""")


def _app_version() -> str:
    text = (CHART / "Chart.yaml").read_text(encoding="utf-8")
    found = re.search(r"^appVersion: \"?([^\"\n]+)", text, re.MULTILINE)
    if found is None:
        raise CommandError((str(CHART),), "Chart.yaml names no appVersion", "")
    return found.group(1)


if __name__ == "__main__":
    sys.exit(main())
