"""What the rollouts of method `ppo` ask of the rest of a spec."""

from __future__ import annotations

from tunesmith_api.base import Rule
from tunesmith_api.v1alpha1.methods.ppo import Ppo
from tunesmith_api.v1alpha1.spec import or_default
from tunesmith_api.v1alpha1.training import Training

_OTHER = "self.method != 'ppo'"

ROLLOUT_RULES = (
    Rule(
        f"{_OTHER} || {or_default('ppo.maxCompletionLength', Ppo, 'max_completion_length')}"
        f" < {or_default('training.maxLength', Training, 'max_length')}",
        "prompt and completion share training.maxLength: raise it above ppo.maxCompletionLength, or lower that",
        ".ppo.maxCompletionLength",
    ),
    Rule(
        "!has(self.ppo) || !has(self.ppo.valueModel) || !has(self.rewards)"
        " || self.rewards.exists(r, r.name == self.ppo.valueModel && has(r.model))",
        "valueModel names a reward of spec.rewards that is a model: correct the name, or remove valueModel",
        ".ppo.valueModel",
    ),
    Rule(
        f"{_OTHER} || !has(self.evaluation)",
        "ppo measures what it samples while it trains (objective/scores), and evaluates nothing: remove evaluation",
        ".evaluation",
    ),
    Rule(
        f"{_OTHER} || !has(self.peft) || !has(self.peft.lora) || !has(self.peft.lora.loraDropout)"
        " || self.peft.lora.loraDropout == 0.0",
        "dropout would change the probabilities that the clipping compares, so ppo trains without: remove loraDropout",
        ".peft.lora.loraDropout",
    ),
)
"""Of AlignmentJob's spec."""
