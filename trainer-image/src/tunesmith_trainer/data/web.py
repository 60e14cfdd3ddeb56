"""Fetching a file of a web server by https."""

from __future__ import annotations

import http.client
import urllib.error
import urllib.request
from typing import IO, TYPE_CHECKING
from urllib.parse import urlsplit

from typing_extensions import override

from tunesmith_api.v1alpha1.data_sources import TOKEN
from tunesmith_trainer.data.bounded import copy_bounded
from tunesmith_trainer.errors import DataError, SourceUnreachable

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.client import HTTPMessage
    from pathlib import Path

    from tunesmith_api.v1alpha1.data_sources import UriSource

_SECONDS = 60.0  # without a byte
_REFUSALS = frozenset({401, 403})
_PASSING = frozenset({408, 425, 429})


def fetch_web(source: UriSource, keys: Mapping[str, str | None], target: Path, place: str) -> None:
    """Fetch a file.

    Args:
        source: The URL and what belongs to it.
        keys: The values of the Secret.
        target: Where to write it.
        place: The field of the spec, for messages.

    Raises:
        DataError: The server has no such file, does not let the job have it, or it is too large.
        SourceUnreachable: The server does not answer, or not to the end.
    """
    request = urllib.request.Request(source.url, headers={"User-Agent": "tunesmith"})  # noqa: S310 - https, by CEL
    if keys.get(TOKEN):
        # Not sent on to where the server sends us.
        request.add_unredirected_header("Authorization", f"Bearer {keys[TOKEN]}")
    try:
        with urllib.request.build_opener(_HttpsAlone).open(request, timeout=_SECONDS) as answer:
            copied = copy_bounded(answer, target, source.max_bytes, place)
            expected = answer.headers.get("Content-Length")
    except urllib.error.HTTPError as error:
        raise _told(error, source, place) from error
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise SourceUnreachable(f"{place}: {source.url} can not be fetched: {reason}; {_REACH}") from error
    if expected is not None and copied != int(expected):
        raise SourceUnreachable(f"{place}: {source.url} broke off after {copied} of {expected} bytes; {_REACH}")


_REACH = "see whether pods may reach the server"


class _HttpsAlone(urllib.request.HTTPRedirectHandler):
    """Follows a server to other servers, but only encrypted."""

    @override
    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> urllib.request.Request | None:
        if urlsplit(newurl).scheme != "https":
            raise DataError(f"{req.full_url} redirects to {newurl}, which is not https; name an https url that is")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _told(error: urllib.error.HTTPError, source: UriSource, place: str) -> DataError | SourceUnreachable:
    answer = f"{place}: {source.url} answers {error.code} {error.reason}"
    if error.code in _REFUSALS:
        what = "see whether its token may read it" if source.secret_ref else "name a Secret with a token in secretRef"
        return DataError(f"{answer}; {what}")
    if error.code in _PASSING or error.code >= http.client.INTERNAL_SERVER_ERROR:
        return SourceUnreachable(f"{answer}; it is tried again")
    return DataError(f"{answer}; correct the url")
