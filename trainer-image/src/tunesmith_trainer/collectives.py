"""The few things processes agree on, over a group of their own on the CPU so that no device is waited for."""

from __future__ import annotations

import datetime as dt
import functools
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from tunesmith_trainer.errors import TrainerError, WorldSizeMismatch, as_trainer_error

Value = TypeVar("Value")

_WAIT_SECONDS = 0.2

if TYPE_CHECKING:
    from tunesmith_trainer.context import RunContext


def join(context: RunContext) -> None:
    """Come together with the other processes on CPUs, where TrainingArguments would leave `ddpTimeout` out."""
    import torch.distributed as dist

    timeout, profile = context.run.spec.training.ddp_timeout, context.run.profile
    if timeout is not None and context.world_size > 1 and profile.device == "cpu":
        dist.init_process_group(profile.backend, timeout=dt.timedelta(seconds=timeout))


def barrier() -> None:
    """Wait for every rank; nothing to do when there is one."""
    import torch.distributed as dist

    if dist.is_initialized():
        dist.barrier(group=_group())


def any_rank(flag: bool) -> bool:
    """Return on every rank whether the flag is set on any."""
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        return flag
    value = torch.tensor(int(flag))
    dist.all_reduce(value, op=dist.ReduceOp.MAX, group=_group())
    return bool(value.item())


def mean(value: float) -> float:
    """Return on every rank the mean of a figure over all ranks."""
    import torch
    import torch.distributed as dist

    if not dist.is_initialized():
        return value
    total = torch.tensor(value, dtype=torch.float64)
    dist.all_reduce(total, group=_group())
    return float(total.item() / dist.get_world_size())


def from_first(value: Any) -> Any:
    """Return rank 0's value on every rank."""
    import torch.distributed as dist

    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, group=_group())
    return box[0]


def together(work: Callable[[], Value] | None) -> list[Value | None]:
    """Do a rank's own work while the others wait, however long it takes; return every rank's result on every rank.

    Args:
        work: What this rank does; None on a rank that only waits.

    Raises:
        TrainerError: The work of one rank failed; all ranks raise it, so that all end alike.
    """
    import torch.distributed as dist

    if not dist.is_initialized():
        return [work() if work else None]
    # In a thread, so that the group hears of this rank meanwhile: a silent one is given up after half an hour.
    with ThreadPoolExecutor(max_workers=1) as pool:
        future = pool.submit(work) if work else None
        while any_rank(future is not None and not future.done()):
            time.sleep(_WAIT_SECONDS)
    error = future.exception() if future else None
    told = None if error is None else as_trainer_error(error, world_size=dist.get_world_size())
    results: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(results, told or (future.result() if future else None), group=_group())
    if error is not None:
        raise error
    for result in results:
        if isinstance(result, TrainerError):
            raise result
    return results


def require_world_size(wanted: int) -> int:
    """Return the number of processes that really came together.

    Raises:
        WorldSizeMismatch: It is not the wanted one.
    """
    import torch.distributed as dist

    real = dist.get_world_size() if dist.is_initialized() else 1
    if real != wanted:
        raise WorldSizeMismatch(
            f"{real} processes came together, spec.numNodes × spec.numProcPerNode is {wanted}: nothing was trained"
        )
    return real


@functools.lru_cache(maxsize=1)
def _group() -> Any:
    import torch.distributed as dist

    return dist.group.WORLD if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")
