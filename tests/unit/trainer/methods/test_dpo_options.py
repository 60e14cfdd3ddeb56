"""Every field of `spec.dpo` reaches TRL and changes the run; every loss is one of its own, and begins where it must."""

import dataclasses
import math
import re
from collections.abc import Iterable
from typing import Any, get_args

import pytest

from tunesmith_api.v1alpha1.methods.dpo import Divergence, Dpo, DpoLoss
from tunesmith_trainer.errors import InvalidSpec

PAIRS = [
    {"prompt": f"{a}+{b}=", "chosen": f" {a + b}" + " and more" * (a % 3), "rejected": f" {a - b - 7}" + " x" * b}
    for a in range(4)
    for b in range(3)
]
LOSSES = get_args(DpoLoss)
# Field: what it needs beside it, what it is changed to.
CHANGES: dict[str, tuple[dict[str, Any], Any]] = {
    "lossType": ({}, ["ipo"]),
    "lossWeights": ({"lossType": ["sigmoid", "ipo"]}, [1.0, 0.5]),
    "beta": ({}, 0.5),
    "labelSmoothing": ({}, 0.2),
    "fDivergenceType": ({}, "forward_kl"),
    "fAlphaDivergenceCoef": ({"fDivergenceType": "alpha_divergence"}, 0.9),
    "ldAlpha": ({}, 0.3),
    "useWeighting": ({}, True),
    "discopopTau": ({"lossType": ["discopop"]}, 0.5),
    "precomputeRefLogProbs": ({}, True),
    "precomputeRefBatchSize": ({"precomputeRefLogProbs": True}, 5),
    "syncRefModel": ({"refModelSyncSteps": 1}, True),
    "refModelMixupAlpha": ({"syncRefModel": True, "refModelSyncSteps": 1}, 0.1),
    "refModelSyncSteps": ({"syncRefModel": True, "refModelSyncSteps": 1}, 2),
    "padToMultipleOf": ({}, 32),
}


# How a model comes to DPO: the adapter that an earlier job trained, what is done with it, and the adapter to train.
STARTS: dict[str, tuple[dict[str, Any] | None, str | None, dict[str, Any] | None]] = {
    "full weights": (None, None, None),
    "new lora": (None, None, {"lora": {"r": 4}}),
    "new ia3": (None, None, {"ia3": {}}),
    "lora trained further": ({"lora": {"r": 4}}, "continue", None),
    "ia3 trained further": ({"ia3": {}}, "continue", None),
    "embeddings trained further": ({"promptTuning": {"numVirtualTokens": 4}}, "continue", None),
    "full weights of a merge": ({"lora": {"r": 4}}, "merge", None),
    "new lora on a merge": ({"lora": {"r": 4}}, "merge", {"lora": {"r": 2}}),
    "new ia3 on a merged ia3": ({"ia3": {}}, "merge", {"ia3": {}}),
}


def context(lab: Any, base: Any, name: str = "dpo", peft: dict[str, Any] | None = None, **dpo: Any) -> Any:
    spec = {
        "method": "dpo",
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put("pairs.jsonl", PAIRS)],
        "evaluation": {"datasets": [lab.put("held-out.jsonl", PAIRS[:5])]},
        "training": {
            "maxLength": 64,
            "maxSteps": 4,
            "loggingSteps": 1,
            "learningRate": 1e-2,
            "perDeviceTrainBatchSize": 4,
        },
        "dpo": dpo,
    }
    return lab.context(name, spec | ({"peft": peft} if peft else {}), base)


def standing(cases: Iterable[str], *names: str) -> list[Any]:
    """Return the cases of a long matrix, of which these stand for the others in shorter suites."""
    return [pytest.param(case, marks=pytest.mark.slow if case in names else ()) for case in sorted(cases)]


def valid(loss: str) -> dict[str, Any]:
    """Return the least that a loss can be trained with."""
    more = {"labelSmoothing": 0.1} if loss in {"robust", "exo_pair"} else {}
    return {"lossType": [loss], **more}


def losses(plan: Any) -> list[float]:
    plan.trainer.train()
    return [entry["loss"] for entry in plan.trainer.state.log_history if "loss" in entry]


def test_every_field_is_here() -> None:
    assert {field.alias for field in Dpo.model_fields.values()} == CHANGES.keys()


