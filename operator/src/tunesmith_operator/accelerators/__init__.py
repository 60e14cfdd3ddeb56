"""Device types: what they add to a trainer pod."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_operator.accelerators.cpu import Cpu
from tunesmith_operator.accelerators.cuda import Cuda

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tunesmith_operator.accelerators.base import Accelerator

ACCELERATORS: Mapping[str, Accelerator] = {
    "cpu": Cpu(),
    "cuda": Cuda(),
}
"""By `AcceleratorProfile.device`."""
