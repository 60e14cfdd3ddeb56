"""The process that a reward function of the user's runs in, apart from the training: it can hang, crash or draw lots.

Started as `python -m tunesmith_trainer.rewards.worker <descriptor> <file> <its name> <function> <field>`. Through the
descriptor it first says that it is ready, or why not; then it answers one batch after the other until that is closed.
"""

from __future__ import annotations

import ctypes
import json
import math
import pickle
import signal
import sys
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tunesmith_trainer.data.raw import describe
from tunesmith_trainer.data.sources import SourceFile
from tunesmith_trainer.data.usercode import load_code, place_of
from tunesmith_trainer.errors import InvalidSpec

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>

Answer = dict[str, Any]
"""`scores` of a batch; or `problem`, alike for all of a kind, with `detail` of this one."""


class _WrongAnswerError(Exception):
    """The function returns something else than a list of numbers."""


def main(arguments: Sequence[str]) -> None:
    """Load the function, then answer until nobody asks any more."""
    descriptor, path, name, function_name, field = arguments
    # Launchers signal whole process groups: the training decides when it needs no more scores.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    connection = Connection(int(descriptor))
    file = SourceFile(name, Path(path))
    try:
        function = load_code(file, function_name, field)
    except InvalidSpec as error:
        _send(connection, {"problem": str(error)})
        return
    _send(connection, {})
    while True:
        try:
            request = connection.recv_bytes()
        except EOFError:
            return
        # Written by the trainer that started this process.
        _send(connection, _answer(function, pickle.loads(request), file))  # noqa: S301


def _send(connection: Connection, answer: Answer) -> None:
    connection.send_bytes(json.dumps(answer).encode())


def _answer(function: Callable[..., object], batch: dict[str, Any], file: SourceFile) -> Answer:
    try:
        return {"scores": _scores(function(**batch), len(batch["completions"]))}
    except _WrongAnswerError as error:
        return {"problem": f"returns {error}"}
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever the user's code raises is told and counted
        return {"problem": f"raises {type(error).__name__}{place_of(error, file)}", "detail": str(error)}


def _scores(returned: object, count: int) -> list[float | None]:
    if not isinstance(returned, list | tuple):
        raise _WrongAnswerError(f"{describe(returned)}, not a list")
    if len(returned) != count:
        raise _WrongAnswerError("another number of figures than there are completions")
    return [_score(each) for each in returned]


def _score(figure: Any) -> float | None:
    try:
        number = None if figure is None else float(figure)
    except (TypeError, ValueError):
        raise _WrongAnswerError(f"{describe(figure)} among the figures") from None
    if number is None or math.isnan(number):
        return None
    if math.isinf(number):
        raise _WrongAnswerError("an infinite figure")
    return number


if __name__ == "__main__":
    main(sys.argv[1:])
