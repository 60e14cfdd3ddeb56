"""The record of the output, and how to load it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from tunesmith_api.pod import claim_path
from tunesmith_api.v1alpha1.status import BaseRecord, HubModel, OutputRecord, VolumePath

if TYPE_CHECKING:
    from tunesmith_api.progress import SavedOutput
    from tunesmith_api.run import FrozenRun
    from tunesmith_api.v1alpha1.methods.base import Task

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")


def record(run: FrozenRun, saved: SavedOutput) -> OutputRecord | None:
    """Return the record of a complete run's output; None when what the trainer told can not be true.

    Where the output is follows from the frozen run; of the trainer's word only what must come from it is taken.
    """
    base = _base_model(run, saved)
    if not _DIGEST.fullmatch(saved.digest) or (saved.kind == "adapter" and base is None):
        return None
    return OutputRecord(
        kind=saved.kind,
        claim=run.output.claim,
        path=run.output_directory,
        latest_path=f"{run.output.path}/output",
        digest=saved.digest,
        size_bytes=saved.size_bytes,
        base_model=BaseRecord.of(base) if base else None,
        load=_load(run.task, claim_path(run.output.claim, run.output_directory), base),
    )


def _base_model(run: FrozenRun, saved: SavedOutput) -> VolumePath | HubModel | None:
    """Return the model that an adapter belongs to: the one the run began with, or one merged below the run's folder.

    Of a Hub model the trainer tells the commit.
    """
    if saved.kind != "adapter":
        return None
    told, base = saved.base_model, run.model.base
    if isinstance(told, HubModel):
        same = isinstance(base, HubModel) and told.name == base.name and _COMMIT.fullmatch(told.revision)
        return told if same else None
    if told is not None and told.claim == run.output.claim and told.path.startswith(f"{run.directory}/"):
        return told if ".." not in told.path.split("/") else None
    return base if isinstance(base, VolumePath) else None


def _load(task: Task, folder: str, base: VolumePath | HubModel | None) -> str:
    scores = task == "SEQ_CLS"
    model_class = "AutoModelForSequenceClassification" if scores else "AutoModelForCausalLM"
    lines = [
        f"from transformers import {model_class}, AutoTokenizer",
        f"folder = {json.dumps(folder)}",
        "tokenizer = AutoTokenizer.from_pretrained(folder)",
    ]
    if base is None:
        lines.append(f"model = {model_class}.from_pretrained(folder)")
    else:
        lines.insert(0, "from peft import PeftModel")
        # A base model has no head for scores: the adapter brings it along.
        head = ", num_labels=1" if scores else ""
        lines.append(f"base = {model_class}.from_pretrained({_arguments(base)}{head})")
        # The adapter may bring tokens along that the base has no embeddings for.
        lines.append("if len(tokenizer) > base.get_input_embeddings().num_embeddings:")
        lines.append("    base.resize_token_embeddings(len(tokenizer))")
        lines += ["base.config.pad_token_id = tokenizer.pad_token_id"] * scores
        lines.append("model = PeftModel.from_pretrained(base, folder)")
    return "\n".join(lines)


def _arguments(base: VolumePath | HubModel) -> str:
    if isinstance(base, HubModel):
        return f"{json.dumps(base.name)}, revision={json.dumps(base.revision)}"
    return json.dumps(claim_path(base.claim, base.path))
