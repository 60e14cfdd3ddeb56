"""Trains runs one after the other in the process group that torchrun made; rank 0 writes down the losses.

Usage: two_processes.py ROOT RUN.json…; the losses go to RUN.losses.
"""

import json
import os
import sys
from pathlib import Path

from tunesmith_api.run import FrozenRun
from tunesmith_trainer.context import RunContext
from tunesmith_trainer.methods import METHODS


def main() -> None:
    """Train every run that the command line names."""
    import torch

    torch.set_num_threads(1)
    rank, world_size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    for file in map(Path, sys.argv[2:]):
        run = FrozenRun.model_validate_json(file.read_bytes())
        context = RunContext(
            run, attempt=1, pod_uid="pod", rank=rank, world_size=world_size, local_rank=rank, root=Path(sys.argv[1])
        )
        trainer = METHODS[run.spec.method].build(context).trainer
        trainer.train()
        if rank == 0:
            losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
            file.with_suffix(".losses").write_text(json.dumps(losses))
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
