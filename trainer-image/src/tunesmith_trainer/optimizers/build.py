"""From `spec.training` to the optimiser it names."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.optim import Optimizer

from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.optimizers.groups import Groups, parameter_groups, split
from tunesmith_trainer.optimizers.lion import Lion
from tunesmith_trainer.optimizers.muon import MuonWithAdamW, hidden_matrices
from tunesmith_trainer.optimizers.sophia import Sophia

if TYPE_CHECKING:
    from collections.abc import Collection

    from tunesmith_api.v1alpha1.training import Training

Build = Callable[[nn.Module, Groups, dict[str, Any]], Optimizer]


def build_optimizer(
    model: nn.Module, training: Training, decaying: Collection[str], *, lora_b_ratio: float = 1.0
) -> Optimizer:
    """Return the optimiser of a resolved spec.

    Args:
        model: The model, with its adapter.
        training: The resolved block, which names optimiser, arguments and learning rate.
        decaying: Names of the parameters that decay.
        lora_b_ratio: See `parameter_groups`.

    Raises:
        InvalidSpec: The optimiser needs a package that this image lacks.
    """
    rate, arguments = training.learning_rate, training.optim_args
    if rate is None or arguments is None:
        raise ValueError("a resolved spec has a learning rate and the arguments of its optimiser")
    groups = parameter_groups(model, decaying, lr=rate, weight_decay=training.weight_decay, lora_b_ratio=lora_b_ratio)
    return _OPTIMIZERS[training.optim](model, groups, {"lr": rate} | _options(arguments.model_dump(exclude_none=True)))


def _options(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the spec's arguments as torch spells them."""
    options = dict(arguments)
    if "beta2" in options:
        options["betas"] = (options.pop("beta1"), options.pop("beta2"))
    if "epsilon" in options:
        options["eps"] = options.pop("epsilon")
    return options


def _sophia(_: nn.Module, groups: Groups, options: dict[str, Any]) -> Optimizer:
    options.pop("estimation_interval")  # when to estimate is the trainer's business
    return Sophia(groups, **options)


def _muon(model: nn.Module, groups: Groups, options: dict[str, Any]) -> Optimizer:
    return MuonWithAdamW(*split(groups, set(hidden_matrices(model))), **options)


def _adafactor(_: nn.Module, groups: Groups, options: dict[str, Any]) -> Optimizer:
    """Return Adafactor with the schedule's learning rate: not scaled by the weights, not falling by itself."""
    from transformers.optimization import Adafactor

    options["eps"] = (options["eps"], 1e-3)  # the second is of use only where weights scale the rate
    return Adafactor(groups, scale_parameter=False, relative_step=False, **options)


def _bitsandbytes(bits: int, *, paged: bool) -> Build:
    """Return what builds AdamW with quantised state, or with state that moves to the host when the GPU is full."""

    def build(model: nn.Module, groups: Groups, options: dict[str, Any]) -> Optimizer:
        try:
            from bitsandbytes.optim import AdamW, GlobalOptimManager
        except ImportError as error:
            raise InvalidSpec(
                "spec.training.optim: AdamW in 8 bits or paged needs bitsandbytes, which this trainer image lacks; use"
                " adamw_torch_fused, or an image for NVIDIA GPUs"
            ) from error
        for module in model.modules():
            if isinstance(module, nn.Embedding):
                # As Transformers does: the gradients of embeddings are too uneven to be quantised.
                GlobalOptimManager.get_instance().register_module_override(module, "weight", {"optim_bits": 32})
        optimizer: Optimizer = AdamW(groups, optim_bits=bits, is_paged=paged, **options)
        return optimizer

    return build


_OPTIMIZERS: dict[str, Build] = {
    "adamw_torch": lambda _, groups, options: torch.optim.AdamW(groups, **options),
    "adamw_torch_fused": lambda _, groups, options: torch.optim.AdamW(groups, fused=True, **options),
    "adamw_8bit": _bitsandbytes(8, paged=False),
    "paged_adamw_32bit": _bitsandbytes(32, paged=True),
    "paged_adamw_8bit": _bitsandbytes(8, paged=True),
    "adam": lambda _, groups, options: torch.optim.Adam(groups, **options),
    "sgd": lambda _, groups, options: torch.optim.SGD(groups, **options),
    "adafactor": _adafactor,
    "lion": lambda _, groups, options: Lion(groups, **options),
    "sophia": _sophia,
    "muon": _muon,
}
