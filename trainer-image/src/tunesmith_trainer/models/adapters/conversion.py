"""Adapters that begin as a part of the base model's weights: PiSSA and OLoRA.

The weights they leave in the base are worth nothing to anybody else. So what is saved is the difference to the adapter
as it began, a plain one of twice the rank, which fits the base model as it was.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.models.adapters.saved import ADAPTER
from tunesmith_trainer.models.folders import ADAPTER_WEIGHTS

if TYPE_CHECKING:
    import torch
    from peft import LoraConfig, PeftConfig, PeftModel
    from transformers import PreTrainedModel

_MUTATING = ("pissa", "olora")
_INITIAL = "initial"


def mutates_base(config: PeftConfig) -> bool:
    """Whether a new adapter takes a part of the base model's weights."""
    return getattr(config, "init_lora_weights", None) in _MUTATING


@dataclass(frozen=True)
class InitialAdapter:
    """A mutating adapter as it began. Every attempt has its own: the base is split anew each time.

    Attributes:
        weights: Its weights, by their names in a saved adapter.
    """

    weights: dict[str, torch.Tensor]

    @classmethod
    def split_from(cls, model: PreTrainedModel, config: LoraConfig) -> tuple[PeftModel, InitialAdapter]:
        """Return the model with the new adapter, and what the adapter is now."""
        from peft import get_peft_model, get_peft_model_state_dict

        peft_model = get_peft_model(model, config)
        # From here on the adapter is an ordinary one: a copy of it as a reference must not split the base again.
        peft_model.peft_config[ADAPTER].init_lora_weights = True
        state = get_peft_model_state_dict(peft_model, adapter_name=ADAPTER, save_embedding_layers=False)
        return peft_model, cls({name: value.detach().cpu().clone() for name, value in state.items()})

    def save_difference(self, model: PeftModel, directory: Path, **arguments: Any) -> None:
        """Write the trained adapter as one for the base model as it was.

        Args:
            model: The trained model.
            directory: The folder to write into.
            arguments: More arguments of `PeftModel.save_pretrained`.
        """
        from safetensors.torch import save_file

        with tempfile.TemporaryDirectory() as temporary:
            initial = Path(temporary) / _INITIAL
            initial.mkdir()
            save_file(self.weights, initial / ADAPTER_WEIGHTS, metadata={"format": "pt"})
            model.save_pretrained(directory, path_initial_model_for_weight_conversion=str(initial), **arguments)
