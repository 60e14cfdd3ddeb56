"""Files on web servers and in S3 buckets: fetched by rank 0, once per run, into the run's folder."""

from __future__ import annotations

import logging
import os
import shutil
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tunesmith_api import pod
from tunesmith_trainer.collectives import together
from tunesmith_trainer.data.bucket import fetch_bucket
from tunesmith_trainer.data.sources import SourceFile, files_at
from tunesmith_trainer.data.web import fetch_web
from tunesmith_trainer.errors import DataError
from tunesmith_trainer.manifests import file_digest

if TYPE_CHECKING:
    from tunesmith_api.v1alpha1.data_sources import UriSource
    from tunesmith_trainer.data.sources import Mounts

FETCHED = "data"
"""Below the run's folder; it is removed with the end of a run that has its output."""
_log = logging.getLogger(__name__)


def uri_files(source: UriSource, split: str | None, *, field: str, mounts: Mounts) -> tuple[SourceFile, ...]:
    """Return the file or files that a URL names, in reading order.

    A later attempt reads what the first one fetched, even when the server has something else by then.

    Args:
        source: The URL and what belongs to it.
        split: The split to read of a folder.
        field: Path of the dataset in the spec, for messages.
        mounts: The run's folder, and which process this is.

    Raises:
        DataError: The server has no such file, does not let the job have it, or it is not what the spec says.
        SourceUnreachable: The server does not answer.
    """
    name = PurePosixPath(urlsplit(source.url).path).name
    folder = mounts.run_directory / FETCHED / sha256(source.url.encode()).hexdigest()[:16]
    together((lambda: _fetch(source, folder, name, field)) if mounts.rank == 0 else None)
    return files_at(folder if source.url.endswith("/") else folder / name, split, source.url)


def _fetch(source: UriSource, folder: Path, name: str, field: str) -> None:
    """Fetch what is not there yet; it is there as a whole or not at all."""
    if folder.is_dir():
        return
    _log.info("fetching %s", source.url)
    temporary = folder.with_suffix(".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    keys = {key: os.environ.get(pod.secret_variable(secret, key)) for secret, key, _ in source.secret_keys}
    place = f"{field}.uri"
    if source.url.startswith("s3://"):
        fetch_bucket(source, keys, temporary, place)
    else:
        fetch_web(source, keys, temporary / name, place)
    if source.sha256 is not None:
        _require_digest(temporary / name, source.sha256, place)
    temporary.replace(folder)


def _require_digest(path: Path, wanted: str, place: str) -> None:
    found = file_digest(path)
    if found != wanted:
        raise DataError(
            f"{place}: the file has the SHA-256 digest {found}, not the one in sha256; correct it or the url"
        )
