"""Every kind of file, compressed or not, gives the same rows; what is wrong with one is told with file and row."""

import contextlib
import csv
import gzip
import io
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from tunesmith_trainer.data.compression import open_file
from tunesmith_trainer.data.readers import read_file
from tunesmith_trainer.data.sources import SourceFile, files_at
from tunesmith_trainer.errors import DataError

ROWS = [
    {"prompt": "1+1=", "completion": "2"},
    {"prompt": 'A "quoted", long\nprompt, äöü', "completion": "x" * 200_000},
    {"prompt": "3\t+ 4=", "completion": "7"},
]
DAYS = pa.array([1, None, 90_000_000_000_000_000], pa.timestamp("ms"))  # the last is in the year 2,853,986
CHATS = [
    {"messages": [{"role": "user", "content": f"{number}?"}, {"role": "assistant", "content": f"{number}!"}]}
    for number in range(3000)
]


def separated(delimiter: str) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, ["prompt", "completion"], delimiter=delimiter)
    writer.writeheader()
    writer.writerows(ROWS)
    return text.getvalue().encode()


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), sink, row_group_size=700)
    return sink.getvalue()


def arrow(rows: list[dict[str, Any]], new: Any = pa.ipc.new_file) -> bytes:
    sink, table = io.BytesIO(), pa.Table.from_pylist(rows)
    with new(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return sink.getvalue()


def latin_text() -> Any:
    """Return a column of text whose last value is not UTF-8, as writers in other languages let through."""
    return pa.array([b"one", b"caf\xe9"]).view(pa.string())


def table(new: Any = None, **columns: Any) -> bytes:
    sink, content = io.BytesIO(), pa.table(columns)
    if new is None:
        pyarrow.parquet.write_table(content, sink)
    else:
        with new(sink, content.schema) as writer:
            writer.write_table(content)
    return sink.getvalue()


def zstandard(content: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(content)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]  # pyarrow has no types


def read(corpora: Any) -> Any:
    return list(corpora.train)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", separated(",")),
        ("a.tsv", separated("\t")),
        ("a.parquet", parquet(ROWS)),
        ("a.arrow", arrow(ROWS)),
        ("stream.arrow", arrow(ROWS, pa.ipc.new_stream)),
        ("a.csv.gz", gzip.compress(separated(","), mtime=0)),
        ("a.tsv.zst", zstandard(separated("\t"))),
        ("A.CSV.GZ", gzip.compress(separated(","), mtime=0)),
    ],
)
def test_rows_of_every_kind_of_file_are_the_same(folder: Any, open_rows: Any, name: Any, content: Any) -> None:
    corpora = open_rows(folder.put(name, content))
    assert read(corpora) == ROWS
    assert corpora.report["sources"][0]["format"] == "prompt-completion"


def test_the_bytes_of_a_name_need_not_be_utf_8(folder: Any, open_rows: Any) -> None:
    rows = [{"text": "x"}]
    kinds = {"arrow": arrow(rows), "parquet": parquet(rows), "jsonl.zst": zstandard(b'{"text": "x"}')}
    for kind, content in kinds.items():
        folder.put(os.fsdecode(b"latin/caf\xe9." + kind.encode()), content)
    assert read(open_rows({"claim": {"name": "data", "path": "latin"}})) == rows * 3


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.txt"])
@pytest.mark.parametrize(("ending", "compress"), [(".gz", gzip.compress), (".zst", zstandard)])
def test_compressed_files_hold_what_plain_ones_do(
    folder: Any, open_rows: Any, *, name: Any, ending: Any, compress: Any
) -> None:
    rows = "One\n\nTwo" if name == "a.txt" else [{"text": "One"}, {"text": "Two"}]
    plain = open_rows(folder.put(name, rows))
    packed = compress(folder.claim_path("data", name).read_bytes())
    assert read(open_rows(folder.put(name + ending, packed))) == read(plain) == [{"text": "One"}, {"text": "Two"}]


def test_gzip_files_that_were_joined_are_read_to_the_end(folder: Any, open_rows: Any) -> None:
    content = gzip.compress(b'{"text": "One"}\n') + gzip.compress(b'{"text": "Two"}\n')
    assert [row["text"] for row in read(open_rows(folder.put("a.jsonl.gz", content)))] == ["One", "Two"]


