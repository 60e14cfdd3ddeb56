"""The training methods, one file each; they do not know each other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from tunesmith_trainer.methods import cpo, dpo, grpo, kto, orpo, ppo, pretrain, reward, rloo, sft, simpo

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.data.corpus import Corpora
    from tunesmith_trainer.data.feed import Feed
    from tunesmith_trainer.methods.plan import TrainingPlan


class Method(Protocol):
    """What every module of a method offers."""

    def build(self, context: RunContext) -> TrainingPlan:
        """Return a trainer that is ready to train.

        Raises:
            DataError: The data is missing or not what it should be.
            ModelNotFound: The model is missing or not whole.
            InvalidSpec: The spec asks for something that can not be done.
        """

    def trl_arguments(self, context: RunContext) -> dict[str, Any]:
        """Return the arguments of TRL's config of the method, those of `training.extraArguments` among them.

        Raises:
            InvalidSpec: The installed TRL does not know one, or it is refused.
        """

    def open_rows(self, context: RunContext) -> Corpora:
        """Return the rows to train and to evaluate on, with the first row of each dataset looked at.

        Raises:
            DataError: The data is missing or not what it should be.
            InvalidSpec: The spec asks for something that the data can not be read by.
        """

    def make_feed(self, context: RunContext, tokenizer: PreTrainedTokenizerBase) -> Feed:
        """Return how rows become token ids."""


METHODS: dict[str, Method] = {
    "pretrain": pretrain,
    "sft": sft,
    "dpo": dpo,
    "kto": kto,
    "reward": reward,
    "orpo": orpo,
    "cpo": cpo,
    "simpo": simpo,
    "grpo": grpo,
    "rloo": rloo,
    "ppo": ppo,
}
