"""`model.chatTemplate`: one of ours by name or the user's own, tried on a short chat before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_trainer.errors import InvalidSpec, first_line
from tunesmith_trainer.models.tokenizers import named_template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tunesmith_api.v1alpha1.chat_template import ChatTemplate
    from tunesmith_trainer.data.sources import Mounts

_FIELD = "spec.model.chatTemplate"
_CHAT = ({"role": "user", "content": "Question?"}, {"role": "assistant", "content": "Answer."})
_NEEDED = {"llama3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")}


def set_chat_template(tokenizer: PreTrainedTokenizerBase, wanted: ChatTemplate, mounts: Mounts) -> None:
    """Give a tokenizer the chat template that the spec asks for.

    Raises:
        InvalidSpec: There is none, it is no template, or the vocabulary does not go with it.
    """
    if wanted.name is not None:
        _require_tokens(wanted.name, tokenizer)
        tokenizer.chat_template = named_template(wanted.name, tokenizer)
        return
    where, text = _own(wanted, mounts)
    tokenizer.chat_template = text
    try:
        rendered = tokenizer.apply_chat_template(list(_CHAT), tokenize=False)
    # A template may raise whatever it likes; a fault of ours would show with any template.
    except Exception as error:
        line = getattr(error, "lineno", None)
        raise InvalidSpec(
            f"{where}{f', line {line}' if line else ''}: the template does not work on a chat of user and assistant:"
            f" {first_line(error)}; correct it, or use one by name"
        ) from error
    lacking = next((message["role"] for message in _CHAT if message["content"] not in rendered), None)
    if lacking is not None:
        raise InvalidSpec(f"{where}: the template leaves out what the {lacking} says; correct it, or use one by name")


def _require_tokens(name: str, tokenizer: PreTrainedTokenizerBase) -> None:
    vocabulary = tokenizer.get_vocab()
    lacking = [token for token in _NEEDED.get(name, ()) if token not in vocabulary]
    if lacking:
        raise InvalidSpec(
            f"{_FIELD}.name: {name} needs the tokens {', '.join(lacking)}, which the tokenizer lacks; list them in"
            " spec.model.addedSpecialTokens, or use chatml"
        )


def _own(wanted: ChatTemplate, mounts: Mounts) -> tuple[str, str]:
    """Return where the user's own template is, for messages, and the template."""
    if wanted.template is not None:
        return f"{_FIELD}.template", wanted.template
    if wanted.config_map is not None:
        where = f"{_FIELD}.configMap (key {wanted.config_map.key} of {wanted.config_map.name})"
        path = mounts.configmap_path(wanted.config_map.name, wanted.config_map.key)
    elif wanted.claim is not None:
        where = f"{_FIELD}.claim (file {wanted.claim.path} of {wanted.claim.name})"
        path = mounts.claim_path(wanted.claim.name, wanted.claim.path)
    else:
        raise InvalidSpec(f"{_FIELD} names no template; set name, template, configMap or claim")
    try:
        return where, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSpec(f"{where} can not be read: {error}; correct the place, or write the file as UTF-8") from error
