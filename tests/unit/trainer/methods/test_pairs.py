"""ORPO, CPO and SimPO: every field acts, losses are those of the papers, and adapters are saved for plain peft."""

import inspect
import math
from typing import Any

import pytest

from tunesmith_api.v1alpha1.methods import METHOD_BLOCKS

METHODS = ("orpo", "cpo", "simpo")
# One of them stands for the others in shorter suites: two are the same trainer of TRL's, the third is its sister.
STANDING = [pytest.param("orpo", marks=pytest.mark.slow), "cpo", pytest.param("simpo", marks=pytest.mark.slow)]
PAIRS = [
    {"prompt": f"{a}+{b}=", "chosen": f" {a + b}" + " and more" * (a % 3), "rejected": f" {a - b - 7}" + " x" * b}
    for a in range(4)
    for b in range(3)
]
# Field of each method: what it needs beside it, what it is changed to.
CHANGES: dict[str, dict[str, tuple[dict[str, Any], Any]]] = {
    "orpo": {"beta": ({}, 1.0), "padToMultipleOf": ({}, 64)},
    "cpo": {
        "lossType": ({}, "hinge"),
        "beta": ({}, 0.5),
        "labelSmoothing": ({}, 0.2),
        "cpoAlpha": ({}, 0.1),
        "padToMultipleOf": ({}, 64),
    },
    "simpo": {
        "beta": ({}, 1.0),
        "simpoGamma": ({}, 0.2),
        "cpoAlpha": ({}, 0.5),
        "labelSmoothing": ({}, 0.2),
        "alpha": ({}, 0.5),
        "padToMultipleOf": ({}, 64),
    },
}
FIELDS = [(method, field) for method in METHODS for field in CHANGES[method]]


def context(lab: Any, base: Any, method: str, block: dict[str, Any] | None = None, **more: Any) -> Any:
    spec = {
        "method": method,
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put("pairs.jsonl", PAIRS)],
        "evaluation": {"datasets": [lab.put("held-out.jsonl", PAIRS[:5])]},
        "training": {
            "maxLength": 64,
            "maxSteps": 3,
            "loggingSteps": 1,
            "learningRate": 1e-2,
            "perDeviceTrainBatchSize": 4,
        },
        method: block or {},
    }
    return lab.context(method, spec | more, base)


def losses(plan: Any) -> list[float]:
    plan.trainer.train()
    return [entry["loss"] for entry in plan.trainer.state.log_history if "loss" in entry]


@pytest.mark.parametrize("method", METHODS)
def test_every_field_is_here(method: str) -> None:
    assert {field.alias for field in METHOD_BLOCKS[method].model_fields.values()} == CHANGES[method].keys()


@pytest.mark.methods("pairs option")
@pytest.mark.parametrize(
    ("method", "field"),
    [pytest.param(*pair, marks=pytest.mark.slow if pair[1] in {"simpoGamma", "lossType"} else ()) for pair in FIELDS],
)
def test_it_changes_the_run(lab: Any, base: Any, method: str, field: str) -> None:
    beside, value = CHANGES[method][field]
    before, after = (shown(lab, base, method, block) for block in (beside, beside | {field: value}))
    assert before != after


def shown(lab: Any, base: Any, method: str, block: dict[str, Any]) -> Any:
    plan = lab.build(context(lab, base, method, block))
    return losses(plan), batch_of(plan)["input_ids"].shape


def batch_of(plan: Any) -> Any:
    trainer = plan.trainer
    return trainer.data_collator([trainer.train_dataset[place] for place in range(6)])


def by_hand(plan: Any) -> list[tuple[list[float], list[float], list[float]]]:
    """Return of each pair the log-probabilities of chosen and rejected answer, and of prompt with chosen answer.

    Row by row, without any padding.
    """
    import torch

    found = []
    model = plan.trainer.model.eval()
    for row in plan.trainer.train_dataset.select(range(6)):
        parts = []
        for answer in ("chosen_ids", "rejected_ids"):
            ids = torch.tensor([row["prompt_ids"] + row[answer]])
            with torch.no_grad():
                chances = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
            parts.append(chances.gather(-1, ids[0, 1:, None])[:, 0].tolist())
        start = len(row["prompt_ids"]) - 1
        found.append((parts[0][start:], parts[1][start:], parts[0]))
    return found


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def log_sigmoid(x: float) -> float:
    return -math.log1p(math.exp(-x))


