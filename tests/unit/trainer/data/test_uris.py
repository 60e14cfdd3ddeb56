"""Files fetched from web servers and S3 buckets, really: over TLS, with signatures, once, whole and bounded."""

import hashlib
import http.server
import json
import ssl
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from s3_server import S3Server
from typing_extensions import override

from tunesmith_api.pod import secret_variable
from tunesmith_trainer.errors import DataError, SourceUnreachable

ROWS = b"".join(json.dumps({"text": f"row {number}"}).encode() + b"\n" for number in range(50))


def texts(corpora: Any) -> list[str]:
    return [row["text"] for row in corpora.train]


@dataclass
class Web:
    """A web server with answers by path: status, headers and body."""

    port: int = 0
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    tokens: list[str | None] = field(default_factory=list)

    def url(self, path: str) -> str:
        return f"https://localhost:{self.port}{path}"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate of localhost with its key in one file."""
    folder = tmp_path_factory.mktemp("tls")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run([*command.split(), "-keyout", "key", "-out", "cert"], cwd=folder, check=True, capture_output=True)
    (folder / "both").write_text((folder / "key").read_text() + (folder / "cert").read_text())
    return folder


@pytest.fixture
def web(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A web server whose certificate this process trusts."""
    served = Web()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.tokens.append(self.headers.get("Authorization"))
            status, headers, body = served.answers.get(self.path, (404, {}, b""))
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        @override
        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    monkeypatch.setenv("SSL_CERT_FILE", str(certificate / "cert"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "both")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    served.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """An S3 server with a bucket that opens to the keys of Secret `s3`."""
    monkeypatch.setenv(secret_variable("s3", "AWS_ACCESS_KEY_ID"), "reader")
    monkeypatch.setenv(secret_variable("s3", "AWS_SECRET_ACCESS_KEY"), "opensesame")
    with S3Server(secret="opensesame") as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        yield server


def uri(url: str, **more: Any) -> dict[str, Any]:
    return {"uri": {"url": url} | more}


def test_a_file_of_a_web_server_is_fetched_once(web: Web, open_rows: Any) -> None:
    web.answers["/data/a.jsonl?v=1"] = (200, {}, ROWS)
    dataset = uri(web.url("/data/a.jsonl?v=1"), sha256=hashlib.sha256(ROWS).hexdigest())
    corpora = open_rows(dataset)
    assert len(texts(corpora)) == 50
    assert corpora.report["sources"][0]["files"] == [f"file {web.url('/data/a.jsonl?v=1')}"]
    web.answers.clear()
    assert texts(open_rows(dataset)) == texts(corpora)
    assert web.tokens == [None]


def test_a_token_is_shown_to_its_server_alone(web: Web, open_rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(secret_variable("web", "token"), "opensesame")
    web.answers["/a.jsonl"] = (302, {"Location": web.url("/b.jsonl")}, b"")
    web.answers["/b.jsonl"] = (200, {}, ROWS)
    assert texts(open_rows(uri(web.url("/a.jsonl"), secretRef={"name": "web"})))
    assert web.tokens == ["Bearer opensesame", None]


@pytest.mark.parametrize(
    ("answer", "more", "error", "message"),
    [
        ((404, {}, b""), {}, DataError, "answers 404 Not Found; correct the url"),
        ((403, {}, b""), {}, DataError, "answers 403 Forbidden; name a Secret with a token in secretRef"),
        ((503, {}, b""), {}, SourceUnreachable, "answers 503 Service Unavailable; it is tried again"),
        ((200, {}, ROWS), {"maxBytes": 100}, DataError, "there is more than maxBytes allows"),
        ((200, {}, ROWS), {"sha256": "0" * 64}, DataError, "the file has the SHA-256 digest"),
        (
            (200, {"Content-Length": "99999"}, ROWS),
            {},
            SourceUnreachable,
            f"broke off after {len(ROWS)} of 99999 bytes",
        ),
        ((302, {"Location": "http://localhost/a.jsonl"}, b""), {}, DataError, "which is not https"),
    ],
)
def test_what_a_web_server_can_do(
    web: Web, folder: Any, open_rows: Any, *, answer: Any, more: Any, error: Any, message: str
) -> None:
    web.answers["/a.jsonl"] = answer
    with pytest.raises(error, match=message):
        open_rows(uri(web.url("/a.jsonl"), **more))
    assert not [path for path in (folder.run_directory / "data").iterdir() if path.suffix != ".tmp"]
    web.answers["/a.jsonl"] = (200, {}, ROWS)
    assert texts(open_rows(uri(web.url("/a.jsonl")))), "what was left is in nobody's way"


def test_a_server_that_is_not_there(open_rows: Any) -> None:
    with pytest.raises(
        SourceUnreachable, match=r"spec\.datasets\[0\]\.uri: https://localhost:1/a\.jsonl can not be fetched"
    ):
        open_rows(uri("https://localhost:1/a.jsonl"))


def test_a_certificate_of_nobody_known(web: Web, open_rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SSL_CERT_FILE")
    web.answers["/a.jsonl"] = (200, {}, ROWS)
    with pytest.raises(SourceUnreachable, match="CERTIFICATE_VERIFY_FAILED"):
        open_rows(uri(web.url("/a.jsonl")))


def test_a_file_of_a_bucket(bucket: S3Server, open_rows: Any) -> None:
    bucket.objects["data/sets/a b.jsonl"] = ROWS
    dataset = uri("s3://data/sets/a b.jsonl", secretRef={"name": "s3"}, sha256=hashlib.sha256(ROWS).hexdigest())
    assert len(texts(open_rows(dataset))) == 50
    bucket.objects.clear()
    assert len(texts(open_rows(dataset))) == 50, "fetched once"


def test_a_folder_of_a_bucket_has_splits(bucket: S3Server, open_rows: Any) -> None:
    for name in ("train/1.jsonl", "train/2.jsonl", "test.jsonl"):
        bucket.objects[f"data/set/{name}"] = json.dumps({"text": name}).encode()
    bucket.objects["data/settings.jsonl"] = ROWS
    dataset = uri("s3://data/set/", secretRef={"name": "s3"})
    corpora = open_rows(dataset | {"split": "train"})
    assert texts(corpora) == ["train/1.jsonl", "train/2.jsonl"]
    assert corpora.report["sources"][0]["files"][0] == "file s3://data/set/train/1.jsonl"
    assert texts(open_rows(dataset | {"split": "test"})) == ["test.jsonl"]
    assert "data/settings.jsonl" not in bucket.fetched


@pytest.mark.parametrize("key", ["a/../../../x.jsonl", f"{'x' * 256}.jsonl"])
def test_a_key_that_is_no_path_of_a_file_is_refused(bucket: S3Server, open_rows: Any, tmp_path: Path, key: str) -> None:
    bucket.objects["data/set/a.jsonl"] = ROWS
    bucket.objects[f"data/set/{key}"] = ROWS
    with pytest.raises(DataError, match="which is no path of a file; rename it in the bucket"):
        open_rows(uri("s3://data/set/", secretRef={"name": "s3"}))
    assert not list(tmp_path.rglob("x.jsonl"))


def test_a_public_bucket_needs_no_keys(bucket: S3Server, open_rows: Any) -> None:
    bucket.secret = None
    bucket.objects["data/a.jsonl"] = ROWS
    assert len(texts(open_rows(uri("s3://data/a.jsonl")))) == 50


def test_what_a_bucket_does_not_give(bucket: S3Server, open_rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket.objects["data/a.jsonl"] = ROWS
    secret = {"secretRef": {"name": "s3"}}
    for dataset, message in (
        (uri("s3://data/b.jsonl", **secret), "there is nothing at s3://data/b.jsonl; correct the url"),
        (uri("s3://data/empty/", **secret), "there is nothing at s3://data/empty/"),
        (uri("s3://data/a.jsonl"), "does not let the job read s3://data/a.jsonl; name a Secret in secretRef"),
        (uri("s3://data/a.jsonl", maxBytes=10, **secret), "there is more than maxBytes allows"),
    ):
        with pytest.raises(DataError, match=message):
            open_rows(dataset)
    monkeypatch.setenv(secret_variable("s3", "AWS_SECRET_ACCESS_KEY"), "wrong")
    with pytest.raises(DataError, match="see whether the keys in its Secret may read it"):
        open_rows(uri("s3://data/a.jsonl", **secret))


def test_a_bucket_whose_server_is_not_there(open_rows: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    with pytest.raises(SourceUnreachable, match="set AWS_ENDPOINT_URL and AWS_REGION"):
        open_rows(uri("s3://data/a.jsonl"))
