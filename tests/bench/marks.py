"""Runs a training program and marks when its transformers.Trainer gets where: the same eyes for every contender.

    python marks.py RESULT.json (-m MODULE | SCRIPT) [ARGUMENTS]

Nothing is imported that the program does not import itself: what it leaves out, or puts off, shows.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.util
import json
import os
import resource
import runpy
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType


def process_start() -> float:
    """Return when this process was started, on the clock of `time.clock_gettime(CLOCK_BOOTTIME)`."""
    after_name = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return int(after_name[19]) / os.sysconf("SC_CLK_TCK")


def now() -> float:
    """Return the time on the clock of `process_start`."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Marks:
    """What was seen of a program so far; times are seconds since the process was started."""

    def __init__(self, result: Path) -> None:
        self._result = result
        self._start = process_start()
        self._model_depth = 0
        self.seen: dict[str, Any] = {"model": 0.0, "losses": [], "tokens": [], "step_ends": []}

    def since_start(self) -> float:
        """Return the age of the process."""
        return now() - self._start

    def first(self, name: str) -> None:
        """Mark that something happened for the first time."""
        self.seen.setdefault(name, self.since_start())

    def write(self) -> None:
        """Write what was seen to the result's file."""
        self.seen["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        self._result.write_text(json.dumps(self.seen), encoding="utf-8")

    def watch_tokenizers(self, module: ModuleType) -> None:
        """Mark where imports are over: the first thing every program does is to load its tokenizer."""
        _wrap_loading(module.PreTrainedTokenizerBase, functools.partial(self.first, "imports"))

    def watch_models(self, module: ModuleType) -> None:
        """Count the time that loading weights takes."""
        original = module.PreTrainedModel.from_pretrained.__func__

        @functools.wraps(original)
        def counted(cls: Any, *args: Any, **kwargs: Any) -> Any:
            begin, outermost = now(), self._model_depth == 0
            self._model_depth += 1
            try:
                return original(cls, *args, **kwargs)
            finally:
                self._model_depth -= 1
                if outermost:
                    self.seen["model"] += now() - begin

        module.PreTrainedModel.from_pretrained = classmethod(counted)

    def watch_trainer(self, module: ModuleType) -> None:
        """Mark steps, count the tokens that are no padding, and keep the losses."""
        trainer = module.Trainer
        _wrap(trainer, "train", before=lambda *_: self.first("train"), after=self.write)
        _wrap(trainer, "training_step", before=lambda _self, _model, inputs: self._count(inputs))
        _wrap(trainer, "log", before=lambda _self, logs: self._keep_loss(logs))
        self._watch_steps(trainer, module.TrainerCallback)

    def _watch_steps(self, trainer: Any, callback: Any) -> None:
        marks = self

        class StepMarks(callback):  # type: ignore[misc]  # known at run time alone
            def on_step_end(self, *_: Any, **__: Any) -> None:
                marks.seen["step_ends"].append(marks.since_start())

        original = trainer.__init__

        @functools.wraps(original)
        def init(self: Any, *args: Any, **kwargs: Any) -> None:
            original(self, *args, **kwargs)
            self.add_callback(StepMarks())

        trainer.__init__ = init

    def _count(self, inputs: dict[str, Any]) -> None:
        mask = inputs.get("attention_mask")
        self.seen["tokens"].append(int(inputs["input_ids"].numel() if mask is None else mask.sum()))

    def _keep_loss(self, logs: dict[str, Any]) -> None:
        if "loss" in logs:
            self.seen["losses"].append(logs["loss"])


def _wrap_loading(owner: Any, mark: Callable[[], None]) -> None:
    original = owner.from_pretrained.__func__

    @functools.wraps(original)
    def marked(cls: Any, *args: Any, **kwargs: Any) -> Any:
        mark()
        return original(cls, *args, **kwargs)

    owner.from_pretrained = classmethod(marked)


def _wrap(owner: Any, name: str, *, before: Callable[..., None], after: Callable[[], None] | None = None) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
        before(self, *args[: before.__code__.co_argcount - 1])
        answer = original(self, *args, **kwargs)
        if after:
            after()
        return answer

    setattr(owner, name, wrapped)


class Finder(importlib.abc.MetaPathFinder):
    """Calls a function with a module right after the program has imported it."""

    def __init__(self, watchers: dict[str, Callable[[ModuleType], None]]) -> None:
        self._watchers = watchers

    @override
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the real module's spec, with a loader that tells."""
        watcher = self._watchers.pop(fullname, None)
        if watcher is None:
            return None
        spec = importlib.util.find_spec(fullname)
        assert spec is not None
        assert spec.loader is not None
        original = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            original(module)
            watcher(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # the loader is of this module alone
        return spec


def main() -> None:
    """Run the program that the command line names."""
    marks = Marks(Path(sys.argv[1]))
    sys.meta_path.insert(
        0,
        Finder(
            {
                "transformers.tokenization_utils_base": marks.watch_tokenizers,
                "transformers.modeling_utils": marks.watch_models,
                "transformers.trainer": marks.watch_trainer,
            }
        ),
    )
    if sys.argv[2] == "-m":
        sys.argv = sys.argv[3:]
        runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = sys.argv[2:]
        sys.path.insert(0, str(Path(sys.argv[0]).parent))
        runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
