"""Copies of a model that share with it whatever is not trained."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import nn

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def twin(module: AnyModule) -> AnyModule:
    """Return a copy with trained weights of its own, which are as the original's are now.

    Frozen weights are shared: the twin of a model with an adapter is another adapter on the same base, and only that
    of a model trained in full is another model. Weights are trained or frozen in it as in the original.
    """
    shared = {id(parameter): parameter for parameter in module.parameters() if not parameter.requires_grad}
    copied: AnyModule = copy.deepcopy(module, shared)
    return copied


def frozen_twin(module: AnyModule) -> AnyModule:
    """Return a copy that stays as the module is now; see `twin`."""
    frozen: AnyModule = twin(module).eval().requires_grad_(requires_grad=False)
    return frozen
