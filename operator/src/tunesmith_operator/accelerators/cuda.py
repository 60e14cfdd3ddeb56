"""NVIDIA GPUs."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunesmith_api.run import FrozenRun
    from tunesmith_operator.accelerators.base import Amounts


class Cuda:
    """One device per process, by the extended resource that the profile names."""

    def devices(self, run: FrozenRun) -> Amounts:
        """Return one device for each process of the pod."""
        name = run.profile.resource_name
        return {name: run.spec.num_proc_per_node} if name else {}

    def hidden(self) -> dict[str, str]:
        """Return what hides the node's GPUs: where NVIDIA's runtime is the default, CUDA images get them all."""
        return {"NVIDIA_VISIBLE_DEVICES": "void", "CUDA_VISIBLE_DEVICES": ""}

    def environment(self, run: FrozenRun) -> dict[str, str]:
        """Return nothing: NCCL and torch find their devices themselves."""
        del run
        return {}
