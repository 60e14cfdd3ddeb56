"""The result on the output claim: renamed into place whole, then linked as the job's newest."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import platform
import shutil
from typing import TYPE_CHECKING, Any

from tunesmith_api.progress import SavedOutput
from tunesmith_trainer.errors import OutputConflict
from tunesmith_trainer.manifests import damage, read_manifest, sync_directory, write_atomically
from tunesmith_trainer.report.history import finite

if TYPE_CHECKING:
    from pathlib import Path

    from tunesmith_api.manifest import Manifest
    from tunesmith_api.v1alpha1.status import HubModel, VolumePath
    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.fence import Fence

RECORD_FILE = "run-record.json"
_PACKAGES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets", "tokenizers", "safetensors", "numpy")
_log = logging.getLogger(__name__)


def refuse_conflict(context: RunContext) -> None:
    """Refuse to train for an output path that holds something else.

    Raises:
        OutputConflict: The path holds another job's output, or a folder that is no output.
    """
    link = context.job_directory / "output"
    if link.exists() and not link.is_symlink():
        raise OutputConflict(
            f"{_where(context)}/output is a folder that no job wrote; move it away or choose another spec.output.path"
        )
    manifest = read_manifest(link)
    if manifest is None or context.run.spec.output.overwrite:
        return
    run = context.run
    if (manifest.kind, manifest.namespace, manifest.name) != (run.kind, run.namespace, run.name):
        raise OutputConflict(
            f"{_where(context)} holds the output of {manifest.kind} {manifest.namespace}/{manifest.name}; choose"
            " another spec.output.path, or set spec.output.overwrite: true to replace it"
        )


def existing_output(context: RunContext) -> Manifest | None:
    """Return the manifest of this run's output when an earlier attempt finished it, None otherwise; all ranks ask."""
    folder = context.run_directory / "output"
    manifest = read_manifest(folder)
    wrong = None if manifest is None else damage(folder, manifest)
    if wrong:
        _log.warning("the output of an earlier attempt is written again: %s", wrong)
        return None
    return manifest


def commit_output(context: RunContext, fence: Fence, staged: Path) -> None:
    """Rename a sealed output into place and switch the job's link to it.

    Args:
        context: The run.
        fence: Asked right before the output counts.
        staged: The folder with everything in it.

    Raises:
        Fenced: The run belongs to another pod.
        OutputConflict: Another job has written to the path meanwhile.
    """
    folder = context.run_directory / "output"
    damaged = staged.with_name(f"damaged.tmp-{context.attempt}")
    fence.check()
    if folder.exists():
        folder.replace(damaged)
    staged.replace(folder)
    sync_directory(folder.parent)
    shutil.rmtree(damaged, ignore_errors=True)
    link_output(context)


def link_output(context: RunContext) -> None:
    """Switch `<path>/output` to this run's output, in one step."""
    refuse_conflict(context)
    job = context.job_directory
    temporary = job / f".output.{context.run.uid}"
    temporary.unlink(missing_ok=True)
    temporary.symlink_to((context.run_directory / "output").relative_to(job))
    temporary.replace(job / "output")
    sync_directory(job)


def saved_output(context: RunContext, manifest: Manifest, base_model: VolumePath | HubModel | None) -> SavedOutput:
    """Return what the outcome tells about an output."""
    return SavedOutput(
        kind="adapter" if manifest.artifact == "adapter" else "model",
        path=context.run.output_directory,
        digest=manifest.digest,
        size_bytes=manifest.size_bytes,
        base_model=base_model,
    )


def write_record(folder: Path, context: RunContext, facts: dict[str, Any]) -> None:
    """Write what made this output: spec, versions, and the facts of the training."""
    record = {
        "run": context.run.to_wire(),
        "attempt": context.attempt,
        "versions": {"python": platform.python_version()}
        | {package: importlib.metadata.version(package) for package in _PACKAGES},
        **facts,
    }
    write_atomically(folder / RECORD_FILE, json.dumps(finite(record), indent=1, allow_nan=False))


def read_record(folder: Path) -> dict[str, Any]:
    """Return what made an output."""
    record: dict[str, Any] = json.loads((folder / RECORD_FILE).read_text(encoding="utf-8"))
    return record


def _where(context: RunContext) -> str:
    return f"claim {context.run.output.claim}, path {context.run.output.path}"