def test_every_loss_and_divergence_of_trl_is_known() -> None:
    from trl import DPOConfig

    told = {field.name: field.metadata.get("help", "") for field in dataclasses.fields(DPOConfig)}
    assert set(re.findall(r"`'(\w+)'`", told["loss_type"])) == set(LOSSES)
    named = re.search(r"Possible values are: (.*?)\. Only", told["f_divergence_type"])
    assert named is not None
    assert set(re.findall(r"`(\w+)`", named[1])) == set(get_args(Divergence))


@pytest.mark.parametrize("field", CHANGES)
def test_it_is_an_argument_of_trl(lab: Any, field: str) -> None:
    from tunesmith_trainer.methods.dpo import trl_arguments

    beside, value = CHANGES[field]
    before, after = (trl_arguments(context(lab, None, **given)) for given in (beside, beside | {field: value}))
    assert before != after
    assert before.keys() == after.keys()


@pytest.mark.methods("dpo option")
@pytest.mark.parametrize("field", standing(CHANGES, "lossType", "precomputeRefBatchSize", "syncRefModel"))
def test_it_changes_the_run(lab: Any, base: Any, field: str) -> None:
    beside, value = CHANGES[field]
    before, after = (shown(lab, base, given) for given in (beside, beside | {field: value}))
    assert before != after


def shown(lab: Any, base: Any, dpo: dict[str, Any]) -> dict[str, Any]:
    """Return what of a run can be seen: its figures, the shape of its batches, and what the reference is asked."""
    from tunesmith_trainer.methods.dpo_trainer import PreparedDPOTrainer

    asked: list[int] = []
    ask = PreparedDPOTrainer.compute_ref_log_probs

    def noting(self: Any, model: Any, inputs: Any) -> Any:
        asked.append(len(inputs["input_ids"]))
        return ask(self, model, inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PreparedDPOTrainer, "compute_ref_log_probs", noting)
        plan = lab.build(context(lab, base, **dpo))
    return {
        "losses": losses(plan),
        "width": plan.trainer.data_collator(plan.trainer.train_dataset.to_list()[:4])["input_ids"].shape,
        "asked": asked,
    }


@pytest.mark.methods("dpo option")
def test_every_loss_is_one_of_its_own(lab: Any, base: Any) -> None:
    alone = [loss for loss in LOSSES if loss != "sft"]
    curves = [losses(lab.build(context(lab, base, loss, **valid(loss)))) for loss in alone]
    curves.append(losses(lab.build(context(lab, base, "sft", lossType=["sigmoid", "sft"]))))
    for curve in curves:
        assert all(math.isfinite(value) for value in curve)
    assert len({tuple(round(value, 4) for value in curve[1:]) for curve in curves}) == len(LOSSES)


def test_losses_are_added_up_by_their_weights(lab: Any, base: Any) -> None:
    """At the first step policy and reference are the same, so that each loss has a value known beforehand."""
    given: dict[str, Any] = {"lossType": ["sigmoid", "hinge", "ipo"], "lossWeights": [0.5, 2, 0.1], "beta": 0.2}
    first = losses(lab.build(context(lab, base, **given)))[0]
    assert first == pytest.approx(0.5 * math.log(2) + 2 * 1 + 0.1 * (1 / 0.4) ** 2, abs=1e-4)


def test_smoothing_is_of_the_sigmoid_among_others(lab: Any, base: Any) -> None:
    """Conservative DPO begins at ln 2 whatever its share, and the other loss does not notice."""
    given: dict[str, Any] = {"lossType": ["sigmoid", "hinge"], "lossWeights": [0.25, 3], "labelSmoothing": 0.2}
    assert losses(lab.build(context(lab, base, **given)))[0] == pytest.approx(0.25 * math.log(2) + 3, abs=1e-4)


