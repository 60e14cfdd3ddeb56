"""The methods: each has one parameter block, in a file of its own, that tells all the rest has to know of it."""

from __future__ import annotations

from tunesmith_api.v1alpha1.methods.base import MethodBlock
from tunesmith_api.v1alpha1.methods.cpo import Cpo
from tunesmith_api.v1alpha1.methods.dpo import Dpo
from tunesmith_api.v1alpha1.methods.grpo import Grpo
from tunesmith_api.v1alpha1.methods.kto import Kto
from tunesmith_api.v1alpha1.methods.orpo import Orpo
from tunesmith_api.v1alpha1.methods.ppo import Ppo
from tunesmith_api.v1alpha1.methods.pretrain import Pretrain
from tunesmith_api.v1alpha1.methods.reward import RewardModelling
from tunesmith_api.v1alpha1.methods.rloo import Rloo
from tunesmith_api.v1alpha1.methods.sft import Sft
from tunesmith_api.v1alpha1.methods.simpo import Simpo

FINE_TUNING: dict[str, type[MethodBlock]] = {"pretrain": Pretrain, "sft": Sft}
ALIGNMENT: dict[str, type[MethodBlock]] = {
    "dpo": Dpo,
    "kto": Kto,
    "reward": RewardModelling,
    "orpo": Orpo,
    "cpo": Cpo,
    "simpo": Simpo,
    "grpo": Grpo,
    "rloo": Rloo,
    "ppo": Ppo,
}
METHOD_BLOCKS = FINE_TUNING | ALIGNMENT
