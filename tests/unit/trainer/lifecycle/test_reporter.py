"""What a training process tells while it runs."""

import os
from pathlib import Path
from typing import Any

import pytest

from tunesmith_trainer import reporter as module
from tunesmith_trainer.exchange import Exchange
from tunesmith_trainer.reporter import Reporter


class Clock:
    """A clock that goes when it is told to."""

    time = 100.0

    def __call__(self) -> float:
        return self.time


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the reporter."""
    clock = Clock()
    monkeypatch.setattr(module, "now", clock)
    return clock


@pytest.fixture
def exchange(tmp_path: Path) -> Exchange:
    """The folder that the supervisor reads."""
    return Exchange(tmp_path, started=100.0)


@pytest.fixture
def reporter(pods: Any, make_run: Any, exchange: Exchange, clock: Clock) -> Reporter:
    """A reporter at the pod's beginning."""
    return Reporter(pods.context(make_run()), exchange)


def test_time_is_accounted_to_what_it_was_spent_on(reporter: Reporter, clock: Clock) -> None:
    clock.time += 8
    reporter.enter("loading")
    clock.time += 2
    reporter.enter("training", "training")
    clock.time += 5
    with reporter.phase("checkpointing", "checkpointing"):
        clock.time += 3
    clock.time += 1
    seconds = reporter.seconds
    assert (seconds.initialising, seconds.training, seconds.checkpointing, seconds.evaluating) == (10, 6, 3, 0)


def test_the_remaining_time_follows_the_steps_and_not_what_is_between_them(
    reporter: Reporter, clock: Clock, exchange: Exchange
) -> None:
    for step in range(1, 6):
        clock.time += 2
        reporter.step(step, 10, 0.1)
    with reporter.phase("evaluating", "evaluating"):
        clock.time += 500
    clock.time += 2
    reporter.step(6, 10, 0.1)
    beat = exchange.read_beat()
    assert beat is not None
    assert beat.progress.estimated_remaining_seconds == pytest.approx(8.0)
    assert beat.heartbeat == clock.time
    assert beat.trained_since_save


def test_a_checkpoint_that_counts_makes_the_steps_safe(reporter: Reporter, clock: Clock, exchange: Exchange) -> None:
    clock.time += 2
    reporter.step(5, 10, 0.5)
    reporter.saved((5,))
    beat = exchange.read_beat()
    assert beat is not None
    assert not beat.trained_since_save
    assert beat.progress.checkpoint_steps == (5,)
    # A checkpoint is committed while training goes on: what was trained meanwhile is not in it.
    reporter.step(6, 10, 0.6)
    reporter.saved((5,))
    beat = exchange.read_beat()
    assert beat is not None
    assert beat.trained_since_save


def test_only_the_first_process_of_a_node_tells(pods: Any, make_run: Any, tmp_path: Path) -> None:
    from dataclasses import replace

    exchange = Exchange(tmp_path)
    Reporter(replace(pods.context(make_run()), local_rank=1, rank=1), exchange).tell()
    assert exchange.read_beat() is None


def test_figures_that_are_no_numbers_disappear(reporter: Reporter, exchange: Exchange, clock: Clock) -> None:
    reporter.metrics({"loss": 1.5})
    clock.time += 1
    reporter.metrics({"loss": float("nan"), "grad_norm": 2.0})
    beat = exchange.read_beat()
    assert beat is not None
    assert beat.progress.metrics == {"grad_norm": 2.0}


def test_of_many_figures_the_telling_ones_stay(reporter: Reporter, exchange: Exchange, clock: Clock) -> None:
    reporter.metrics({f"sampling/{number}": 1.0 for number in range(80)})
    clock.time += 1
    reporter.metrics({"x" * 64: 1.0, "reward": 0.5, "rewards/exact/mean": 0.25})
    beat = exchange.read_beat()
    assert beat is not None
    assert len(beat.progress.metrics) == 64
    assert list(beat.progress.metrics)[:2] == ["reward", "rewards/exact/mean"]


def test_a_full_disk_keeps_progress_from_being_told_and_nothing_else(reporter: Reporter, exchange: Exchange) -> None:
    # Every write to /dev/full fails for want of room.
    (exchange.folder / f"progress.{os.getpid()}.tmp").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        (exchange.folder / f"progress.{os.getpid()}.tmp").write_text("progress")
    reporter.step(1, 10, 0.1)
    reporter.enter("saving")
    assert exchange.read_beat() is None
