"""Reward models: what plain transformers says of the same text, whatever is scored beside it."""

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.run import ResolvedModel
from tunesmith_api.v1alpha1.status import VolumePath
from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.rewards import Rewards, build_rewards

PROMPTS = ["Which statement", "A list of", "Why? " * 100]
COMPLETIONS = [" is it? The return statement.", " é", ""]


def build(lab: Any, base: ResolvedModel, path: str = "judge") -> Rewards:
    """Return the rewards of a job with one reward model."""
    from transformers import AutoTokenizer

    place = VolumePath(claim="judges", path=path)
    spec = {
        "method": "grpo",
        "model": {"fromJob": {"name": "base"}},
        "datasets": [{"claim": {"name": "data", "path": "prompts.jsonl"}}],
        "rewards": [{"name": "helpful", "weight": 0.5, "model": {"path": {"claim": "judges", "path": path}}}],
        "training": {"perDeviceTrainBatchSize": 2},
    }
    context = lab.context("scored", spec, base)
    run = context.run.model_copy(update={"reward_models": {"helpful": ResolvedModel(base=place)}})
    assert isinstance(base.base, VolumePath)
    writer = AutoTokenizer.from_pretrained(lab.path(base.base.claim, base.base.path))
    return build_rewards(replace(context, run=run), writer)


def plain(folder: Path, ids: list[int]) -> float:
    """Return what plain transformers says of one text."""
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(folder)
    with torch.no_grad():
        return float(model(torch.tensor([ids])).logits[0, 0])


def call(rewards: Rewards, prompts: list[Any], completions: list[Any]) -> Any:
    scored = rewards.score(prompts=prompts, completions=completions, completion_ids=[[1]] * len(prompts))
    assert scored.totals == [0.5 * score for score in scored.by_name["helpful"] if score is not None]
    return scored.by_name["helpful"]


def test_texts_are_scored_as_in_training_with_their_end(lab: Any, base: ResolvedModel, judge: Path) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(judge)
    rewards = build(lab, base)
    # The last is longer than the model's 256 positions: what is asked loses its beginning.
    texts = [f"{prompt}{answer}{tokenizer.eos_token}" for prompt, answer in zip(PROMPTS, COMPLETIONS, strict=True)]
    expected = [plain(judge, tokenizer(text)["input_ids"][-256:]) for text in texts]
    assert call(rewards, PROMPTS, COMPLETIONS) == pytest.approx(expected, abs=1e-5)
    assert rewards.report == {"helpful": {"weight": 0.5, "foreignTokenizer": False, "failures": {}}}


def test_chats_are_scored_by_the_model_s_own_template(lab: Any, base: ResolvedModel, judge: Path) -> None:
    from transformers import AutoTokenizer

    template = "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"
    (judge / "chat_template.jinja").write_text(template)
    tokenizer = AutoTokenizer.from_pretrained(judge)
    prompts = [[{"role": "user", "content": prompt}] for prompt in PROMPTS[:2]]
    completions = [[{"role": "assistant", "content": answer}] for answer in COMPLETIONS[:2]]
    texts = [f"<user>{prompt}<assistant>{answer}" for prompt, answer in zip(PROMPTS[:2], COMPLETIONS[:2], strict=True)]
    expected = [plain(judge, tokenizer(text, add_special_tokens=False)["input_ids"]) for text in texts]
    assert call(build(lab, base), prompts, completions) == pytest.approx(expected, abs=1e-5)


def test_a_foreign_tokenizer_is_told_and_reads_the_text_anew(
    lab: Any, base: ResolvedModel, judge: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = judge / "tokenizer.json"
    content = json.loads(path.read_text())
    vocabulary = content["model"]["vocab"]
    first, second = vocabulary["a"], vocabulary["e"]
    vocabulary |= {"a": second, "e": first}
    path.write_text(json.dumps(content))
    with caplog.at_level(logging.WARNING):
        rewards = build(lab, base)
    assert "spec.rewards[0].model has another tokenizer than spec.model" in caplog.text
    assert rewards.report["helpful"]["foreignTokenizer"]
    from transformers import AutoTokenizer

    ids = AutoTokenizer.from_pretrained(judge)("aee<|endoftext|>")["input_ids"]
    assert call(rewards, ["a"], ["ee"]) == pytest.approx([plain(judge, ids)], abs=1e-5)


def test_a_language_model_is_no_reward_model(lab: Any, base: ResolvedModel, model_folder: Path) -> None:
    (lab.root / "tunesmith/claims/judges").mkdir(parents=True)
    lab.path("judges", "writer").symlink_to(model_folder)
    with pytest.raises(InvalidSpec, match=r"spec.rewards\[0\].model .*is a language model without a score head"):
        build(lab, base, "writer")
