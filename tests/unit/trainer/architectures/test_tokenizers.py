"""Tokenizers that are trained on the data: every text decodes to itself, and the size is kept to."""

from pydoc_data.topics import topics
from typing import Any

import pytest

from tunesmith_api.v1alpha1.architecture import TrainedTokenizer

TEXTS = tuple(topics[topic] for topic in sorted(topics)[:12])
STRANGE = ["Ω ≈ 3.14159…", "日本語 and emoji 🎻", "  two  spaces\t\n\n", "a" * 250 + "!" * 120, "▁ and ##", ""]


def train(kind: str, size: int = 1000, texts: Any = TEXTS) -> Any:
    from tunesmith_trainer.models.trained_tokenizer import train_tokenizer

    return train_tokenizer(iter(texts), TrainedTokenizer.model_validate({"type": kind, "vocabSize": size}), 2048)


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece"])
def test_every_text_decodes_to_itself(kind: str) -> None:
    tokenizer = train(kind)
    assert len(tokenizer) <= 1000
    for text in (*TEXTS[:2], *STRANGE):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer(TEXTS[0])["input_ids"]) < len(TEXTS[0]) / 2, "words are pieces, not bytes"


def test_characters_are_tokens() -> None:
    tokenizer = train("char", 128)
    text = TEXTS[1]
    ids = tokenizer(text)["input_ids"]
    assert len(ids) == len(text)
    assert tokenizer.decode(ids) == text
    assert len(tokenizer) == 5 + len(set("".join(TEXTS))) <= 128
    unknown = tokenizer("日")["input_ids"]
    assert unknown == [tokenizer.unk_token_id]


def test_a_small_vocabulary_keeps_the_commonest_characters() -> None:
    tokenizer = train("char", 8, ["aaaaabbbbcccd"])
    assert sorted(set(tokenizer.get_vocab()) - set(tokenizer.all_special_tokens)) == ["a", "b", "c"]


@pytest.mark.parametrize("kind", ["bpe", "unigram", "wordpiece", "char"])
def test_special_tokens_are_one_token_each_and_come_back_from_a_folder(kind: str, tmp_path: Any) -> None:
    from tunesmith_trainer.models.tokenizers import load_tokenizer

    train(kind).save_pretrained(tmp_path)
    tokenizer = load_tokenizer(tmp_path, "the tokenizer")
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "The cat"}], tokenize=False)
    ids = tokenizer(chat)["input_ids"]
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_start|>")) == 1
    assert ids.count(tokenizer.convert_tokens_to_ids("<|im_end|>")) == 1
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|endoftext|>", "<|pad|>")
    assert tokenizer.decode(ids) == chat


def test_training_twice_gives_the_same() -> None:
    for kind in ("bpe", "unigram", "wordpiece", "char"):
        assert train(kind).get_vocab() == train(kind).get_vocab()
