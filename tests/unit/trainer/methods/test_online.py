"""GRPO and RLOO: what is sampled and scored is learnt as TRL learns it, against the right reference."""

import json
from dataclasses import replace
from typing import Any

import pytest
from typing_extensions import override

from tunesmith_api.v1alpha1.reporting import Completions
from tunesmith_trainer.callbacks.completions import CompletionsCallback
from tunesmith_trainer.callbacks.reporting import Watched
from tunesmith_trainer.errors import DataError, InvalidSpec
from tunesmith_trainer.exchange import Exchange
from tunesmith_trainer.fence import Fence
from tunesmith_trainer.reporter import Reporter

METHODS = ("grpo", "rloo")
QUESTIONS = [{"question": f"{a}+{b}=", "answer": f"{a + b}"} for a in range(10) for b in range(4)]
ASKED = {"columns": {"prompt": "question"}}
REWARDS = [{"name": "vowel", "regex": {"pattern": "[ae]"}}, {"name": "right", "answer": {"column": "answer"}}]
BLOCK = {"numGenerations": 4, "maxCompletionLength": 8}
TRAINING = {"maxLength": 64, "maxSteps": 3, "loggingSteps": 1, "learningRate": 1e-2, "perDeviceTrainBatchSize": 8}
# What differs from run to run, or between ours and TRL's own.
UNCOMPARED = ("step_time", "_runtime", "per_second", "total_flos", "/failures")


def spec(lab: Any, method: str = "grpo", rows: Any = QUESTIONS, **more: Any) -> dict[str, Any]:
    """Return a job; `block` and `training` lay fields over those of all tests."""
    given = {
        "method": method,
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put("questions.jsonl", rows) | (ASKED if "question" in rows[0] else {})],
        "rewards": REWARDS,
        "training": TRAINING | more.pop("training", {}),
        method: BLOCK | more.pop("block", {}),
    }
    return given | more


def log_of(trainer: Any) -> list[dict[str, float]]:
    """Return what was logged in training, without what no two runs share."""
    return [
        {name: value for name, value in entry.items() if not name.endswith(UNCOMPARED)}
        for entry in trainer.state.log_history
        if "loss" in entry
    ]


def figures(plan: Any) -> list[dict[str, float]]:
    plan.trainer.train()
    return log_of(plan.trainer)


@pytest.fixture
def adapter(lab: Any, base: Any) -> Any:
    """An adapter that an earlier job has trained on the base."""
    rows = [{"prompt": row["question"], "completion": row["answer"]} for row in QUESTIONS]
    job = {
        "method": "sft",
        "model": {"fromJob": {"name": "base"}},
        "peft": {"lora": {"r": 4, "loraDropout": 0.1}},
        "datasets": [lab.put("sft.jsonl", rows)],
        "training": {"maxLength": 64, "maxSteps": 2, "learningRate": 1e-2},
    }
    context = lab.context("earlier", job, base)
    return lab.finish(context, lab.build(context))


class TestTrl:
    def plain(self, lab: Any, folder: Any, method: str, beta: float) -> list[dict[str, float]]:
        """Return the figures of a script of TRL's."""
        import trl
        from datasets import Dataset
        from transformers import AutoModelForCausalLM, AutoTokenizer

        def vowel(completions: list[str], **_: Any) -> list[float]:
            return [float("a" in text or "e" in text) for text in completions]

        config, trainer_class = {
            "grpo": (trl.GRPOConfig, trl.GRPOTrainer),
            "rloo": (trl.RLOOConfig, trl.RLOOTrainer),
        }[method]
        trainer = trainer_class(
            model=AutoModelForCausalLM.from_pretrained(folder),
            reward_funcs=[vowel],
            args=config(
                output_dir=str(lab.root / "plain"),
                per_device_train_batch_size=8,
                max_steps=3,
                logging_steps=1,
                learning_rate=1e-2,
                num_generations=4,
                max_completion_length=8,
                temperature=0.7,
                beta=beta,
                bf16=False,
                use_cpu=True,
                gradient_checkpointing=False,
                report_to=[],
                save_strategy="no",
                disable_tqdm=True,
                lr_scheduler_type="linear",
            ),
            train_dataset=Dataset.from_list([{"prompt": row["question"]} for row in QUESTIONS]),
            processing_class=AutoTokenizer.from_pretrained(folder),
        )
        trainer.train()
        return log_of(trainer)

    @pytest.mark.slow
    @pytest.mark.parametrize("method", METHODS)
    def test_the_curve_is_that_of_a_plain_script(self, lab: Any, base: Any, model_folder: Any, method: str) -> None:
        job = spec(
            lab,
            method,
            rewards=REWARDS[:1],
            block={"temperature": 0.7, "beta": 0.1},
            training={"lrSchedulerType": "linear"},
        )
        ours = figures(lab.build(lab.context("ours", job, base)))
        theirs = self.plain(lab, model_folder, method, 0.1)
        assert len(ours) == 3
        assert ours[-1]["kl"] != 0
        assert {entry["reward"] for entry in ours} != {ours[0]["reward"]}
        for one, other in zip(ours, theirs, strict=True):
            assert one.keys() == other.keys()
            assert one == pytest.approx(other, abs=1e-5)


