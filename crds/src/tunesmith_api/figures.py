"""Figures of a training under TRL's names, and which of them matter most where there is room for few.

One order serves all methods, for each logs only some of these names. What it does not know comes last: a figure of
TRL's that is new here is told all the same while there is room.
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Final

EVALUATION: Final = "eval_"
"""What the Trainer puts before the name of a figure of held-out rows."""
INITIAL: Final = "initial_"
"""What is put before the name of such a figure from before the first step."""

HEADLINES: Final = (
    # Online methods: the loss of a policy gradient says nothing, its reward everything.
    "reward",
    "loss",
    "perplexity",
    # Preferences: DPO and its kin, KTO; then reward models.
    "rewards/accuracies",
    "rewards/margins",
    "rewards/chosen",
    "rewards/rejected",
    "accuracy",
    "margin",
    "mean_reward",
    # How far the policy is from where it began, and whether it still explores.
    "kl",
    "objective/kl",
    "entropy",
    "policy/entropy_avg",
    "objective/entropy",
    "reward_std",
    "rewards/*/mean",
    "completions/mean_length",
    "completions/clipped_ratio",
    "clip_ratio/region_mean",
    # What PPO has more.
    "policy/clipfrac_avg",
    "policy/approxkl_avg",
    "loss/policy_avg",
    "loss/value_avg",
    "val/explained_variance",
    "objective/rlhf_reward",
    "logps/chosen",
    "logps/rejected",
    "nll_loss",
    "mean_token_accuracy",
    # How it is trained.
    "learning_rate",
    "grad_norm",
    "tokens_per_second",
)
"""The figures that users of the methods watch, the most telling first; `*` stands for any name."""


def base_name(name: str) -> str:
    """Return the name of a figure without what tells that it is of held-out rows, or from before training."""
    return name.removeprefix(INITIAL).removeprefix(EVALUATION)


def is_headline(name: str) -> bool:
    """Whether users watch a figure, be it of training or of held-out rows."""
    return _place(name) < len(HEADLINES)


def ranked(names: Iterable[str]) -> list[str]:
    """Return names of figures, the most telling first: of each the training's own before the held-out rows'."""
    return sorted(names, key=lambda name: (_place(name), base_name(name), len(name)))


def _place(name: str) -> int:
    base = base_name(name)
    return next((place for place, known in enumerate(HEADLINES) if fnmatchcase(base, known)), len(HEADLINES))