def odds(x: float) -> float:
    """Return the logarithm of the odds of a mean log-probability."""
    return x - math.log1p(-math.exp(x))


def orpo(pairs: Any) -> float:
    likelihood = mean([value for _, _, whole in pairs for value in whole])
    return -likelihood - 0.1 * mean([log_sigmoid(odds(mean(good)) - odds(mean(bad))) for good, bad, _ in pairs])


def cpo(pairs: Any) -> float:
    likelihood = mean([value for good, _, _ in pairs for value in good])
    return -likelihood - mean([log_sigmoid(0.1 * (sum(good) - sum(bad))) for good, bad, _ in pairs])


def simpo(pairs: Any) -> float:
    return -mean([log_sigmoid(2 * (mean(good) - mean(bad)) - 1) for good, bad, _ in pairs])


@pytest.mark.parametrize(("method", "formula"), [("orpo", orpo), ("cpo", cpo), ("simpo", simpo)])
def test_the_loss_is_the_paper_s_and_padding_does_not_count(lab: Any, base: Any, method: str, formula: Any) -> None:
    import torch

    plan = lab.build(context(lab, base, method))
    plan.trainer.train()
    expected = formula(by_hand(plan))
    for padding in (None, 64):
        plan.trainer.data_collator.pad_to_multiple_of = padding
        with torch.no_grad():
            loss = plan.trainer.compute_loss(plan.trainer.model.eval(), batch_of(plan))
        assert float(loss) == pytest.approx(expected, abs=1e-4)


@pytest.mark.methods("pairs")
@pytest.mark.parametrize("method", STANDING)
def test_preferences_are_learnt_and_told_under_trl_s_names(lab: Any, base: Any, method: str) -> None:
    more = {"training": {"maxLength": 64, "maxSteps": 20, "loggingSteps": 1, "learningRate": 1e-2}}
    plan = lab.build(context(lab, base, method, **more))
    before = plan.trainer.evaluate()
    figures = losses(plan)
    after = plan.trainer.evaluate()
    assert figures[-1] < figures[0] - 0.1
    told = {"rewards/chosen", "rewards/rejected", "rewards/accuracies", "rewards/margins", "logps/chosen", "nll_loss"}
    logged = next(entry for entry in plan.trainer.state.log_history if "loss" in entry)
    assert told <= logged.keys()
    assert {f"eval_{name}" for name in told} <= after.keys()
    assert after["eval_rewards/margins"] > before["eval_rewards/margins"]
    assert after["eval_loss"] < before["eval_loss"]


@pytest.mark.methods("pairs")
@pytest.mark.parametrize("method", STANDING)
def test_rows_are_those_of_dpo(lab: Any, base: Any, method: str) -> None:
    chats = [
        {
            "conversations": [{"from": "human", "value": row["prompt"]}],
            "chosen": {"from": "gpt", "value": row["chosen"]},
            "rejected": {"from": "gpt", "value": row["rejected"]},
        }
        for row in PAIRS
    ]
    for rows in (PAIRS, chats):
        datasets = [lab.put("rows.jsonl", rows)]
        ours, theirs = (
            lab.build(context(lab, base, name, datasets=datasets)).trainer.train_dataset for name in (method, "dpo")
        )
        assert ours.to_list() == theirs.to_list()


