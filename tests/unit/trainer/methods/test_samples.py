"""Samples during training: of which prompts, and that training does not notice them."""

import json
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from tunesmith_api.v1alpha1.reporting import Samples
from tunesmith_trainer.callbacks.reporting import Watched
from tunesmith_trainer.callbacks.samples import SamplesCallback, prompts_of
from tunesmith_trainer.exchange import Exchange
from tunesmith_trainer.fence import Fence
from tunesmith_trainer.reporter import Reporter

QUESTIONS = [{"prompt": f"{a}+{b}=", "completion": f" {a + b}"} for a in range(10) for b in range(4)]
CHATS = [
    {"messages": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["completion"]}]}
    for row in QUESTIONS
]
PAIRS = [row | {"chosen": row["completion"], "rejected": " none"} for row in QUESTIONS]


class Counting(Reporter):
    """A reporter that counts the signs of life."""

    beats = 0

    @override
    def beat(self) -> None:
        self.beats += 1


def plan_of(lab: Any, base: Any, rows: Any = QUESTIONS, **more: Any) -> tuple[Any, Any]:
    spec = {
        "method": "sft",
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put("rows.jsonl", rows)],
        "evaluation": {"datasets": [lab.put("held-out.jsonl", rows[:3])]},
        "peft": {"lora": {"r": 4, "loraDropout": 0.5}},
        "training": {"maxLength": 64, "maxSteps": 4, "loggingSteps": 1, "learningRate": 1e-2},
    } | more
    context = lab.context("sampled", spec, base)
    return context, lab.build(context)


def sampled(context: Any, plan: Any, samples: Samples, exchange: Exchange) -> tuple[Path, Counting]:
    path, reporter = context.run_directory / "samples.jsonl", Counting(context, exchange)
    fence = Fence(context)
    fence.take()
    plan.trainer.add_callback(SamplesCallback(samples, Watched(plan, fence, exchange, reporter), path))
    return path, reporter


def losses(plan: Any) -> list[float]:
    return [entry["loss"] for entry in plan.trainer.state.log_history if "loss" in entry]


@pytest.mark.slow
def test_the_loss_curve_is_that_of_a_run_without(lab: Any, base: Any) -> None:
    """With dropout, whose draws would differ at once if sampling took a single random number."""
    _, without = plan_of(lab, base)
    without.trainer.train()
    context, plan = plan_of(lab, base)
    path, reporter = sampled(
        context, plan, Samples(from_evaluation=3, every_steps=1, max_new_tokens=6), Exchange.create()
    )
    plan.trainer.train()
    assert losses(plan) == losses(without)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(row["step"], row["number"]) for row in rows] == [
        (step, number) for step in range(5) for number in range(3)
    ]
    # One at least at every token of the five times that it wrote.
    assert reporter.beats >= 5
    assert (rows[0]["prompt"], rows[0]["expected"]) == ("0+0=", " 0")


@pytest.mark.parametrize(
    ("rows", "method", "prompt", "expected"),
    [
        pytest.param(QUESTIONS, "sft", "0+0=", " 0", id="prompt and completion"),
        pytest.param(PAIRS, "dpo", "0+0=", " 0", id="preferences"),
        pytest.param([{"text": "0123456789"}] * 4, "sft", "01234", "56789", id="text: the first half"),
    ],
)
def test_a_held_out_row_is_cut_before_its_answer(
    lab: Any, base: Any, rows: Any, method: str, prompt: str, expected: str
) -> None:
    _, plan = plan_of(lab, base, rows, method=method)
    (found,) = prompts_of(Samples(from_evaluation=1), plan)
    assert (found.text, found.expected) == (prompt, expected)


@pytest.mark.parametrize(
    ("rows", "seen"), [(QUESTIONS, "Why?"), (CHATS, "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\n")]
)
def test_own_prompts_are_asked_as_the_model_is_trained(lab: Any, base: Any, rows: Any, seen: str) -> None:
    _, plan = plan_of(lab, base, rows)
    (prompt,) = prompts_of(Samples(prompts=("Why?",)), plan)
    assert plan.trainer.processing_class.decode(prompt.ids) == seen
    assert (prompt.text, prompt.expected) == ("Why?", None)


def test_a_line_that_an_attempt_died_in_is_written_again(lab: Any, base: Any) -> None:
    context, plan = plan_of(lab, base, training={"maxLength": 64, "maxSteps": 2})
    path, _ = sampled(context, plan, Samples(prompts=("Why?",), every_steps=1, max_new_tokens=2), Exchange.create())
    path.write_text('{"step": 0, "number": 0}\n{"step": 1, "number": 0}\n{"step": 2, "num')
    plan.trainer.train()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0, 1, 2]


def test_a_pod_that_was_told_to_stop_writes_nothing(lab: Any, base: Any) -> None:
    context, plan = plan_of(lab, base)
    exchange = Exchange.create()
    path, _ = sampled(context, plan, Samples(prompts=("Why?",), every_steps=1), exchange)
    exchange.order_stop()
    plan.trainer.train()
    assert path.read_text() == ""
