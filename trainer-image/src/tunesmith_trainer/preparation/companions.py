"""The models beside the one that is trained, without their weights: found, checked, and counted for the memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith_trainer.errors import InvalidSpec, ModelNotFound
from tunesmith_trainer.models.classifier import has_score_head, require_score_adapter
from tunesmith_trainer.models.memory import meta_model
from tunesmith_trainer.models.places import find_folders
from tunesmith_trainer.models.tokenizers import first_line, has_tokenizer, load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tunesmith_api.v1alpha1.methods.base import Task
    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.models.folders import Folder
    from tunesmith_trainer.models.places import ModelFolders


@dataclass(frozen=True)
class Companions:
    """The models beside the one that is trained.

    Attributes:
        parameters: Parameters of all of them; each is held on every device.
        warnings: What is allowed but probably not meant.
    """

    parameters: int
    warnings: tuple[str, ...]


def find_companions(context: RunContext, tokenizer: PreTrainedTokenizerBase) -> Companions:
    """Return what is known of the reference and of the reward models, checked as they are when they are loaded.

    Args:
        context: The run.
        tokenizer: That of the model to train.

    Raises:
        ModelNotFound: One of them is missing or not whole.
        InvalidSpec: One of them can not be what it is named for.
    """
    run = context.run
    parameters, warnings = 0, []
    if run.reference is not None:
        found = find_folders(context, run.reference, "spec.referenceModel", outlined=True)
        parameters += _parameters(context, found.base, "CAUSAL_LM")
    for name, model in run.reward_models.items():
        found = find_folders(context, model, f"spec.rewards[{name}].model", outlined=True)
        _require_scores(context, found, name)
        parameters += _parameters(context, found.base, "SEQ_CLS")
        if _reads_otherwise(context, found, tokenizer):
            warnings.append(
                f"reward model {name!r} has another tokenizer than the model that is trained: completions are decoded"
                " and read as text, which is right, and slower"
            )
    return Companions(parameters, tuple(warnings))


def _require_scores(context: RunContext, found: ModelFolders, name: str) -> None:
    headed = has_score_head(found.base, trusted=context.run.spec.model.trust_remote_code)
    if found.adapter is not None:
        require_score_adapter(found.adapter)
    elif not headed:
        raise InvalidSpec(
            f"spec.rewards[{name}].model: {found.base.name} is a language model without a score head: train one on it"
            " with method: reward, or choose a sequence classifier"
        )


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


def _reads_otherwise(context: RunContext, found: ModelFolders, tokenizer: PreTrainedTokenizerBase) -> bool:
    folder = found.adapter if found.adapter is not None and has_tokenizer(found.adapter.path) else found.base
    own = load_tokenizer(folder.path, folder.name, trusted=context.run.spec.model.trust_remote_code)
    return bool(own.get_vocab() != tokenizer.get_vocab())
