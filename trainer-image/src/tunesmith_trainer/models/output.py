"""The trained model or adapter, written so that plain transformers or peft loads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from tunesmith_api.v1alpha1.status import HubModel
from tunesmith_trainer.models.folders import MODEL_CONFIG
from tunesmith_trainer.models.lora import ADAPTER
from tunesmith_trainer.models.weights import torch_dtype

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from transformers import Trainer

    from tunesmith_api.v1alpha1.status import VolumePath


@dataclass(frozen=True)
class OutputWriter:
    """Writes what was trained.

    Attributes:
        dtype: Precision that a whole model is written in.
        base_model: The model that the adapter belongs to, None when a whole model is trained.
        base_path: That model's folder as pods of the job see it, or its Hub id; the adapter's config names it.
    """

    dtype: str
    base_model: VolumePath | HubModel | None = None
    base_path: str | None = None

    def save(self, trainer: Trainer, directory: Path) -> Literal["model", "adapter"]:
        """Write model or adapter, tokenizer, chat template and generation config; only rank 0 does.

        Args:
            trainer: The trainer after its last step.
            directory: The folder to write into; it may exist.
        """
        adapter = self.base_path is not None
        if trainer.args.should_save:
            directory.mkdir(parents=True, exist_ok=True)
            model = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
            save = self._save_adapter if adapter else self._save_model
            save(model, directory)
            trainer.processing_class.save_pretrained(directory)
        return "adapter" if adapter else "model"

    def _save_adapter(self, model: Any, directory: Path) -> None:
        config = model.peft_config[ADAPTER]
        config.base_model_name_or_path = self.base_path
        config.revision = self.base_model.revision if isinstance(self.base_model, HubModel) else None
        # Only what is trained: TRL's frozen copy `ref` stays out, and no token was added that embeddings would be for.
        model.save_pretrained(directory, selected_adapters=[ADAPTER], save_embedding_layers=False)
        model.generation_config.save_pretrained(directory)

    def _save_model(self, model: Any, directory: Path) -> None:
        model.save_pretrained(directory, state_dict=_converted(model.state_dict(), torch_dtype(self.dtype)))
        # It writes down the precision that the weights are trained in, which is not the one they are written in.
        path = directory / MODEL_CONFIG
        config = json.loads(path.read_text(encoding="utf-8")) | {"dtype": self.dtype}
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _converted(weights: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return the weights in a precision; those that share memory still do, so that tied ones are written once."""
    made: dict[int, torch.Tensor] = {}
    for value in weights.values():
        if value.data_ptr() not in made:
            made[value.data_ptr()] = value.to(dtype) if value.is_floating_point() else value
    return {name: made[value.data_ptr()] for name, value in weights.items()}
