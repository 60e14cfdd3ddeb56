"""A reference model of its own: compared with, left alone, and refused where it speaks another vocabulary."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.run import ResolvedModel
from tunesmith_api.v1alpha1.status import VolumePath
from tunesmith_trainer.errors import InvalidSpec, ModelNotFound

PAIRS = [{"prompt": f"{a}+{b}=", "chosen": f" {a + b}", "rejected": f" {a - 9}"} for a in range(5) for b in range(4)]
ROWS = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in PAIRS]


def comparing(lab: Any, trained: ResolvedModel, reference: ResolvedModel, **more: Any) -> Any:
    """Return a job of preferences with a reference model."""
    spec = {
        "method": "dpo",
        "model": {"fromJob": {"name": "base"}},
        "referenceModel": {"fromJob": {"name": "other"}},
        "datasets": [lab.put("pairs.jsonl", PAIRS)],
        "training": {"maxLength": 64, "maxSteps": 4, "loggingSteps": 1, "learningRate": 1e-2},
        "dpo": {"beta": 1},
    }
    context = lab.context("compared", spec | more, trained)
    return replace(context, run=context.run.model_copy(update={"reference": reference}))


@pytest.fixture
def tuned(lab: Any, base: ResolvedModel) -> Callable[..., ResolvedModel]:
    """Makes another model of the base: full weights, or an adapter on it."""

    def tune(**more: Any) -> ResolvedModel:
        spec = {
            "method": "sft",
            "model": {"fromJob": {"name": "base"}},
            "datasets": [lab.put("rows.jsonl", ROWS)],
            "training": {"maxLength": 64, "maxSteps": 8, "learningRate": 5e-2},
        }
        context = lab.context("other", spec | more, base)
        found: ResolvedModel = lab.finish(context, lab.build(context))
        # As a reference it is what that job left, and nothing is done to it.
        return found.model_copy(update={"from_adapter": None})

    return tune


def first_loss(plan: Any) -> float:
    plan.trainer.train()
    return float(next(entry["loss"] for entry in plan.trainer.state.log_history if "loss" in entry))


def log_probs(model: Any, batch: dict[str, Any]) -> Any:
    """Return the summed log-probability of each answer of a batch, computed by hand."""
    import torch

    with torch.no_grad():
        logits = model.eval()(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    chances = logits.log_softmax(-1).gather(-1, batch["input_ids"][:, 1:, None])[..., 0]
    return (chances * batch["completion_mask"][:, 1:]).sum(1)


def plain(lab: Any, model: ResolvedModel) -> Any:
    """Load a model, and the adapter on it, with plain transformers and peft."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    assert isinstance(model.base, VolumePath)
    loaded = AutoModelForCausalLM.from_pretrained(lab.path(model.base.claim, model.base.path))
    if model.adapter is None:
        return loaded
    return PeftModel.from_pretrained(loaded, lab.path(model.adapter.claim, model.adapter.path))


