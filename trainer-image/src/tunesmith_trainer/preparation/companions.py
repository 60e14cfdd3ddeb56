"""The models beside the one that is trained, without their weights: how large they are, and whether they fit it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_trainer.errors import ModelNotFound
from tunesmith_trainer.models.memory import meta_model
from tunesmith_trainer.models.places import find_folders
from tunesmith_trainer.models.reference import require_vocabulary
from tunesmith_trainer.models.tokenizers import first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tunesmith_api.v1alpha1.methods.base import Task
    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.models.folders import Folder

_REFERENCE = "spec.referenceModel"


def companion_parameters(context: RunContext, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the parameters of the reference and of the reward models, each of which every device holds.

    Args:
        context: The run.
        tokenizer: That of the model to train, whose vocabulary a reference must have.

    Raises:
        ModelNotFound: One of them is missing or not whole.
        InvalidSpec: The reference has another vocabulary.
    """
    run, outlined = context.run, context.run.spec.model.cache is None
    count = 0
    if run.reference is not None:
        found = find_folders(context, run.reference, _REFERENCE, outlined=outlined)
        require_vocabulary(context, found, tokenizer)
        count += _parameters(context, found.base, "CAUSAL_LM")
    for name, model in run.reward_models.items():
        found = find_folders(context, model, f"reward {name!r}", outlined=outlined)
        count += _parameters(context, found.base, "SEQ_CLS")
    return count


def _parameters(context: RunContext, folder: Folder, task: Task) -> int:
    from transformers import AutoConfig

    trusted = context.run.spec.model.trust_remote_code
    try:
        config = AutoConfig.from_pretrained(folder.path, local_files_only=True, trust_remote_code=trusted)
        if task == "SEQ_CLS":
            config.num_labels = 1
        return int(meta_model(config, task, trusted=trusted).num_parameters())
    # What a damaged config raises is the business of two libraries.
    except Exception as error:
        raise ModelNotFound(f"{folder.name} can not be loaded: {first_line(error)}") from error
