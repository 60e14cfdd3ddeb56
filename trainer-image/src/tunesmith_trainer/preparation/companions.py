"""The models beside the one that is trained, without their weights: how large they are, and whether they fit it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_trainer.models.outline import without_weights
from tunesmith_trainer.models.places import find_folders
from tunesmith_trainer.models.reference import find_reference
from tunesmith_trainer.rewards import rewards_of

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tunesmith_trainer.context import RunContext


def companion_parameters(context: RunContext, tokenizer: PreTrainedTokenizerBase) -> int:
    """Return the parameters of the reference and of the reward models, each of which every device holds.

    Args:
        context: The run.
        tokenizer: That of the model to train, whose vocabulary a reference must have.

    Raises:
        ModelNotFound: One of them is missing or not whole.
        InvalidSpec: One of them can not be what it is meant to be.
    """
    run, source = context.run, context.run.spec.model
    trusted, outlined = source.trust_remote_code, source.cache is None
    models = []
    if run.reference is not None:
        found = find_reference(context, run.reference, tokenizer, outlined=outlined)
        models.append(without_weights(found.base, "CAUSAL_LM", trusted=trusted))
    for field, reward in rewards_of(context).items():
        if reward.model is not None:
            found = find_folders(context, run.reward_models[reward.name], f"{field}.model", outlined=outlined)
            models.append(without_weights(found.base, "SEQ_CLS", trusted=trusted))
    return sum(model.num_parameters() for model in models)
