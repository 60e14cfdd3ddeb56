"""Kahneman-Tversky optimisation: the curve of a plain script, rows that are drawn and paired, options that act."""

from typing import Any

import pytest

LABELLED = [
    {"prompt": f"{a}+{b}=", "completion": f" {a + b if good else a - b - 7}", "label": good}
    for good in (True, False)
    for a in range(6)
    for b in range(4)
]
PAIRS = [
    {"prompt": f"{a}+{b}=", "chosen": f" {a + b}", "rejected": f" {a - b - 7}"} for a in range(6) for b in range(4)
]
LORA = {"peft": {"lora": {"r": 4}}}
# So that good answers get likelier after any prompt, and the estimate of the divergence is above zero.
EAGER = {"desirableWeight": 8.0}
ENDING = "<|endoftext|>"


def spec(lab: Any, rows: Any = LABELLED, **more: Any) -> dict[str, Any]:
    return {
        "method": "kto",
        "model": {"fromJob": {"name": "earlier"}},
        "datasets": [lab.put("rows.jsonl", rows)],
        "training": {"maxLength": 64, "maxSteps": 6, "loggingSteps": 1, "learningRate": 1e-2},
    } | more


def losses(trainer: Any) -> list[float]:
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def shown(trainer: Any, *columns: str) -> list[tuple[Any, ...]]:
    """Return rows as texts."""
    decode = trainer.processing_class.decode
    rows = trainer.train_dataset
    return [tuple(row[name] if name == "label" else decode(row[name]) for name in columns) for row in rows]


