"""Reward models: the curve of a plain script, classifiers that plain libraries load, and what they can not be."""

from pathlib import Path
from typing import Any

import pytest

from tunesmith_trainer.errors import InvalidSpec

PAIRS = [
    {"prompt": f"{a}+{b}=", "chosen": f" {a + b}", "rejected": f" {a - b - 7}"} for a in range(10) for b in range(4)
]
LORA = {"peft": {"lora": {"r": 4}}}
TEXTS = ["3+4= 7<|endoftext|>", "3+4= 1"]


def spec(lab: Any, rows: Any = PAIRS, **more: Any) -> dict[str, Any]:
    return {
        "method": "reward",
        "model": {"fromJob": {"name": "earlier"}},
        "datasets": [lab.put("pairs.jsonl", rows)],
        "training": {"maxLength": 64, "maxSteps": 6, "loggingSteps": 1, "learningRate": 1e-2},
    } | more


def losses(trainer: Any) -> list[float]:
    trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def scores(model: Any, tokenizer: Any) -> Any:
    """Return the scores of two texts, of which one is padded."""
    import torch

    with torch.no_grad():
        return model.eval()(**tokenizer(TEXTS, padding=True, return_tensors="pt")).logits[:, 0]


def plain_model(folder: Path) -> Any:
    """Return a causal language model with a fresh head, as TRL makes it."""
    from transformers import AutoModelForSequenceClassification, set_seed

    set_seed(42)
    return AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype="float32")


def plain(lab: Any, folder: Path, rows: list[dict[str, Any]], **more: Any) -> Any:
    """Return the trainer of a script without Tunesmith."""
    from datasets import Dataset
    from transformers import AutoTokenizer
    from trl import RewardConfig, RewardTrainer

    return RewardTrainer(
        model=plain_model(folder),
        args=RewardConfig(
            output_dir=str(lab.root / "trl"),
            max_length=64,
            max_steps=6,
            logging_steps=1,
            learning_rate=1e-2,
            gradient_checkpointing=False,
            use_cpu=True,
            bf16=False,
            report_to=[],
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=AutoTokenizer.from_pretrained(folder),
        **more,
    )


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [False, True], ids=["full weights", "lora"])
def test_the_curve_is_that_of_a_plain_script(lab: Any, base: Any, model_folder: Any, *, adapter: bool) -> None:
    from peft import LoraConfig

    ours = lab.build(lab.context("reward", spec(lab) | (LORA if adapter else {}), base)).trainer
    config = LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=16, lora_dropout=0.0, target_modules="all-linear")
    theirs = plain(lab, model_folder, PAIRS, **({"peft_config": config} if adapter else {}))
    assert losses(ours) == pytest.approx(losses(theirs), abs=1e-5)
    for name in ("accuracy", "margin", "min_reward", "mean_reward", "max_reward"):
        assert ours.state.log_history[3][name] == pytest.approx(theirs.state.log_history[3][name], abs=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["text", "chat", "implicit prompt"])
def test_rows_are_what_trl_makes_of_them(lab: Any, base: Any, model_folder: Any, kind: str) -> None:
    rows: list[dict[str, Any]] = list(PAIRS)
    if kind != "text":
        says = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
        rows = [{part: [{"role": says[part], "content": row[part]}] for part in says} for row in PAIRS]
    if kind == "implicit prompt":
        rows = [{part: row["prompt"] + row[part] for part in ("chosen", "rejected")} for row in rows]
    plan = lab.build(lab.context("ours", spec(lab, rows), base))
    theirs = plain(lab, model_folder, rows).train_dataset
    for column in ("chosen_ids", "rejected_ids"):
        assert plan.trainer.train_dataset[column][:] == theirs[column][:]


