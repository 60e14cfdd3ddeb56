"""Proximal policy optimisation; TRL has no trainer for it any more, so `ppo_trainer` has one on its parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_api.v1alpha1.methods.ppo import Ppo
from tunesmith_trainer.data.encode import Encoder
from tunesmith_trainer.data.prompts import open_prompts, prompt_feed
from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.methods.arguments import config_arguments, method_block
from tunesmith_trainer.methods.task import TableTask
from tunesmith_trainer.models.adapters.lora import lora_b_ratio
from tunesmith_trainer.models.adapters.saved import ADAPTER
from tunesmith_trainer.models.adapters.settling import settle_adapter
from tunesmith_trainer.models.classifier import load_classifier
from tunesmith_trainer.models.places import find_folders
from tunesmith_trainer.models.reference import reference_model
from tunesmith_trainer.rewards import build_rewards, rewards_of
from tunesmith_trainer.rewards.tokenizers import is_foreign

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.data.feed import Feed
    from tunesmith_trainer.methods.plan import TrainingPlan
    from tunesmith_trainer.models.prepare import PreparedModel
    from tunesmith_trainer.reinforcement.critic import Critic

_VALUE_MODEL = "spec.ppo.valueModel"

open_rows = open_prompts


def build(context: RunContext) -> TrainingPlan:
    """Return a trainer that is ready to train; see `methods.Method`."""
    from tunesmith_trainer.methods.ppo_trainer import PPOConfig, PPOTrainer
    from tunesmith_trainer.models.twin import frozen_twin

    arguments = PPOConfig(**trl_arguments(context))
    task = TableTask.begin(context, arguments, open_rows=open_rows, make_feed=make_feed)
    rewards = build_rewards(context, task.tokenizer)
    prepared = task.source.load(task.tokenizer)
    policy = _policy(prepared, arguments)
    trainer = PPOTrainer(
        training=context.run.spec.training,
        lora_b_ratio=lora_b_ratio(context.run.spec.peft),
        model=policy,
        args=arguments,
        train_dataset=task.train,
        processing_class=task.tokenizer,
        ppo=method_block(context, Ppo),
        critic=_critic(context, policy, task.tokenizer, arguments),
        reference=reference_model(context, prepared, task.tokenizer) or frozen_twin(policy),
        rewards=rewards,
    )
    return task.plan(trainer, prepared, rewards=rewards.report)


def trl_arguments(context: RunContext) -> dict[str, Any]:
    """Return the arguments of the trainer's config, most of which are transformers'; see `methods.Method`."""
    from tunesmith_trainer.methods.ppo_trainer import PPOConfig

    # Rows are taken as they are, and none of their columns are labels.
    return config_arguments(context, PPOConfig, remove_unused_columns=False, label_names=[])


def make_feed(context: RunContext, tokenizer: PreTrainedTokenizerBase) -> Feed:
    """Return how rows become token ids of prompts."""
    encoder = Encoder(tokenizer, context.run.spec.training.max_length)
    return prompt_feed(encoder, method_block(context, Ppo).max_completion_length)


def _policy(prepared: PreparedModel, arguments: TrainingArguments) -> PreTrainedModel | PeftModel:
    """Return the model with its adapter and without dropout; what is copied of it saves memory in the same way."""
    from peft import get_peft_model
    from transformers import set_seed

    from tunesmith_trainer.reinforcement.critic import without_dropout

    model = prepared.model
    _save_memory(model, arguments)
    # A new adapter is drawn, and all processes, each with a copy for a reference, need the same one.
    set_seed(arguments.seed)
    policy = model if prepared.adapter is None else get_peft_model(model, prepared.adapter)
    settle_adapter(policy)
    without_dropout(policy)
    return policy


def _save_memory(model: PreTrainedModel | PeftModel, arguments: TrainingArguments) -> None:
    """Have activations computed again in the backward pass, where the arguments say so."""
    if arguments.activation_checkpointing:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=arguments.activation_checkpointing_kwargs)
        model.enable_input_require_grads()


def _critic(
    context: RunContext,
    policy: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    arguments: TrainingArguments,
) -> Critic:
    """Return the value model as it begins.

    Raises:
        InvalidSpec: The reward model that it is to begin as reads other tokens.
    """
    from tunesmith_trainer.reinforcement.critic import Critic, without_dropout

    spec, name = context.run.spec, method_block(context, Ppo).value_model
    if name is None:
        return Critic.of(policy)
    found = find_folders(context, context.run.reward_models[name], _VALUE_MODEL)
    whole = found.adapter is None
    classifier = load_classifier(found.base, found.adapter, "float32" if whole else spec.model.dtype, spec.model)
    model = classifier.model
    if is_foreign(classifier.tokenizer, tokenizer):
        raise InvalidSpec(
            f"{_VALUE_MODEL}: {found.base.name} has another tokenizer than the model to train, whose tokens it is to"
            " value; remove valueModel, and the value model begins as the model to train"
        )
    if whole:
        model.requires_grad_(requires_grad=True)
    else:
        model.set_adapter(ADAPTER)
        settle_adapter(model)
    _save_memory(model, arguments)
    without_dropout(model)
    (weight,) = (reward.weight for reward in rewards_of(context).values() if reward.name == name)
    return Critic.of_classifier(model, weight)
