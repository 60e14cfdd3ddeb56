"""A small server that speaks as much of the Hugging Face Hub's API as fetching a repository takes.

It serves folders as repositories of models or datasets, with branches and commits, to the tokens that may read them,
and refuses the others in the Hub's own words. It writes down every request, so that a test can count them.

    with HubServer() as hub:
        commit = hub.publish("team/tiny", folder)
        # HF_ENDPOINT=hub.url
"""

import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self
from urllib.parse import unquote, urlsplit

import pytest
from typing_extensions import override


class About(Enum):
    """What the API tells of a repository, by how its path goes on after the name."""

    FILES = r"/tree/(?P<revision>[^/]+)"
    REVISION = r"/revision/(?P<revision>[^/]+)"
    NEWEST = ""


@dataclass
class Repository:
    """One repository: its files by commit, its commits by branch, and who may read it."""

    versions: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    private: bool = False
    gated: bool = False


@dataclass(frozen=True)
class Request:
    """One request: its method, its path without the query, and the token it came with."""

    method: str
    path: str
    token: str | None


class RefusalError(Exception):
    """An answer other than the wanted one, as the Hub gives it."""

    def __init__(self, status: int, code: str = "", message: str = "") -> None:
        super().__init__(message or code)
        self.status = status
        self.code = code


