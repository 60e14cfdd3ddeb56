"""Prompt tuning: learnt embeddings before every row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_trainer.errors import InvalidSpec

if TYPE_CHECKING:
    from peft import PeftConfig, PromptTuningConfig
    from transformers import PreTrainedModel

    from tunesmith_api.v1alpha1.peft import Peft
    from tunesmith_trainer.models.folders import Folder


def new_config(peft: Peft, model: PreTrainedModel, base: Folder) -> PromptTuningConfig:
    """Return peft's config of a new adapter; see `AdapterType.new_config`."""
    from peft import PromptTuningConfig

    del model
    block = peft.prompt_tuning
    if block is None:
        raise ValueError("prompt tuning needs its block")
    from_text = block.prompt_tuning_init_text is not None
    return PromptTuningConfig(
        num_virtual_tokens=block.num_virtual_tokens,
        prompt_tuning_init=block.prompt_tuning_init,
        prompt_tuning_init_text=block.prompt_tuning_init_text,
        tokenizer_name_or_path=str(base.path) if from_text else None,
        tokenizer_kwargs={"local_files_only": True} if from_text else None,
    )


def require_positions(config: PeftConfig, model: PreTrainedModel, max_length: int) -> None:
    """Refuse learnt embeddings that leave too few of the model's positions to the rows.

    Args:
        config: The config of any adapter.
        model: The base model.
        max_length: Longest row of the job, in tokens.

    Raises:
        InvalidSpec: They do.
    """
    positions = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if config.is_prompt_learning and positions is not None and config.num_virtual_tokens + max_length > positions:
        raise InvalidSpec(
            f"spec.training.maxLength {max_length} and the {config.num_virtual_tokens} virtual tokens of the adapter"
            f" exceed the {positions} positions of the base model; set maxLength to at most"
            f" {positions - config.num_virtual_tokens}, or train fewer virtual tokens"
        )
