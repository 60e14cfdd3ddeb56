"""Trains two runs and tells what the second took: its peak of resident memory above what the first left, in bytes.

The first, a tiny one of the same kind, loads and sets up all that any training needs.

Usage: measure.py ROOT TINY.json RUN.json
"""

import ctypes
import gc
import re
import sys
from pathlib import Path

import torch

from tunesmith_trainer.context import RunContext, read_run
from tunesmith_trainer.methods import METHODS


def kilobytes(entry: str) -> int:
    match = re.search(rf"{entry}:\s+(\d+)", Path("/proc/self/status").read_text(encoding="ascii"))
    assert match is not None
    return int(match[1])


def train(root: str, run: str) -> int:
    """Return the peak of resident memory from the first step on, in kB: loading is not training."""
    context = RunContext(read_run(Path(run)), attempt=1, pod_uid="pod", root=Path(root))
    plan = METHODS[context.run.spec.method].build(context)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    plan.trainer.train()
    return kilobytes("VmHWM")


def main() -> None:
    torch.set_num_threads(1)
    root, tiny, run = sys.argv[1:]
    train(root, tiny)
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = kilobytes("VmRSS")
    print("peak", 1024 * (train(root, run) - before))


if __name__ == "__main__":
    main()
