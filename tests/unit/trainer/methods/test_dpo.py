"""Direct preference optimisation: the reference is what training began from, and preferences are learnt."""

import math
from typing import Any

import pytest

PAIRS = [
    {"prompt": f"{a}+{b}=", "chosen": f" {a + b}", "rejected": f" {a - b - 7}"} for a in range(10) for b in range(4)
]
SFT_ROWS = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in PAIRS]
LN2 = math.log(2)


def spec(lab: Any, rows: Any = PAIRS, **more: Any) -> dict[str, Any]:
    return {
        "method": "dpo",
        "model": {"fromJob": {"name": "earlier"}},
        "datasets": [lab.put("pairs.jsonl", rows)],
        "training": {"maxLength": 64, "maxSteps": 6, "loggingSteps": 1, "learningRate": 1e-2},
    } | more


@pytest.fixture
def adapter(lab: Any, base: Any) -> Any:
    """An adapter that an earlier job has trained on the base."""
    context = lab.context(
        "earlier",
        {
            "method": "sft",
            "model": {"fromJob": {"name": "base"}},
            "peft": {"lora": {"r": 4}},
            "datasets": [lab.put("sft.jsonl", SFT_ROWS)],
            "training": {"maxLength": 64, "maxSteps": 4, "learningRate": 1e-2},
        },
        base,
    )
    return lab.finish(context, lab.build(context))


def losses(plan: Any) -> list[float]:
    plan.trainer.train()
    return [entry["loss"] for entry in plan.trainer.state.log_history if "loss" in entry]


def test_an_adapter_is_aligned_against_a_frozen_copy_of_itself(lab: Any, adapter: Any) -> None:
    import torch

    context = lab.context("dpo", spec(lab), adapter)
    plan = lab.build(context)
    model = plan.trainer.model
    copy = {name: value.clone() for name, value in model.named_parameters() if ".ref." in name}
    assert copy
    for name, value in copy.items():
        assert torch.equal(value, model.get_parameter(name.replace(".ref.", ".default.")))
    figures = losses(plan)
    assert figures[0] == pytest.approx(LN2, abs=1e-4)
    assert figures[-1] < 0.66
    for name, value in copy.items():
        assert torch.equal(value, model.get_parameter(name)), "the reference stays as it was"
    saved = lab.finish(context, plan, train=False)
    folder = lab.path(saved.adapter.claim, saved.adapter.path)
    assert not (folder / "ref").exists()
    assert saved.base == adapter.base


@pytest.mark.parametrize("peft", [{}, {"peft": {"lora": {"r": 2}}}], ids=["full weights", "new adapter"])
def test_a_whole_model_is_its_own_reference(lab: Any, base: Any, peft: dict[str, Any]) -> None:
    figures = losses(lab.build(lab.context("dpo", spec(lab) | peft, base)))
    assert figures[0] == pytest.approx(LN2, abs=1e-4)
    assert figures[-1] < 0.66


@pytest.mark.parametrize("peft", [{}, {"peft": {"lora": {"r": 2}}}], ids=["full weights", "new adapter"])
def test_a_merged_adapter_is_the_reference(lab: Any, adapter: Any, peft: dict[str, Any]) -> None:
    merge = adapter.model_copy(update={"from_adapter": "merge"})
    model = {"fromJob": {"name": "earlier", "fromAdapter": "merge"}}
    plan = lab.build(lab.context("dpo", spec(lab, model=model) | peft, merge))
    assert losses(plan)[0] == pytest.approx(LN2, abs=1e-4)
    assert (plan.base_model is None) == (not peft)


def test_chats_and_texts(lab: Any, base: Any) -> None:
    chats = [
        {
            "conversations": [{"from": "human", "value": row["prompt"]}],
            "chosen": {"from": "gpt", "value": row["chosen"]},
            "rejected": {"from": "gpt", "value": row["rejected"]},
        }
        for row in PAIRS
    ]
    plan = lab.build(lab.context("chats", spec(lab, chats), base))
    row, decode = plan.trainer.train_dataset[1], plan.trainer.processing_class.decode
    assert decode(row["prompt_ids"]) == "<|im_start|>user\n0+1=<|im_end|>\n<|im_start|>assistant\n"
    assert decode(row["chosen_ids"]) == " 1<|im_end|>\n"
    assert decode(row["rejected_ids"]) == " -8<|im_end|>\n"
    plan.trainer.train()


