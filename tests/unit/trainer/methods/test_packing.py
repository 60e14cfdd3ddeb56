"""Rows that share a sequence learn what they learn alone, and see nothing of each other."""

from typing import Any

import pytest

from tunesmith_trainer.errors import InvalidSpec

ROWS = [{"prompt": f"{a}+{b}=" * (1 + a % 3), "completion": f" {a + b}" * (1 + b)} for a in range(8) for b in range(3)]
ALONE: dict[str, Any] = {}
SHARING = [{"packing": True}, {"paddingFree": True}]


def build(lab: Any, base: Any, sft: dict[str, Any], **more: Any) -> Any:
    training = {"maxLength": 64, "maxSteps": 4, "loggingSteps": 1, "learningRate": 1e-2, "perDeviceTrainBatchSize": 24}
    spec = {
        "method": "sft",
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put("rows.jsonl", ROWS)],
        "training": training | more.pop("training", {}),
        "sft": sft,
    } | more
    return lab.build(lab.context("job", spec, base))


def whole_batch(plan: Any) -> Any:
    trainer = plan.trainer
    rows = [trainer.train_dataset[number] for number in range(len(trainer.train_dataset))]
    return trainer.data_collator(rows)


def loss_and_gradient(plan: Any) -> Any:
    """Return the loss of all rows in one batch, and the gradient of every weight."""
    model = plan.trainer.model.train()
    model.zero_grad()
    loss = plan.trainer.compute_loss(model, whole_batch(plan))
    loss.backward()
    return float(loss.detach()), {name: value.grad for name, value in model.named_parameters()}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("sft", SHARING, ids=["packing", "paddingFree"])
def test_loss_and_gradient_are_those_of_rows_alone(lab: Any, base: Any, sft: Any, attention: str) -> None:
    import torch

    figures = []
    for options in (ALONE, sft):
        plan = build(lab, base, options)
        plan.trainer.model.set_attn_implementation(attention)
        figures.append(loss_and_gradient(plan))
    (alone, alone_gradient), (shared, shared_gradient) = figures
    assert shared == pytest.approx(alone, abs=1e-6)
    for name, gradient in alone_gradient.items():
        assert torch.allclose(gradient, shared_gradient[name], atol=1e-6), name


@pytest.mark.slow
@pytest.mark.parametrize("sft", SHARING, ids=["packing", "paddingFree"])
def test_a_training_goes_the_same_way(lab: Any, base: Any, sft: Any) -> None:
    logs = []
    for options in (ALONE, sft):
        plan = build(lab, base, options)
        plan.trainer.train()
        logs.append([entry for entry in plan.trainer.state.log_history if "loss" in entry])
    assert [entry["loss"] for entry in logs[1]] == pytest.approx([entry["loss"] for entry in logs[0]], abs=1e-4)
    assert [entry["num_tokens"] for entry in logs[1]] == [entry["num_tokens"] for entry in logs[0]]


def test_packed_rows_are_whole_and_no_more_than_they_were(lab: Any, base: Any) -> None:
    alone, packed = build(lab, base, {}), build(lab, base, {"packing": True})
    rows = {tuple(row["input_ids"]) for row in alone.trainer.train_dataset}
    found = set()
    for sequence in packed.trainer.train_dataset:
        assert sum(sequence["seq_lengths"]) == len(sequence["input_ids"]) <= 64
        start = 0
        for length in sequence["seq_lengths"]:
            found.add(tuple(sequence["input_ids"][start : start + length]))
            start += length
    assert found == rows
    report = packed.data_report["train"]
    assert report["sequences"] == len(packed.trainer.train_dataset) < len(ROWS) / 2
    assert 0.7 < report["filledShare"] <= 1


def test_a_packed_batch_has_no_mask_and_positions_begin_again(lab: Any, base: Any) -> None:
    batch = whole_batch(build(lab, base, {"packing": True, "padToMultipleOf": 48}))
    assert set(batch) == {"input_ids", "labels", "position_ids"}
    assert batch["input_ids"].shape[1] == 96
    assert bool((batch["labels"][batch["position_ids"] == 0] == -100).all())


@pytest.mark.parametrize("sft", [{}, *SHARING], ids=["alone", "packing", "paddingFree"])
def test_rows_are_padded_to_a_multiple(lab: Any, base: Any, sft: Any) -> None:
    assert whole_batch(build(lab, base, sft | {"padToMultipleOf": 7}))["input_ids"].shape[1] % 7 == 0


def test_held_out_rows_are_packed_alike(lab: Any, base: Any) -> None:
    losses = []
    for packing in (False, True):
        evaluation = {"datasets": [lab.put("held.jsonl", ROWS)]}
        plan = build(lab, base, {"packing": packing}, evaluation=evaluation, training={"perDeviceEvalBatchSize": 64})
        losses.append(plan.trainer.evaluate()["eval_loss"])
    assert losses[1] == pytest.approx(losses[0], abs=1e-6)


def test_a_model_that_lets_rows_see_each_other_is_refused(lab: Any, base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.models.llama import modeling_llama

    def blind(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **(kwargs | {"position_ids": None}))

    original = modeling_llama.create_causal_mask
    monkeypatch.setattr(modeling_llama, "create_causal_mask", blind)
    with pytest.raises(InvalidSpec, match=r"spec\.sft\.packing: a LlamaForCausalLM does not keep rows apart"):
        build(lab, base, {"packing": True})


@pytest.mark.parametrize(("strategy", "whole"), [("bfd", False), ("bfd_split", True)])
def test_pretraining_keeps_texts_apart(lab: Any, base: Any, strategy: str, *, whole: bool) -> None:
    text = "\n\n".join(f"Text {number}. " + "word " * (number * 8) for number in range(12))
    spec = {
        "method": "pretrain",
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put("texts.txt", text)],
        "training": {"maxLength": 64, "maxSteps": 2, "loggingSteps": 1},
        "pretrain": {"packingStrategy": strategy},
    }
    plan = lab.build(lab.context(strategy, spec, base))
    report, table = plan.data_report["train"], plan.trainer.train_dataset
    assert report["rows"] == 12
    assert report["tokenLength"]["max"] > 64, "some texts are too long for one sequence"
    assert sum(len(row["input_ids"]) for row in table) == report["tokens"]
    assert bool(report["truncated"]) != whole
    plan.trainer.train()
    assert plan.trainer.state.log_history[0]["loss"] > 0
