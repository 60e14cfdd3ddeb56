"""Tokenizers that are trained on texts, by type: how a text is cut into tokens.

All but `char` see a text as bytes, one visible character each (tokenizers' ByteLevel), so that every text decodes to
itself and no token stands for what is unknown.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

from tunesmith_trainer.models.tokenizers import SPECIAL_TOKENS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tokenizers import Tokenizer

    from tunesmith_api.v1alpha1.architecture import TrainedTokenizer

UNKNOWN = "<|unk|>"
# In front of a piece that goes on a word: no character that stands for a byte, so that decoding can drop it.
_GOES_ON = "\u2581"
_DIGITS = 9  # of the logarithm of a piece's likelihood
_LONGEST_WORD = 100  # the search for pieces takes the square of it; longer words are cut


def raw_tokenizer(texts: Iterator[str], spec: TrainedTokenizer) -> Tokenizer:
    """Return a tokenizer of the `tokenizers` library, trained on texts.

    Args:
        texts: What to train it on.
        spec: Its type and size.
    """
    return {"bpe": _bpe, "unigram": _unigram, "wordpiece": _wordpiece, "char": _char}[spec.type](texts, spec.vocab_size)


def _bytes() -> list[str]:
    from tokenizers import pre_tokenizers

    return sorted(pre_tokenizers.ByteLevel.alphabet())


def _on_bytes(tokenizer: Tokenizer) -> Tokenizer:
    from tokenizers import decoders, pre_tokenizers

    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _bpe(texts: Iterator[str], size: int) -> Tokenizer:
    from tokenizers import Tokenizer, models, trainers

    tokenizer = _on_bytes(Tokenizer(models.BPE()))
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=_bytes(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


def _unigram(texts: Iterator[str], size: int) -> Tokenizer:
    from tokenizers import Tokenizer, models, trainers

    tokenizer = _on_bytes(Tokenizer(models.Unigram()))
    trainer = trainers.UnigramTrainer(
        vocab_size=size, special_tokens=list(SPECIAL_TOKENS), initial_alphabet=_bytes(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.model = models.Unigram(_ordered(json.loads(tokenizer.to_str())["model"]["vocab"]))
    return tokenizer


def _ordered(pieces: list[tuple[str, float]]) -> list[tuple[str, float]]:
    """Return a unigram vocabulary that is the same for the same texts.

    The trainer sums in an order that is drawn anew each time, so that last digits differ; and the bytes that it would
    have dropped it ranks by chance, below all else, where one rank does as well.

    Args:
        pieces: Pieces with the logarithms of their likelihoods, special tokens first.
    """
    special, others = pieces[: len(SPECIAL_TOKENS)], pieces[len(SPECIAL_TOKENS) :]
    rarest = min((score for piece, score in others if len(piece) > 1), default=0.0)
    scored = [(piece, round(score if score >= rarest else rarest - 1, _DIGITS)) for piece, score in others]
    return [*((piece, score) for piece, score in special), *sorted(scored, key=lambda each: (-each[1], each[0]))]


def _wordpiece(texts: Iterator[str], size: int) -> Tokenizer:
    from tokenizers import Regex, decoders, pre_tokenizers, trainers

    cut = pre_tokenizers.Split(Regex(f"[\\s\\S]{{1,{_LONGEST_WORD}}}"), "isolated")
    words = pre_tokenizers.Sequence([pre_tokenizers.ByteLevel(add_prefix_space=False), cut])
    untrained = _pieces({})
    untrained.pre_tokenizer = words
    # Named as special tokens, bytes that go on a word all have a place, and the same each time.
    going_on = [_GOES_ON + byte for byte in _bytes()]
    trainer = trainers.WordPieceTrainer(
        vocab_size=size,
        special_tokens=[*SPECIAL_TOKENS, *going_on],
        initial_alphabet=_bytes(),
        continuing_subword_prefix=_GOES_ON,
        show_progress=False,
    )
    untrained.train_from_iterator(texts, trainer)
    tokenizer = _pieces(untrained.get_vocab())
    tokenizer.pre_tokenizer = words
    tokenizer.decoder = decoders.Sequence([decoders.Replace(_GOES_ON, ""), decoders.Fuse(), decoders.ByteLevel()])
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def _pieces(vocabulary: dict[str, int]) -> Tokenizer:
    from tokenizers import Tokenizer, models

    model = models.WordPiece(
        vocabulary,
        unk_token=UNKNOWN,
        continuing_subword_prefix=_GOES_ON,
        max_input_chars_per_word=_LONGEST_WORD,
    )
    return Tokenizer(model)


def _char(texts: Iterator[str], size: int) -> Tokenizer:
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

    special = [*SPECIAL_TOKENS, UNKNOWN]
    counts = Counter(character for text in texts for character in text)
    frequent = sorted(counts, key=lambda character: (-counts[character], character))[: max(0, size - len(special))]
    vocabulary = {token: place for place, token in enumerate([*special, *sorted(frequent)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=UNKNOWN))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("[\\s\\S]"), "isolated")
    tokenizer.decoder = decoders.Fuse()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    return tokenizer
