"""Prompts that the model is to answer in training, each with the columns of its row that rewards use."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from tunesmith_trainer.data.corpus import open_corpora
from tunesmith_trainer.data.counts import Counts
from tunesmith_trainer.data.encode import encode_prompts
from tunesmith_trainer.data.feed import Feed
from tunesmith_trainer.data.tables import make_table
from tunesmith_trainer.errors import DataError
from tunesmith_trainer.rewards import rewards_of
from tunesmith_trainer.rewards.columns import require_columns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from datasets import Dataset

    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.data.corpus import Corpora, Corpus
    from tunesmith_trainer.data.encode import Encoder

PROMPT, IDS, COLUMNS = "prompt", "prompt_ids", "columns"


@dataclass(frozen=True)
class PromptFeed(Feed):
    """How prompts become a table, with the columns `PROMPT` (text or messages), `IDS` and `COLUMNS` (JSON)."""

    @override
    def table(self, corpus: Corpus, what: str) -> tuple[Dataset, dict[str, Any]]:
        import pyarrow as pa

        counts = Counts()
        message = pa.struct([("role", pa.string()), ("content", pa.string())])
        others = {PROMPT: pa.list_(message) if corpus.chat else pa.string(), COLUMNS: pa.string()}
        return make_table(self.encode(corpus.drawn(), counts), self.columns, others), counts.report()


def prompt_feed(encoder: Encoder, room: int) -> PromptFeed:
    """Return how rows of prompts become a table.

    Args:
        encoder: What makes token ids.
        room: Tokens of a sequence that are kept free for the completion; longer prompts are left out and counted.
    """
    return PromptFeed(
        lambda drawn, counts: encode_prompts(drawn, encoder, counts, room), (PROMPT, IDS, COLUMNS), encoder.max_length
    )


def open_prompts(context: RunContext) -> Corpora:
    """Return the rows of prompts to train and to evaluate on.

    Raises:
        DataError: Some prompts are texts and some are chats, which no batch can mix; or a reward lacks its column.
    """
    corpora = open_corpora(context.run.spec, context, ("prompt",))
    sources = corpora.train.sources + (corpora.evaluation.sources if corpora.evaluation else ())
    first, *others = sources
    for source in others:
        if source.chat != first.chat:
            kinds = ("texts", "chats")
            raise DataError(
                f"the prompts of {source.field} are {kinds[source.chat]} and those of {first.field}"
                f" {kinds[first.chat]}: make all of them alike"
            )
    require_columns(rewards_of(context), sources)
    return corpora


def by_name(columns: Sequence[str]) -> dict[str, list[Any]]:
    """Return the columns of several rows as rewards take them; a row that lacks a column has None there.

    Args:
        columns: What the table has in `COLUMNS`, row by row.
    """
    rows = [json.loads(row) for row in columns]
    return {name: [row.get(name) for row in rows] for name in dict.fromkeys(itertools.chain.from_iterable(rows))}
