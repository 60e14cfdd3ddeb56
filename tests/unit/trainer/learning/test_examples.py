"""The examples for CPUs, as they are, on the demo's real text: each learns from it what its method is for.

The text is the reference of Python's language, answers are docstrings, and what is preferred is their words in order.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import corpus
import pytest
import yaml

from tunesmith_api.run import ResolvedModel

pytestmark = [
    pytest.mark.timeout(1500),  # the first makes what the others begin with
    pytest.mark.usefixtures("lab"),  # on one thread
]
EXAMPLES = Path(__file__).resolve().parents[4] / "examples"
# What is taken off the loss of held-out rows, in nats; stated before.
MARGINS = {"01-pretrain-tiny": 1.5, "02-sft-lora": 0.3}
COMPARING = ("03-dpo", "10-orpo", "11-cpo", "12-simpo", "13-kto", "14-reward")
SAMPLING = ("15-grpo", "16-rloo", "17-ppo")


def data() -> dict[str, str]:
    """Return the files of the demo's data by their path on a claim or in a ConfigMap."""
    texts, questions = corpus.split(corpus.corpus()), corpus.split(corpus.questions())
    files = {}
    for name, text, asked in zip(("train.jsonl", "held-out.jsonl"), texts, questions, strict=True):
        files[f"claims/demo-data/corpus/{name}"] = corpus.json_lines(text)
        files[f"claims/demo-data/questions/{name}"] = corpus.json_lines(asked)
        files[f"configmaps/demo-preferences/{name}"] = corpus.json_lines(corpus.preferences(asked))
    return files


@dataclass
class Chain:
    """Examples that have run, each on what it names, by the name of their job."""

    lab: Any
    run: Callable[..., ResolvedModel]
    models: dict[str, ResolvedModel] = field(default_factory=dict)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)

    def record(self, example: str) -> dict[str, Any]:
        """Run an example, after those it goes on with, and return its run record."""
        if example not in self.records:
            job = yaml.safe_load((EXAMPLES / f"{example}.yaml").read_text(encoding="utf-8"))
            name, spec = job["metadata"]["name"], job["spec"]
            rewards = {
                reward["name"]: self.model(reward["model"]["fromJob"])
                for reward in spec.get("rewards", ())
                if "model" in reward
            }
            begins = self.model(spec["model"]["fromJob"]) if "fromJob" in spec["model"] else None
            made = self.run(self.lab, name, spec, begins, reward_models=rewards)
            output = made.adapter or made.base
            path = self.lab.path(output.claim, f"{output.path}/run-record.json")  # type: ignore[union-attr]  # never of the Hub
            self.models[name], self.records[example] = made, json.loads(path.read_text(encoding="utf-8"))
        return self.records[example]

    def model(self, from_job: dict[str, str]) -> ResolvedModel:
        """Return what a job has made, which runs first when it has not."""
        if from_job["name"] not in self.models:
            (example,) = (
                path.stem for path in EXAMPLES.glob("*.yaml") if f"\n  name: {from_job['name']}\n" in path.read_text()
            )
            self.record(example)
        model = self.models[from_job["name"]]
        return model.model_copy(
            update={"from_adapter": from_job.get("fromAdapter", "continue")} if model.adapter else {}
        )


@pytest.fixture(scope="session")
def chain(new_lab: Any, run_job: Any) -> Chain:
    """What has run of the examples so far, on the demo's data, for all tests of this process."""
    lab = new_lab("examples")
    for name, text in data().items():
        path = lab.root / "tunesmith" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return Chain(lab, run_job)


@pytest.mark.methods("real text")
@pytest.mark.parametrize("example", MARGINS)
def test_held_out_text_gets_likelier(chain: Chain, example: str, record_property: Any) -> None:
    before, after = losses(chain.record(example))
    record_property("held-out loss", f"{before:.3f} → {after:.3f}")
    assert after < before - MARGINS[example]


@pytest.mark.methods("example")
@pytest.mark.parametrize("example", COMPARING)
def test_held_out_preferences_are_learnt(chain: Chain, example: str, record_property: Any) -> None:
    before, after = losses(chain.record(example))
    record_property("held-out loss", f"{before:.4f} → {after:.4f}")
    assert after < before


@pytest.mark.methods("example")
@pytest.mark.parametrize("example", SAMPLING)
def test_completions_are_rewarded_more(chain: Chain, example: str, record_property: Any) -> None:
    """The mean reward of the last third of the logged steps is above that of the first."""
    rewards = [entry["reward"] for entry in chain.record(example)["metrics"] if "reward" in entry]
    third = len(rewards) // 3
    first, last = (sum(part) / third for part in (rewards[:third], rewards[-third:]))
    record_property("reward", f"{first:.3f} → {last:.3f}")
    assert last > first


def losses(record: dict[str, Any]) -> tuple[float, float]:
    """Return the held-out loss before training and after."""
    return record["initialEvaluation"]["eval_loss"], record["finalEvaluation"]["eval_loss"]
