"""How far a policy is from its reference, estimated from the tokens that the policy drew."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from tunesmith_api.v1alpha1.methods.ppo import KlEstimator


def divergence(policy: Tensor, reference: Tensor, estimator: KlEstimator) -> Tensor:
    """Return an estimate of KL(policy || reference) at each token, in nats (Schulman 2020, "Approximating KL").

    Args:
        policy: Log-probabilities of the tokens.
        reference: Those that the reference gives them.
        estimator: `k1` is the difference of the two: unbiased, and negative where the reference likes a token better.
            `k3` has the same expectation, is never negative and varies less.
    """
    import torch

    if estimator == "k1":
        return policy - reference
    return torch.expm1(reference - policy) - (reference - policy)
