"""Adapters of earlier jobs, read from their folders and trained further or merged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tunesmith_trainer.errors import InvalidSpec, ModelNotFound, first_line
from tunesmith_trainer.models.adapters import ADAPTERS
from tunesmith_trainer.models.adapters.modules import SCORE_HEADS
from tunesmith_trainer.models.folders import ADAPTER_CONFIG
from tunesmith_trainer.models.vocabulary import make_room

if TYPE_CHECKING:
    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedModel

    from tunesmith_api.v1alpha1.methods.base import Task
    from tunesmith_trainer.models.folders import Folder

ADAPTER = "default"  # the name peft and TRL give the adapter that is trained


def continue_adapter(model: PreTrainedModel, folder: Folder) -> PeftModel:
    """Return the model with an earlier job's adapter, to be trained further as it is.

    Args:
        model: The adapter's base model.
        folder: The adapter's folder.

    Raises:
        ModelNotFound: The adapter can not be loaded, or does not fit the base model.
    """
    from peft import get_peft_model

    config = read_config(folder)
    if config.task_type == "SEQ_CLS":
        # Peft adds the score heads each time.
        config.modules_to_save = [name for name in config.modules_to_save or () if name not in SCORE_HEADS] or None
    try:
        # PeftModel.from_pretrained lets no learnt embeddings be trained; this, as the Trainer resumes, takes any type.
        peft_model = get_peft_model(model, config, adapter_name=ADAPTER)
        peft_model.load_adapter(str(folder.path), ADAPTER, is_trainable=True)
    # Shapes that do not fit, missing weights and damaged files come as four types of three libraries.
    except Exception as error:
        raise ModelNotFound(f"{folder.name} does not fit its base model: {first_line(error)}") from error
    return peft_model


def merge_adapter(model: PreTrainedModel, folder: Folder) -> PreTrainedModel:
    """Return the model with an adapter merged into its weights.

    Args:
        model: The adapter's base model, as it was when the adapter was saved.
        folder: The adapter's folder.

    Raises:
        ModelNotFound: The adapter can not be loaded, or does not fit the base model.
        InvalidSpec: It is of a type that can not be merged.
    """
    config = read_config(folder)
    if config.is_prompt_learning:
        raise InvalidSpec(
            f"{folder.name} holds learnt embeddings, which are no weights of the model and can not be merged into it;"
            " use model.fromJob.fromAdapter: continue, or train an adapter of another type"
        )
    make_room(model, config)
    return continue_adapter(model, folder).merge_and_unload(safe_merge=True)


def require_task(folder: Folder, task: Task, *, continues: bool) -> None:
    """Refuse an adapter that was trained for something else than the job trains for.

    Args:
        folder: The adapter's folder.
        task: What the job trains for.
        continues: Whether the adapter is trained further, not merged into a base to start from.

    Raises:
        ModelNotFound: Its config can not be read.
        InvalidSpec: It was.
    """
    trained_for = read_config(folder).task_type
    if trained_for == "SEQ_CLS" and task != "SEQ_CLS":
        raise InvalidSpec(
            f"{folder.name} belongs to a classifier (task {trained_for}), which scores texts and writes none; choose a"
            " job whose method trains a language model, or use this one as a reward model"
        )
    if continues and trained_for != task:
        raise InvalidSpec(
            f"{folder.name} belongs to a language model (task {trained_for}) and brings no score head to train further;"
            " use model.fromJob.fromAdapter: merge, with peft for a new adapter"
        )


def read_config(folder: Folder) -> PeftConfig:
    """Return the config of an adapter's folder, to be trained further.

    Raises:
        ModelNotFound: It can not be read, or is of a type that is not known here.
    """
    from peft import PeftConfig

    folder.require_adapter()
    try:
        kind = json.loads((folder.path / ADAPTER_CONFIG).read_text(encoding="utf-8"))["peft_type"]
        if str(kind).lower() not in ADAPTERS:
            known = ", ".join(name.upper() for name in ADAPTERS)
            raise ModelNotFound(f"{folder.name} is an adapter of type {kind}; only {known} can be used")
        config = PeftConfig.from_pretrained(folder.path, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelNotFound(
            f"{folder.name} has an {ADAPTER_CONFIG} that can not be read: {first_line(error)}"
        ) from error
    config.inference_mode = False
    if getattr(config, "prompt_tuning_init_text", None) is not None:
        # What the embeddings began as is overwritten; it would be worked out first, with a tokenizer.
        config.prompt_tuning_init = "RANDOM"
        config.prompt_tuning_init_text = config.tokenizer_name_or_path = config.tokenizer_kwargs = None
    return config
