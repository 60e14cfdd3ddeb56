"""The value model: a head of zeros on a copy of the policy, or a reward model."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tunesmith_api.run import ResolvedModel
from tunesmith_api.v1alpha1.status import VolumePath
from tunesmith_trainer.errors import InvalidSpec

Spec = Callable[..., dict[str, Any]]
WEIGHT = -2.0
JUDGE = VolumePath(claim="models", path="judge")


def judge(lab: Any, base: ResolvedModel, model_folder: Path, *, adapter: bool) -> ResolvedModel:
    """Write a reward model that likes and dislikes at random, whole or as an adapter, and say where it is."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(5)
    model = AutoModelForSequenceClassification.from_pretrained(model_folder, num_labels=1)
    torch.nn.init.normal_(model.score.weight)
    if adapter:
        model = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=2, target_modules="all-linear"))
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter, std=0.1)
    folder = lab.path(JUDGE.claim, JUDGE.path)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_folder).save_pretrained(folder)
    return ResolvedModel(base=base.base, adapter=JUDGE) if adapter else ResolvedModel(base=JUDGE)


def context_of(lab: Any, base: ResolvedModel, ppo_spec: Spec, place: ResolvedModel) -> Any:
    rewards = [{"name": "liked", "weight": WEIGHT, "model": {"path": {"claim": JUDGE.claim, "path": JUDGE.path}}}]
    spec = ppo_spec(ppo={"valueModel": "liked"}, training={"maxSteps": 2}, rewards=rewards, peft={"lora": {"r": 4}})
    context = lab.context("ppo", spec, base)
    return dataclasses.replace(context, run=context.run.model_copy(update={"reward_models": {"liked": place}}))


@pytest.mark.slow
@pytest.mark.parametrize("adapter", [True, False], ids=["adapter", "whole model"])
def test_a_reward_model_foretells_its_own_score(
    lab: Any, base: Any, model_folder: Path, ppo_spec: Spec, adapter: bool
) -> None:
    from tunesmith_trainer.models.classifier import load_classifier
    from tunesmith_trainer.models.places import find_folders

    place = judge(lab, base, model_folder, adapter=adapter)
    context = context_of(lab, base, ppo_spec, place)
    trainer = lab.build(context).trainer
    found = find_folders(context, place, "spec.rewards[0].model")
    ids = torch.randint(10, 300, (3, 12), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        scores = load_classifier(found.base, found.adapter, "float32", context.run.spec.model).model(ids).logits[:, 0]
        critic = trainer._pair.critic.eval()
        assert torch.allclose(critic(ids, torch.ones_like(ids))[:, -1], WEIGHT * scores, atol=1e-5)
    before = {name: value.clone() for name, value in critic.named_parameters()}
    trainer.train()
    moved = {name for name, value in critic.named_parameters() if not torch.equal(value, before[name])}
    assert {"head.weight", "head.bias"} <= moved
    assert all("lora_" in name for name in moved - {"head.weight", "head.bias"}) == adapter
    assert len(moved) > 2


def test_a_value_model_of_other_tokens_is_refused(lab: Any, base: Any, model_folder: Path, ppo_spec: Spec) -> None:
    from transformers import AutoTokenizer

    place = judge(lab, base, model_folder, adapter=False)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    tokenizer.add_tokens(["another"])
    tokenizer.save_pretrained(lab.path(JUDGE.claim, JUDGE.path))
    with pytest.raises(InvalidSpec, match=r"spec\.ppo\.valueModel: .* has another tokenizer"):
        lab.build(context_of(lab, base, ppo_spec, place))


def test_nothing_is_expected_at_first(lab: Any, base: Any, ppo_spec: Spec) -> None:
    critic = lab.build(lab.context("ppo", ppo_spec(), base)).trainer._pair.critic
    ids = torch.arange(10, 30)[None]
    assert not critic(ids, torch.ones_like(ids)).any()


def test_dropout_is_off_also_where_no_module_stands_for_it() -> None:
    """OPT drops by function, and whole layers."""
    from transformers import OPTConfig, OPTForCausalLM

    from tunesmith_trainer.reinforcement.critic import without_dropout

    sizes = {"vocab_size": 64, "hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 32, "num_attention_heads": 2}
    drops = {"dropout": 0.5, "attention_dropout": 0.5, "layerdrop": 0.5}
    model = OPTForCausalLM(OPTConfig(num_hidden_layers=2, max_position_embeddings=32, **sizes, **drops))
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        expected = model.eval()(ids).logits
        without_dropout(model)
        assert torch.equal(model.train()(ids).logits, expected)