@pytest.mark.parametrize("kind", ["text", "chat"])
def test_rows_are_what_trl_makes_of_them(lab: Any, base: Any, kind: str) -> None:
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    rows: list[dict[str, Any]] = list(PAIRS)
    if kind == "chat":
        says = {"prompt": "user", "chosen": "assistant", "rejected": "assistant"}
        rows = [{part: [{"role": says[part], "content": row[part]}] for part in says} for row in PAIRS]
    plan = lab.build(lab.context("ours", spec(lab, rows), base))
    theirs = DPOTrainer(
        model=plan.trainer.model,
        args=DPOConfig(output_dir=str(lab.root / "trl"), max_length=64, use_cpu=True, bf16=False, report_to=[]),
        train_dataset=Dataset.from_list(rows),
        processing_class=plan.trainer.processing_class,
    ).train_dataset
    for column in ("prompt_ids", "chosen_ids", "rejected_ids"):
        assert plan.trainer.train_dataset[column][:] == theirs[column][:]


def test_rows_that_are_cut_or_lost_are_counted(lab: Any, base: Any) -> None:
    rows = [
        *PAIRS[:2],
        {"prompt": "short", "chosen": "long " * 60, "rejected": "x"},
        {"prompt": "long " * 60, "chosen": "y", "rejected": "x"},
    ]
    plan = lab.build(lab.context("cut", spec(lab, rows, training={"maxLength": 32, "maxSteps": 1}), base))
    report = plan.data_report["train"]
    assert (report["rows"], report["used"], report["truncated"], report["dropped"]) == (4, 3, 1, 1)
    plan.trainer.train()


@pytest.mark.parametrize("share", [0.0, 0.1, 0.4])
def test_label_smoothing_is_conservative_dpo(lab: Any, base: Any, share: float) -> None:
    """Checked against the formula, at a policy that has moved away from its reference."""
    import torch
    from torch.nn.functional import logsigmoid

    plan = lab.build(lab.context("smooth", spec(lab, dpo={"beta": 0.5, "labelSmoothing": share}), base))
    trainer = plan.trainer
    trainer.train()
    rows = [trainer.train_dataset[place] for place in range(4)]
    inputs = trainer.data_collator(rows)
    with torch.no_grad():
        loss = trainer.compute_loss(trainer.model.eval(), dict(inputs))
        margins = []
        for model in (trainer.model, trainer.ref_model):
            scores = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits[:, :-1]
            chances = scores.log_softmax(-1).gather(-1, inputs["input_ids"][:, 1:, None])[..., 0]
            chosen, rejected = (chances * inputs["completion_mask"][:, 1:]).sum(1).chunk(2)
            margins.append(chosen - rejected)
    x = 0.5 * (margins[0] - margins[1])
    assert x.abs().max() > 0.1
    expected = (-(1 - share) * logsigmoid(x) - share * logsigmoid(-x)).mean()
    assert float(loss) == pytest.approx(float(expected), abs=1e-4)


@pytest.mark.slow
def test_beta_acts(lab: Any, base: Any) -> None:
    weak, strong = (
        losses(lab.build(lab.context(f"beta{place}", spec(lab, dpo={"beta": beta}), base)))[1]
        for place, beta in enumerate((0.1, 1.0))
    )
    assert strong < weak


def test_dropout_acts_on_the_policy_alone(lab: Any, base: Any) -> None:
    from peft.tuners.lora import LoraLayer

    peft = {"peft": {"lora": {"r": 4, "loraDropout": 0.5}}}
    first = lab.context("first", spec(lab) | peft, base)
    plan = lab.build(first)
    adapter = lab.finish(first, plan, train=False)
    again = lab.build(lab.context("drop", spec(lab), adapter))
    for trained, references in ((plan, set()), (again, {0.0})):
        layers = [module for module in trained.trainer.model.modules() if isinstance(module, LoraLayer)]
        assert {layer.lora_dropout["default"].p for layer in layers} == {0.5}
        assert {layer.lora_dropout["ref"].p for layer in layers if "ref" in layer.lora_dropout} == references


@pytest.mark.slow
def test_a_checkpoint_brings_policy_and_reference_back(lab: Any, adapter: Any) -> None:
    """The second half of a resumed run has the losses of an uninterrupted one."""
    from dataclasses import replace

    whole = losses(lab.build(lab.context("whole", spec(lab), adapter)))
    context = lab.context("halves", spec(lab) | {"checkpoint": {"saveSteps": 3}}, adapter)
    first = lab.build(context)
    from transformers import TrainerCallback

    class Stop(TrainerCallback):  # type: ignore[misc]  # its base counts as Any
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = state.global_step == 3

    first.trainer.add_callback(Stop())
    first.trainer.train()
    second = lab.build(replace(context, attempt=2))
    second.trainer.train(resume_from_checkpoint=f"{first.trainer.args.output_dir}/checkpoint-3")
    resumed = [entry["loss"] for entry in second.trainer.state.log_history if "loss" in entry]
    assert resumed == pytest.approx(whole, abs=1e-5)
