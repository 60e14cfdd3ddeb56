"""Our decoder made known to Transformers, so that its folders load here without running code from them."""

from __future__ import annotations


def register() -> None:
    """Register the decoder with the Auto classes, and have its code saved with its weights; again does nothing."""
    from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification

    from tunesmith_trainer.models.architectures.configuration_tunesmith import TunesmithConfig
    from tunesmith_trainer.models.architectures.modeling_tunesmith import (
        TunesmithForCausalLM,
        TunesmithForSequenceClassification,
        TunesmithModel,
    )

    AutoConfig.register(TunesmithConfig.model_type, TunesmithConfig, exist_ok=True)
    AutoModel.register(TunesmithConfig, TunesmithModel, exist_ok=True)
    AutoModelForCausalLM.register(TunesmithConfig, TunesmithForCausalLM, exist_ok=True)
    AutoModelForSequenceClassification.register(TunesmithConfig, TunesmithForSequenceClassification, exist_ok=True)
    TunesmithConfig.register_for_auto_class()
    TunesmithForCausalLM.register_for_auto_class("AutoModelForCausalLM")
    TunesmithForSequenceClassification.register_for_auto_class("AutoModelForSequenceClassification")