@pytest.mark.parametrize(
    "peft",
    [
        pytest.param({}, id="full weights", marks=pytest.mark.slow),
        pytest.param(LORA, id="lora"),
        pytest.param({"peft": {"ia3": {}}}, id="ia3", marks=pytest.mark.slow),
    ],
)
def test_plain_libraries_load_what_was_trained(lab: Any, base: Any, model_folder: Any, peft: dict[str, Any]) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    from tunesmith_trainer.models.classifier import load_classifier
    from tunesmith_trainer.models.places import find_folders

    context = lab.context("reward", spec(lab) | peft, base)
    plan = lab.build(context)
    head = plan.trainer.model.score.weight if not peft else plan.trainer.model.score.modules_to_save.default.weight
    before = head.detach().clone()
    saved = lab.finish(context, plan)
    assert not head.equal(before), "the head is trained"
    volume = saved.adapter or saved.base
    folder = lab.path(volume.claim, volume.path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    live = scores(plan.trainer.model, tokenizer)
    if peft:
        base_model = plain_model(model_folder)
        base_model.config.pad_token_id = tokenizer.pad_token_id
        reloaded = PeftModel.from_pretrained(base_model, folder)
    else:
        reloaded = AutoModelForSequenceClassification.from_pretrained(folder)
    assert torch.allclose(scores(reloaded, tokenizer), live, atol=1e-5)
    found = find_folders(context, saved, "spec.rewards[0].model")
    ready = load_classifier(found.base, found.adapter, "float32", context.run.spec.model)
    assert torch.allclose(scores(ready.model, ready.tokenizer), live, atol=1e-5)
    assert not any(parameter.requires_grad for parameter in ready.model.parameters())


@pytest.mark.slow
def test_a_merged_adapter_is_a_classifier_too(lab: Any, base: Any) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    context = lab.context("reward", spec(lab, output={"mergeAdapter": True}) | LORA, base)
    plan = lab.build(context)
    lab.finish(context, plan)
    folder = context.run_directory / "output" / "merged"
    merged = AutoModelForSequenceClassification.from_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert torch.allclose(scores(merged, tokenizer), scores(plan.trainer.model, tokenizer), atol=1e-5)


def reward_adapter(lab: Any, base: Any, **more: Any) -> Any:
    context = lab.context("earlier", spec(lab, training=spec(lab)["training"] | {"maxSteps": 2}, **more), base)
    plan = lab.build(context)
    return plan, lab.finish(context, plan)


@pytest.mark.slow
def test_a_reward_adapter_is_trained_further_with_its_head(lab: Any, base: Any) -> None:
    import torch

    first, saved = reward_adapter(lab, base, **LORA)
    again = lab.build(lab.context("again", spec(lab), saved)).trainer
    tokenizer = again.processing_class
    assert torch.allclose(scores(again.model, tokenizer), scores(first.trainer.model, tokenizer), atol=1e-5)
    trained = {name for name, value in again.model.named_parameters() if value.requires_grad}
    assert any("score.modules_to_save.default" in name for name in trained)
    assert any("lora_A.default" in name for name in trained)
    assert losses(again)[-1] < 0.5
    assert sorted(again.model.peft_config["default"].modules_to_save) == ["classifier", "score"]


@pytest.mark.slow
def test_a_whole_reward_model_is_trained_further(lab: Any, base: Any) -> None:
    import torch

    first, saved = reward_adapter(lab, base)
    again = lab.build(lab.context("again", spec(lab), saved)).trainer
    tokenizer = again.processing_class
    assert torch.allclose(scores(again.model, tokenizer), scores(first.trainer.model, tokenizer), atol=1e-5)


SFT = {"method": "sft", "training": {"maxLength": 64, "maxSteps": 1}}
SFT_ROWS = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in PAIRS]


@pytest.mark.slow
@pytest.mark.parametrize("from_adapter", ["continue", "merge"])
def test_a_reward_adapter_is_no_language_model(lab: Any, base: Any, from_adapter: str) -> None:
    _, saved = reward_adapter(lab, base, **LORA)
    wire = spec(lab, SFT_ROWS) | SFT
    resolved = saved.model_copy(update={"from_adapter": from_adapter})
    with pytest.raises(InvalidSpec, match=r"the adapter .* belongs to a classifier \(task SEQ_CLS\), which scores"):
        lab.build(lab.context("sft", wire, resolved))


@pytest.mark.slow
def test_a_whole_reward_model_is_no_language_model(lab: Any, base: Any) -> None:
    _, saved = reward_adapter(lab, base)
    with pytest.raises(InvalidSpec, match="is a LlamaForSequenceClassification: a classifier, which scores texts"):
        lab.build(lab.context("sft", spec(lab, SFT_ROWS) | SFT, saved))


@pytest.mark.slow
@pytest.mark.parametrize("peft", [{}, LORA], ids=["--model", "--adapter"])
def test_it_is_no_model_to_write_with(lab: Any, base: Any, model_folder: Path, peft: dict[str, Any]) -> None:
    from tunesmith_trainer.generate.loading import load_writer
    from tunesmith_trainer.generate.options import parse

    _, saved = reward_adapter(lab, base, **peft)
    volume = saved.adapter or saved.base
    folder = str(lab.path(volume.claim, volume.path))
    line = ["--model", str(model_folder), "--adapter", folder] if peft else ["--model", folder]
    with pytest.raises(InvalidSpec, match=f"{line[-2]}: {folder} is a classifier, which scores texts and writes none"):
        load_writer(parse(line))


@pytest.mark.slow
def test_an_adapter_of_a_language_model_has_no_head_to_go_on_with(lab: Any, base: Any) -> None:
    context = lab.context("earlier", spec(lab, SFT_ROWS) | SFT | LORA, base)
    saved = lab.finish(context, lab.build(context))
    with pytest.raises(InvalidSpec, match=r"brings no score head to train further; use .*fromAdapter: merge"):
        lab.build(lab.context("reward", spec(lab), saved))
    merged = saved.model_copy(update={"from_adapter": "merge"})
    figures = losses(lab.build(lab.context("reward", spec(lab) | LORA, merged)).trainer)
    assert figures[-1] < figures[0]