@pytest.mark.methods("pairs")
@pytest.mark.parametrize(
    "peft",
    [
        pytest.param({"lora": {"r": 4, "loraDropout": 0.1}}, id="lora"),
        pytest.param({"ia3": {}}, id="ia3"),
        pytest.param({"promptTuning": {"numVirtualTokens": 4}}, id="prompt tuning"),
    ],
)
@pytest.mark.parametrize("method", STANDING)
def test_adapters_are_saved_for_plain_peft_and_trained_further(
    lab: Any, base: Any, method: str, peft: dict[str, Any]
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def logits(model: Any) -> Any:
        ids = torch.tensor([[5, 6, 7, 8, 9, 10]])
        with torch.no_grad():
            return model.eval()(input_ids=ids).logits[:, -6:]

    first = context(lab, base, method, peft=peft)
    plan = lab.build(first)
    saved = lab.finish(first, plan)
    began = plan.trainer.state.log_history[0]["loss"]
    live = logits(plan.trainer.model)
    whole = AutoModelForCausalLM.from_pretrained(lab.path(base.base.claim, base.base.path))
    assert not torch.allclose(live, logits(whole), atol=1e-3)
    plain = PeftModel.from_pretrained(whole, lab.path(saved.adapter.claim, saved.adapter.path))
    assert torch.allclose(live, logits(plain), atol=1e-5)
    again = lab.build(context(lab, saved, method))
    assert torch.allclose(live, logits(again.trainer.model), atol=1e-5)
    assert list(again.trainer.model.peft_config) == ["default"]
    assert losses(again)[0] < began


def test_dropout_of_the_adapter_acts(lab: Any, base: Any) -> None:
    from peft.tuners.lora import LoraLayer

    model = lab.build(context(lab, base, "orpo", peft={"lora": {"loraDropout": 0.5}})).trainer.model
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    assert {layer.lora_dropout["default"].p for layer in layers} == {0.5}


@pytest.mark.methods("pairs")
@pytest.mark.parametrize("method", STANDING)
def test_a_checkpoint_goes_on_where_it_was(lab: Any, base: Any, method: str) -> None:
    from dataclasses import replace

    whole = losses(lab.build(context(lab, base, method)))
    halves = context(lab, base, method, checkpoint={"saveSteps": 2})
    first = lab.build(halves)
    first.trainer.train()
    second = lab.build(replace(halves, attempt=2))
    second.trainer.train(resume_from_checkpoint=f"{first.trainer.args.output_dir}/checkpoint-2")
    resumed = [entry["loss"] for entry in second.trainer.state.log_history if "loss" in entry]
    assert resumed == pytest.approx(whole, abs=1e-5)


def test_what_is_used_of_trl_s_experimental_tree() -> None:
    """It may change in any release: whoever raises TRL's version reads what this test says first."""
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    from tunesmith_trainer.methods.pair_trainers import CPOConfig, ORPOConfig, PreparedCPOTrainer, PreparedORPOTrainer

    fields = {"beta", "max_length"}
    assert fields <= ORPOConfig.__dataclass_fields__.keys()
    fields |= {"loss_type", "label_smoothing", "cpo_alpha", "simpo_gamma", "alpha"}
    assert fields <= CPOConfig.__dataclass_fields__.keys()
    assert CPOConfig.__dataclass_fields__["loss_type"].metadata["choices"] == [
        "sigmoid", "hinge", "ipo", "simpo", "alphapo"
    ]  # fmt: skip
    for trainer in (PreparedORPOTrainer, PreparedCPOTrainer):
        theirs = trainer.__mro__[3]
        assert theirs.__module__.startswith("trl.experimental")
        taken = inspect.signature(theirs.__init__).parameters
        assert {"model", "args", "train_dataset", "eval_dataset", "processing_class", "peft_config"} <= taken.keys()
        assert {"batch", "is_encoder_decoder", "padding_value", "device"} == inspect.signature(
            theirs.concatenated_inputs
        ).parameters.keys()
        assert list(inspect.signature(theirs.concatenated_forward).parameters) == ["self", "model", "batch"]
        # That these labels are asked for nothing but their number.
        source = inspect.getsource(theirs.concatenated_forward)
        assert source.count('batch["chosen_labels"]') == source.count('batch["chosen_labels"].shape[0]') == 1
        assert source.count("model(") == 1
    taken = inspect.signature(DataCollatorForPreference).parameters
    assert {"pad_token_id", "max_length", "pad_to_multiple_of"} <= taken.keys()
