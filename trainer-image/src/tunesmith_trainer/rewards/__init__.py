"""`spec.rewards`: what scores completions."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.data.rows import Content
from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.rewards.base import RewardFunction, Scores
from tunesmith_trainer.rewards.builtin import (
    answer_reward,
    json_schema_reward,
    length_reward,
    regex_reward,
    repetition_reward,
)
from tunesmith_trainer.rewards.functions import function_reward
from tunesmith_trainer.rewards.tokenizers import foreign_warning, is_foreign

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tunesmith_api.v1alpha1.rewards import Reward
    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.data.sources import Mounts
    from tunesmith_trainer.rewards.base import Scorer

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scored:
    """What all rewards say of some completions.

    Attributes:
        by_name: The figures of each reward.
        totals: Their weighted sums.
    """

    by_name: dict[str, Scores]
    totals: Scores


@dataclass(frozen=True)
class Rewards:
    """The rewards of a run.

    Attributes:
        functions: One for each reward, named after it.
        weights: Their factors in the sum; for `reward_weights` of TRL's configs.
    """

    functions: list[RewardFunction]
    weights: list[float]

    def score(
        self,
        /,  # a column may be called so
        *,
        prompts: list[Content],
        completions: list[Content],
        completion_ids: list[list[int]],
        **columns: Any,
    ) -> Scored:
        """Return what all rewards say of some completions; see `RewardFunction` for the arguments."""
        found = {
            function.__name__: function(
                prompts=prompts, completions=completions, completion_ids=completion_ids, **columns
            )
            for function in self.functions
        }
        totals = [weighted_sum(figures, self.weights) for figures in zip(*found.values(), strict=True)]
        return Scored(found, totals)

    @property
    def report(self) -> dict[str, Any]:
        """What the run record tells of the rewards; the counts of failures in it go on growing."""
        return {
            function.__name__: {"weight": weight, **function.facts}
            for function, weight in zip(self.functions, self.weights, strict=True)
        }


def weighted_sum(figures: Sequence[float | None], weights: Sequence[float]) -> float | None:
    """Return the weighted sum of one completion's rewards, as TRL makes it: a missing one adds nothing.

    None when all are missing, so that nothing is known of the completion.
    """
    known = [weight * figure for figure, weight in zip(figures, weights, strict=True) if figure is not None]
    return sum(known) if known else None


def build_rewards(context: RunContext, tokenizer: PreTrainedTokenizerBase) -> Rewards:
    """Return the rewards that a run's spec lists, ready to score; every process calls this at the same time.

    Args:
        context: The run.
        tokenizer: That of the model that writes the completions.

    Raises:
        InvalidSpec: A pattern, a schema or a function's code is wrong, or a model is no classifier with one score.
        DataError: A ConfigMap lacks a function's key.
        ModelNotFound: A model is missing or not whole.
    """
    wanted = rewards_of(context)
    return Rewards(
        [_function(context, reward, field, tokenizer) for field, reward in wanted.items()],
        [reward.weight for reward in wanted.values()],
    )


def rewards_of(context: RunContext) -> dict[str, Reward]:
    """Return the rewards of a run's spec by their field; none of a method that has no use for them."""
    # A FineTuneJob's spec has none; its class is not imported, which a function's process would wait for.
    rewards: tuple[Reward, ...] = getattr(context.run.spec, "rewards", None) or ()
    return {f"spec.rewards[{index}]": reward for index, reward in enumerate(rewards)}


def _function(context: RunContext, reward: Reward, field: str, writer: PreTrainedTokenizerBase) -> RewardFunction:
    if reward.model is None:
        return RewardFunction(reward.name, plain_scorer(reward, field, context))
    # Models cost the import of torch.
    from tunesmith_trainer.rewards.models import model_reward

    scorer = model_reward(context, reward.name, f"{field}.model")
    foreign = is_foreign(scorer.tokenizer, writer)
    if foreign:
        _log.warning("%s", foreign_warning(f"{field}.model"))
    return RewardFunction(reward.name, scorer, {"foreignTokenizer": foreign})


def plain_scorer(reward: Reward, field: str, mounts: Mounts) -> Scorer:
    """Return what scores for a reward that is no model.

    Args:
        reward: The spec's words.
        field: Their path in the spec, for messages.
        mounts: Where ConfigMaps are.

    Raises:
        InvalidSpec: A pattern, a schema or a function's code is wrong.
        DataError: The ConfigMap lacks the function's key.
    """
    if reward.regex is not None:
        return regex_reward(reward.regex, f"{field}.regex")
    if reward.answer is not None:
        return answer_reward(reward.answer, f"{field}.answer")
    if reward.length is not None:
        return length_reward(reward.length)
    if reward.repetition is not None:
        return repetition_reward(reward.repetition)
    if reward.json_schema is not None:
        return json_schema_reward(reward.json_schema, f"{field}.jsonSchema")
    if reward.function is not None:
        return function_reward(reward.function, f"{field}.function", mounts)
    raise InvalidSpec(f"{field}: set exactly one of model, regex, answer, length, repetition, jsonSchema, function")