@pytest.mark.parametrize(
    ("made", "more"),
    [
        pytest.param({}, {}, id="a whole model for full weights"),
        pytest.param(
            {"peft": {"lora": {"r": 4}}},
            {"peft": {"lora": {"r": 2}}},
            id="an adapter for a new adapter",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            {"peft": {"ia3": {}}, "training": {"maxLength": 64, "maxSteps": 8, "learningRate": 0.5}},
            {"dpo": {"beta": 1, "precomputeRefLogProbs": True}},
            id="asked ahead",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_it_is_what_the_answers_are_compared_with(
    lab: Any, base: ResolvedModel, tuned: Any, *, made: dict[str, Any], more: dict[str, Any]
) -> None:
    """The first loss is that of the formula, with log-probabilities of models that plain libraries load."""
    import torch
    from torch.nn.functional import logsigmoid

    reference = tuned(**made)
    plan = lab.build(comparing(lab, base, reference, **more))
    trainer = plan.trainer
    batch = next(iter(trainer.get_train_dataloader()))
    margins = []
    for model in (base, reference):
        chosen, rejected = log_probs(plain(lab, model), batch).chunk(2)
        margins.append(chosen - rejected)
    expected = float(-logsigmoid(margins[0] - margins[1]).mean())
    assert abs(expected - math.log(2)) > 1e-3
    with torch.no_grad():
        assert float(trainer.compute_loss(trainer.model, dict(batch))) == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_the_model_itself_by_another_name_changes_nothing(lab: Any, base: ResolvedModel) -> None:
    assert first_loss(lab.build(comparing(lab, base, base))) == pytest.approx(math.log(2), abs=1e-4)


@pytest.mark.slow
def test_it_stays_as_it_was(lab: Any, base: ResolvedModel, tuned: Any) -> None:
    import torch

    plan = lab.build(comparing(lab, base, tuned()))
    reference = plan.trainer.ref_model
    before = {name: value.clone() for name, value in reference.named_parameters()}
    plan.trainer.train()
    assert before
    assert all(torch.equal(value, before[name]) for name, value in reference.named_parameters())


@pytest.mark.slow
def test_an_adapter_that_is_trained_further_may_have_another_reference(
    lab: Any, base: ResolvedModel, tuned: Any
) -> None:
    adapter = tuned(peft={"lora": {"r": 4}}).model_copy(update={"from_adapter": "continue"})
    plan = lab.build(comparing(lab, adapter, base))
    assert list(plan.trainer.model.peft_config) == ["default"]
    assert abs(first_loss(plan) - math.log(2)) > 0.01


def test_another_vocabulary_is_refused(lab: Any, base: ResolvedModel, model_folder: Path) -> None:
    foreign = lab.path("models", "foreign")
    shutil.copytree(model_folder, foreign)
    tokens = json.loads((foreign / "tokenizer.json").read_text())
    vocabulary = tokens["model"]["vocab"]
    one, other = sorted(vocabulary, key=vocabulary.__getitem__)[-2:]
    vocabulary[one], vocabulary[other] = vocabulary[other], vocabulary[one]
    (foreign / "tokenizer.json").write_text(json.dumps(tokens))
    reference = ResolvedModel(base=VolumePath(claim="models", path="foreign"))
    with pytest.raises(InvalidSpec, match=r"spec\.referenceModel: .*claim models, path foreign.* of 512 tokens 2"):
        lab.build(comparing(lab, base, reference))


def test_tokens_that_it_does_not_know_are_refused(lab: Any, base: ResolvedModel) -> None:
    model = {"fromJob": {"name": "base"}, "addedTokens": ["<new>"]}
    with pytest.raises(InvalidSpec, match="'<new>', which is token 512 here and known there not at all"):
        lab.build(comparing(lab, base, base, model=model))


@pytest.mark.slow
def test_learnt_embeddings_are_no_reference(lab: Any, base: ResolvedModel, tuned: Any) -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.referenceModel: .* holds learnt embeddings"):
        lab.build(comparing(lab, base, tuned(peft={"promptTuning": {"numVirtualTokens": 4}})))


@pytest.mark.slow
def test_one_that_is_missing_or_changed(lab: Any, base: ResolvedModel, tuned: Any) -> None:
    gone = ResolvedModel(base=VolumePath(claim="models", path="gone"))
    with pytest.raises(ModelNotFound, match=r"spec\.referenceModel \(claim models, path gone\) does not exist"):
        lab.build(comparing(lab, base, gone))
    changed = tuned()
    (lab.path(changed.base.claim, changed.base.path) / "config.json").write_text("{}")
    with pytest.raises(ModelNotFound, match=r"spec\.referenceModel .* was changed after that job was Complete"):
        lab.build(comparing(lab, base, changed))


@pytest.mark.parametrize(
    ("method", "block"),
    [
        ("dpo", {"precomputeRefLogProbs": True}),
        pytest.param("dpo", {}, marks=pytest.mark.slow),
        pytest.param("kto", {}, marks=pytest.mark.slow),
        pytest.param("grpo", {"beta": 0.1, "maxCompletionLength": 8}, marks=pytest.mark.slow),
    ],
)
def test_a_base_that_an_adapter_changes_is_no_reference(
    lab: Any, base: ResolvedModel, method: str, block: dict[str, Any]
) -> None:
    """Biases are weights of the base: switching the adapter off would not give back what they were."""
    earlier = {
        "method": "sft",
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put("rows.jsonl", ROWS)],
        "peft": {"lora": {"r": 2}},
        "training": {"maxLength": 64, "maxSteps": 1},
    }
    context = lab.context("earlier", earlier, base)
    adapter = lab.finish(context, lab.build(context), train=False).model_copy(update={"digest": None})
    config = lab.path(adapter.adapter.claim, f"{adapter.adapter.path}/adapter_config.json")
    config.write_text(json.dumps(json.loads(config.read_text()) | {"bias": "all"}))
    spec: dict[str, Any] = {
        "method": method,
        "model": {"fromJob": {"name": "earlier"}},
        "datasets": [lab.put("pairs.jsonl", PAIRS)],
        "training": {"maxLength": 64, "maxSteps": 1},
        method: block,
    }
    if method == "grpo":
        spec |= {"datasets": [lab.put("asked.jsonl", [{"prompt": row["prompt"]} for row in ROWS])]}
        spec |= {"rewards": [{"name": "brief", "length": {"max": 3}}]}
    with pytest.raises(InvalidSpec, match="has bias: all, so it trains weights of the base model"):
        lab.build(lab.context("aligned", spec, adapter))
    compared = lab.context("aligned", spec | {"referenceModel": {"fromJob": {"name": "base"}}}, adapter)
    lab.build(replace(compared, run=compared.run.model_copy(update={"reference": base})))
