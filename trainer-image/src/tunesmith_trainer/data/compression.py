"""Files of text, compressed or not, as streams of bytes."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tunesmith_trainer.data.raw import is_damage
from tunesmith_trainer.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tunesmith_trainer.data.sources import SourceFile

_Lines = contextlib.AbstractContextManager[Iterable[bytes]]


@contextlib.contextmanager
def open_file(file: SourceFile) -> Iterator[Iterable[bytes]]:
    """Open a file and give its lines, unpacked.

    Raises:
        DataError: It is not what its ending says, or it is cut off.
    """
    try:
        with _OPENERS[file.compression](file.path) as stream:
            yield stream
    except (gzip.BadGzipFile, zlib.error, EOFError, OSError) as error:
        if not file.compression or not is_damage(error):
            raise
        raise DataError(
            f"{file.name}: can not be unpacked ({error}); copy the file again or correct its ending"
        ) from error


def _open_plain(path: Path) -> _Lines:
    return path.open("rb")


def _open_gzip(path: Path) -> _Lines:
    return gzip.open(path, "rb")


def _open_zstandard(path: Path) -> _Lines:
    # Arrow brings the decoder along: the standard library has none before Python 3.14.
    import pyarrow as pa

    # Of names that are no UTF-8 Arrow takes the bytes alone.
    return io.BufferedReader(pa.input_stream(pa.OSFile(os.fsencode(path)), compression="zstd"), 1 << 16)


_OPENERS: dict[str, Callable[[Path], _Lines]] = {"": _open_plain, ".gz": _open_gzip, ".zst": _open_zstandard}
COMPRESSIONS = tuple(filter(None, _OPENERS))
