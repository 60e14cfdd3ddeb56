"""Splits of a folder, told by names as on the Hub."""

from pathlib import PurePath
from typing import Any

import pytest

from tunesmith_trainer.data.splits import belongs_to
from tunesmith_trainer.errors import DataError


def texts(corpora: Any) -> list[str]:
    return [row["text"] for row in corpora.train]


@pytest.mark.parametrize(
    ("path", "split", "belongs"),
    [
        ("train.jsonl", "train", True),
        ("data/train-00000-of-00002.parquet", "train", True),
        ("my_training_data.csv", "train", True),
        ("train2.txt", "train", True),
        ("trainer.txt", "train", False),
        ("constraint.txt", "train", False),
        ("validation/a.csv", "validation", True),
        ("dev.csv", "validation", True),
        ("dev.csv", "val", True),
        ("developer.csv", "dev", False),
        ("eval/part.csv", "test", True),
        ("test.csv", "train", False),
        ("extra.csv", "extra", True),
        ("a.csv", "extra", False),
    ],
)
def test_which_files_belong_to_a_split(path: str, split: str, *, belongs: bool) -> None:
    assert belongs_to(PurePath(path), split) == belongs


def test_one_split_of_a_folder_is_read_from_subfolders_too(folder: Any, open_rows: Any) -> None:
    folder.put("set/train/b.txt", "Two")
    folder.put("set/train/a.jsonl", [{"text": "One"}])
    folder.put("set/validation.txt", "Held")
    folder.put("set/dataset_info.json", {"features": {}})
    dataset = {"claim": {"name": "data", "path": "set"}}
    assert texts(open_rows(dataset | {"split": "train"})) == ["One", "Two"]
    assert texts(open_rows(dataset | {"split": "dev"})) == ["Held"]


def test_a_split_that_is_not_there(folder: Any, open_rows: Any) -> None:
    folder.put("set/train.txt", "One")
    with pytest.raises(DataError, match=r"has no file of split test: none is named test or testing .*found: train.txt"):
        open_rows({"claim": {"name": "data", "path": "set"}, "split": "test"})


def test_several_splits_are_not_read_as_one(folder: Any, open_rows: Any) -> None:
    folder.put("set/train.txt", "One")
    folder.put("set/test.txt", "Two")
    with pytest.raises(DataError, match=r"folder set of claim data holds the splits test, train.*name one of them"):
        open_rows({"claim": {"name": "data", "path": "set"}})


def test_one_file_has_no_splits(folder: Any, open_rows: Any) -> None:
    with pytest.raises(DataError, match="is one file, and splits are told by the files of a folder; remove split"):
        open_rows(folder.put("train.txt", "One") | {"split": "train"})
