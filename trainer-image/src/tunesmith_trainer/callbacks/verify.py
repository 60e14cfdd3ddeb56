"""Module by module, whether the device computes what the CPU does in double precision."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback
from typing_extensions import override

from tunesmith_trainer.manifests import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import torch
    from torch import nn
    from transformers import TrainerControl, TrainerState, TrainingArguments

    from tunesmith_api.v1alpha1.reporting import StepRange
    from tunesmith_trainer.callbacks.reporting import Watched

_MOST = 50  # modules that are written down, the worst ones
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Difference:
    """What one output of a module differs by from its reference."""

    relative: float
    largest: float
    dtype: str


class VerifyCallback(TrainerCallback):
    """Runs the forward pass of every leaf module a second time, on the CPU in float64, and compares the outputs.

    Rank 0 does so for the first call of each module in each of the steps. Nothing of the training changes: the device's
    output goes on, and modules that draw (dropout) are left out.
    """

    def __init__(self, steps: StepRange, path: Path, watched: Watched) -> None:
        self._steps = steps
        self._path = path
        self._watched = watched
        self._hooks: list[Any] = []
        self._seen: set[str] = set()
        self._worst: dict[str, dict[str, Any]] = {}
        self._failed: dict[str, str] = {}
        self._inside = False

    @override
    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, model: Any = None, **_: Any
    ) -> None:
        self._seen.clear()
        if state.global_step + 1 == self._steps.start_step:
            for name, module in model.named_modules():
                if _comparable(module):
                    self._hooks.append(module.register_forward_hook(self._hook(name), with_kwargs=True))

    @override
    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._hooks and state.global_step >= self._steps.last_step:
            self._write()

    @override
    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._hooks:
            self._write()
        elif state.global_step < self._steps.start_step:
            _log.warning("no module was compared: the run ended before step %d", self._steps.start_step)

    def _hook(self, name: str) -> Callable[..., None]:
        def compare(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            # The reference is a call of the same module; gradient checkpointing calls it again as well.
            if self._inside or name in self._seen:
                return
            self._seen.add(name)
            self._inside = True
            try:
                self._note(name, module, _difference(module, args, kwargs, output))
            # Kernels that have no counterpart on the CPU, such as those of quantised weights, raise what they like.
            except Exception as error:  # noqa: BLE001 - training goes on, and the report says what was not compared
                self._failed[name] = f"{type(error).__name__}: {error}".splitlines()[0]
            finally:
                self._inside = False
            self._watched.reporter.beat()

        return compare

    def _note(self, name: str, module: nn.Module, found: Difference | None) -> None:
        if found is None or self._worst.get(name, {"relativeError": -1.0})["relativeError"] >= found.relative:
            return
        self._worst[name] = {
            "module": name,
            "type": type(module).__name__,
            "dtype": found.dtype,
            "relativeError": found.relative,
            "largestDifference": found.largest,
        }

    def _write(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self._watched.fence.check()
        worst = sorted(self._worst.values(), key=lambda each: -each["relativeError"])
        told = {
            "steps": [self._steps.start_step, self._steps.last_step],
            "compared": len(worst),
            "worst": worst[:_MOST],
            "notCompared": self._failed,
        }
        write_atomically(self._path, json.dumps(told, indent=1))
        if worst:
            _log.info("of %d modules %s differs most: %.3g", len(worst), worst[0]["module"], worst[0]["relativeError"])


def _comparable(module: nn.Module) -> bool:
    from torch import nn

    return not any(True for _ in module.children()) and not isinstance(module, nn.modules.dropout._DropoutNd)  # noqa: SLF001 - the root of all dropouts


def _difference(module: nn.Module, args: Any, kwargs: Any, output: Any) -> Difference | None:
    """Return the worst difference of a module's outputs; None when none of them is a tensor of numbers with a point."""
    import torch
    from torch.func import functional_call

    state = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        reference = functional_call(module, _exact(state), _exact(args), _exact(kwargs))
        pairs = zip(_tensors(output), _tensors(reference), strict=True)
        found = [_distance(ours.detach(), exact) for ours, exact in pairs if ours.is_floating_point()]
    return max(found, key=lambda each: each.relative, default=None)


def _exact(value: Any) -> Any:
    """Return tensors on the CPU, those of numbers with a point in float64, in whatever they are nested."""
    import torch
    from torch.utils._pytree import tree_map_only

    def exact(tensor: torch.Tensor) -> torch.Tensor:
        moved = tensor.detach().to("cpu")
        return moved.double() if moved.is_floating_point() else moved

    return tree_map_only(torch.Tensor, exact, value)


def _tensors(value: Any) -> list[torch.Tensor]:
    import torch
    from torch.utils._pytree import tree_leaves

    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _distance(ours: torch.Tensor, exact: torch.Tensor) -> Difference:
    difference = ours.to("cpu").double() - exact.double()
    scale = float(exact.double().norm()) or 1.0
    largest = float(difference.abs().max()) if difference.numel() else 0.0
    return Difference(float(difference.norm()) / scale, largest, str(ours.dtype).removeprefix("torch."))