def plain(lab: Any, folder: Any, rows: list[dict[str, Any]], **more: Any) -> Any:
    """Return the trainer of a script without Tunesmith: rows are shuffled first, the rest is TRL's business."""
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import KTOConfig, KTOTrainer

    return KTOTrainer(
        model=AutoModelForCausalLM.from_pretrained(folder, dtype="float32"),
        ref_model=None if more else AutoModelForCausalLM.from_pretrained(folder, dtype="float32"),
        args=KTOConfig(
            output_dir=str(lab.root / "trl"),
            max_length=64,
            max_steps=6,
            logging_steps=1,
            learning_rate=1e-2,
            desirable_weight=8.0,
            per_device_train_batch_size=8,
            gradient_checkpointing=False,
            use_cpu=True,
            bf16=False,
            report_to=[],
        ),
        train_dataset=Dataset.from_list(rows).shuffle(seed=42),
        processing_class=AutoTokenizer.from_pretrained(folder),
        **more,
    )


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [False, True], ids=["full weights", "lora"])
def test_the_curve_is_that_of_a_plain_script(lab: Any, base: Any, model_folder: Any, *, adapter: bool) -> None:
    from peft import LoraConfig

    ours = lab.build(lab.context("kto", spec(lab, kto=EAGER) | (LORA if adapter else {}), base)).trainer
    config = LoraConfig(task_type="CAUSAL_LM", r=4, lora_alpha=16, lora_dropout=0.0, target_modules="all-linear")
    theirs = plain(lab, model_folder, LABELLED, **({"peft_config": config} if adapter else {}))
    assert losses(ours) == pytest.approx(losses(theirs), abs=2e-4)
    assert ours.state.log_history[-2]["kl"] > 0
    for name in ("rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen", "kl"):
        assert ours.state.log_history[3][name] == pytest.approx(theirs.state.log_history[3][name], abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("chat", [False, True], ids=["text", "chat"])
def test_rows_are_what_trl_makes_of_them(lab: Any, base: Any, model_folder: Any, *, chat: bool) -> None:
    rows: list[dict[str, Any]] = list(LABELLED)
    if chat:
        says = {"prompt": "user", "completion": "assistant"}
        rows = [row | {part: [{"role": says[part], "content": row[part]}] for part in says} for row in LABELLED]
    ours = lab.build(lab.context("ours", spec(lab, rows), base)).trainer.train_dataset
    theirs = plain(lab, model_folder, rows).train_dataset
    for column in ("prompt_ids", "completion_ids", "KL_completion_ids", "label"):
        assert ours[column][:] == theirs[column][:]


@pytest.mark.slow
def test_preferences_become_two_labelled_rows_each(lab: Any, base: Any) -> None:
    from datasets import Dataset
    from trl.data_utils import unpair_preference_dataset

    trainer = lab.build(lab.context("pairs", spec(lab, PAIRS), base)).trainer
    theirs = unpair_preference_dataset(Dataset.from_list(PAIRS))
    expected = {(row["prompt"], row["completion"] + ENDING, row["label"]) for row in theirs}
    rows = shown(trainer, "prompt_ids", "completion_ids", "label")
    assert set(rows) == expected
    assert len(rows) == 2 * len(PAIRS)


def test_classes_are_mixed_and_each_micro_batch_has_its_completions_twice(lab: Any, base: Any) -> None:
    """The file has all good answers first; half of the first 24 rows would be good by chance."""
    plan = lab.build(lab.context("kto", spec(lab), base))
    table = plan.trainer.train_dataset
    assert 4 < sum(table["label"][:24]) < 20
    batches = [table[start : start + 8] for start in range(0, len(table), 8)]
    for batch in batches:
        own, others = batch["completion_ids"], batch["KL_completion_ids"]
        assert others == own[-1:] + own[:-1]
    for first, second in zip(batches, plan.trainer.get_train_dataloader(), strict=True):
        assert second["label"].tolist() == first["label"]


@pytest.mark.slow
def test_another_seed_draws_another_order(lab: Any, base: Any) -> None:
    training = spec(lab)["training"]
    first, again, other = (
        shown(lab.build(lab.context("seed", spec(lab, training=training | more), base)).trainer, "prompt_ids", "label")
        for more in ({}, {}, {"dataSeed": 3})
    )
    assert first == again
    assert first != other
    assert sorted(first) == sorted(other)


@pytest.mark.slow
def test_held_out_rows_are_paired_by_the_batches_they_are_evaluated_in(lab: Any, base: Any) -> None:
    held_out = {"evaluation": {"datasets": [lab.put("held-out.jsonl", LABELLED[:5])]}}
    training = spec(lab)["training"] | {"perDeviceEvalBatchSize": 3}
    trainer = lab.build(lab.context("kto", spec(lab, training=training) | held_out, base)).trainer
    own, others = trainer.eval_dataset["completion_ids"][:], trainer.eval_dataset["KL_completion_ids"][:]
    assert others == [own[2], own[0], own[1], own[4], own[3]]
    figures = trainer.evaluate()
    assert figures["eval_loss"] == pytest.approx(0.5, abs=1e-4)
    assert {"eval_rewards/chosen", "eval_kl"} <= figures.keys()


@pytest.fixture
def earlier(lab: Any, base: Any) -> Any:
    """An adapter that an earlier job has trained on the base."""
    rows = [{"prompt": row["prompt"], "completion": row["completion"]} for row in LABELLED[:24]]
    more = {"method": "sft", "datasets": [lab.put("sft.jsonl", rows)]}
    context = lab.context("earlier", spec(lab) | LORA | more, base)
    return lab.finish(context, lab.build(context))


@pytest.mark.slow
@pytest.mark.parametrize("start", ["full weights", "new adapter", "continued", "merged"])
def test_the_model_is_its_own_reference(lab: Any, base: Any, earlier: Any, start: str) -> None:
    """Nothing has moved at first: every loss is 1 - sigmoid(0)."""
    model = {"fromJob": {"name": "earlier", "fromAdapter": "merge" if start == "merged" else "continue"}}
    wire = spec(lab, model=model) | (LORA if start == "new adapter" else {})
    resolved = {"merged": earlier.model_copy(update={"from_adapter": "merge"}), "continued": earlier}.get(start, base)
    trainer = lab.build(lab.context("kto", wire, resolved)).trainer
    figures = losses(trainer)
    assert figures[0] == pytest.approx(0.5, abs=1e-4)
    assert trainer.state.log_history[-2]["rewards/margins"] > 0.02


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["kto", "apo_zero_unpaired"])
@pytest.mark.parametrize("start", ["full weights", "continued"])
def test_a_reference_that_is_asked_ahead_says_the_same(
    lab: Any, base: Any, earlier: Any, start: str, loss: str
) -> None:
    held_out = {"evaluation": {"datasets": [lab.put("held-out.jsonl", LABELLED[20:29])]}}
    meanwhile, ahead = (
        lab.build(
            lab.context(
                f"kto{place}",
                spec(lab, kto={"lossType": loss, "precomputeRefLogProbs": early}) | held_out,
                earlier if start == "continued" else base,
            )
        ).trainer
        for place, early in enumerate((False, True))
    )
    assert ahead.ref_model is None
    assert losses(ahead) == pytest.approx(losses(meanwhile), abs=1e-5)
    assert ahead.evaluate()["eval_loss"] == pytest.approx(meanwhile.evaluate()["eval_loss"], abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "block", [{"beta": 1.0}, {"desirableWeight": 2.0}, {"undesirableWeight": 2.0}, {"lossType": "apo_zero_unpaired"}]
)
def test_options_act(lab: Any, base: Any, block: dict[str, Any]) -> None:
    before, after = (
        lab.build(lab.context(f"kto{place}", spec(lab, kto=EAGER | options), base)).trainer
        for place, options in enumerate(({}, block))
    )
    assert losses(before)[1:] != pytest.approx(losses(after)[1:], abs=1e-4)
    assert ("KL_completion_ids" in after.train_dataset.column_names) == ("lossType" not in block)


