"""Splits and digests: the same on every process and attempt."""

from typing import Any

import pytest

from tunesmith_api.v1alpha1.datasets import Evaluation
from tunesmith_trainer.errors import DataError


def texts(corpus: Any) -> Any:
    return [row["text"] for row in corpus]


def test_a_split_is_exact_disjoint_and_repeatable(folder: Any, open_rows: Any) -> None:
    dataset = folder.put("a.txt", "\n\n".join(map(str, range(20))))
    evaluation = Evaluation(split_ratio=0.8)
    corpora = open_rows(dataset, evaluation=evaluation)
    train, held_out = texts(corpora.train), texts(corpora.evaluation)
    assert len(train) == 16
    assert sorted(train + held_out, key=int) == [str(number) for number in range(20)]
    assert texts(open_rows(dataset, evaluation=evaluation).evaluation) == held_out
    assert held_out != [str(number) for number in range(16, 20)], "drawn, not cut off"


@pytest.mark.parametrize("ratio", [0.001, 0.999])
def test_both_sides_of_a_split_have_a_row(folder: Any, open_rows: Any, ratio: Any) -> None:
    corpora = open_rows(folder.put("a.txt", "1\n\n2\n\n3"), evaluation=Evaluation(split_ratio=ratio))
    assert texts(corpora.train)
    assert texts(corpora.evaluation)


def test_one_row_can_not_be_split(folder: Any, open_rows: Any) -> None:
    with pytest.raises(DataError, match="splitRatio needs at least 2 rows and the datasets have 1"):
        open_rows(folder.put("a.txt", "1"), evaluation=Evaluation(split_ratio=0.5))


def test_rows_to_evaluate_on_of_their_own(folder: Any, open_rows: Any) -> None:
    evaluation = Evaluation.model_validate({"datasets": [folder.put("b.txt", "2")]})
    corpora = open_rows(folder.put("a.txt", "1"), evaluation=evaluation)
    assert texts(corpora.evaluation) == ["2"]
    assert [source["field"] for source in corpora.report["sources"]] == [
        "spec.datasets[0]",
        "spec.evaluation.datasets[0]",
    ]


def test_the_digest_follows_the_bytes_and_how_they_are_read(folder: Any, open_rows: Any) -> None:
    dataset = folder.put("a.txt", "1\n\n2")
    digest = open_rows(dataset).digest
    assert digest.startswith("sha256:")
    assert open_rows(dataset).digest == digest
    assert open_rows(folder.put("moved/a.txt", "1\n\n2")).digest == digest, "where the bytes lie does not matter"
    others = {
        open_rows(dataset | {"maxSamples": 1}).digest,
        open_rows(dataset | {"format": "text"}).digest,
        open_rows(dataset, evaluation=Evaluation(split_ratio=0.5)).digest,
        open_rows(dataset, dataset).digest,
        open_rows(folder.put("a.txt", "1\n\n3")).digest,
    }
    assert len(others | {digest}) == 6
