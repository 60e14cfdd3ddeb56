"""Functions of the user's that build a prompt or a completion: loaded from a ConfigMap, called under a time limit."""

from __future__ import annotations

import contextlib
import signal
import traceback
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

from tunesmith_trainer.data.raw import describe
from tunesmith_trainer.data.sources import configmap_file
from tunesmith_trainer.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tunesmith_api.v1alpha1.data_sources import UserFunction
    from tunesmith_trainer.data.raw import RawRow
    from tunesmith_trainer.data.sources import Mounts, SourceFile

_LOAD_SECONDS = 60.0
_AGAIN_SECONDS = 0.1  # for code that swallows the first interruption with a bare `except:`


class _TooLong(BaseException):
    """The time is up; no Exception, which the code that is interrupted might handle."""


@dataclass(frozen=True)
class RowFunction:
    """A function that makes text of a row.

    Attributes:
        name: The function and its file, for messages.
        file: Where its code is.
        function: The function.
        seconds: Longest that a call may take.
    """

    name: str
    file: SourceFile
    function: Callable[[dict[str, Any]], object]
    seconds: float

    columns: ClassVar[None] = None
    """Which columns it reads, only the code knows."""

    def render(self, row: RawRow) -> str:
        """Return the text of one row.

        Raises:
            DataError: The function raises, takes too long, or returns no text.
        """
        try:
            with _time_limit(self.seconds):
                text = self.function(dict(row.values))
        except _TooLong:
            raise row.error(
                f"{self.name} takes longer than {self.seconds:g} s", "make it faster or raise rowTimeoutSeconds"
            ) from None
        except (Exception, SystemExit) as error:
            raise row.error(
                f"{self.name} raises {_told(error, self.file)}", "correct the function or the row"
            ) from error
        if not isinstance(text, str):
            raise row.error(f"{self.name} returns {describe(text)}, not text", "let it return a string")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise row.error(
                f"{self.name} returns half of a character ({error.reason}) at character {error.start + 1}",
                "let it return whole ones",
            ) from error
        return text


def load_function(reference: UserFunction, field: str, mounts: Mounts) -> RowFunction:
    """Return a function that a spec names, ready to be called.

    Args:
        reference: The spec's words.
        field: Their path in the spec, for messages.
        mounts: Where ConfigMaps are.

    Raises:
        DataError: The ConfigMap has no such key.
        InvalidSpec: The code can not be loaded, or has no such function.
    """
    file = configmap_file(reference.config_map.name, reference.config_map.key, mounts)
    function = load_code(file, reference.function, field)
    return RowFunction(f"{reference.function} of {file.name}", file, function, reference.row_timeout_seconds)


def load_code(file: SourceFile, name: str, field: str) -> Callable[..., object]:
    """Return a function of a Python file.

    Args:
        file: The file.
        name: The function's name.
        field: Path of the spec's field, for messages.

    Raises:
        InvalidSpec: The code can not be loaded, or has no such function.
    """
    module = ModuleType(file.path.stem)
    try:
        with _time_limit(_LOAD_SECONDS):
            exec(compile(file.path.read_bytes(), file.name, "exec"), module.__dict__)  # noqa: S102 - what it is for
    except _TooLong:
        raise InvalidSpec(
            f"{field}: loading {file.name} takes longer than {_LOAD_SECONDS:g} s; move work out of it"
        ) from None
    except (Exception, SystemExit) as error:
        raise InvalidSpec(f"{field}: {file.name} can not be loaded: {_told(error, file)}; correct the file") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise InvalidSpec(f"{field}: {file.name} has no function {name}; correct the name or the file")
    return function  # type: ignore[no-any-return]  # what can be called is all that is known of it


def _told(error: BaseException, file: SourceFile) -> str:
    """Return an error with the line of the user's file where it came up."""
    if isinstance(error, SyntaxError) and error.filename == file.name:
        return f"SyntaxError: {error.msg} at line {error.lineno}"
    place = place_of(error, file)
    return f"{type(error).__name__}: {error}{place}" if str(error) else f"{type(error).__name__}{place}"


def place_of(error: BaseException, file: SourceFile) -> str:
    """Return at which line of the user's file an error came up, empty when none is known."""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file.name]
    return f" at line {lines[-1]}" if lines else ""


@contextlib.contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """Interrupt what runs too long; the timer and handler of whoever set one before are given back."""

    def interrupt(*_: object) -> None:
        raise _TooLong

    handler = signal.signal(signal.SIGALRM, interrupt)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, *timer)
