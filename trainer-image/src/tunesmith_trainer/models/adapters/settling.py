"""What a TRL trainer does to an adapter when it takes the model, and must not stay so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.models.adapters.saved import ADAPTER

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedModel

REFERENCE = "ref"  # the name TRL's preference trainers give their frozen copy


def settle_adapter(model: PreTrainedModel | PeftModel) -> None:
    """Put the adapter of a trainer's model right, once the trainer is made; a model without one stays as it is."""
    configs = getattr(model, "peft_config", {})
    if ADAPTER not in configs:
        return
    _train_in_float32(model)
    _restore_dropout(model, getattr(configs[ADAPTER], "lora_dropout", 0.0))
    if REFERENCE in configs:
        _complete_reference(model)


def require_unchanged_base(config: PeftConfig) -> None:
    """Refuse an adapter that trains weights of the base model, which its method takes for the reference.

    Raises:
        InvalidSpec: It does.
    """
    bias = getattr(config, "bias", "none")
    if bias != "none":
        raise InvalidSpec(
            f"the adapter to train further has bias: {bias}, so it trains weights of the base model, which this method"
            " compares with as they were; use model.fromJob.fromAdapter: merge, or train it further with a FineTuneJob"
        )


def _train_in_float32(model: PeftModel) -> None:
    """Hold what is trained in float32: TRL turns it to bfloat16 on a quantised model, and peft copies whole modules.

    An optimiser's steps vanish in the eight bits of a bfloat16.
    """
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def _restore_dropout(model: PeftModel, probability: float) -> None:
    """Turn the dropout of the trained adapter on again, which TRL's DPO sets to zero in all of the model.

    The frozen copy that serves as the reference stays without, or is freed of it, which TRL's online trainers leave
    to it: its log-probabilities must not be drawn.
    """
    from peft.tuners.lora import LoraLayer
    from torch import nn

    for module in model.modules():
        if not isinstance(module, LoraLayer):
            continue
        for name, dropout in module.lora_dropout.items():
            if isinstance(dropout, nn.Dropout):
                dropout.p = probability if name == ADAPTER else 0.0


def _complete_reference(model: PeftModel) -> None:
    """Make the frozen copy what it is meant to be: TRL copies no weight whose name ends with the adapter's.

    Those of IA3 do. And learnt embeddings would stay trainable.
    """
    trained = dict(model.named_parameters())
    for name, parameter in trained.items():
        parts = name.split(".")
        if REFERENCE in parts:
            source = ".".join(ADAPTER if part == REFERENCE else part for part in parts)
            parameter.data = trained[source].data.clone()
            parameter.requires_grad_(requires_grad=False)
