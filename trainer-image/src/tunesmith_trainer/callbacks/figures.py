"""Adds to the log what neither Transformers nor TRL tells: tokens per second of training, held-out perplexity."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from typing_extensions import override

from tunesmith_trainer.report.history import with_perplexity

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from tunesmith_trainer.reporter import Reporter

_TOKENS = "num_tokens"
_RATE = "tokens_per_second"


class FiguresCallback(TrainerCallback):
    """Adds figures to every log and to the history that checkpoints keep; callbacks after it see them too."""

    def __init__(self, reporter: Reporter, *, tells_perplexity: bool) -> None:
        """Make one.

        Args:
            reporter: Knows how long training itself took.
            tells_perplexity: Whether the held-out loss is one that a perplexity belongs to.
        """
        self._reporter = reporter
        self._tells_perplexity = tells_perplexity
        self._counted: tuple[float, float] | None = None

    @override
    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        if logs is None:
            return
        logs.update(self._token_rate(logs))
        if self._tells_perplexity:
            logs.update(with_perplexity(logs))
        if state.log_history:
            # The Trainer has just put a copy of the log there.
            state.log_history[-1].update(logs)

    def _token_rate(self, figures: dict[str, Any]) -> dict[str, float]:
        """Return the tokens per second of training since the last log, where the method counts them."""
        if _TOKENS not in figures:
            return {}
        before, self._counted = self._counted, (self._reporter.seconds.training, float(figures[_TOKENS]))
        if before is None or self._counted[1] <= before[1] or self._counted[0] <= before[0]:
            return {}
        return {_RATE: (self._counted[1] - before[1]) / (self._counted[0] - before[0])}
