"""Trains runs one after the other in the process group that torchrun made; rank 0 writes down what it saw.

Usage: two_processes.py ROOT RUN.json…; losses, weights that all processes agree on, and the seconds that they wait for
each other go to RUN.seen. Where a run looks for the micro-batch that fits, rank 1 has memory for four rows alone.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from tunesmith_api.run import FrozenRun
from tunesmith_trainer.batch_size import fit_batch_size
from tunesmith_trainer.collectives import join, mean
from tunesmith_trainer.context import RunContext
from tunesmith_trainer.methods import METHODS


def refuse_more_than(rows: int) -> Any:
    """Return a hook of a model that says what a GPU says whose memory is short."""
    import torch

    def look(_: Any, _args: Any, kwargs: Any) -> None:
        if len(kwargs["input_ids"]) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory")

    return look


def main() -> None:
    """Train every run that the command line names."""
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    for file in map(Path, sys.argv[2:]):
        run = FrozenRun.model_validate_json(file.read_bytes())
        context = RunContext(
            run, attempt=1, pod_uid="pod", rank=rank, world_size=world_size, local_rank=rank, root=Path(sys.argv[1])
        )
        if not dist.is_initialized():
            join(context)
        trainer = METHODS[run.spec.method].build(context).trainer
        if run.spec.training.auto_find_batch_size:
            trainer.model.register_forward_pre_hook(refuse_more_than(4 if rank == 1 else 8), with_kwargs=True)
            fit_batch_size(trainer, run.spec.training.optim)
        trainer.train()
        total = sum(float(parameter.detach().double().sum()) for parameter in trainer.model.parameters())
        seen = {
            "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
            "rows": trainer.args.per_device_train_batch_size,
            "apart": abs(mean(total) - total),
            "timeout": dist.group.WORLD._get_backend(torch.device("cpu")).options._timeout.total_seconds(),
        }
        if rank == 0:
            file.with_suffix(".seen").write_text(json.dumps(seen))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
