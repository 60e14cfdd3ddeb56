"""What a preparation looks at in `spec.rewards`, without loading a weight."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith_trainer.models.classifier import require_classifier
from tunesmith_trainer.models.places import find_folders
from tunesmith_trainer.models.tokenizers import load_own_tokenizer
from tunesmith_trainer.rewards import plain_scorer, rewards_of
from tunesmith_trainer.rewards.tokenizers import foreign_warning, is_foreign

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tunesmith_trainer.context import RunContext


def check_rewards(context: RunContext, tokenizer: PreTrainedTokenizerBase) -> Iterator[str]:
    """Yield what is worth a warning.

    Args:
        context: The run.
        tokenizer: That of the model that writes the completions.

    Raises:
        InvalidSpec: A pattern, a schema or a function's code is wrong, or a model is no classifier with one score.
        DataError: A ConfigMap lacks a function's key.
        ModelNotFound: A model is missing or not whole.
    """
    source = context.run.spec.model
    for field, reward in rewards_of(context).items():
        if reward.model is None:
            plain_scorer(reward, field, context)
            continue
        model = context.run.reward_models[reward.name]
        folders = find_folders(context, model, f"{field}.model", outlined=source.cache is None)
        require_classifier(folders.base, folders.adapter, trusted=source.trust_remote_code)
        own = load_own_tokenizer(folders.base, folders.adapter, trusted=source.trust_remote_code)
        if is_foreign(own, tokenizer):
            yield foreign_warning(f"{field}.model")
