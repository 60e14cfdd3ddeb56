"""The base model in 4 or 8 bits, with bitsandbytes: frozen, under a LoRA adapter."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from tunesmith_api.v1alpha1.training.optimizers import BITSANDBYTES_OPTIMIZERS
from tunesmith_trainer.errors import InvalidSpec

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import BitsAndBytesConfig

    from tunesmith_api.run import FrozenRun
    from tunesmith_api.v1alpha1.quantization import Quantization

_BITS_AND_BYTES = "bitsandbytes"


def hide_unless_needed(run: FrozenRun) -> None:
    """Hide bitsandbytes from a run that does nothing with it; to be called before peft is imported.

    Where it is installed, peft imports it at once, and that takes longer than everything else of the start.
    """
    spec = run.spec
    if spec.model.quantization is None and spec.training.optim not in BITSANDBYTES_OPTIMIZERS:
        sys.modules.setdefault(_BITS_AND_BYTES, None)  # type: ignore[arg-type]  # so it counts as not installed


def bits_and_bytes(quantization: Quantization) -> BitsAndBytesConfig:
    """Return how transformers is to load a model; the output head stays as it is."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(**quantization.model_dump(exclude_none=True))


def require_lora(quantization: Quantization | None, config: PeftConfig | None) -> None:
    """Refuse to train anything but a LoRA adapter on a quantised model.

    Args:
        quantization: The spec's block.
        config: The config of the adapter; None for full weights.

    Raises:
        InvalidSpec: It would be.
    """
    from peft import LoraConfig

    if quantization is not None and not isinstance(config, LoraConfig):
        raise InvalidSpec(
            "spec.model.quantization: a quantised model is frozen and trains a LoRA adapter; remove quantization, or"
            " set peft.lora"
        )