@dataclass
class HubServer:
    """A Hub on a port of this machine.

    Attributes:
        tokens: The tokens that are known, with the repositories that each may read beyond the public ones.
        requests: All requests so far.
        failing: Answer everything with this status.
        cut_after: Break the next transfer of a file off after so many bytes.
    """

    tokens: dict[str, frozenset[str]] = field(default_factory=dict)
    requests: list[Request] = field(default_factory=list)
    failing: int | None = None
    cut_after: int | None = None
    _repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)

    def __enter__(self) -> Self:
        """Start."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop; from then on nothing answers at the address."""
        self.stop()

    def stop(self) -> None:
        """Stop, once or again."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """What HF_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def publish(
        self,
        name: str,
        folder: Path,
        *,
        branch: str = "main",
        kind: str = "models",
        private: bool = False,
        gated: bool = False,
    ) -> str:
        """Make the files of a folder the newest commit of a branch, and return the commit."""
        files = {path.relative_to(folder).as_posix(): path.read_bytes() for path in _files(folder)}
        listing = json.dumps({path: hashlib.sha256(content).hexdigest() for path, content in files.items()})
        commit = hashlib.sha1(f"{name}@{branch}: {listing}".encode(), usedforsecurity=False).hexdigest()
        repository = self._repositories.setdefault((kind, name), Repository(private=private, gated=gated))
        repository.versions[commit] = files
        repository.branches[branch] = commit
        return commit

    def fetched(self) -> list[str]:
        """Return the paths of the files whose contents were asked for."""
        return [request.path for request in self.requests if request.method == "GET" and "/resolve/" in request.path]

    def answer(self, path: str, token: str | None) -> tuple[bytes, dict[str, str]]:
        """Return body and headers for a path.

        Raises:
            RefusalError: The Hub would not give them.
        """
        if self.failing:
            raise RefusalError(self.failing, message="The Hub is not well")
        if token is not None and token not in self.tokens:
            raise RefusalError(401, message="Invalid credentials in Authorization header")
        kind, name, revision, wanted = _parse(path)
        repository = self._readable(kind, name, token)
        commit = repository.branches.get(revision, revision)
        if commit not in repository.versions:
            raise RefusalError(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        files = repository.versions[commit]
        if isinstance(wanted, About):
            sizes = {path: len(content) for path, content in sorted(files.items())}
            return _described(wanted, name, commit, sizes), {"Content-Type": "application/json"}
        if repository.gated and name not in self.tokens.get(token or "", ()):
            raise RefusalError(403 if token else 401, "GatedRepo", f"Access to model {name} is restricted.")
        if wanted not in files:
            raise RefusalError(404, "EntryNotFound", "Entry not found")
        digest = hashlib.sha256(files[wanted]).hexdigest()
        return files[wanted], {"X-Repo-Commit": commit, "ETag": f'"{digest}"', "Accept-Ranges": "bytes"}

    def _readable(self, kind: str, name: str, token: str | None) -> Repository:
        repository = self._repositories.get((kind, name))
        hidden = repository is not None and repository.private and name not in self.tokens.get(token or "", ())
        if repository is None or hidden:
            # Without a token the Hub does not tell what does not exist from what is not to be seen.
            raise RefusalError(404 if token else 401, "RepoNotFound", "Repository not found")
        return repository


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _described(about: About, name: str, commit: str, sizes: Mapping[str, int]) -> bytes:
    """Return what the Hub says of a repository, or its list of files."""
    if about is About.FILES:
        return json.dumps(
            [{"type": "file", "path": path, "size": size, "oid": commit} for path, size in sizes.items()]
        ).encode()
    return json.dumps({"id": name, "sha": commit, "siblings": [{"rfilename": path} for path in sizes]}).encode()


def _parse(path: str) -> tuple[str, str, str, str | About]:
    """Return kind, name and revision of a path, and what is wanted: a file, or what is said of the repository.

    Raises:
        RefusalError: It is no path that this server knows.
    """
    for about in About:
        match = re.fullmatch(rf"/api/(models|datasets)/(.+?){about.value}", path)
        if match:
            return match[1], match[2], unquote(match.groupdict().get("revision") or "main"), about
    match = re.fullmatch(r"/(datasets/)?(.+?)/resolve/([^/]+)/(.+)", path)
    if match:
        return "datasets" if match[1] else "models", match[2], unquote(match[3]), unquote(match[4])
    raise RefusalError(404, message=f"this Hub has nothing at {path}")


def _handler(server: HubServer) -> type[BaseHTTPRequestHandler]:
    class Handler(_Handler):
        hub = server

    return Handler


class _Handler(BaseHTTPRequestHandler):
    """Answers for a Hub."""

    protocol_version = "HTTP/1.1"
    hub: ClassVar[HubServer]

    def do_GET(self) -> None:
        self._serve(body=True)

    def do_HEAD(self) -> None:
        self._serve(body=False)

    def do_POST(self) -> None:
        self._serve(body=True)

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: the requests are written down."""

    def _serve(self, *, body: bool) -> None:
        path = urlsplit(self.path).path
        scheme, _, credentials = self.headers.get("Authorization", "").partition(" ")
        token = credentials if scheme == "Bearer" else None
        self.hub.requests.append(Request(self.command, path, token))
        try:
            content, headers = self.hub.answer(path, token)
        except RefusalError as refusal:
            told = {"X-Error-Code": refusal.code, "X-Error-Message": str(refusal)}
            self._send(refusal.status, {name: text for name, text in told.items() if text}, b"")
            return
        begin = self._begin()
        status = 206 if begin else 200
        if begin:
            headers["Content-Range"] = f"bytes {begin}-{len(content) - 1}/{len(content)}"
        self._send(status, headers, content[begin:], body=body)

    def _begin(self) -> int:
        """Return the first byte that is asked for."""
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])

    def _send(self, status: int, headers: Mapping[str, str], content: bytes, *, body: bool = True) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if not body:
            return
        cut = self.hub.cut_after if "/resolve/" in self.path else None
        if cut is not None and cut < len(content):
            self.hub.cut_after, content, self.close_connection = None, content[:cut], True
        with suppress(ConnectionError):
            self.wfile.write(content)


@contextmanager
def hub_of_this_process(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    """Be the Hub of the libraries of this process, with nothing on it and an empty cache.

    What a pod gets by its environment is read at import, so it is set where it was read to.
    """
    from huggingface_hub import constants

    with HubServer() as server:
        files = server.url + constants.HUGGINGFACE_CO_URL_TEMPLATE.removeprefix(constants.ENDPOINT)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", files)
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        yield server
