"""Direct preference optimisation, with trl.DPOTrainer."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from tunesmith_api.v1alpha1.methods.dpo import Dpo
from tunesmith_trainer.data.corpus import open_corpora
from tunesmith_trainer.data.encode import Encoder, encode_preferences
from tunesmith_trainer.data.feed import Feed
from tunesmith_trainer.methods.arguments import config_arguments, method_block
from tunesmith_trainer.methods.plan import TrainingPlan
from tunesmith_trainer.models.adapters.lora import lora_b_ratio
from tunesmith_trainer.models.adapters.settling import require_unchanged_base, settle_adapter
from tunesmith_trainer.models.head import use_plain_head
from tunesmith_trainer.models.prepare import plan_model
from tunesmith_trainer.models.tokenizers import ensure_chat_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.data.corpus import Corpora


def build(context: RunContext) -> TrainingPlan:
    """Return a trainer that is ready to train; see `methods.Method`."""
    from trl import DPOConfig

    from tunesmith_trainer.methods.preference_trainer import PreparedDPOTrainer

    # Makes the processes know each other, which then fetch rows once for all.
    arguments = DPOConfig(**trl_arguments(context))
    corpora = open_rows(context)
    source = plan_model(context, arguments)
    tokenizer = source.tokenizer((), arguments)
    given_template = corpora.chat and ensure_chat_template(tokenizer)
    feed = make_feed(context, tokenizer)
    train, report = feed.table(corpora.train, "train on")
    held_out, held_out_report = feed.table(corpora.evaluation, "evaluate on") if corpora.evaluation else (None, None)
    prepared = source.load(tokenizer)
    if prepared.adapter_config is not None:
        require_unchanged_base(prepared.adapter_config)
    trainer = PreparedDPOTrainer(
        training=context.run.spec.training,
        lora_b_ratio=lora_b_ratio(context.run.spec.peft),
        model=prepared.model,
        # TRL would load its own from the path in the config, which is not what is trained when that is a merge.
        ref_model=None if source.trains_adapter else copy.deepcopy(prepared.model).eval(),
        args=arguments,
        train_dataset=train,
        eval_dataset=held_out,
        processing_class=tokenizer,
        peft_config=prepared.adapter,
    )
    settle_adapter(trainer.model)
    use_plain_head(trainer)
    return TrainingPlan(
        trainer=trainer,
        output=prepared.output,
        evaluates=held_out is not None,
        data_digest=corpora.digest,
        data_report=corpora.report
        | {"train": report, "evaluation": held_out_report, "chatTemplateGiven": given_template},
    )


def trl_arguments(context: RunContext) -> dict[str, Any]:
    """Return the arguments of trl.DPOConfig; see `methods.Method`."""
    from trl import DPOConfig

    return config_arguments(context, DPOConfig, **_loss(method_block(context, Dpo)))


def open_rows(context: RunContext) -> Corpora:
    """Return the rows to train and to evaluate on."""
    return open_corpora(context.run.spec, context, ("preference",))


def make_feed(context: RunContext, tokenizer: PreTrainedTokenizerBase) -> Feed:
    """Return how rows become token ids of prompt and answers."""
    encoder = Encoder(tokenizer, context.run.spec.training.max_length)
    return Feed(
        lambda drawn, counts: encode_preferences(drawn, encoder, counts),
        ("prompt_ids", "chosen_ids", "rejected_ids"),
        encoder.max_length,
    )


def _loss(dpo: Dpo) -> dict[str, Any]:
    """Return beta and the loss; TRL's `sigmoid` loss ignores label smoothing.

    Conservative DPO is -(1 - e) log s(x) - e log s(-x), where TRL's `robust` is
    (-(1 - e) log s(x) + e log s(-x)) / (1 - 2 e) and `sigmoid` is -log s(x). As log s(x) - log s(-x) = x, it is
    2 (1 - e) times `sigmoid` less (1 - 2 e) times `robust`.
    """
    share = dpo.label_smoothing
    if share == 0:
        return {"beta": dpo.beta, "loss_type": ["sigmoid"]}
    return {
        "beta": dpo.beta,
        "label_smoothing": share,
        "loss_type": ["sigmoid", "robust"],
        "loss_weights": [2 * (1 - share), -(1 - 2 * share)],
    }