def test_too_many_of_one_label_are_told(lab: Any, base: Any, caplog: pytest.LogCaptureFixture) -> None:
    plan = lab.build(lab.context("kto", spec(lab, LABELLED[16:]), base))
    answers = plan.data_report["train"]["answers"]
    assert {label: each["count"] for label, each in answers.items()} == {"desirable": 8, "undesirable": 24}
    assert plan.data_report["weightAdvice"].startswith("8 rows are labelled good and 24 bad")
    assert "set kto.desirableWeight between 3 and 4" in caplog.text


@pytest.mark.slow
def test_rows_that_are_cut_or_lost_are_counted(lab: Any, base: Any) -> None:
    rows = [
        *LABELLED[:2],
        {"prompt": "short", "completion": "long " * 60, "label": False},
        {"prompt": "long " * 60, "completion": "y", "label": False},
    ]
    plan = lab.build(lab.context("cut", spec(lab, rows, training={"maxLength": 32, "maxSteps": 1}), base))
    report = plan.data_report["train"]
    assert (report["rows"], report["used"], report["truncated"], report["dropped"]) == (4, 3, 1, 1)
    assert max(len(row["prompt_ids"] + row["completion_ids"]) for row in plan.trainer.train_dataset) == 32
    plan.trainer.train()


@pytest.mark.slow
def test_an_adapter_reloaded_with_plain_peft_gives_the_live_logits(lab: Any, base: Any, model_folder: Any) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    context = lab.context("kto", spec(lab) | LORA, base)
    plan = lab.build(context)
    saved = lab.finish(context, plan)
    folder = lab.path(saved.adapter.claim, saved.adapter.path)
    ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
    reloaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model_folder), folder)
    with torch.no_grad():
        live, again = (model.eval()(input_ids=ids).logits for model in (plan.trainer.model, reloaded))
    assert torch.allclose(live, again, atol=1e-5)


@pytest.mark.slow
def test_samples_of_held_out_rows_expect_good_answers_alone(lab: Any, base: Any) -> None:
    from tunesmith_api.v1alpha1.reporting import Samples
    from tunesmith_trainer.callbacks.samples import prompts_of

    held_out = {"evaluation": {"datasets": [lab.put("held-out.jsonl", [LABELLED[1], LABELLED[25]])]}}
    plan = lab.build(lab.context("kto", spec(lab) | held_out, base))
    prompts = prompts_of(Samples(from_evaluation=2), plan)
    assert [(prompt.text, prompt.expected) for prompt in prompts] == [("0+1=", " 1"), ("0+1=", None)]


def test_too_many_of_one_label_are_told_before_training(lab: Any, base: Any) -> None:
    from tunesmith_trainer.preparation.checks import check

    report = check(lab.context("kto", spec(lab, LABELLED[16:]), base))
    assert any("set kto.desirableWeight between 3 and 4" in warning for warning in report.warnings)
