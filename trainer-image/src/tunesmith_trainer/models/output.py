"""The trained model or adapter, written so that plain transformers or peft loads it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from tunesmith_api.v1alpha1.status import HubModel
from tunesmith_trainer.models.adapters.saved import ADAPTER
from tunesmith_trainer.models.folders import MODEL_CONFIG, Folder
from tunesmith_trainer.models.merge import write_merged
from tunesmith_trainer.models.weights import torch_dtype

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from transformers import Trainer

    from tunesmith_api.v1alpha1.model import ModelSource
    from tunesmith_api.v1alpha1.status import VolumePath
    from tunesmith_trainer.models.adapters.conversion import InitialAdapter

MERGED = "merged"


@dataclass(frozen=True)
class OutputWriter:
    """Writes what was trained.

    Attributes:
        source: The spec's block about the model, which has the precision that a whole model is written in.
        base: The model that the adapter belongs to, None when a whole model is trained.
        initial: The adapter as it began, when it began as a part of the base model's weights.
        merged_at: Place of the output, when the model with the adapter merged into it is written there too.
    """

    source: ModelSource
    base: Folder | None = None
    initial: InitialAdapter | None = None
    merged_at: VolumePath | None = None

    def save(self, trainer: Trainer, directory: Path) -> Literal["model", "adapter"]:
        """Write model or adapter, tokenizer, chat template and generation config; only rank 0 does.

        Args:
            trainer: The trainer after its last step.
            directory: The folder to write into; it may exist.
        """
        if trainer.args.should_save:
            directory.mkdir(parents=True, exist_ok=True)
            model = trainer.accelerator.unwrap_model(trainer.model, keep_torch_compile=False)
            if self.base is None:
                self._save_model(model, directory)
            else:
                self._save_adapter(model, directory, self.base)
            trainer.processing_class.save_pretrained(directory)
            if self.base is not None and self.merged_at is not None:
                adapter = Folder(self.merged_at, directory, "the trained adapter")
                write_merged(self.base, adapter, self.source, directory / MERGED)
        return "model" if self.base is None else "adapter"

    def _save_adapter(self, model: Any, directory: Path, base: Folder) -> None:
        config = model.peft_config[ADAPTER]
        config.base_model_name_or_path = base.reference
        config.revision = base.place.revision if isinstance(base.place, HubModel) else None
        if getattr(config, "tokenizer_name_or_path", None) is not None:
            config.tokenizer_name_or_path = base.reference
        # Only what is trained: TRL's frozen copy `ref` stays out, and no token was added that embeddings would be for.
        save = model.save_pretrained if self.initial is None else partial(self.initial.save_difference, model)
        save(directory, selected_adapters=[ADAPTER], save_embedding_layers=False)
        if model.can_generate():
            model.generation_config.save_pretrained(directory)

    def _save_model(self, model: Any, directory: Path) -> None:
        model.save_pretrained(directory, state_dict=_converted(model.state_dict(), torch_dtype(self.source.dtype)))
        # It writes down the precision that the weights are trained in, which is not the one they are written in.
        path = directory / MODEL_CONFIG
        config = json.loads(path.read_text(encoding="utf-8")) | {"dtype": self.source.dtype}
        path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _converted(weights: dict[str, torch.Tensor], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return the weights in a precision; those that share memory still do, so that tied ones are written once."""
    made: dict[int, torch.Tensor] = {}
    for value in weights.values():
        if value.data_ptr() not in made:
            made[value.data_ptr()] = value.to(dtype) if value.is_floating_point() else value
    return {name: made[value.data_ptr()] for name, value in weights.items()}
