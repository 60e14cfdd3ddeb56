"""trl.GRPOTrainer and trl.RLOOTrainer with the spec's optimiser, a reference of our own, and their samples told."""

from __future__ import annotations

import itertools
import math
from functools import partial
from typing import TYPE_CHECKING, Any

from transformers import StoppingCriteriaList
from trl import GRPOTrainer, RLOOTrainer
from trl.trainer.utils import add_fused_lm_head

from tunesmith_trainer.callbacks.completions import Completion
from tunesmith_trainer.generation import beating
from tunesmith_trainer.optimizers.trainer import SpecTrainer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transformers import PreTrainedModel


class OnlineTrainer(SpecTrainer):
    """What both have in common; comes before the TRL trainer among the bases."""

    sampled: tuple[Completion, ...] = ()
    """The newest completions that were trained on, of all processes."""

    beta: float
    ref_model: PreTrainedModel | None
    temperature: float
    reward_func_names: list[str]
    reward_weights: Any
    _logs: dict[str, Any]

    def __init__(self, *args: Any, reference: PreTrainedModel | None, **kwargs: Any) -> None:
        """Make a trainer.

        Args:
            args: What the TRL trainer takes.
            reference: The frozen model to compare with; None where TRL compares with the model itself, its adapter
                switched off or as it was, or with nothing.
            kwargs: What the TRL trainer takes.
        """
        arguments = kwargs["args"]
        beta = arguments.beta
        if reference is not None:
            # With beta TRL would load a reference from the path in the model's config, or copy the adapter.
            arguments.beta = 0.0
        super().__init__(*args, **kwargs)
        if reference is not None:
            arguments.beta = self.beta = beta
            add_fused_lm_head(reference, temperature=self.temperature)
            self.ref_model = self.accelerator.prepare_model(reference, evaluation_mode=True)
        criteria = StoppingCriteriaList([beating(self._show_life)])
        self.model.generate = partial(self.model.generate, stopping_criteria=criteria)

    def _show_life(self) -> None:
        self.beat()

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        self.beat()
        if self.model.training:
            count = len(inputs) * self.accelerator.num_processes
            self.sampled = tuple(itertools.islice(self._newest(), count))[::-1]
        return output

    def _newest(self) -> Iterable[Completion]:
        """Yield the completions that TRL has noted, the newest first."""
        weights = self.reward_weights.tolist()
        noted = [self._logs["rewards"][name] for name in self.reward_func_names]
        columns = (self._logs["prompt"], self._logs["completion"], self._logs["advantages"], *noted)
        for prompt, completion, advantage, *figures in zip(*map(reversed, columns), strict=True):
            known = [None if math.isnan(figure) else figure for figure in figures]
            yield Completion(
                prompt, completion, dict(zip(self.reward_func_names, known, strict=True)), weights, advantage
            )


class PreparedGRPOTrainer(OnlineTrainer, GRPOTrainer):
    """A GRPOTrainer on prompts that are chosen already."""


class PreparedRLOOTrainer(OnlineTrainer, RLOOTrainer):
    """An RLOOTrainer on prompts that are chosen already."""
