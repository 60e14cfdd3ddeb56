"""Datasets of the Hub, from a server that speaks its API: configurations, splits, one commit per run, refusals."""

import json
from pathlib import Path
from typing import Any

import pytest

from tunesmith_trainer.data.cards import files_of
from tunesmith_trainer.errors import DataError, GatedModel, HubUnreachable

CARD = """---
license: mit
configs:
- config_name: en
  default: true
  data_files:
  - split: train
    path: ["data/en/train-*.jsonl", data/more.jsonl]
  - split: test
    path: data/en/test-*
- config_name: de
  data_files: data/de/*.jsonl
---
# A dataset
"""
HUB = {"hub": {"name": "team/questions"}}


def publish(hub: Any, folder: Path, files: dict[str, Any], **more: Any) -> str:
    root = folder / "repository"
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
        path.write_text(text, encoding="utf-8")
    return str(hub.publish("team/questions", root, kind="datasets", **more))


@pytest.fixture
def published(hub: Any, tmp_path: Path) -> str:
    """A dataset with a card, and its commit."""
    rows = {
        f"data/{name}.jsonl": [{"text": name}] for name in ("more", "en/train-1", "en/train-2", "en/test-1", "de/a")
    }
    return publish(hub, tmp_path, {"README.md": CARD, "data/notes.md": "x", **rows})


def texts(corpora: Any) -> list[str]:
    return [row["text"] for row in corpora.train]


@pytest.mark.parametrize(
    ("chosen", "found"),
    [
        ({}, ["en/train-1", "en/train-2", "more"]),
        ({"split": "test"}, ["en/test-1"]),
        ({"hub": {"name": "team/questions", "configName": "de"}}, ["de/a"]),
    ],
    ids=["default", "split", "configuration"],
)
def test_the_files_of_a_split_and_configuration(open_rows: Any, published: str, chosen: Any, found: list[str]) -> None:
    corpora = open_rows(HUB | chosen)
    assert texts(corpora) == found
    assert corpora.report["sources"][0]["files"][0] == (
        f"file data/{found[0]}.jsonl of the Hub dataset team/questions at commit {published[:12]}"
    )


def test_files_are_fetched_once_and_nothing_else_is(hub: Any, open_rows: Any, published: str) -> None:
    open_rows(HUB)
    open_rows(HUB)
    prefix = f"/datasets/team/questions/resolve/{published}/"
    fetched = sorted(path.removeprefix(prefix) for path in hub.fetched())
    assert fetched == ["README.md", "data/en/train-1.jsonl", "data/en/train-2.jsonl", "data/more.jsonl"]


def test_a_run_stays_at_the_commit_it_began_with(hub: Any, open_rows: Any, tmp_path: Path, published: str) -> None:
    before = open_rows(HUB)
    publish(hub, tmp_path, {"data/more.jsonl": [{"text": "changed"}]})
    again = open_rows(HUB)
    assert texts(again) == texts(before)
    assert again.digest == before.digest
    (tmp_path / "run/hub-datasets.json").unlink()
    assert "changed" in texts(open_rows(HUB))


def test_a_transfer_that_breaks_off_is_gone_on_with(hub: Any, open_rows: Any, tmp_path: Path) -> None:
    publish(hub, tmp_path, {"train.jsonl": [{"text": "x" * 100} for _ in range(2000)]})
    hub.cut_after = 100_000
    assert len(texts(open_rows(HUB))) == 2000


def test_what_there_is_not(hub: Any, open_rows: Any, published: str) -> None:
    for dataset, message in (
        (HUB | {"split": "dev"}, r"has no file of split dev \(found: .*correct split or hub.configName"),
        ({"hub": HUB["hub"] | {"configName": "fr"}}, "has no configuration fr; its card lists en, de"),
        (
            {"hub": HUB["hub"] | {"revision": "v9"}},
            "no such branch, tag or commit; correct spec.datasets\\[0\\].hub.revision",
        ),
        (
            {"hub": {"name": "team/missing"}},
            "does not exist on the Hub, or is private; correct spec.datasets\\[0\\].hub.name",
        ),
    ):
        with pytest.raises(DataError, match=message):
            open_rows(dataset)


