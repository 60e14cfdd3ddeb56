"""Chat templates that mark what the assistant says, so that nothing else is learnt."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_trainer.errors import InvalidSpec, first_line

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CHAT = [
    {"role": "user", "content": "Hello?"},
    {"role": "assistant", "content": "Hello!"},
    {"role": "user", "content": "Bye."},
    {"role": "assistant", "content": "Goodbye."},
]


def spoken_template(tokenizer: PreTrainedTokenizerBase) -> str | None:
    """Return the chat template to train with; None when the tokenizer's own marks the assistant's tokens.

    TRL knows marked forms of the templates of common models.

    Raises:
        InvalidSpec: Neither is the case.
    """
    from trl.chat_template_utils import get_training_chat_template

    if _marks(tokenizer, None):
        return None
    try:
        template: str | None = get_training_chat_template(tokenizer)
    except ValueError:
        template = None
    if template is None or not _marks(tokenizer, template):
        raise InvalidSpec(
            "spec.sft.assistantOnlyLoss: the model's chat template does not mark what the assistant says; put"
            " {% generation %} and {% endgeneration %} around it in the template, or remove assistantOnlyLoss"
        )
    return template


def _marks(tokenizer: PreTrainedTokenizerBase, template: str | None) -> bool:
    try:
        encoded = tokenizer.apply_chat_template(
            _CHAT, chat_template=template, tokenize=True, return_dict=True, return_assistant_tokens_mask=True
        )
    # A template may raise whatever it likes.
    except Exception as error:
        raise InvalidSpec(
            "spec.sft.assistantOnlyLoss: the model's chat template does not work on a chat of user and assistant:"
            f" {first_line(error)}; set another in spec.model.chatTemplate"
        ) from error
    return 1 in encoded["assistant_masks"]