@pytest.mark.methods("dpo option")
@pytest.mark.parametrize("loss", standing(set(LOSSES) - {"aot", "aot_unpaired", "hinge", "sft"}, "sigmoid"))
def test_pairs_are_weighted_in_every_loss_that_can(lab: Any, base: Any, loss: str) -> None:
    plain, weighted = (
        losses(lab.build(context(lab, base, loss, **valid(loss), useWeighting=weighs))) for weighs in (False, True)
    )
    assert all(math.isfinite(value) for value in weighted)
    assert weighted[0] != pytest.approx(plain[0], abs=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("losses_", [["hinge"], ["sigmoid", "sft"], ["aot"], ["aot_unpaired"]])
def test_trl_can_not_weigh_the_losses_that_are_refused_with_weights(lab: Any, base: Any, losses_: list[str]) -> None:
    """When this fails, TRL has learnt it: then the rule of `spec.dpo.useWeighting` goes."""
    # torch refuses to change in place what a gradient needs; TRL itself refuses the losses that sort their rows.
    with pytest.raises(RuntimeError, match=r"in-?place|single memory location|not implemented"):
        lab.build(context(lab, base, lossType=losses_, useWeighting=True)).trainer.train()


@pytest.mark.slow
def test_weights_are_those_of_trl_s_own_head(lab: Any, base: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from tunesmith_trainer.models import head

    curves = []
    for limit in (head.LIMIT_BYTES, 0):
        monkeypatch.setattr(head, "LIMIT_BYTES", limit)
        curves.append(losses(lab.build(context(lab, base, useWeighting=True))))
    assert curves[0] == pytest.approx(curves[1], abs=1e-4)


@pytest.mark.slow
def test_what_the_reference_says_ahead_is_what_it_would_say(lab: Any, base: Any) -> None:
    meanwhile = lab.build(context(lab, base))
    ahead = lab.build(context(lab, base, precomputeRefLogProbs=True, precomputeRefBatchSize=5))
    assert ahead.trainer.ref_model is None
    figures = [plan.trainer.evaluate() for plan in (meanwhile, ahead)]
    assert losses(ahead) == pytest.approx(losses(meanwhile), abs=1e-4)
    figures += [plan.trainer.evaluate() for plan in (meanwhile, ahead)]
    for name in ("eval_loss", "eval_rewards/margins"):
        assert figures[0][name] == pytest.approx(figures[1][name], abs=1e-4)
        assert figures[2][name] == pytest.approx(figures[3][name], abs=1e-4)


@pytest.mark.slow
def test_a_reference_that_follows_comes_back_with_a_checkpoint(lab: Any, base: Any) -> None:
    from dataclasses import replace

    from transformers import TrainerCallback

    class Stop(TrainerCallback):  # type: ignore[misc]  # its base counts as Any
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = state.global_step == 2
            control.should_save = state.global_step == 2

    following: dict[str, Any] = {"syncRefModel": True, "refModelSyncSteps": 1, "refModelMixupAlpha": 0.5}
    whole = losses(lab.build(context(lab, base, "whole", **following)))
    halves = context(lab, base, "halves", **following)
    first = lab.build(halves)
    first.trainer.add_callback(Stop())
    first.trainer.train()
    second = lab.build(replace(halves, attempt=2))
    second.trainer.train(resume_from_checkpoint=f"{first.trainer.args.output_dir}/checkpoint-2")
    resumed = [entry["loss"] for entry in second.trainer.state.log_history if "loss" in entry]
    assert resumed == pytest.approx(whole, abs=1e-5)


def test_an_adapter_s_reference_can_not_follow(lab: Any, base: Any) -> None:
    first = context(lab, base, "first", {"lora": {"r": 2}})
    adapter = lab.finish(first, lab.build(first), train=False)
    with pytest.raises(InvalidSpec, match=r"spec\.dpo\.syncRefModel: an earlier adapter is trained further"):
        lab.build(context(lab, adapter, "second", syncRefModel=True))


@pytest.mark.methods("dpo start")
@pytest.mark.parametrize("ahead", [False, True], ids=["asked meanwhile", "asked ahead"])
@pytest.mark.parametrize("start", standing(STARTS, "new ia3", "ia3 trained further", "new lora on a merge"))
def test_the_first_loss_is_ln_2_from_every_start(lab: Any, base: Any, start: str, *, ahead: bool) -> None:
    earlier, then, peft = STARTS[start]
    model = base
    if earlier is not None:
        first = context(lab, base, "earlier", earlier)
        model = lab.finish(first, lab.build(first)).model_copy(update={"from_adapter": then})
    figures = losses(lab.build(context(lab, model, "dpo", peft, precomputeRefLogProbs=ahead)))
    assert figures[0] == pytest.approx(math.log(2), abs=1e-4)
    assert figures[-1] != pytest.approx(math.log(2), abs=1e-4)