def test_private_and_gated_datasets_need_a_token(
    hub: Any, open_rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(hub, tmp_path, {"train.jsonl": [{"text": "secret"}]}, gated=True)
    with pytest.raises(
        GatedModel, match=r"is gated, and the job has no token: .* name it in spec.model.tokenSecretRef"
    ):
        open_rows(HUB)
    hub.tokens["opensesame"] = frozenset({"team/questions"})
    monkeypatch.setenv("HF_TOKEN", "opensesame")
    assert texts(open_rows(HUB, token=True)) == ["secret"]
    monkeypatch.setenv("HF_TOKEN", "wrong")
    (tmp_path / "run/hub-datasets.json").unlink()
    with pytest.raises((GatedModel, DataError), match="the token of Secret hub, key token,"):
        open_rows({"hub": {"name": "team/other"}}, token=True)


def test_without_a_network_the_cache_is_used(
    hub: Any, open_rows: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, published: str
) -> None:
    from huggingface_hub import constants, snapshot_download

    snapshot_download("team/questions", repo_type="dataset")
    hub.stop()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert texts(open_rows(HUB)) == ["en/train-1", "en/train-2", "more"]
    with pytest.raises(DataError, match="is not in the cache, and HF_HUB_OFFLINE is set"):
        open_rows({"hub": {"name": "team/other"}})


def test_a_hub_that_is_not_well(hub: Any, open_rows: Any, published: str) -> None:
    hub.failing = 507
    with pytest.raises(HubUnreachable, match=r"\(team/questions@main\) can not be fetched"):
        open_rows(HUB)


@pytest.mark.parametrize(
    ("names", "config", "split", "found"),
    [
        (["a.csv", "b.csv"], None, "train", ["a.csv", "b.csv"]),
        (["a.csv", "b.csv"], None, "test", None),
        (["train.csv", "test.csv"], None, "train", ["train.csv"]),
        (["en/train.csv", "de/train.csv"], "de", "train", ["de/train.csv"]),
        (["data/train-0-of-2.parquet", "data/train-1-of-2.parquet", "dataset_infos.json"], None, "train",
         ["data/train-0-of-2.parquet", "data/train-1-of-2.parquet"]),
        (["README.md"], None, "train", None),
    ],
)  # fmt: skip
def test_without_a_card_names_tell(
    *, names: list[str], config: str | None, split: str, found: list[str] | None
) -> None:
    if found is None:
        with pytest.raises(DataError, match=f"x has no file of split {split}"):
            files_of(names, None, config_name=config, split=split, where="x")
    else:
        assert files_of(names, None, config_name=config, split=split, where="x") == tuple(found)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        (
            "configs: [{config_name: a, data_files: a.csv}, {config_name: b, data_files: b.csv}]",
            "name one of a, b in hub",
        ),
        ("configs: [{config_name: a, data_files: c.csv}]", "has no file of split test"),
        ("configs: 3", "has no file of split test"),
        ("configs: [{data_files: [{split: [a], path: a.csv}, b.csv]}]", "has no file of split test"),
        ("configs: [", "x: its card README.md can not be read .*name the files"),
    ],
)
def test_a_card_that_leaves_a_choice(tmp_path: Path, card: str, message: str) -> None:
    (tmp_path / "README.md").write_text(f"---\n{card}\n---\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        files_of(["a.csv", "b.csv"], tmp_path / "README.md", config_name=None, split="test", where="x")


@pytest.mark.parametrize(
    ("files", "split", "found"),
    [
        ("{train: [sub/*.csv], test: a.csv}", "train", ("sub/x.csv",)),
        ('"**/x.csv"', "train", ("sub/deep/x.csv", "sub/x.csv")),
        ("[{split: validation, path: a.csv}]", "dev", ("a.csv",)),
        ('[a.csv, "sub/?.csv"]', "train", ("a.csv", "sub/x.csv")),
    ],
)
def test_patterns_of_a_card(tmp_path: Path, files: str, split: str, found: tuple[str, ...]) -> None:
    (tmp_path / "README.md").write_text(f"---\nconfigs: [{{config_name: default, data_files: {files}}}]\n---\n")
    names = ["a.csv", "sub/x.csv", "sub/deep/x.csv"]
    assert files_of(names, tmp_path / "README.md", config_name=None, split=split, where="x") == found
