"""What tests of several methods share."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.fixture
def config_of() -> Callable[[str], Any]:
    """The class of the arguments that a method's trainer takes, by the method's name."""
    import trl

    from tunesmith_trainer.methods.pair_trainers import CPOConfig, ORPOConfig
    from tunesmith_trainer.methods.ppo_trainer import PPOConfig

    return {
        "pretrain": trl.SFTConfig,
        "sft": trl.SFTConfig,
        "dpo": trl.DPOConfig,
        "kto": trl.KTOConfig,
        "reward": trl.RewardConfig,
        "orpo": ORPOConfig,
        "cpo": CPOConfig,
        "simpo": CPOConfig,
        "grpo": trl.GRPOConfig,
        "rloo": trl.RLOOConfig,
        "ppo": PPOConfig,
    }.__getitem__
