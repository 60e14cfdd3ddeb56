"""Trains a run and tells what it took: the peak of resident memory above that after all imports, in bytes.

Usage: measure.py ROOT RUN.json
"""

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


def main() -> None:
    import peft  # noqa: F401 - imported here, so that it does not count
    import trl.trainer.dpo_trainer
    import trl.trainer.sft_trainer  # noqa: F401 - as above

    import tunesmith_trainer.methods.preference_trainer  # noqa: F401 - as above

    torch.set_num_threads(1)
    root, run = sys.argv[1:]
    context = RunContext(read_run(Path(run)), attempt=1, pod_uid="pod", root=Path(root))
    before = kilobytes("VmRSS")
    plan = METHODS[context.run.spec.method].build(context)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # begin the peak anew: loading is not training
    plan.trainer.train()
    print("peak", 1024 * (kilobytes("VmHWM") - before))


if __name__ == "__main__":
    main()
