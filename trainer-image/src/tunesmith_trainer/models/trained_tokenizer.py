"""The tokenizer of a new architecture: trained once per run on rank 0, kept in the run's folder, read by all."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from tunesmith_trainer.models.tokenizer_types import UNKNOWN, raw_tokenizer
from tunesmith_trainer.models.tokenizers import (
    END_OF_TEXT,
    MESSAGE_END,
    MESSAGE_START,
    PADDING,
    ensure_chat_template,
    has_tokenizer,
    load_tokenizer,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from transformers import PreTrainedTokenizerBase, TrainingArguments

    from tunesmith_api.v1alpha1.architecture import TrainedTokenizer
    from tunesmith_trainer.context import RunContext

_FOLDER = "tokenizer"


def run_tokenizer(context: RunContext, texts: Iterable[str], arguments: TrainingArguments) -> PreTrainedTokenizerBase:
    """Return the run's tokenizer, trained when no attempt has done so yet.

    A checkpoint is worth nothing with another tokenizer, so a later attempt never trains a new one.

    Args:
        context: The run.
        texts: The texts to train on.
        arguments: The trainer's arguments, which know the other processes.
    """
    folder = context.run_directory / _FOLDER
    with arguments.main_process_first(local=False):
        if context.rank == 0 and not has_tokenizer(folder):
            _train(context, texts, folder)
    return load_tokenizer(folder, "the tokenizer of this run")


def train_tokenizer(texts: Iterator[str], spec: TrainedTokenizer, max_length: int) -> PreTrainedTokenizerBase:
    """Return a tokenizer that knows the ChatML tokens and template.

    Args:
        texts: What to train it on.
        spec: Its type and size.
        max_length: Longest sequence of the model, in tokens.
    """
    from transformers import PreTrainedTokenizerFast

    unknown = {"unk_token": UNKNOWN} if spec.type == "char" else {}
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=raw_tokenizer(texts, spec),
        bos_token=END_OF_TEXT,
        eos_token=END_OF_TEXT,
        pad_token=PADDING,
        **unknown,
        additional_special_tokens=[MESSAGE_START, MESSAGE_END],
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )
    ensure_chat_template(wrapped)
    return wrapped


def _train(context: RunContext, texts: Iterable[str], folder: Path) -> None:
    model = context.run.spec.model
    if model.tokenizer is None or model.tokenizer.train is None or model.architecture is None:
        raise ValueError("a frozen run must name the tokenizer of its architecture")
    tokenizer = train_tokenizer(iter(texts), model.tokenizer.train, model.architecture.max_position_embeddings)
    temporary = folder.with_name(f"{folder.name}.tmp-{context.attempt}")
    shutil.rmtree(temporary, ignore_errors=True)
    tokenizer.save_pretrained(temporary)
    temporary.replace(folder)