STARTS: dict[str, tuple[dict[str, Any], str | None]] = {
    "full weights": ({}, None),
    "new adapter": ({"peft": {"lora": {"r": 2}}}, None),
    "continued adapter": ({}, "continue"),
    "merged adapter": ({}, "merge"),
    "new adapter on a merge": ({"peft": {"lora": {"r": 2}}}, "merge"),
    "adapter of the base's own parts": ({"peft": {"lora": {"r": 2, "initLoraWeights": "pissa"}}}, None),
}


@pytest.mark.parametrize(
    ("method", "start"),
    [
        pytest.param(method, start, marks=() if (method, start) == ("grpo", "continued adapter") else pytest.mark.slow)
        for method in METHODS
        for start in STARTS
    ],
)
def test_it_begins_where_its_reference_is(lab: Any, base: Any, adapter: Any, method: str, start: str) -> None:
    more, how = STARTS[start]
    model = base if how is None else adapter.model_copy(update={"from_adapter": how})
    job = spec(lab, method, block={"beta": 0.1}, training={"maxSteps": 2}, **more)
    plan = lab.build(lab.context("begins", job, model))
    if how == "continue":
        from peft.tuners.lora import LoraLayer

        layers = [module for module in plan.trainer.model.modules() if isinstance(module, LoraLayer)]
        assert {layer.lora_dropout["ref"].p for layer in layers} == {0.0}
        # What the policy itself draws by dropout is no distance.
        for layer in layers:
            layer.lora_dropout["default"].p = 0.0
    first, second = figures(plan)
    assert first["kl"] == pytest.approx(0, abs=1e-5)
    assert abs(second["kl"]) > 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_without_beta_nothing_is_compared(lab: Any, base: Any, method: str) -> None:
    plan = lab.build(lab.context("free", spec(lab, method, block={"beta": 0}, training={"maxSteps": 1}), base))
    assert plan.trainer.ref_model is None
    assert "kl" not in figures(plan)[0]


@pytest.mark.slow
def test_another_model_is_the_reference(lab: Any, base: Any, adapter: Any) -> None:
    job = spec(lab, block={"beta": 0.1}, training={"maxSteps": 1}, referenceModel={"fromJob": {"name": "base"}})
    context = lab.context("other", job, adapter)
    context = replace(context, run=context.run.model_copy(update={"reference": base}))
    plan = lab.build(context)
    assert "ref" not in plan.trainer.model.peft_config
    assert figures(plan)[0]["kl"] > 1e-4


