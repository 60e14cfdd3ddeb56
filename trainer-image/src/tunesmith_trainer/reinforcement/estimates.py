"""What a rollout teaches: from the scores of its completions to the targets of both models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_trainer.reinforcement.advantages import advantages, explained_variance, token_rewards
from tunesmith_trainer.reinforcement.divergence import divergence
from tunesmith_trainer.reinforcement.masked import Total, alone, masked_mean, whiten

if TYPE_CHECKING:
    from torch import Tensor

    from tunesmith_api.v1alpha1.methods.ppo import Ppo
    from tunesmith_trainer.reinforcement.rollout import Batch

Figures = dict[str, "Tensor"]


def add_estimates(batch: Batch, scores: Tensor, ppo: Ppo, total: Total = alone) -> tuple[Batch, Figures]:
    """Return a batch with the advantages and returns of its tokens, and figures of it under the names of TRL's PPO.

    Args:
        batch: Completions with their log-probabilities, those of the reference, and values.
        scores: What the rewards say of each completion; nothing is learnt from one without a score, which is NaN.
        ppo: The method's parameters.
        total: Sums over the processes, each of which has a part of the rollout.
    """
    known = ~scores.isnan()
    scores, mask = scores.nan_to_num(), batch["mask"] & known[:, None]
    values, log_probs = batch["values"] * mask, batch["log_probs"] * mask
    kl = divergence(log_probs, batch["reference_log_probs"] * mask, ppo.kl_estimator)
    rewards = token_rewards(scores, ppo.kl_coef * kl, mask)
    if ppo.whiten_rewards:
        rewards = whiten(rewards, mask, shifts_mean=False, total=total)
    gained = advantages(rewards, values, mask, gamma=ppo.gamma, lam=ppo.lam)
    returns = gained + values

    def mean(figures: Tensor) -> Tensor:
        return masked_mean(figures, known, total)

    divergences, score = mean(kl.sum(1)), mean(scores)
    figures = {
        "objective/kl": divergences,
        "objective/entropy": -mean(log_probs.sum(1)),
        "objective/non_score_reward": -ppo.kl_coef * divergences,
        "objective/rlhf_reward": score - ppo.kl_coef * divergences,
        "objective/scores": score,
        "val/explained_variance": explained_variance(values, returns, mask, total),
    }
    if ppo.normalize_advantages:
        gained = whiten(gained, mask, total=total)
    return batch | {"mask": mask, "advantages": gained, "returns": returns}, figures