@pytest.mark.parametrize("content", [parquet(CHATS), arrow(CHATS)], ids=["parquet", "arrow"])
def test_chats_keep_their_structure_in_tables(folder: Any, open_rows: Any, content: Any) -> None:
    name = "a.parquet" if content[:4] == b"PAR1" else "a.arrow"
    assert read(open_rows(folder.put(name, content))) == CHATS


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"text\nx,y\n", "line 2: 2 fields, and the first line names 1 columns"),
        ("a.csv", b"text,b\nx,y\n\n\nx\n", "line 5: 1 fields, and the first line names 2 columns"),
        ("a.csv", b'text\n"one\ntwo"\n"x" y\n', "line 4: not valid CSV"),
        ("a.csv", b'text\n"never closed\n', "line 2: not valid CSV"),
        ("a.csv", b"text,\nx,y\n", "line 1: column 2 has no name"),
        ("a.csv", b"text,text\nx,y\n", "line 1: two columns are named 'text'"),
        ("a.csv", b"text\n", "has no row"),
        ("a.csv", b"", "has no row"),
        ("a.csv", b"text\n\n \n", "line 3: column 'text' is empty"),
        ("a.csv", b"text\ngood\n\xff\n", "line 3: byte 1 of the line is not UTF-8"),
        ("a.parquet", b"text\n", "can not be read as Parquet"),
        ("a.parquet", parquet(CHATS)[:-100], "can not be read as Parquet"),
        ("a.parquet", parquet([]), "has no row"),
        ("a.arrow", b"text\n", "can not be read as Arrow"),
        ("a.arrow", arrow(CHATS, pa.ipc.new_stream)[:-5000], "can not be read as Arrow"),
        ("a.parquet", table(text=latin_text()), "row 2: column 'text' can not be read ('utf-8' codec"),
        ("a.arrow", table(pa.ipc.new_file, text=latin_text()), "row 2: column 'text' can not be read ('utf-8' codec"),
        ("a.parquet", table(text=["x"] * 3, at=DAYS), "row 3: column 'at' can not be read (days=1041666666;"),
        ("a.arrow", table(pa.ipc.new_stream, text=["x"] * 3, at=DAYS), "row 3: column 'at' can not be read (days="),
        ("a.arrow", arrow([{"tixt": "x"}]).replace(b"tixt", b"t\xe9xt"), "can not be read as Arrow ('utf-8' codec"),
        ("a.jsonl.gz", b'{"text": "x"}\n', "can not be unpacked"),
        ("a.jsonl.gz", gzip.compress(b'{"text": "x"}\n' * 999, mtime=0)[:-9], "can not be unpacked"),
        ("a.jsonl.zst", b'{"text": "x"}\n', "can not be unpacked"),
        ("a.jsonl.zst", zstandard(b'{"text": "x"}\n{"text": \n'), "line 2: not valid JSON"),
        ("a.parquet.gz", gzip.compress(parquet(ROWS), mtime=0), "the ending tells the file type"),
        ("a.jsonl.bz2", b"x", "the ending tells the file type"),
    ],
)
def test_a_broken_file(folder: Any, open_rows: Any, *, name: Any, content: Any, message: Any) -> None:
    with pytest.raises(DataError) as caught:
        read(open_rows(folder.put(name, content)))
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"file {name} of claim data")


def test_a_row_of_a_table_is_named_by_its_number(folder: Any, open_rows: Any) -> None:
    rows = [{"text": "x"}] * 2000 + [{"text": None}]
    with pytest.raises(DataError, match=r"a\.parquet of claim data, row 2001: column 'text' is null"):
        read(open_rows(folder.put("a.parquet", parquet(rows))))


def test_a_disk_that_fails_is_no_fault_of_the_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), open_file(SourceFile("gone", tmp_path / "gone.jsonl.gz")):
        pass


NOBODY = 65534


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that every user may enter, which those of `tmp_path` are not."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def without_rights() -> Iterator[None]:
    """Be another user than root, whom no permission binds."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl.gz", "a.jsonl.zst", "a.parquet", "a.arrow"])
def test_a_file_that_the_pod_may_not_read(shared: Path, name: str) -> None:
    path = shared / name
    path.write_bytes(b"x")
    path.chmod(0)
    (file,) = files_at(path, None, name, " of claim data")
    with without_rights(), pytest.raises(DataError) as caught:
        list(read_file(file))
    user = os.geteuid() or NOBODY
    assert str(caught.value).startswith(f"file {name} of claim data can not be read by this pod: its user {user} has")
    assert "chmod -R a+rX" in str(caught.value)
    assert "fsGroup" in str(caught.value)


@pytest.mark.parametrize("path", ["", "a.txt"])
def test_a_folder_that_the_pod_may_not_enter(shared: Path, path: str) -> None:
    (shared / "a.txt").write_bytes(b"x")
    shared.chmod(0)
    with without_rights(), pytest.raises(DataError, match=r"^rows of claim data can not be read by this pod: its user"):
        files_at(shared / path, None, "rows", " of claim data")