class TestPrompts:
    def test_a_chat_is_asked_through_the_template(self, lab: Any, base: Any) -> None:
        chats = [{"prompt": [{"role": "user", "content": row["question"]}], "answer": ""} for row in QUESTIONS]
        plan = lab.build(lab.context("chats", spec(lab, rows=chats, training={"maxSteps": 1}), base))
        row, decode = plan.trainer.train_dataset[1], plan.trainer.processing_class.decode
        assert row["prompt"] == chats[1]["prompt"]
        assert decode(row["prompt_ids"]) == "<|im_start|>user\n0+1=<|im_end|>\n<|im_start|>assistant\n"
        figures(plan)
        asked = {completion.prompt[0]["content"] for completion in plan.trainer.sampled}
        assert asked < {row["question"] for row in QUESTIONS}

    def test_too_long_ones_are_left_out_and_counted(self, lab: Any, base: Any) -> None:
        rows = [*QUESTIONS, {"question": "How long? " * 30, "answer": "too long"}]
        plan = lab.build(lab.context("long", spec(lab, rows=rows), base))
        report = plan.data_report["train"]
        assert (report["rows"], report["used"], report["dropped"]) == (41, 40, 1)
        assert max(map(len, plan.trainer.train_dataset["prompt_ids"])) <= 64 - 8

    def test_none_is_short_enough(self, lab: Any, base: Any) -> None:
        with pytest.raises(DataError, match="none of the 1 prompts has at most 56 tokens"):
            lab.build(lab.context("long", spec(lab, rows=[{"question": "How long? " * 30, "answer": ""}]), base))

    def test_fewer_than_a_batch_takes(self, lab: Any, base: Any) -> None:
        with pytest.raises(DataError, match="takes 2 prompts of 4 completions each, and there are 1 prompts"):
            lab.build(lab.context("few", spec(lab, rows=QUESTIONS[:1]), base))

    def test_texts_and_chats_are_not_mixed(self, lab: Any, base: Any) -> None:
        job = spec(lab)
        chats = lab.put("chats.jsonl", [{"prompt": [{"role": "user", "content": "Hi?"}]}])
        job["datasets"] = [*job["datasets"], chats]
        with pytest.raises(DataError, match=r"datasets\[1\] are chats and those of spec.datasets\[0\] texts"):
            lab.build(lab.context("mixed", job, base))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_evaluations_tell_the_reward_of_held_out_prompts(lab: Any, base: Any, method: str) -> None:
    from tunesmith_trainer.ending import evaluate

    job = spec(
        lab,
        method,
        evaluation={"datasets": [lab.put("held-out.jsonl", QUESTIONS[:3]) | ASKED]},
        training={"perDeviceEvalBatchSize": 4, "evalStrategy": "steps", "maxSteps": 2},
        block={"numGenerationsEval": 2},
    )
    plan = lab.build(lab.context("evaluated", job, base))
    found = evaluate(plan)
    assert 0 <= found["eval_reward"] <= 2
    assert {"eval_loss", "eval_rewards/vowel/mean", "eval_rewards/right/mean"} <= found.keys()
    plan.trainer.train()
    assert (plan.trainer.args.metric_for_best_model, plan.trainer.args.greater_is_better) == ("reward", True)
    evaluations = [entry for entry in plan.trainer.state.log_history if "eval_reward" in entry]
    assert plan.trainer.state.best_metric == max(entry["eval_reward"] for entry in evaluations)


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_a_resumed_run_goes_on_with_the_step_after(lab: Any, base: Any, method: str) -> None:
    """Completions are drawn anew (trl-facts 20): no equal curve, but every step once."""
    from transformers import TrainerCallback

    class Stop(TrainerCallback):  # type: ignore[misc]  # its base counts as Any
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            control.should_training_stop = state.global_step == 2

    job = spec(lab, method, training={"maxSteps": 5}, block={"stepsPerGeneration": 2}, checkpoint={"saveSteps": 2})
    context = lab.context("halves", job, base)
    first = lab.build(context)
    first.trainer.add_callback(Stop())
    first.trainer.train()
    second = lab.build(replace(context, attempt=2))
    checkpoint = context.staging_directory / "checkpoint-2"
    second.trainer.train(resume_from_checkpoint=str(checkpoint))
    assert [entry["step"] for entry in log_of(second.trainer)] == [1, 2, 3, 4, 5]
    assert log_of(second.trainer)[:2] == log_of(first.trainer)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["new", "continued"])
def test_the_adapter_is_what_was_trained(lab: Any, base: Any, adapter: Any, start: str) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    more: dict[str, Any] = {"peft": {"lora": {"r": 4}}} if start == "new" else {}
    job = spec(lab, block={"beta": 0.1}, **more)
    context = lab.context("saved", job, base if start == "new" else adapter)
    plan = lab.build(context)
    saved = lab.finish(context, plan)
    folder = lab.path(saved.adapter.claim, saved.adapter.path)
    plain = AutoModelForCausalLM.from_pretrained(lab.path(saved.base.claim, saved.base.path))
    ids = torch.tensor([plan.trainer.train_dataset[3]["prompt_ids"]])
    with torch.no_grad():
        before = plain(ids).logits
        live = plan.trainer.model.eval()(input_ids=ids).logits
        again = PeftModel.from_pretrained(plain, folder).eval()(ids).logits
    assert not (folder / "ref").exists()
    assert torch.allclose(live, again, atol=1e-5)
    assert not torch.allclose(live, before, atol=1e-2)


class Counting(Reporter):
    """A reporter that counts the signs of life."""

    beats = 0

    @override
    def beat(self) -> None:
        self.beats += 1


