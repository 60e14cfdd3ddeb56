"""Pretraining from nothing: tokenizer, windows, a loss that falls, a model that plain transformers loads."""

from typing import Any

import pytest

from tunesmith_trainer.errors import DataError, InvalidSpec


def spec(lab: Any, **more: Any) -> dict[str, Any]:
    text = "\n\n".join(f"Paragraph {number} tells the number {number} and nothing else." for number in range(80))
    return {
        "method": "pretrain",
        "model": {
            "architecture": {"hiddenSize": 16, "intermediateSize": 32, "numHiddenLayers": 1, "numAttentionHeads": 2},
            "tokenizer": {"train": {"vocabSize": 300}},
        },
        "datasets": [lab.put("corpus.txt", text)],
        "training": {"maxLength": 32, "maxSteps": 2, "loggingSteps": 1},
    } | more


def test_the_loss_falls(pretrained: Any) -> None:
    _, _, log = pretrained
    losses = [entry["loss"] for entry in log if "loss" in entry]
    assert len(losses) == 20
    assert losses[0] == pytest.approx(6.24, abs=0.15), (
        "a new model knows nothing: the loss is the log of the vocabulary"
    )
    assert losses[-1] < losses[0] - 0.6


def test_plain_transformers_loads_the_output(model_folder: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(model_folder)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    assert model.dtype == torch.float32
    assert len(tokenizer) == model.config.vocab_size == 512
    assert tokenizer.decode(tokenizer("A loop, 3 × 4 and äöü.")["input_ids"]) == "A loop, 3 × 4 and äöü."
    chat = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Hi?"}], tokenize=False, add_generation_prompt=True
    )
    assert chat == "<|im_start|>user\nHi?<|im_end|>\n<|im_start|>assistant\n"
    ends = {tokenizer.convert_tokens_to_ids(token) for token in ("<|endoftext|>", "<|im_end|>")}
    assert set(model.generation_config.eos_token_id) == ends
    assert tokenizer.pad_token == "<|pad|>"
    assert sorted(path.name for path in model_folder.iterdir()) == [
        "chat_template.jinja",
        "config.json",
        "generation_config.json",
        "manifest.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    ]


def test_packing_makes_windows_without_padding(lab: Any) -> None:
    plan = lab.build(lab.context("packed", spec(lab)))
    rows = plan.trainer.train_dataset
    assert {len(row["input_ids"]) for row in rows} == {32}
    report = plan.data_report["train"]
    assert report["windows"] == len(rows)
    assert report["tokens"] == 32 * len(rows) + report["leftOverTokens"]
    ends = sum(row["input_ids"].count(plan.trainer.processing_class.eos_token_id) for row in rows)
    assert ends in {79, 80}, "every document ends with its token"


def test_without_packing_rows_stay_rows(lab: Any) -> None:
    plan = lab.build(
        lab.context("rows", spec(lab, pretrain={"packing": False}, training={"maxLength": 8, "maxSteps": 1}))
    )
    report = plan.data_report["train"]
    assert report["rows"] == report["used"] == len(plan.trainer.train_dataset) == 80
    assert 0 < report["truncated"] <= 80
    assert max(len(row["input_ids"]) for row in plan.trainer.train_dataset) == 8
    plan.trainer.train()


def test_less_text_than_a_window_is_one_short_row(lab: Any) -> None:
    plan = lab.build(lab.context("short", spec(lab, datasets=[lab.put("short.txt", "Few words.")])))
    assert len(plan.trainer.train_dataset) == 1
    assert 0 < len(plan.trainer.train_dataset[0]["input_ids"]) < 32


@pytest.mark.slow
def test_weights_tokenizer_and_order_follow_the_seed(lab: Any) -> None:
    def start(name: str, seed: int) -> tuple[float, bytes]:
        context = lab.context(
            name, spec(lab, training={"maxLength": 32, "maxSteps": 1, "loggingSteps": 1, "seed": seed})
        )
        plan = lab.build(context)
        plan.trainer.train()
        return plan.trainer.state.log_history[0]["loss"], (
            context.run_directory / "tokenizer/tokenizer.json"
        ).read_bytes()

    first, again, other = start("one", 1), start("two", 1), start("three", 2)
    assert first == again
    assert other[0] != first[0]
    assert other[1] == first[1]


def test_a_later_attempt_keeps_the_tokenizer(lab: Any) -> None:
    context = lab.context("again", spec(lab))
    lab.build(context)
    kept = context.run_directory / "tokenizer/tokenizer.json"
    before = kept.stat()
    lab.build(context)
    assert kept.stat().st_mtime_ns == before.st_mtime_ns


def test_the_tokenizer_does_not_see_held_out_rows(lab: Any) -> None:
    text = "\n\n".join(["aaaa bbbb"] * 5 + ["ﬁﬁﬁﬁ ﬁﬁﬁﬁ"] * 5)
    held_out = {"datasets": [lab.put("held.txt", "zyzyzyzy " * 50)]}
    plan = lab.build(lab.context("held", spec(lab, datasets=[lab.put("t.txt", text)], evaluation=held_out)))
    assert plan.evaluates
    assert "zyzy" not in plan.trainer.processing_class.get_vocab()
    assert plan.trainer.evaluate()["eval_loss"] > 0


def test_rows_that_are_no_text_are_refused(lab: Any) -> None:
    rows = lab.put("pairs.jsonl", [{"prompt": "x", "completion": "y"}])
    with pytest.raises(DataError, match="those of prompt-completion rows, and the method trains on text"):
        lab.build(lab.context("pairs", spec(lab, datasets=[rows])))


def test_more_tokens_than_positions_are_refused(lab: Any) -> None:
    with pytest.raises(InvalidSpec, match=r"spec.training.maxLength 4096 exceeds the 2048 positions"):
        lab.build(lab.context("long", spec(lab, training={"maxLength": 4096})))


def test_pretraining_goes_on_from_a_model(lab: Any, base: Any) -> None:
    context = lab.context("further", spec(lab, model={"fromJob": {"name": "base"}}), base)
    plan = lab.build(context)
    assert not (context.run_directory / "tokenizer").exists()
    assert plan.base_model is None
    plan.trainer.train()
    assert plan.trainer.state.log_history[0]["loss"] < 6, "not a new model"
