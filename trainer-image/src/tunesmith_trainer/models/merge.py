"""`fromAdapter: merge`: an adapter merged into its base, written once as a model of its own below the run's folder.

Never in memory alone: an adapter trained on such a merge would name a base that it was not trained on.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tunesmith_api.v1alpha1.status import VolumePath
from tunesmith_trainer.manifests import read_manifest, seal
from tunesmith_trainer.models.folders import Folder
from tunesmith_trainer.models.lora import continue_adapter, read_config
from tunesmith_trainer.models.tokenizers import has_tokenizer, load_tokenizer
from tunesmith_trainer.models.vocabulary import make_room
from tunesmith_trainer.models.weights import load_weights, torch_dtype

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import TrainingArguments

    from tunesmith_trainer.context import RunContext

_FOLDER = "base"


def merged_base(context: RunContext, arguments: TrainingArguments, base: Folder, adapter: Folder) -> Folder:
    """Return the folder of the merged model; rank 0 writes it unless an earlier attempt has.

    Args:
        context: The run.
        arguments: The trainer's arguments, which know the other processes.
        base: The base model.
        adapter: The adapter to merge into it.
    """
    folder = context.run_directory / _FOLDER
    with arguments.main_process_first(local=False):
        if context.rank == 0 and read_manifest(folder) is None:
            _merge(context, base, adapter, folder)
    volume = VolumePath(claim=context.run.output.claim, path=f"{context.run.directory}/{_FOLDER}")
    return Folder(volume, folder, "the merged base model")


def _merge(context: RunContext, base: Folder, adapter: Folder, folder: Path) -> None:
    spec = context.run.spec
    # Merged in float32, so that the sum is rounded once.
    weights = load_weights(base, "float32", spec.model)
    make_room(weights, read_config(adapter))
    model = continue_adapter(weights, adapter, None).merge_and_unload(safe_merge=True)
    source = adapter if has_tokenizer(adapter.path) else base
    tokenizer = load_tokenizer(source.path, source.name, trusted=spec.model.trust_remote_code)
    temporary = folder.with_name(f"{folder.name}.tmp-{context.attempt}")
    shutil.rmtree(temporary, ignore_errors=True)
    model.to(torch_dtype(spec.model.dtype)).save_pretrained(temporary)
    tokenizer.save_pretrained(temporary)
    seal(temporary, "model", 0, context)
    shutil.rmtree(folder, ignore_errors=True)
    temporary.replace(folder)
