"""The model that a preference method compares the trained one with, where a model of its own is needed for that."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.models.adapters.saved import merge_adapter, read_config
from tunesmith_trainer.models.places import find_folders
from tunesmith_trainer.models.tokenizers import load_own_tokenizer
from tunesmith_trainer.models.weights import fit_tokenizer, load_weights

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from tunesmith_api.run import ResolvedModel
    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.models.places import ModelFolders
    from tunesmith_trainer.models.prepare import PreparedModel

_FIELD = "spec.referenceModel"


def reference_model(
    context: RunContext, prepared: PreparedModel, tokenizer: PreTrainedTokenizerBase
) -> PreTrainedModel | None:
    """Return the reference as a frozen model; None where the trained model's own base with another adapter is it.

    TRL would load its own from the path in the config, which is not what is trained when that is a merge.

    Args:
        context: The run.
        prepared: The model to train.
        tokenizer: Its tokenizer.

    Raises:
        ModelNotFound: `spec.referenceModel` is missing, or is not what it was when its job was Complete.
        InvalidSpec: It has another vocabulary than the trained model, or can not be a reference.
    """
    if context.run.reference is not None:
        return _load(context, find_reference(context, context.run.reference, tokenizer), tokenizer)
    if prepared.adapter_config is not None:
        return None
    from tunesmith_trainer.models.twin import frozen_twin

    return frozen_twin(prepared.model)


def find_reference(
    context: RunContext, model: ResolvedModel, tokenizer: PreTrainedTokenizerBase, *, outlined: bool = False
) -> ModelFolders:
    """Return where `spec.referenceModel` is, looked at as far as that goes without its weights.

    Args:
        context: The run.
        model: What the frozen run says of it.
        tokenizer: That of the model to train.
        outlined: Whether weights that lie on the Hub stay there.

    Raises:
        ModelNotFound: It is missing, or is not what it was when its job was Complete.
        InvalidSpec: It has another vocabulary than the trained model, or can not be a reference.
    """
    found = find_folders(context, model, _FIELD, outlined=outlined)
    if found.adapter is not None and read_config(found.adapter).is_prompt_learning:
        raise InvalidSpec(
            f"{_FIELD}: {found.adapter.name} holds learnt embeddings, which are no weights of the model"
            " and can not be merged into it; choose a whole model or an adapter of another type"
        )
    _require_vocabulary(context, found, tokenizer)
    return found


def _require_vocabulary(context: RunContext, found: ModelFolders, tokenizer: PreTrainedTokenizerBase) -> None:
    """Refuse a reference that would take the trained model's token ids for other words.

    It may know more tokens, which no row has.
    """
    trusted = context.run.spec.model.trust_remote_code
    theirs = load_own_tokenizer(found.base, found.adapter, trusted=trusted).get_vocab()
    foreign = sorted((place, token) for token, place in tokenizer.get_vocab().items() if theirs.get(token) != place)
    if foreign:
        place, token = foreign[0]
        known = f"as {theirs[token]}" if token in theirs else "not at all"
        raise InvalidSpec(
            f"{_FIELD}: {found.base.name} has another vocabulary than the model to train: of"
            f" {len(tokenizer)} tokens {len(foreign)} differ, first {token!r}, which is token {place} here and known"
            f" there {known}; choose a reference with the same tokenizer, or remove referenceModel"
        )


def _load(context: RunContext, found: ModelFolders, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """Return a model with its adapter merged: it is never saved, so that in memory is enough."""
    spec = context.run.spec
    model = load_weights(found.base, spec.model.dtype, spec.model)
    if found.adapter is not None:
        model = merge_adapter(model, found.adapter)
    fit_tokenizer(model, tokenizer, spec.training.max_length, found.base.name)
    return model.eval().requires_grad_(requires_grad=False)
