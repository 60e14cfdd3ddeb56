"""Fetching a file or a folder of an S3 bucket, with the client that Arrow brings along."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tunesmith_api.v1alpha1.data_sources import ACCESS_KEY_ID, SECRET_ACCESS_KEY, SESSION_TOKEN
from tunesmith_trainer.data.bounded import copy_bounded
from tunesmith_trainer.errors import DataError, SourceUnreachable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tunesmith_api.v1alpha1.data_sources import UriSource

_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")
# With one of these in the environment the pod has an identity of its own.
_IDENTITIES = ("AWS_ACCESS_KEY_ID", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_CONTAINER_CREDENTIALS_FULL_URI")
_REFUSALS = ("ACCESS_DENIED", "HTTP status 401", "HTTP status 403", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH")
_CONNECT_SECONDS = 20.0
_LONGEST_NAME = 255  # bytes, on every file system that is in use
_SECONDS = 60.0


def fetch_bucket(source: UriSource, keys: Mapping[str, str | None], target: Path, place: str) -> None:
    """Fetch a file into a folder, or all files below a key that ends in `/`.

    Args:
        source: The URL and what belongs to it.
        keys: The values of the Secret.
        target: The folder.
        place: The field of the spec, for messages.

    Raises:
        DataError: There is no such file, the job may not have it, or it is too large.
        SourceUnreachable: The server does not answer.
    """
    from pyarrow.fs import FileSelector, FileType

    path = source.url.removeprefix("s3://").rstrip("/")
    base = path if source.url.endswith("/") else path.rpartition("/")[0]
    room = source.max_bytes
    try:
        system = _system(keys)
        found = system.get_file_info(FileSelector(path, recursive=True) if base == path else [path])
        files = [each for each in found if each.type == FileType.File]
        for each in files:
            file = _below(target, each.path.removeprefix(f"{base}/"), source, place)
            with system.open_input_stream(each.path) as stream:
                room -= copy_bounded(stream, file, room, place)
    except FileNotFoundError as error:
        raise _missing(source, place) from error
    except OSError as error:
        raise _told(error, source, place) from error
    if not files:
        raise _missing(source, place)


def _below(target: Path, key: str, source: UriSource, place: str) -> Path:
    """Return the file of a key, which whoever fills the bucket has chosen."""
    parts = key.split("/")
    if not {"", ".", ".."}.isdisjoint(parts) or any(len(os.fsencode(part)) > _LONGEST_NAME for part in parts):
        raise DataError(
            f"{place}: {source.url} holds {key[:200]!r}, which is no path of a file; rename it in the bucket"
        )
    return target / key


def _system(keys: Mapping[str, str | None]) -> Any:
    from pyarrow.fs import AwsDefaultS3RetryStrategy, S3FileSystem

    endpoint = urlsplit(_first(_ENDPOINTS) or "")
    given = {
        "access_key": keys.get(ACCESS_KEY_ID),
        "secret_key": keys.get(SECRET_ACCESS_KEY),
        "session_token": keys.get(SESSION_TOKEN),
        "region": _first(_REGIONS),
        "endpoint_override": endpoint.netloc or None,
        "scheme": endpoint.scheme or None,
    }
    return S3FileSystem(
        **{name: value for name, value in given.items() if value},
        anonymous=not keys and _first(_IDENTITIES) is None,
        connect_timeout=_CONNECT_SECONDS,
        request_timeout=_SECONDS,
        retry_strategy=AwsDefaultS3RetryStrategy(max_attempts=3),
    )


def _first(variables: tuple[str, ...]) -> str | None:
    return next((value for name in variables if (value := os.environ.get(name))), None)


def _missing(source: UriSource, place: str) -> DataError:
    return DataError(f"{place}: there is nothing at {source.url}; correct the url")


def _told(error: OSError, source: UriSource, place: str) -> Exception:
    """Return what Arrow's error means; it carries the server's words in its text alone."""
    text = " ".join(str(error).split())
    if error.errno:
        return error
    if any(sign in text for sign in _REFUSALS):
        what = "see whether the keys in its Secret may read it" if source.secret_ref else "name a Secret in secretRef"
        return DataError(f"{place}: the server does not let the job read {source.url}; {what} ({text})")
    return SourceUnreachable(
        f"{place}: {source.url} can not be fetched: {text}; see whether pods may reach the server, and set"
        " AWS_ENDPOINT_URL and AWS_REGION in podTemplate.env for another than AWS's default"
    )