@pytest.mark.slow
def test_margins_are_demanded(lab: Any, base: Any) -> None:
    """-log sigmoid(chosen - rejected - margin), whatever class the model is."""
    import torch
    from torch.nn.functional import logsigmoid

    rows = [row | {"difference": place % 3} for place, row in enumerate(PAIRS)]
    dataset = lab.put("margins.jsonl", rows) | {"columns": {"margin": "difference"}}
    plan = lab.build(lab.context("reward", spec(lab) | {"datasets": [dataset]}, base))
    trainer = plan.trainer
    batch = trainer.data_collator([trainer.train_dataset[place] for place in range(6)])
    assert batch["margin"].tolist() == [0, 1, 2, 0, 1, 2]
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model.eval(), dict(batch))
        ids = {name: batch[name] for name in ("input_ids", "attention_mask")}
        chosen, rejected = trainer.model(**ids).logits[:, 0].chunk(2)
    assert float(loss) == pytest.approx(float(-logsigmoid(chosen - rejected - batch["margin"]).mean()), abs=1e-5)
    assert losses(trainer) != pytest.approx(losses(lab.build(lab.context("without", spec(lab), base)).trainer))


@pytest.mark.slow
def test_rewards_are_pulled_to_the_middle(lab: Any, base: Any) -> None:
    alone, centred = (
        lab.build(lab.context(f"reward{place}", spec(lab, reward=block), base)).trainer
        for place, block in enumerate(({}, {"centerRewardsCoefficient": 1.0}))
    )
    losses(alone)
    losses(centred)
    last = "mean_reward"
    assert abs(centred.state.log_history[-2][last]) < abs(alone.state.log_history[-2][last])


@pytest.mark.slow
def test_dropout_of_model_and_adapter_are_set_apart(lab: Any, base: Any) -> None:
    peft = {"peft": {"lora": {"r": 4, "loraDropout": 0.5}}}
    off, on = (
        lab.build(lab.context(f"reward{place}", spec(lab, reward=block) | peft, base)).trainer
        for place, block in enumerate(({}, {"disableDropout": False}))
    )
    assert (off.args.disable_dropout, on.args.disable_dropout) == (True, False)
    for trainer in (off, on):
        drops = [module.p for name, module in trainer.model.named_modules() if name.endswith("lora_dropout.default")]
        assert drops
        assert set(drops) == {0.5}


@pytest.mark.slow
def test_pairs_that_are_too_long_are_left_out_whole(lab: Any, base: Any) -> None:
    rows = [*PAIRS[:2], {"prompt": "short", "chosen": "long " * 60, "rejected": "x"}]
    plan = lab.build(lab.context("cut", spec(lab, rows, training={"maxLength": 32, "maxSteps": 1}), base))
    report = plan.data_report["train"]
    assert (report["rows"], report["used"], report["truncated"], report["dropped"]) == (3, 2, 0, 1)


@pytest.mark.slow
def test_a_checkpoint_brings_adapter_and_head_back(lab: Any, base: Any) -> None:
    """The second half of a resumed run has the losses of an uninterrupted one."""
    from dataclasses import replace

    from transformers import TrainerCallback

    whole = losses(lab.build(lab.context("whole", spec(lab) | LORA, base)).trainer)
    context = lab.context("halves", spec(lab) | LORA | {"checkpoint": {"saveSteps": 3}}, base)
    first = lab.build(context).trainer

    class Stop(TrainerCallback):  # type: ignore[misc]  # its base counts as Any
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = state.global_step == 3

    first.add_callback(Stop())
    first.train()
    second = lab.build(replace(context, attempt=2)).trainer
    second.train(resume_from_checkpoint=f"{first.args.output_dir}/checkpoint-3")
    resumed = [entry["loss"] for entry in second.state.log_history if "loss" in entry]
    assert resumed == pytest.approx(whole, abs=1e-5)


@pytest.mark.slow
def test_a_run_is_prepared_trained_and_says_what_its_model_is_made_for(lab: Any, base: Any, attempt: Any) -> None:
    import json

    from tunesmith_trainer.manifests import read_manifest
    from tunesmith_trainer.preparation.checks import check

    held_out = {"evaluation": {"splitRatio": 0.8}}
    context = lab.context("reward", spec(lab) | LORA | held_out, base)
    report = check(context)
    assert (report.rows, report.evaluation_rows) == (32, 8)
    outcome = attempt(context)
    assert outcome.exit_code == 0, outcome.message
    output = context.run_directory / "output"
    manifest = read_manifest(output)
    assert manifest is not None
    assert (manifest.artifact, manifest.task) == ("adapter", "SEQ_CLS")
    record = json.loads((output / "run-record.json").read_text())
    assert record["task"] == "SEQ_CLS"
    assert {"eval_accuracy", "eval_margin", "eval_mean_reward"} <= record["finalEvaluation"].keys()
    card = (output / "README.md").read_text()
    assert "pipeline_tag: text-classification" in card
    assert "AutoModelForSequenceClassification" in card
