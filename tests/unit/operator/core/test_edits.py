"""Specs that are edited, runs that are begun anew, and first statuses that are lost, in the simulated world."""

import json
import random

import pytest
from test_runs import disturb, edit, world
from world import World


@pytest.mark.parametrize("mode", ["never", "always"])
def test_a_kill_before_any_write_of_a_new_run_changes_nothing_in_the_end(mode: str) -> None:
    def run_twice(writes_left: int | None) -> World:
        made = world(prepare={"mode": mode})
        made.settle()
        made.writes.clear()
        edit(made, runId="2", training={"maxSteps": 5})
        made.writes_left = writes_left
        made.settle()
        return made

    reference = run_twice(None)
    assert [(attempt["number"], attempt["runId"]) for attempt in reference.attempts] == [(1, "1"), (2, "2")]
    for kill in range(len(reference.writes)):
        made = run_twice(kill)
        assert made.ready() == ("True", "Succeeded"), f"killed before write {kill}"
        assert made.most_live == 1, f"killed before write {kill}"
        assert made.created == reference.created, f"killed before write {kill}"


@pytest.mark.parametrize("kill", [2, 3])
def test_a_kill_before_the_first_status_does_not_hide_that_the_run_has_started(kill: int) -> None:
    made = world()
    made.writes_left = kill
    made.pass_once()
    assert not made.status
    made.advance(1)
    made.pass_once()
    assert made.status["startTime"] == "2026-01-31T12:00:00Z", "else the API server lets the spec be changed"
    assert made.status["resolved"]["worldSize"] == 1


@pytest.mark.parametrize("mode", ["never", "always"])
@pytest.mark.parametrize("kill", [2, 3])
def test_a_spec_edited_before_the_start_was_told_is_never_trained_as_it_was(kill: int, mode: str) -> None:
    made = world(prepare={"mode": mode})
    made.writes_left = kill
    made.pass_once()
    made.advance(1)
    edit(made, training={"maxSteps": 5})
    for _ in range(20):
        made.pass_once()
        made.advance(5)
    assert made.ready() == ("False", "SpecChanged")
    assert "spec.runId" in made.status["conditions"][0]["message"]
    assert not made.live_pods()
    edit(made, runId="2")
    made.settle()
    assert made.ready() == ("True", "Succeeded")
    assert made.attempts[-1]["runId"] == "2"
    assert made.most_live == 1


@pytest.mark.parametrize("kill", [2, 3])
def test_an_edited_run_policy_stops_nothing(kill: int) -> None:
    made = world()
    made.writes_left = kill
    made.pass_once()
    edit(made, runPolicy={"backoffLimit": 7})
    made.settle()
    assert made.ready() == ("True", "Succeeded")
    assert made.created == ["tiny-ftj-1"]


def test_a_kill_while_an_edited_run_is_stopped_leaves_nothing_that_trains() -> None:
    for kill in range(4):
        made = world(prepare={"mode": "always"})
        made.writes_left = 3
        made.pass_once()
        made.advance(1)
        edit(made, training={"maxSteps": 5})
        made.writes_left = kill
        for _ in range(30):
            made.pass_once()
            made.advance(5)
        assert made.ready() == ("False", "SpecChanged"), f"killed before write {kill}"
        assert not made.batch_jobs, f"killed before write {kill}"
        assert not made.live_pods(), f"killed before write {kill}"


def _edit(made: World, chance: random.Random) -> None:
    """Change the spec in a way that the API server allows, or not at all."""
    spec = made.job["spec"]
    training = {"maxSteps": chance.randrange(1, 1000)}
    if chance.random() < 0.05:
        edit(made, runId=str(int(spec.get("runId", "1")) + 1), training=training)
    elif chance.random() < 0.2:
        edit(made, runPolicy={**spec["runPolicy"], "backoffLimit": chance.randrange(50, 101)})
    elif "startTime" not in made.status or made.status["runId"] != spec.get("runId", "1"):
        edit(made, training=training)


@pytest.mark.parametrize("seed", range(60))
def test_whatever_is_edited_when_the_spec_that_is_trained_is_the_one_of_the_job(seed: int) -> None:
    chance = random.Random(seed)
    mode = chance.choice(["never", "always"])
    made = world(prepare={"mode": mode}, runPolicy={"backoffLimit": 100, "maxDisruptions": 1000})
    for _ in range(chance.randrange(1, 60)):
        _edit(made, chance)
        disturb(made, chance)
        made.pass_once()
        made.advance(chance.choice([0.5, 2, 10, 40]))
    made.training_operator = True
    made.settle()
    if made.ready() != ("True", "Succeeded"):
        assert made.ready() == ("False", "SpecChanged")
        edit(made, runId="99")
        made.settle()
    assert made.ready() == ("True", "Succeeded")
    assert made.most_live <= 1, "two attempts ran at the same time"
    run = made.attempts[-1]["runId"]
    assert run == made.job["spec"].get("runId", "1")
    frozen = json.loads(made.run_configs[f"tiny-ftj-run-{run}"]["data"]["run.json"])["spec"]
    assert frozen["training"].get("maxSteps") == made.job["spec"].get("training", {}).get("maxSteps")
    numbers = [attempt["number"] for attempt in made.attempts]
    assert numbers == sorted(set(numbers))
