"""Reward functions of the user's: in a process of their own, bounded in time, never fatal once they are loaded."""

import logging
import os
from collections.abc import Callable
from typing import Any

import pytest

from tunesmith_trainer.errors import DataError, InvalidSpec
from tunesmith_trainer.rewards import Rewards
from tunesmith_trainer.rewards.base import RewardFunction

CODE = """
import math, os, random, signal, time

print("to the log")
signal.signal(signal.SIGALRM, lambda *_: None)
random.seed(0)

def lengths(prompts, completions, completion_ids, worth, **more):
    assert not more, more
    return [len(text) * value if value else None for text, value in zip(completions, worth, strict=True)]

def moody(completions, **_):
    if "raise" in completions:
        return [int(text) for text in completions]
    if "hang" in completions:
        time.sleep(1000)
    if "leave" in completions:
        os._exit(1)
    if "exit" in completions:
        raise SystemExit
    return [os.getpid()] * len(completions)

def returns(completions, **_):
    return {"none": None, "few": [], "words": ["good"], "infinite": [math.inf], "nan": [math.nan], "true": [True]}[
        completions[0]
    ]
"""


@pytest.fixture
def use(make: Callable[..., Rewards], mounts: Any) -> Callable[..., RewardFunction]:
    """Write code into a ConfigMap and return the reward that a function in it gives."""

    def make_function(name: str, code: str = CODE, **more: Any) -> RewardFunction:
        path = mounts.configmap_path("code", "rewards.py")
        path.parent.mkdir(exist_ok=True)
        path.write_text(code, encoding="utf-8")
        source = {"configMap": {"name": "code", "key": "rewards.py"}, "function": name, "timeoutSeconds": 2}
        (function,) = make({"name": "own", "function": source | more}).functions
        return function

    return make_function


def call(function: RewardFunction, *completions: str, **columns: Any) -> Any:
    return function(
        prompts=["?"] * len(completions),
        completions=list(completions),
        completion_ids=[[1]] * len(completions),
        **columns,
    )


def test_it_gets_what_trl_gives_and_says_a_figure_for_each(use: Callable[..., RewardFunction]) -> None:
    function = use("lengths")
    assert call(function, "ab", "", "é", worth=[2, 5, None], trainer_state=object()) == [4, 0, None]
    assert not function.failures.counts


def test_the_first_call_that_fails_is_told_and_all_are_counted(
    use: Callable[..., RewardFunction], caplog: pytest.LogCaptureFixture
) -> None:
    function = use("moody")
    told: list[tuple[str, float]] = []
    (process,) = call(function, "fine", log_metric=lambda *figure: told.append(figure))
    with caplog.at_level(logging.WARNING):
        for text in ("raise", "raise", "exit"):
            assert call(function, text, "raise", log_metric=lambda *figure: told.append(figure)) == [None, None]
    assert call(function, "fine") == [process], "an exception does not cost the process"
    raised = "moody of key rewards.py of ConfigMap code raises ValueError at line 14"
    assert function.failures.counts == {raised: 6}
    (message,) = [record.message for record in caplog.records]
    assert message == (
        f"reward own is left out of a completion's sum: {raised}: invalid literal for int() with base 10: 'raise';"
        " told once, counted on"
    )
    assert told == [("rewards/own/failures", 1.0)] * 3


@pytest.mark.slow
def test_a_process_that_hangs_or_dies_is_replaced(use: Callable[..., RewardFunction]) -> None:
    function = use("moody")
    seen = call(function, "fine")
    for text in ("hang", "leave"):
        assert call(function, text) == [None]
        with pytest.raises(ProcessLookupError):
            os.kill(int(seen[-1]), 0)
        seen += call(function, "fine")
    assert len(set(seen)) == 3
    slow, gone = function.failures.counts
    assert "takes longer than 2 s; make it faster or raise timeoutSeconds" in slow
    assert gone.endswith("ends its process")


def test_what_is_no_list_of_figures_is_counted(use: Callable[..., RewardFunction]) -> None:
    function = use("returns")
    assert [call(function, text) for text in ("none", "few", "words", "infinite")] == [[None]] * 4
    assert [
        reason.removeprefix("returns of key rewards.py of ConfigMap code ") for reason in function.failures.counts
    ] == [
        "returns null, not a list",
        "returns another number of figures than there are completions",
        "returns a string among the figures",
        "returns an infinite figure",
    ]
    # What is no number is no figure, as in TRL, and what is true is 1.
    assert [call(function, text) for text in ("nan", "true")] == [[None], [1]]
    assert function.failures.counts.total() == 4


def test_its_process_ends_with_it(use: Callable[..., RewardFunction]) -> None:
    function = use("moody")
    (process,) = call(function, "fine")
    del function
    with pytest.raises(ProcessLookupError):
        os.kill(int(process), 0)


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("missing", CODE, "key rewards.py of ConfigMap code has no function missing; correct the name or the file"),
        ("f", "def f(:", "key rewards.py of ConfigMap code can not be loaded: SyntaxError: "),
        ("f", "import os; os._exit(3)", "key rewards.py of ConfigMap code ends the process that loads it"),
    ],
)
def test_code_that_can_not_be_loaded(use: Callable[..., RewardFunction], name: str, code: str, message: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        use(name, code)
    assert str(caught.value).startswith("spec.rewards[0].function: ")
    assert message in str(caught.value)


def test_a_key_that_is_missing(make: Callable[..., Rewards]) -> None:
    source = {"configMap": {"name": "code", "key": "rewards.py"}, "function": "f"}
    with pytest.raises(DataError, match=r"key rewards.py of ConfigMap code does not exist"):
        make({"function": source})