class TestTable:
    def written(self, lab: Any, context: Any, plan: Any, kept: Completions) -> list[dict[str, Any]]:
        """Train, and return the rows of the table."""
        exchange, fence = Exchange.create(), Fence(context)
        fence.take()
        reporter = Counting(context, exchange)
        plan.trainer.beat = reporter.beat
        path = context.run_directory / "completions.jsonl"
        watched = Watched(plan, fence, exchange, reporter)
        plan.trainer.add_callback(CompletionsCallback(kept, watched, path))
        plan.trainer.train()
        # At every token of the two steps.
        assert reporter.beats >= 2 * BLOCK["maxCompletionLength"]
        return [json.loads(line) for line in path.read_text().splitlines()]

    @pytest.mark.parametrize("method", ["grpo", pytest.param("rloo", marks=pytest.mark.slow)])
    def test_completions_are_kept_with_what_rewards_say_of_them(self, lab: Any, base: Any, method: str) -> None:
        rewards = [REWARDS[0] | {"weight": 2}, REWARDS[1]]
        context = lab.context("kept", spec(lab, method, rewards=rewards, training={"maxSteps": 2}), base)
        plan = lab.build(context)
        rows = self.written(lab, context, plan, Completions(every_steps=2, rows=6))
        assert [row["step"] for row in rows] == [1] * 6 + [2] * 6
        answers = {row["question"]: row["answer"] for row in QUESTIONS}
        for row in rows:
            assert row["prompt"] in answers, "the column reached the reward under its name"
            assert row["rewards"]["vowel"] == float(any(vowel in row["completion"] for vowel in "ae"))
            assert row["rewards"]["right"] in {0.0, 1.0, None}
            assert row["reward"] == 2 * row["rewards"]["vowel"] + (row["rewards"]["right"] or 0)
        whole = {row["prompt"]: 0.0 for row in rows if row["step"] == 1}
        assert len(whole) == 2, "six rows of groups of four are of two prompts"
        newest = plan.trainer.sampled
        assert sum(each.advantage for each in newest[:4]) == pytest.approx(0, abs=1e-4)

    @pytest.mark.slow
    def test_a_long_table_is_thinned_out(self, lab: Any, base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("tunesmith_trainer.callbacks.completions._MOST_STEPS", 4)
        context = lab.context("thin", spec(lab, training={"maxSteps": 9}), base)
        rows = self.written(lab, context, lab.build(context), Completions(every_steps=1, rows=1))
        assert [row["step"] for row in rows] == [1, 5, 8, 9]

    @pytest.mark.slow
    def test_what_is_trained_again_is_written_again(self, lab: Any, base: Any) -> None:
        context = lab.context("again", spec(lab, training={"maxSteps": 2}), base)
        path = context.run_directory / "completions.jsonl"
        path.write_text('{"step": 0, "completion": "before"}\n{"step": 9, "completion": "lost"}\n{"step": 10, "compl')
        rows = self.written(lab, context, lab.build(context), Completions(every_steps=1, rows=1))
        assert [row["step"] for row in rows] == [0, 1, 2]


@pytest.mark.slow
def test_a_run_tells_the_reward_before_and_after_and_keeps_its_completions(lab: Any, base: Any, attempt: Any) -> None:
    job = spec(
        lab,
        evaluation={"datasets": [lab.put("held-out.jsonl", QUESTIONS[:2]) | ASKED]},
        training={"evalStrategy": "steps", "evalSteps": 1, "perDeviceEvalBatchSize": 4, "maxSteps": 9},
        # No reward is above the most there is.
        rewards=[{"name": "all", "length": {"max": 64}}],
        earlyStopping={"patience": 2},
        reporting={"samples": {"fromEvaluation": 2, "everySteps": 1, "maxNewTokens": 4}},
    )
    context = lab.context("whole", job, base)
    outcome = attempt(context)
    assert outcome.exit_code == 0, outcome.message
    output = context.run_directory / "output"
    record = json.loads((output / "run-record.json").read_text())
    assert record["initialEvaluation"]["eval_reward"] == record["finalEvaluation"]["eval_reward"] == 1
    assert record["steps"] == 3, "two evaluations in a row were no better than the first"
    assert outcome.metrics["eval_reward"] == outcome.metrics["initial_eval_reward"] == 1
    assert record["data"]["rewards"]["all"]["weight"] == 1
    completions = [json.loads(line) for line in (output / "completions.jsonl").read_text().splitlines()]
    assert {row["step"] for row in completions} == {1, 3}
    sampled = [json.loads(line) for line in (output / "samples.jsonl").read_text().splitlines()]
    assert {row["prompt"] for row in sampled} == {"0+0=", "0+1="}


def test_vllm_needs_its_package(lab: Any, base: Any) -> None:
    with pytest.raises(InvalidSpec, match="asks for vllm, which this trainer image lacks"):
        lab.build(lab.context("vllm", spec(lab, block={"vllm": {}}), base))
