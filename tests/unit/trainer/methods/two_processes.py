"""Trains runs one after the other in the process group that torchrun made; rank 0 writes down what it saw.

Usage: two_processes.py ROOT RUN.json…; losses, weights that all processes agree on, and the seconds that they wait for
each other go to RUN.seen.
"""

import json
import os
import sys
from pathlib import Path

from tunesmith_api.run import FrozenRun
from tunesmith_trainer.collectives import join, mean
from tunesmith_trainer.context import RunContext
from tunesmith_trainer.methods import METHODS


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
        trainer.train()
        total = sum(float(parameter.detach().double().sum()) for parameter in trainer.model.parameters())
        seen = {
            "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
            "apart": abs(mean(total) - total),
            "timeout": dist.group.WORLD._get_backend(torch.device("cpu")).options._timeout.total_seconds(),
        }
        if rank == 0:
            file.with_suffix(".seen").write_text(json.dumps(seen))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
