"""What lies on a job's output claim, read by a pod of the test's own."""

import hashlib
import json
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

from kube import CommandError, Kubectl, python_pod
from watching import until

Object = dict[str, Any]

# Runs in the pod: every file below a folder with its size and digest, the text of the JSON ones, and links.
_SCRIPT = """
import hashlib, json, os, sys
root = sys.argv[1]
files, links = {}, {}
for folder, folders, names in os.walk(root):
    for name in folders + names:
        path = os.path.join(folder, name)
        short = os.path.relpath(path, root)
        if os.path.islink(path):
            links[short] = os.readlink(path)
        elif os.path.isfile(path):
            data = open(path, 'rb').read()
            text = data.decode() if name.endswith(('.json', '.jsonl')) and len(data) < 200000 else None
            files[short] = {'size': len(data), 'sha256': hashlib.sha256(data).hexdigest(), 'text': text,
                            'modified': os.stat(path).st_mtime}
print(json.dumps({'files': files, 'links': links}))
"""


@dataclass(frozen=True)
class Volume:
    """The files of a claim.

    Attributes:
        files: By path: `size`, `sha256`, `modified`, and the `text` of JSON files.
        links: Targets of symbolic links by path.
    """

    files: dict[str, Object]
    links: dict[str, str]

    def json(self, path: str) -> Any:
        """Return the content of a JSON file."""
        return json.loads(self.files[path]["text"])

    def below(self, folder: str) -> list[str]:
        """Return the paths below a folder, without it."""
        prefix = f"{folder.rstrip('/')}/"
        return sorted(path.removeprefix(prefix) for path in self.files if path.startswith(prefix))


def run(kubectl: Kubectl, image: str, pod: str, command: tuple[str, ...], claims: tuple[str, ...]) -> str:
    """Run a command in a pod that sees claims, read-only, where the trainer sees them; return what it printed.

    Args:
        kubectl: kubectl in the pod's namespace.
        image: An image with Python.
        pod: Name for the pod.
        command: The command.
        claims: Names of the claims.

    Raises:
        AssertionError: The pod did not end.
        CommandError: It failed.
    """
    kubectl.apply(python_pod(pod, image, command, claims=dict.fromkeys(claims, False)))

    def phase() -> str | None:
        found = (kubectl.get("pod", pod) or {}).get("status", {}).get("phase")
        return found if found in {"Succeeded", "Failed"} else None

    ended = until(phase, f"pod {pod} ends", 120)
    told = kubectl("logs", pod)
    kubectl("delete", "pod", pod, "--wait=false")
    if ended == "Failed":
        raise CommandError(command[:2], f"pod {pod} failed", told)
    return told


def read(kubectl: Kubectl, image: str, claim: str) -> Volume:
    """Read a claim.

    Args:
        kubectl: kubectl in its namespace.
        image: An image with Python.
        claim: Its name.
    """
    command = ("python3", "-c", _SCRIPT, f"/tunesmith/claims/{claim}")
    found = json.loads(run(kubectl, image, f"read-{claim}", command, (claim,)))
    return Volume(found["files"], found["links"])


def digest(files: list[Object]) -> str:
    """Return the digest of a manifest's list of files, by its documented rule."""
    listing = json.dumps(
        [[file["path"], file["size"], file["sha256"]] for file in sorted(files, key=itemgetter("path"))]
    )
    return "sha256:" + hashlib.sha256(listing.encode()).hexdigest()
