"""What a preparation looks at, cheapest first: output path, arguments, model, then every row of the data."""

from __future__ import annotations

import json
import logging
from collections import deque
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from tunesmith_trainer import outputs
from tunesmith_trainer.data.counts import Counts
from tunesmith_trainer.data.encode import require_rows
from tunesmith_trainer.fence import Fence
from tunesmith_trainer.manifests import write_atomically
from tunesmith_trainer.methods import METHODS
from tunesmith_trainer.models.outline import outline
from tunesmith_trainer.models.prepare import find_model
from tunesmith_trainer.models.tokenizers import ensure_chat_template
from tunesmith_trainer.preparation.companions import companion_parameters
from tunesmith_trainer.preparation.memory import require_memory
from tunesmith_trainer.preparation.report import compose
from tunesmith_trainer.rewards.checks import check_rewards

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from transformers import PreTrainedTokenizerBase

    from tunesmith_api.v1alpha1.preparation import MemoryEstimate, PreparationReport
    from tunesmith_trainer.context import RunContext
    from tunesmith_trainer.data.corpus import Corpus
    from tunesmith_trainer.data.feed import Feed
    from tunesmith_trainer.models.outline import Outline
    from tunesmith_trainer.models.prepare import ModelPlan

REPORT_FILE = "preparation.json"
_log = logging.getLogger(__name__)


class Alone:
    """Stands for the trainer's arguments where one process is all there is: they know the other processes."""

    def main_process_first(self, *, local: bool = True) -> AbstractContextManager[None]:
        """Return a context in which nobody is waited for."""
        del local
        return nullcontext()


def check(context: RunContext) -> PreparationReport:
    """Check what the run will train on, and leave the whole report in the run's folder.

    Nothing is trained and no weight is loaded. A model that brings its tokenizer is looked at before the rows are
    read, which takes longer; that of a new architecture follows from them.

    Raises:
        TrainerError: Training would fail for the same reason; the message says what to do.
    """
    fence = Fence(context, "preparations")
    fence.take()
    outputs.refuse_conflict(context)
    method = METHODS[context.run.spec.method]
    method.trl_arguments(context)
    # Weights of the Hub are fetched where the trainer finds them again: into a cache that outlives this pod.
    model, alone = find_model(context, outlined=context.run.spec.model.cache is None), Alone()
    known = _outlined(context, model, model.tokenizer((), alone)) if model.base is not None else None
    corpora = method.open_rows(context)
    # Only a new architecture looks at the texts, and it is trained on plain text alone.
    tokenizer = model.tokenizer((row["text"] for row in corpora.train), alone)
    given = corpora.chat and ensure_chat_template(tokenizer)
    feed = method.make_feed(context, tokenizer)
    reward_warnings = [*check_rewards(context, tokenizer)]
    data = corpora.report | {
        "train": _counted(feed, corpora.train, "train on"),
        "evaluation": _counted(feed, corpora.evaluation, "evaluate on") if corpora.evaluation else None,
        "chatTemplateGiven": given,
        "rewardWarnings": reward_warnings,
    }
    report = compose(context, data, *(known or _outlined(context, model, tokenizer)))
    fence.check()
    write_atomically(
        context.run_directory / REPORT_FILE, json.dumps({"report": report.to_wire(), "data": data}, indent=1)
    )
    for warning in report.warnings:
        _log.warning("%s", warning)
    return report


def _outlined(
    context: RunContext, model: ModelPlan, tokenizer: PreTrainedTokenizerBase
) -> tuple[Outline, MemoryEstimate]:
    outlined = outline(model, tokenizer)
    return outlined, require_memory(context, outlined, companion_parameters(context, tokenizer))


def _counted(feed: Feed, corpus: Corpus, what: str) -> dict[str, Any]:
    """Return what becomes of the rows of one pass; none of them is kept."""
    counts = Counts()
    deque(feed.encode(corpus.drawn(), counts), maxlen=0)
    require_rows(counts, feed.max_length, what)
    return counts.report()
