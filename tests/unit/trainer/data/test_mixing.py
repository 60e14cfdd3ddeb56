"""Several datasets by weight: drawn as `datasets` draws, the share that was asked for, the same on every pass."""

import itertools
from collections import Counter
from functools import partial
from typing import Any

import pytest

from tunesmith_api.v1alpha1.datasets import Evaluation
from tunesmith_trainer.data.mixing import Mixing
from tunesmith_trainer.errors import DataError


def put(folder: Any, name: str, count: int, **more: Any) -> dict[str, Any]:
    return folder.put(f"{name}.jsonl", [{"text": f"{name}{number}"} for number in range(count)]) | more  # type: ignore[no-any-return]  # a fixture


def texts(corpus: Any) -> list[str]:
    return [row["text"] for row in corpus]


@pytest.mark.parametrize("stopping", ["first_exhausted", "all_exhausted"])
@pytest.mark.parametrize("seed", [0, 7])
def test_rows_are_drawn_as_datasets_draws_them(stopping: Any, seed: int) -> None:
    from datasets import Dataset, interleave_datasets

    counts, weights = (400, 30, 170), (0.6, 0.1, 0.3)
    tables = [
        Dataset.from_dict({"row": [f"{place}-{number}" for number in range(count)]})
        for place, count in enumerate(counts)
    ]
    theirs = interleave_datasets(tables, probabilities=list(weights), seed=seed, stopping_strategy=stopping)["row"]
    mixing = Mixing(tuple(weight * 5 for weight in weights), stopping, seed)
    ours = mixing.draw([partial(iter, table["row"]) for table in tables])
    assert list(ours) == list(theirs)


def test_the_drawn_share_is_the_one_asked_for(folder: Any, open_rows: Any) -> None:
    corpora = open_rows(put(folder, "a", 3000, weight=7), put(folder, "b", 2000, weight=3))
    drawn = Counter(text[0] for text in texts(corpora.train))
    assert drawn["a"] == 3000 or drawn["b"] == 2000, "the first that runs out ends the pass"
    assert drawn["a"] / drawn.total() == pytest.approx(0.7, abs=0.02)


def test_a_small_dataset_begins_again_until_all_were_read(folder: Any, open_rows: Any) -> None:
    corpora = open_rows(
        put(folder, "a", 50, weight=1), put(folder, "b", 5, weight=1), processing={"stoppingStrategy": "all_exhausted"}
    )
    drawn = texts(corpora.train)
    assert {text for text in drawn if text[0] == "a"} == {f"a{number}" for number in range(50)}
    assert drawn.count("b0") > 5


def test_each_pass_draws_anew_and_the_same_for_everybody(folder: Any, open_rows: Any) -> None:
    datasets = put(folder, "a", 60, weight=1), put(folder, "b", 60, weight=1)
    passes = [[row["text"] for _, row in open_rows(*datasets).train.drawn(number)] for number in (0, 0, 1)]
    assert passes[0] == passes[1] != passes[2]


def test_without_weights_datasets_follow_each_other(folder: Any, open_rows: Any) -> None:
    corpora = open_rows(put(folder, "a", 2), put(folder, "b", 2))
    assert texts(corpora.train) == ["a0", "a1", "b0", "b1"]


def test_rows_held_out_are_never_drawn(folder: Any, open_rows: Any) -> None:
    datasets = put(folder, "a", 40, weight=1), put(folder, "b", 40, weight=1)
    corpora = open_rows(*datasets, evaluation=Evaluation(split_ratio=0.75))
    held_out = texts(corpora.evaluation)
    assert len(held_out) == len(set(held_out)) == 20
    assert not set(held_out) & set(texts(corpora.train))


def test_a_dataset_must_keep_a_row_to_be_drawn(folder: Any, open_rows: Any) -> None:
    datasets = put(folder, "a", 40, weight=1), put(folder, "b", 1, weight=1)
    found = set()
    for ratio in (0.02, 0.98):
        try:
            texts(open_rows(*datasets, evaluation=Evaluation(split_ratio=ratio)).train)
        except DataError as error:
            found.add(str(error))
    assert found == {"spec.evaluation.splitRatio leaves no row of spec.datasets[1] to train on; add rows to it"}


def test_weights_are_part_of_the_digest(folder: Any, open_rows: Any) -> None:
    digests = {
        open_rows(put(folder, "a", 2, weight=one), put(folder, "b", 2, weight=other)).digest
        for one, other in itertools.product((1, 2), repeat=2)
    }
    assert len(digests) == 4
