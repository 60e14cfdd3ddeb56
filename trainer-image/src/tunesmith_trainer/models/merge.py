"""Models with an adapter merged into their weights: as a base to train on, or as a result beside the adapter.

Never in memory alone: an adapter trained on such a merge would name a base that it was not trained on.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tunesmith_trainer.manifests import read_manifest, seal
from tunesmith_trainer.models.adapters.saved import merge_adapter, read_config
from tunesmith_trainer.models.classifier import classifier_weights
from tunesmith_trainer.models.folders import GENERATION_CONFIG, Folder
from tunesmith_trainer.models.tokenizers import load_own_tokenizer
from tunesmith_trainer.models.weights import load_weights, set_padding, torch_dtype

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel, TrainingArguments

    from tunesmith_api.v1alpha1.model import ModelSource
    from tunesmith_trainer.context import RunContext


def merged_base(context: RunContext, arguments: TrainingArguments, base: Folder, adapter: Folder) -> Folder:
    """Return the folder of the merged model to train on; rank 0 writes it unless an earlier attempt has.

    Args:
        context: The run.
        arguments: The trainer's arguments, which know the other processes.
        base: The base model.
        adapter: The adapter to merge into it.
    """
    volume = context.run.merged_base
    folder = context.claim_path(volume.claim, volume.path)
    with arguments.main_process_first(local=False):
        if context.rank == 0 and read_manifest(folder) is None:
            temporary = folder.with_name(f"{folder.name}.tmp-{context.attempt}")
            shutil.rmtree(temporary, ignore_errors=True)
            write_merged(base, adapter, context.run.spec.model, temporary)
            seal(temporary, "model", 0, context)
            shutil.rmtree(folder, ignore_errors=True)
            temporary.replace(folder)
    return Folder(volume, folder, "the merged base model")


def write_merged(base: Folder, adapter: Folder, source: ModelSource, directory: Path) -> None:
    """Write a model with an adapter merged into it, its tokenizer and generation config.

    Args:
        base: The base model; it is read anew, as it was before any training.
        adapter: The adapter.
        source: The spec's block about the model, which has the precision to write the weights in.
        directory: The folder to write into.
    """
    from transformers import GenerationConfig

    # Merged in float32, so that the sum is rounded once.
    model = merge_adapter(_base_of(adapter, base, source), adapter)
    tokenizer = load_own_tokenizer(base, adapter, trusted=source.trust_remote_code)
    if (adapter.path / GENERATION_CONFIG).is_file():
        model.generation_config = GenerationConfig.from_pretrained(adapter.path)
    if not model.can_generate():
        set_padding(model, tokenizer)
    model.to(torch_dtype(source.dtype)).save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def _base_of(adapter: Folder, base: Folder, source: ModelSource) -> PreTrainedModel:
    """Return the base model in float32, as what the adapter was trained for; the adapter brings the score head."""
    if read_config(adapter).task_type == "SEQ_CLS":
        return classifier_weights(base, "float32", source, seed=0)
    return load_weights(base, "float32", source)
