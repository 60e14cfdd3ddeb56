"""The rewards that need nothing but the completion and its row."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.rewards import Rewards, weighted_sum
from tunesmith_trainer.rewards.base import Scores, text_of
from tunesmith_trainer.rewards.numerals import last_number

Score = Callable[..., Scores]
GSM8K = r"####\s*(.+)"


def test_a_pattern_is_searched_or_matches_all(score: Score) -> None:
    pattern = r"(?s)<think>.*</think>\s*\S+"
    texts = ("<think>a\nb</think> 4", "so: <think></think>4", "<think>4", "")
    assert score({"regex": {"pattern": pattern}}, *texts) == [1, 1, 0, 0]
    assert score({"regex": {"pattern": pattern, "match": "fullMatch"}}, *texts) == [1, 0, 0, 0]
    assert score({"regex": {"pattern": "^Größe: \\d+ µm$"}}, "Größe: 12 µm", "Grosse: 12 um") == [1, 0]


def test_a_pattern_that_runs_away_is_stopped_and_counted(make: Callable[..., Rewards]) -> None:
    (function,) = make({"regex": {"pattern": "(a|aa)+$"}}).functions
    told: dict[str, float] = {}
    scores = function(
        prompts=["?"] * 2,
        completions=["a" * 80 + "b", "aa"],
        completion_ids=[[1], [1]],
        log_metric=lambda name, value: told.update({name: value}),
    )
    assert scores == [None, 1]
    assert dict(function.failures.counts) == {"pattern '(a|aa)+$' takes longer than 0.5 s": 1}
    assert told == {"rewards/it/failures": 0.5}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("The answer is 1,234.50 dollars.", "1234.50"),
        ("$-5", "-5"),
        ("-$1,000,000", "-1000000"),
        ("x = -3.", "-3"),
        ("8 - 3", "3"),
        ("8-3", "3"),
        ("− 7 is −7", "-7"),  # the sign of typesetters
        ("\uff11\uff12", "12"),  # wide digits
        ("١٢", "12"),  # Arabic ones
        ("first 3, then .5", "0.5"),
        ("6.02e23", "6.02e23"),
        ("50%", "50"),
        ("no number", None),
        ("", None),
    ],
)
def test_the_last_number_of_a_text(text: str, number: str | None) -> None:
    assert last_number(text) == (None if number is None else Decimal(number))


def test_numeric_answers_of_gsm8k(score: Score) -> None:
    # Rows as that data set has them: the solution with its calculations, the answer after four signs.
    rows = [
        "Natalia sold 48/2 = <<48/2=24>>24 clips in May.\nAltogether 48+24 = <<48+24=72>>72 clips.\n#### 72",
        "He pays 3*$400 = $<<3*400=1200>>1,200.\n#### 1,200",
        "It fell by 15 degrees.\n#### -15",
    ]
    wanted = {"answer": {"pattern": GSM8K}}
    assert score(wanted, "24+48\n#### 72", "So $1200.\n#### $1,200.00", "#### -15", answer=rows) == [1, 1, 1]
    assert score(wanted, "#### 24\n#### 72", "#### 120", "#### 15", answer=rows) == [1, 0, 0]
    assert score(wanted, "It is 72", "", "####", answer=rows) == [0, 0, 0], "without the four signs it is no answer"
    assert score({"answer": {}}, "24+48 = 72.", "$1,200", "minus: -15", answer=rows) == [1, 1, 1], "the last number"


def test_answers_within_a_tolerance(score: Score) -> None:
    column = [3.1416, 3.1416, "3.1416"]
    texts = ("3.14", "3.2", "3.1416")
    assert score({"answer": {}}, *texts, answer=column) == [0, 0, 1]
    assert score({"answer": {"tolerance": 0.01}}, *texts, answer=column) == [1, 0, 1]


def test_exact_answers(score: Score) -> None:
    wanted = {"answer": {"compare": "exact", "column": "solution", "pattern": r"<answer>(.*?)</answer>"}}
    texts = ("<answer> Paris </answer>", "<answer>paris</answer>", "Paris", "<answer>1</answer><answer>Zürich</answer>")
    solutions = ["Paris", "Paris", "Paris", "<answer>Zu\u0308rich</answer>"]
    assert score(wanted, *texts, solution=solutions) == [1, 0, 0, 1]
    assert score({"answer": {"compare": "exact"}}, " yes\n", "yes.", answer=["yes", "yes"]) == [1, 0]


def test_a_row_without_an_answer_is_not_scored(make: Callable[..., Rewards]) -> None:
    (function,) = make({"answer": {}}).functions
    arguments: dict[str, Any] = {"prompts": ["?"] * 3, "completions": ["4"] * 3, "completion_ids": [[1]] * 3}
    assert function(**arguments, answer=["4", "four", None]) == [1, None, None]
    assert function(**arguments, other=["4", "4", "4"]) == [None] * 3
    assert function.failures.counts == {
        "column 'answer' of the row holds no number": 1,
        "column 'answer' of the row is missing or empty": 4,
    }


def test_lengths(score: Score) -> None:
    ids = [[1] * length for length in (0, 5, 10, 12, 14, 20)]
    texts = ["", "é", "ab", "abc", "a" * 7, "a" * 8]
    assert score({"length": {"max": 10}}, *texts, ids=ids) == [1, 1, 1, 0, 0, 0]
    assert score({"length": {"min": 10, "max": 10, "margin": 5}}, *texts, ids=ids) == pytest.approx(
        [0, 0, 1, 0.6, 0.2, 0]
    )
    assert score({"length": {"min": 2, "max": 6, "margin": 2, "unit": "characters"}}, *texts) == [0, 0.5, 1, 1, 0.5, 0]


def test_repetition(score: Score) -> None:
    # The first two are the example of TRL's own such reward.
    ids = [[1, 2, 3, 4], [5, 5, 5, 5, 5], [], [1, 2]]
    assert score({"repetition": {"ngramSize": 2}}, "", "", "", "", ids=ids) == [0, -0.75, 0, 0]
    assert score({"repetition": {}}, "", "", ids=[[1, 2, 3, 1, 2, 3], [1, 2, 3]]) == [-0.25, 0]


def test_the_text_of_a_chat_is_what_the_assistant_says_last() -> None:
    question, answer = {"role": "user", "content": "2+2"}, {"role": "assistant", "content": "4"}
    assert text_of([answer, question]) == "4"
    assert text_of([question]) == ""
    assert text_of([]) == ""
    silent: dict[str, Any] = {"role": "assistant", "content": None}
    assert text_of([silent]) == ""  # as of a message that only calls a tool


def test_each_reward_and_the_weighted_sum(make: Callable[..., Rewards]) -> None:
    rewards = make(
        {"name": "answer", "answer": {}, "weight": 2},
        {"name": "short", "length": {"max": 1}, "weight": -0.5},
    )
    assert [function.__name__ for function in rewards.functions] == ["answer", "short"]
    assert rewards.weights == [2, -0.5]
    scored = rewards.score(
        prompts=["?"] * 3, completions=["4", "5", "4"], completion_ids=[[1], [1, 2], [1, 2]], answer=["4", "4", "?"]
    )
    assert scored.by_name == {"answer": [1, 0, None], "short": [1, 0, 0]}
    assert scored.totals == [1.5, 0, 0]
    assert rewards.report["answer"]["failures"] == {"column 'answer' of the row holds no number": 1}
    assert rewards.report["short"] == {"weight": -0.5, "failures": {}}


def test_a_completion_that_nothing_is_known_of_has_no_sum() -> None:
    assert weighted_sum([None, None], [1, 1]) is None
    assert weighted_sum([None, 2.0], [1, 3]) == 6


def test_what_trl_tells_beside_the_columns_is_no_column(score: Score) -> None:
    assert score({"answer": {}}, "4", answer=["4"], trainer_state=object(), log_extra=print, environments=None) == [1]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"regex": {"pattern": "(a"}}, r"spec.rewards[0].regex.pattern: '(a' is no regular expression: missing )"),
        ({"answer": {"pattern": "*"}}, "spec.rewards[0].answer.pattern: '*' is no regular expression"),
        ({"jsonSchema": "{]"}, "spec.rewards[0].jsonSchema is no JSON"),
    ],
)
def test_what_can_not_be_meant_is_refused(make: Callable[..., Rewards], wanted: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        make(wanted)
    assert message in str(caught.value)
