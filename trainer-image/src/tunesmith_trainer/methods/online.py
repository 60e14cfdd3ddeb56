"""What `grpo` and `rloo` share: prompts are answered several times each, and what rewards say of that is learnt."""

from __future__ import annotations

import dataclasses
import importlib.util
from typing import TYPE_CHECKING, Any

from tunesmith_api.v1alpha1.methods.online import Online, Vllm
from tunesmith_trainer.data.encode import Encoder
from tunesmith_trainer.data.prompts import by_name, open_prompts, prompt_feed
from tunesmith_trainer.errors import DataError, InvalidSpec
from tunesmith_trainer.methods.arguments import config_arguments, method_block
from tunesmith_trainer.methods.task import TableTask
from tunesmith_trainer.models.adapters.settling import settle_adapter
from tunesmith_trainer.models.head import use_plain_head
from tunesmith_trainer.rewards import build_rewards

if TYPE_CHECKING:
    from collections.abc import Callable

    from datasets import Dataset
    from transformers import PreTrainedTokenizerBase
    from trl import GRPOConfig, RLOOConfig

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.data.feed import Feed
    from tunesmith_trainer.methods.online_trainer import OnlineTrainer
    from tunesmith_trainer.methods.plan import TrainingPlan
    from tunesmith_trainer.rewards.base import RewardFunction, Scores

open_rows = open_prompts

# What must not be set beside the spec: columns are for rewards, whose weights the spec has; the table of completions is
# ours; and so is the reference, which TRL would look for in vain to let it follow.
_OURS = {"remove_unused_columns": False, "reward_weights": None, "log_completions": False, "sync_ref_model": False}
# What would change nothing then, nor without tools and DeepSpeed, which no job has.
_IDLE = (
    "log_completions_hub_repo",
    "log_multimodal",
    "log_unique_prompts",
    "num_completions_to_print",
    "ref_model_mixup_alpha",
    "ref_model_sync_steps",
    "max_tool_calling_iterations",
    "ds3_gather_for_generation",
)
_VLLM = "vllm_"


def online_plan(
    context: RunContext, arguments: GRPOConfig | RLOOConfig, trainer_class: type[OnlineTrainer]
) -> TrainingPlan:
    """Return a trainer that is ready to train; see `methods.Method`.

    Args:
        context: The run.
        arguments: The trainer's arguments.
        trainer_class: The trainer of the method.
    """
    task = TableTask.begin(context, arguments, open_rows=open_rows, make_feed=make_feed)
    _require_groups(task.train, arguments)
    prepared = task.source.load(task.tokenizer)
    rewards = build_rewards(context, task.tokenizer)
    arguments.reward_weights = rewards.weights
    trainer = trainer_class(
        reference=task.reference(prepared) if arguments.beta else None,
        reward_funcs=[_as_trl_calls(reward) for reward in rewards.functions],
        **task.trainer_arguments(prepared),
    )
    settle_adapter(trainer.model)
    use_plain_head(trainer)
    return task.plan(trainer, prepared, rewards=rewards.report)


def make_feed(context: RunContext, tokenizer: PreTrainedTokenizerBase) -> Feed:
    """Return how rows become prompts that leave room for a completion."""
    encoder = Encoder(tokenizer, context.run.spec.training.max_length)
    return prompt_feed(encoder, method_block(context, Online).max_completion_length)


def online_arguments(context: RunContext, config: type) -> dict[str, Any]:
    """Return the arguments of TRL's config of the method; see `methods.Method`.

    Raises:
        InvalidSpec: The image lacks vLLM, and the spec asks for it.
    """
    block, training = method_block(context, Online), context.run.spec.training
    arguments = config_arguments(
        context,
        config,
        # The block's fields have TRL's names.
        **block.model_dump(exclude={"vllm"}),
        **_vllm(block.vllm, training.max_length, config),
        shuffle_dataset=training.train_sampling_strategy != "sequential",
        **_OURS,
        **_defaults(config, _IDLE),
    )
    # A prompt that leaves a completion no room is left out before; TRL cuts nothing.
    del arguments["max_length"]
    return arguments


def _defaults(config: type, names: tuple[str, ...]) -> dict[str, Any]:
    """Return the defaults of arguments, by their names or beginnings, which `extraArguments` can not change then."""
    return {field.name: field.default for field in dataclasses.fields(config) if field.name.startswith(names)}


def _vllm(vllm: Vllm | None, max_length: int, config: type) -> dict[str, Any]:
    if vllm is None:
        return {"use_vllm": False} | _defaults(config, (_VLLM,))
    if importlib.util.find_spec("vllm") is None:
        raise InvalidSpec(
            "spec: the method's block asks for vllm, which this trainer image lacks; remove it, or name an accelerator"
            " profile whose image brings vLLM"
        )
    arguments = {f"{_VLLM}{name}": value for name, value in vllm.model_dump().items()}
    return {"use_vllm": True, **arguments} | ({"vllm_max_model_length": max_length} if vllm.mode == "colocate" else {})


def _require_groups(rows: Dataset, arguments: GRPOConfig | RLOOConfig) -> None:
    """Refuse fewer prompts than one generation batch takes: TRL would train on none, without a word."""
    needed = arguments.generation_batch_size // arguments.num_generations
    if len(rows) < needed:
        raise DataError(
            f"a generation batch of {arguments.generation_batch_size} completions takes {needed} prompts of"
            f" {arguments.num_generations} completions each, and there are {len(rows)} prompts: add some, or make the"
            " batch smaller (perDeviceTrainBatchSize, gradientAccumulationSteps, generationBatchSize)"
        )


def _as_trl_calls(reward: RewardFunction) -> Callable[..., Scores]:
    """Return a reward as TRL calls it, with the columns of the rows as the table has them."""

    def scored(
        *,
        prompts: list[Any],
        completions: list[Any],
        completion_ids: list[list[int]],
        columns: list[str],
        log_metric: Callable[[str, float], None],
        **_: Any,
    ) -> Scores:
        return reward(
            prompts=prompts,
            completions=completions,
            completion_ids=completion_ids,
            log_metric=log_metric,
            **by_name(columns),
        )

    scored.__name__ = reward.__name__
    return scored
