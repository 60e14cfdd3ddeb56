"""Rewards as a spec words them, ready to score texts and chats."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.v1alpha1.rewards import Reward
from tunesmith_trainer.rewards import Rewards, plain_scorer
from tunesmith_trainer.rewards.base import RewardFunction, Scores


class Mounts:
    """ConfigMaps below a temporary folder."""

    rank = 0
    local_rank = 0

    def __init__(self, root: Path) -> None:
        self.run_directory = root

    def claim_path(self, claim: str, path: str = "") -> Path:
        return self.run_directory / claim / path

    def configmap_path(self, name: str, key: str) -> Path:
        return self.run_directory / name / key


@pytest.fixture
def mounts(tmp_path: Path) -> Mounts:
    return Mounts(tmp_path)


@pytest.fixture
def make(mounts: Mounts) -> Callable[..., Rewards]:
    """Return what makes rewards of their wire form; one alone needs no name."""

    def make_rewards(*wanted: dict[str, Any]) -> Rewards:
        rewards = [Reward.model_validate({"name": "it"} | each) for each in wanted]
        scorers = [plain_scorer(reward, f"spec.rewards[{index}]", mounts) for index, reward in enumerate(rewards)]
        functions = [RewardFunction(reward.name, scorer) for reward, scorer in zip(rewards, scorers, strict=True)]
        return Rewards(functions, [reward.weight for reward in rewards])

    return make_rewards


@pytest.fixture(params=["texts", "chats"])
def score(make: Callable[..., Rewards], request: pytest.FixtureRequest) -> Callable[..., Scores]:
    """Return what scores texts by one reward: as they are, and as the assistant's last words of chats."""

    def score_texts(wanted: dict[str, Any], *texts: str, ids: list[list[int]] | None = None, **columns: Any) -> Scores:
        completions: list[Any] = list(texts)
        if request.param == "chats":
            thought = {"role": "assistant", "content": "#### 1"}
            completions = [[thought, {"role": "assistant", "content": text}] for text in texts]
        (function,) = make(wanted).functions
        return function(
            prompts=["?"] * len(texts), completions=completions, completion_ids=ids or [[1]] * len(texts), **columns
        )

    return score_texts


@pytest.fixture
def judge(lab: Any, model_folder: Path) -> Path:
    """A sequence classifier with one score, on a claim."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, set_seed

    set_seed(3)
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    model = AutoModelForSequenceClassification.from_pretrained(model_folder, num_labels=1)
    model.config.pad_token_id = tokenizer.pad_token_id
    folder: Path = lab.path("judges", "judge")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
