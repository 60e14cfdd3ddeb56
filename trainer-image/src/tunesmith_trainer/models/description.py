"""What the run record says of the model that was trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tunesmith_trainer.models.architectures.choice import choose

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel

    from tunesmith_api.v1alpha1.architecture import Architecture


def describe(model: PreTrainedModel | PeftModel, architecture: Architecture | None) -> dict[str, Any]:
    """Return its class, why it is that class, and its size in parameters; those of an adapter are trained ones.

    Args:
        model: What is trained.
        architecture: The spec's architecture, when the model is a new one.
    """
    base = model.get_base_model() if hasattr(model, "peft_config") else model
    return {
        "class": type(base).__name__,
        "chosenBecause": None if architecture is None else choose(architecture).reason,
        "parameters": sum(value.numel() for value in model.parameters()),
        "trainedParameters": sum(value.numel() for value in model.parameters() if value.requires_grad),
    }
