"""The figures about a pass over rows."""

import pytest

from tunesmith_trainer.data.counts import Counts


def test_no_rows_have_no_figures() -> None:
    report = Counts().report()
    assert report["tokenLength"] == {}
    assert report["lossShare"] == report["truncatedShare"] == report["duplicates"] == 0
    assert report["drawn"] == {}


def test_lengths_are_those_before_rows_are_cut() -> None:
    counts = Counts()
    for length in range(1, 101):
        counts.read([7] * length)
    assert counts.report()["tokenLength"] == {
        "min": 1, "mean": 50.5, "max": 100, "p5": 6, "p25": 26, "p50": 51, "p75": 76, "p90": 91, "p95": 96, "p99": 100,
    }  # fmt: skip


def test_shares_and_duplicates() -> None:
    counts = Counts()
    for row in ([1, 2], [1, 2], [2, 1], [1, 2, 3], [1, 2]):
        counts.read(row)
    counts.use(8, 2, source="spec.datasets[0]", truncated=True)
    counts.use(4, 4, source="spec.datasets[0]")
    counts.use(4, 2, source="spec.datasets[1]")
    report = counts.report()
    assert report["duplicates"] == 2
    assert report["lossShare"] == 0.5
    assert report["truncatedShare"] == pytest.approx(1 / 3, abs=1e-4)
    assert report["drawn"] == {
        "spec.datasets[0]": {"rows": 2, "tokens": 12, "rowShare": 0.6667, "tokenShare": 0.75},
        "spec.datasets[1]": {"rows": 1, "tokens": 4, "rowShare": 0.3333, "tokenShare": 0.25},
    }


def test_two_answers_are_one_row() -> None:
    counts = Counts()
    counts.read([1, 2], [3])
    counts.read([1], [2, 3])
    assert counts.report()["duplicates"] == 0
    assert counts.report()["tokenLength"]["max"] == 2


def test_answers_are_counted_by_what_they_are() -> None:
    counts = Counts()
    assert "answers" not in counts.report()
    for length in (2, 4, 6):
        counts.answer("chosen", length)
    counts.answer("rejected", 9)
    answers = counts.report()["answers"]
    assert {kind: (each["count"], each["p50"], each["max"]) for kind, each in answers.items()} == {
        "chosen": (3, 4, 6),
        "rejected": (1, 9, 9),
    }
