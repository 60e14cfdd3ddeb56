"""A small server that speaks as much of S3's API as reading a bucket takes, and checks signatures (AWS, version 4)."""

import hashlib
import hmac
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.sax.saxutils import escape

from typing_extensions import override

_SIGNED = re.compile(r"Credential=([^/]+)/([^,]+), ?SignedHeaders=([^,]+), ?Signature=([0-9a-f]+)")


@dataclass
class S3Server:
    """Buckets on a port of this machine.

    Attributes:
        secret: What the access key `reader` signs with; None lets everybody read.
        objects: Contents by `bucket/key`.
        fetched: Keys whose contents were asked for.
    """

    secret: str | None = None
    objects: dict[str, bytes] = field(default_factory=dict)
    fetched: list[str] = field(default_factory=list)

    def __enter__(self) -> Self:
        """Start."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        """What AWS_ENDPOINT_URL is set to."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def answer(self, request: BaseHTTPRequestHandler) -> tuple[int, bytes]:
        """Return status and content of the answer to a request."""
        parts = urlsplit(request.path)
        name, query = unquote(parts.path).strip("/"), dict(parse_qsl(parts.query))
        if not self._allows(request):
            return 403, b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        if "list-type" in query:
            return 200, _listing(self, name, query.get("prefix", ""))
        if name not in self.objects:
            return 404, b"<Error><Code>NoSuchKey</Code><Message>No such key</Message></Error>"
        if request.command == "GET":
            self.fetched.append(name)
        return 200, self.objects[name]

    def _allows(self, request: BaseHTTPRequestHandler) -> bool:
        if self.secret is None:
            return True
        found = _SIGNED.search(request.headers.get("Authorization", ""))
        if found is None or found[1] != "reader":
            return False
        return hmac.compare_digest(found[4], signature(self.secret, request, found[2], found[3]))


def signature(secret: str, request: Any, scope: str, signed: str) -> str:
    """Return the signature that a request must have.

    Args:
        secret: The secret access key.
        request: The handler of the request.
        scope: Date, region, service and `aws4_request`.
        signed: Names of the signed headers, with semicolons between.
    """
    parts = urlsplit(request.path)
    query = "&".join(
        f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}"
        for name, value in sorted(parse_qsl(parts.query, keep_blank_values=True))
    )
    headers = "".join(f"{name}:{' '.join(request.headers[name].split())}\n" for name in signed.split(";"))
    body = request.headers["x-amz-content-sha256"]
    canonical = f"{request.command}\n{parts.path}\n{query}\n{headers}\n{signed}\n{body}"
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    text = f"AWS4-HMAC-SHA256\n{request.headers['x-amz-date']}\n{scope}\n{digest}"
    key = f"AWS4{secret}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.digest(key, text.encode(), "sha256").hex()


def _listing(server: S3Server, bucket: str, prefix: str) -> bytes:
    keys = sorted(name.removeprefix(f"{bucket}/") for name in server.objects if name.startswith(f"{bucket}/{prefix}"))
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{len(server.objects[f'{bucket}/{key}'])}</Size>"
        "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
        for key in keys
    )
    return (
        '<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{bucket}</Name><Prefix>{escape(prefix)}</Prefix><KeyCount>{len(keys)}</KeyCount>"
        f"<IsTruncated>false</IsTruncated>{contents}</ListBucketResult>"
    ).encode()


def _handler(server: S3Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._serve()

        def do_HEAD(self) -> None:
            self._serve()

        @override
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

        def _serve(self) -> None:
            status, content = server.answer(self)
            wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")) if status == 200 else None
            begin, end = (int(wanted[1]), int(wanted[2] or len(content)) + 1) if wanted else (0, len(content))
            part = content[begin:end]
            self.send_response(206 if wanted else status)
            self.send_header("Content-Range", f"bytes {begin}-{begin + len(part) - 1}/{len(content)}")
            self.send_header("Content-Length", str(len(part)))
            self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
            self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(part)

    return Handler
