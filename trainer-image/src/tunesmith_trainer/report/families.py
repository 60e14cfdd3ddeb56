"""Which figures of a history stand together: in one chart, and under one heading."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

MORE = "More figures"

# By heading the charts, and by chart the figures under TRL's names; `*` stands for any name.
_KNOWN: dict[str, dict[str, tuple[str, ...]]] = {
    "Rewards": {
        "Reward": ("reward",),
        "Rewards one by one": ("rewards/*/mean",),
        "Scores less the cost of divergence": ("objective/rlhf_reward", "objective/scores"),
        "Spread of the rewards": ("reward_std",),
        "Pairs told apart, share": ("rewards/accuracies", "accuracy"),
        "Margin of chosen over rejected": ("rewards/margins", "margin"),
        "Rewards of the answers": ("rewards/chosen", "rewards/rejected"),
        "Scores": ("mean_reward", "min_reward", "max_reward"),
        "Log-probability of the answers": ("logps/chosen", "logps/rejected"),
    },
    "Training": {
        "Loss": ("loss",),
        "Policy loss": ("policy_loss", "loss/policy_avg"),
        "Value loss": ("loss/value_avg",),
        "Explained variance of the values": ("val/explained_variance",),
        "Negative log-likelihood of the chosen answers": ("nll_loss",),
        "Learning rate": ("learning_rate",),
        "Throughput, tokens per second": ("tokens_per_second",),
        "Gradient norm": ("grad_norm",),
        "Token accuracy": ("mean_token_accuracy",),
    },
    "Policy": {
        "KL divergence from the reference": ("kl", "objective/kl"),
        "KL divergence within a rollout": ("policy/approxkl_avg",),
        "Entropy": ("entropy", "policy/entropy_avg"),
        "Clipped, share": ("clip_ratio/region_mean", "clip_ratio/low_mean", "clip_ratio/high_mean"),
        "Clipped of policy and values, share": ("policy/clipfrac_avg", "val/clipfrac_avg"),
    },
    "Completions": {
        "Length, tokens": ("completions/mean_length", "completions/min_length", "completions/max_length"),
        "Cut off at the longest, share": ("completions/clipped_ratio",),
    },
}


@dataclass(frozen=True)
class Family:
    """Figures that one chart shows.

    Attributes:
        title: Title of the chart.
        figures: What each of them is called beside the others, by name; a single one is called nothing.
    """

    title: str
    figures: dict[str, str]


def families(found: Iterable[str]) -> dict[str, list[Family]]:
    """Return the charts of figures under their headings, in the order of reading; what nobody knows comes last.

    Args:
        found: Names of figures, without what tells that one is of held-out rows.
    """
    left = dict.fromkeys(found)
    sections: dict[str, list[Family]] = {}
    for heading, charts in _KNOWN.items():
        for title, patterns in charts.items():
            names = [name for pattern in patterns for name in left if fnmatchcase(name, pattern)]
            if names:
                sections.setdefault(heading, []).append(Family(title, _labels(names)))
                left = {name: None for name in left if name not in names}
    if left:
        sections[MORE] = [Family(name, {name: ""}) for name in left]
    return sections


def _labels(names: list[str]) -> dict[str, str]:
    """Return of each name the parts that not all of them have."""
    if len(names) == 1:
        return {names[0]: ""}
    parts = {name: name.split("/") for name in names}
    shared = set.intersection(*map(set, parts.values()))
    return {name: " ".join(part for part in own if part not in shared).replace("_", " ") for name, own in parts.items()}
