"""IA3: learnt scales on keys, values and feed-forward layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.models.adapters.modules import ends_with, last_names, linear_modules, listed, require_linear

if TYPE_CHECKING:
    from peft import IA3Config
    from transformers import PreTrainedModel

    from tunesmith_api.v1alpha1.peft import Ia3, Peft
    from tunesmith_trainer.models.folders import Folder

# For architectures that peft has no list for. Where keys and values come from one layer, so do their scales.
_KEYS_AND_VALUES = ("k_proj", "v_proj", "key", "value", "query_key_value", "qkv_proj", "c_attn", "Wqkv")
_FEED_FORWARD = ("down_proj", "dense_4h_to_h", "mlp.c_proj", "fc2", "fc_out", "w2")


def new_config(peft: Peft, model: PreTrainedModel, base: Folder) -> IA3Config:
    """Return peft's config of a new adapter; see `AdapterType.new_config`."""
    from peft import IA3Config

    del base
    ia3 = _block(peft)
    targets, feed_forward = _automatic(model)
    if ia3.target_modules is not None:
        require_linear(model, ia3.target_modules, "ia3.targetModules")
        targets = list(ia3.target_modules)
    elif not targets:
        raise InvalidSpec(
            "spec.peft.ia3: keys, values and feed-forward layers of this architecture are not known; name them in"
            f" targetModules and feedforwardModules; it has {listed(last_names(linear_modules(model)))}"
        )
    if ia3.feedforward_modules is not None:
        feed_forward = list(ia3.feedforward_modules)
    # A name of the spec may be longer or shorter than the known one.
    return IA3Config(
        target_modules=targets,
        feedforward_modules=[
            name for name in targets if any(ends_with(name, end) or ends_with(end, name) for end in feed_forward)
        ],
    )


def _block(peft: Peft) -> Ia3:
    if peft.ia3 is None:
        raise ValueError("an IA3 adapter needs its block")
    return peft.ia3


def _automatic(model: PreTrainedModel) -> tuple[list[str], list[str]]:
    """Return the modules to scale, and those of them that are scaled at their input: peft's choice where it has one."""
    from peft.utils.constants import (
        TRANSFORMERS_MODELS_TO_IA3_FEEDFORWARD_MODULES_MAPPING as FEED_FORWARD,
    )
    from peft.utils.constants import (
        TRANSFORMERS_MODELS_TO_IA3_TARGET_MODULES_MAPPING as TARGETS,
    )

    kind = model.config.model_type
    if kind in TARGETS:
        return list(TARGETS[kind]), list(FEED_FORWARD[kind])
    linear = linear_modules(model)
    feed_forward = [end for end in _FEED_FORWARD if any(ends_with(name, end) for name in linear)]
    attention = [end for end in _KEYS_AND_VALUES if any(ends_with(name, end) for name in linear)]
    return (attention + feed_forward, feed_forward) if attention else ([], [])
