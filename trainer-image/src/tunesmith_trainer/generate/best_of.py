"""Best of N: several completions of each prompt, of which the one with the largest reward is kept.

Sampling alone moves a model towards its rewards without training it: what a training promises can be seen beforehand,
and what it reached be held against.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import TypeAdapter, ValidationError

from tunesmith_api import pod
from tunesmith_api.v1alpha1.rewards import Reward
from tunesmith_trainer.data.rows import REWARD_ARGUMENTS, Content
from tunesmith_trainer.errors import DataError, InvalidSpec
from tunesmith_trainer.generate.loading import load_judge
from tunesmith_trainer.rewards import Rewards, plain_scorer
from tunesmith_trainer.rewards.base import RewardFunction

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tunesmith_trainer.generate.options import Options

_NO_COLUMNS = REWARD_ARGUMENTS | {"prompt"}  # as in training


@dataclass(frozen=True)
class Asked:
    """A row, and what it asks.

    Attributes:
        row: Its columns.
        content: The prompt, as the model is asked it: a text or a chat.
    """

    row: dict[str, Any]
    content: Content


@dataclass(frozen=True)
class Written:
    """A completion.

    Attributes:
        text: For people.
        ids: The same as token ids.
    """

    text: str
    ids: list[int]

    def as_answer_to(self, prompt: Content) -> Content:
        """Return it in the shape of its prompt."""
        return self.text if isinstance(prompt, str) else [{"role": "assistant", "content": self.text}]


class PodMounts:
    """Where a pod finds what the job's pods find, mounted as there."""

    rank = 0
    local_rank = 0
    run_directory = Path()

    def claim_path(self, claim: str, path: str = "") -> Path:
        """Return where a path of a claim is found."""
        return Path(pod.claim_path(claim, path))

    def configmap_path(self, name: str, key: str) -> Path:
        """Return where a key of a ConfigMap is found."""
        return Path(pod.configmap_path(name, key))


def load_rewards(options: Options) -> Rewards:
    """Return the rewards of a command line.

    Raises:
        DataError: The file is missing.
        InvalidSpec: It does not list rewards, or one of them is wrong.
        ModelNotFound: The reward model is missing or not what it should be.
    """
    wanted = () if options.rewards is None else _read(options.rewards)
    functions = [
        RewardFunction(reward.name, plain_scorer(reward, f"--rewards: [{index}]", PodMounts()))
        for index, reward in enumerate(wanted)
    ]
    weights = [reward.weight for reward in wanted]
    if options.reward_model is not None:
        from tunesmith_trainer.rewards.models import ModelReward

        name = f"--reward-model {options.reward_model}"
        judge = ModelReward(load_judge(options.reward_model), name, batch_size=options.batch_size)
        functions.append(RewardFunction("model", judge))
        weights.append(1.0)
    return Rewards(functions, weights)


def _read(path: Path) -> Sequence[Reward]:
    """Return the rewards of a file: a list as in a spec, or the run record of a job."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"--rewards: {path} can not be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InvalidSpec(f"--rewards: {path} is neither YAML nor JSON: {error}") from error
    listed = content["run"]["spec"].get("rewards") if isinstance(content, dict) and "run" in content else content
    try:
        rewards = TypeAdapter(tuple[Reward, ...]).validate_python(listed)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidSpec(f"--rewards: {path} does not list rewards as a spec does: {where}: {first['msg']}") from error
    for reward in rewards:
        if reward.model is not None:
            raise InvalidSpec(f"--rewards: {reward.name} is a model; name its folder with --reward-model")
    return rewards


def best_of(rewards: Rewards, asked: Sequence[Asked], written: Sequence[Sequence[Written]]) -> Iterator[dict[str, Any]]:
    """Yield for each row its best completion, with what the rewards say of it.

    Args:
        rewards: The rewards.
        asked: The rows.
        written: The completions of each.
    """
    pairs = [(each, one) for each, own in zip(asked, written, strict=True) for one in own]
    names = dict.fromkeys(name for each in asked for name in each.row if name not in _NO_COLUMNS)
    scored = rewards.score(
        prompts=[each.content for each, _ in pairs],
        completions=[one.as_answer_to(each.content) for each, one in pairs],
        completion_ids=[one.ids for _, one in pairs],
        **{name: [each.row.get(name) for each, _ in pairs] for name in names},
    )
    end = 0
    for own in written:
        start, end = end, end + len(own)
        best = max(range(start, end), key=lambda place: _rank(scored.totals[place]))
        figures = {name: values[best] for name, values in scored.by_name.items()}
        yield {"completion": pairs[best][1].text, "reward": scored.totals[best], "rewards": figures}


def _rank(total: float | None) -> float:
    """Return what to choose by; a completion that nothing is known of comes last."""
    return -math.inf if total is None else total
