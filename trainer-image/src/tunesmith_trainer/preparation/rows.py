"""Every row of a run, read and encoded once and counted: the data as training will see it."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tunesmith_api.v1alpha1.methods import Pretrain, Sft
from tunesmith_trainer.data.corpus import open_corpora
from tunesmith_trainer.data.encode import IGNORED, Counts, Encoder, encode_preferences, encode_sequences
from tunesmith_trainer.errors import DataError
from tunesmith_trainer.methods.arguments import method_block
from tunesmith_trainer.methods.sft import _masks_prompt, _require_completions

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.data.corpus import Corpora, Corpus, Source

_UNCUT = 1 << 40
_ACCEPTED: dict[str, Any] = {
    "pretrain": ("text",),
    "sft": ("messages", "prompt-completion", "instruction", "text"),
    "dpo": ("preference",),
}
Encoded = tuple[Any, ...]


def open_rows(context: RunContext) -> Corpora:
    """Return the rows to train and to evaluate on."""
    spec = context.run.spec
    corpora = open_corpora(spec, context, _ACCEPTED[spec.method])
    if spec.method == "sft":
        _require_completions(corpora, method_block(context, Sft).completion_only_loss)
    return corpora


@dataclass
class Tally:
    """What became of the rows."""

    max_length: int
    cuts: bool
    lengths: list[int] = field(default_factory=list)
    seen: Counter[int] = field(default_factory=Counter)
    drawn: Counter[str] = field(default_factory=Counter)
    truncated: int = 0
    dropped: int = 0
    tokens: int = 0
    loss_tokens: int = 0

    def count(self, source: str, parts: Encoded) -> None:
        """Count one row."""
        ids, labels = (parts[0] + parts[1], parts[1]) if len(parts) == 3 else parts  # noqa: PLR2004 - a preference
        self.seen[hash(tuple(map(tuple, parts)))] += 1
        self.lengths.append(len(ids))
        kept = min(len(ids), self.max_length) if self.cuts else len(ids)
        learnt = sum(label != IGNORED for label in labels[: kept if len(labels) == len(ids) else None])
        if not learnt:
            self.dropped += 1
            return
        self.drawn[source] += 1
        self.truncated += kept < len(ids)
        self.tokens += kept
        self.loss_tokens += learnt

    def report(self) -> dict[str, Any]:
        """Return the figures."""
        import numpy as np

        used = sum(self.drawn.values())
        p50, p90, p99, longest = np.percentile(self.lengths, (50, 90, 99, 100), method="higher").tolist()
        return {
            "rows": len(self.lengths),
            "used": used,
            "dropped": self.dropped,
            "duplicates": len(self.lengths) - len(self.seen),
            "tokens": self.tokens,
            "truncatedShare": round(self.truncated / used, 4),
            "lossShare": round(self.loss_tokens / self.tokens, 4),
            "tokenLength": {"p50": p50, "p90": p90, "p99": p99, "max": longest},
            "drawn": {source: {"rows": rows} for source, rows in self.drawn.items()},
        }


def count_rows(context: RunContext, tokenizer: PreTrainedTokenizerBase, corpus: Corpus, what: str) -> dict[str, Any]:
    """Return what becomes of the rows."""
    spec = context.run.spec
    packs = spec.method == "pretrain" and method_block(context, Pretrain).packing
    tally = Tally(spec.training.max_length, not packs)
    encode = _encoder(context, tokenizer)
    for source, pairs in itertools.groupby(corpus.with_sources(), key=lambda pair: pair[0]):
        for parts in encode(source, (row for _, row in pairs)):
            tally.count(source.field, parts)
    if not tally.drawn:
        raise DataError(
            f"none of the {len(tally.lengths)} rows to {what} has a token to learn within training.maxLength of"
            f" {spec.training.max_length}: the prompts alone are that long; raise training.maxLength or shorten the"
            " prompts"
        )
    return tally.report()


def _encoder(
    context: RunContext, tokenizer: PreTrainedTokenizerBase
) -> Callable[[Source, Iterator[Any]], Iterator[Encoded]]:
    spec, encoder = context.run.spec, Encoder(tokenizer, _UNCUT)
    if spec.method == "dpo":
        return lambda _, rows: encode_preferences(rows, encoder, Counts())
    given = method_block(context, Sft).completion_only_loss if spec.method == "sft" else False
    return lambda source, rows: encode_sequences(rows, encoder, Counts(), completion_only=_masks_prompt(source, given))
