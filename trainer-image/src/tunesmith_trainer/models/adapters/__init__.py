"""Adapters: one file per type, what they have in common, and what becomes of a saved one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from tunesmith_trainer.models.adapters import ia3, lora, prompt_tuning

if TYPE_CHECKING:
    from peft import PeftConfig
    from transformers import PreTrainedModel

    from tunesmith_api.v1alpha1.peft import Peft
    from tunesmith_trainer.models.folders import Folder


class AdapterType(Protocol):
    """What every module of an adapter type offers."""

    def new_config(self, peft: Peft, model: PreTrainedModel, base: Folder) -> PeftConfig:
        """Return peft's config of a new adapter.

        Args:
            peft: The spec's block; the type's own block is there.
            model: The base model.
            base: Its folder.

        Raises:
            InvalidSpec: The model has not what the spec names; peft silently leaves that out.
        """


ADAPTERS: dict[str, AdapterType] = {"lora": lora, "ia3": ia3, "prompt_tuning": prompt_tuning}
"""By their fields in `spec.peft`, which are peft's names for the types in lower case."""


def new_config(peft: Peft, model: PreTrainedModel, base: Folder) -> PeftConfig:
    """Return peft's config of the adapter that a spec asks for; see `AdapterType.new_config`."""
    name = next(name for name in ADAPTERS if getattr(peft, name) is not None)
    config = ADAPTERS[name].new_config(peft, model, base)
    # Of a classifier, peft trains the score head too, and saves it with the adapter.
    config.task_type = "CAUSAL_LM" if model.can_generate() else "SEQ_CLS"
    return config
