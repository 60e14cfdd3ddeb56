"""Proximal policy optimisation: what a rollout is, what a step makes of it, and what is left at the end."""

import copy
import dataclasses
import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import naive
import pytest
import torch

from tunesmith_trainer.errors import DataError
from tunesmith_trainer.models.twin import twin
from tunesmith_trainer.reinforcement.rollout import take
from tunesmith_trainer.reinforcement.sampler import RolloutSampler

Spec = Callable[..., dict[str, Any]]
TEMPERATURE = 0.7


def slow(*values: Any) -> Any:
    """A case of a matrix that another one stands for in the fast tests."""
    return pytest.param(*values, marks=pytest.mark.slow)


def logs(plan: Any) -> list[dict[str, Any]]:
    """The figures of each step."""
    plan.trainer.train()
    return [entry for entry in plan.trainer.state.log_history if "loss" in entry]


def merged(adapter: Any) -> Any:
    return adapter.model_copy(update={"from_adapter": "merge"})


MERGE = {"model": {"fromJob": {"name": "earlier", "fromAdapter": "merge"}}}
LORA = {"peft": {"lora": {"r": 4}}}
# Spec and model of each way to begin, and whether base and reference can share their frozen weights.
STARTS: dict[str, tuple[dict[str, Any], Callable[[Any, Any], Any]]] = {
    "full weights": ({}, lambda base, _: base),
    "new adapter": (LORA, lambda base, _: base),
    "adapter that changes its base": ({"peft": {"lora": {"r": 4, "initLoraWeights": "pissa"}}}, lambda base, _: base),
    "learnt embeddings": ({"peft": {"promptTuning": {"numVirtualTokens": 4}}}, lambda base, _: base),
    "earlier adapter": ({}, lambda _, adapter: adapter),
    "merged adapter": (MERGE, lambda _, adapter: merged(adapter)),
    "new adapter on a merged one": (MERGE | LORA, lambda _, adapter: merged(adapter)),
}


@pytest.mark.parametrize("start", [start if start == "new adapter" else slow(start) for start in STARTS])
def test_the_first_step_begins_where_the_reference_is(
    lab: Any, base: Any, adapter: Any, ppo_spec: Spec, start: str
) -> None:
    change, model = STARTS[start]
    plan = lab.build(lab.context("ppo", ppo_spec(training={"maxSteps": 5}, **change), model(base, adapter)))
    first, second, *_ = logs(plan)
    assert first["objective/kl"] == pytest.approx(0, abs=1e-5)
    assert first["val/ratio"] == pytest.approx(1, abs=1e-5)
    assert first["policy/approxkl_avg"] == pytest.approx(0, abs=1e-12)
    assert first["policy/clipfrac_avg"] == 0
    assert second["policy/approxkl_avg"] > 1e-11, "the policy moves"
    assert plan.trainer.state.log_history[4]["objective/kl"] != pytest.approx(0, abs=1e-5), "the reference does not"


def test_what_is_not_trained_is_there_once(lab: Any, base: Any, ppo_spec: Spec) -> None:
    trainer = lab.build(lab.context("ppo", ppo_spec(**LORA), base)).trainer
    policy, critic = trainer.model, trainer._pair.critic

    def places(module: Any, *, trained: bool) -> set[int]:
        return {value.data_ptr() for value in module.parameters() if value.requires_grad == trained}

    frozen = places(policy, trained=False)
    assert places(critic, trained=False) <= frozen
    assert not places(critic, trained=True) & places(policy, trained=True)
    # The reference is frozen as a whole; what the policy trains it has a copy of.
    own = places(trainer._reference, trained=False) - frozen
    assert len(own) == len(places(policy, trained=True))
    whole = torch.nn.Linear(3, 3)
    assert not places(twin(whole), trained=True) & places(whole, trained=True)


class TestNumbers:
    """A whole rollout and the loss of its steps, held against plain lists made with plain transformers."""

    PPO: ClassVar[dict[str, Any]] = {
        "temperature": TEMPERATURE,
        "klEstimator": "k3",
        "klCoef": 0.3,
        "gamma": 0.9,
        "lam": 0.8,
        "vfCoef": 0.4,
        "entropyCoef": 0.05,
        "cliprange": 0.02,
        "cliprangeValue": 0.02,
        "missingEosPenalty": 0.7,
    }

    @pytest.fixture
    def trainer(self, lab: Any, base: Any, ppo_spec: Spec) -> Any:
        """A trainer whose policy and value model have moved already."""
        trainer = lab.build(lab.context("ppo", ppo_spec(ppo=self.PPO, training={"maxSteps": 4}), base)).trainer
        trainer.train()
        return trainer

    @staticmethod
    def foretold(trainer: Any, ids: list[int], start: int) -> tuple[list[float], list[float], list[float]]:
        """Log-probabilities of a completion's tokens, those of the reference, and values: one sequence, no padding."""
        tokens = torch.tensor([ids])
        with torch.no_grad():
            both = [
                (model.eval()(input_ids=tokens).logits[0] / TEMPERATURE).log_softmax(-1)
                for model in (trainer.model, trainer._reference)
            ]
            critic = trainer._pair.critic
            values = critic.head(critic.decoder.eval()(input_ids=tokens).last_hidden_state[0])[:, 0]
        places = range(start, len(ids))
        policy, reference = ([float(chances[place - 1, ids[place]]) for place in places] for chances in both)
        return policy, reference, [float(values[place - 1]) for place in places]

    def wanted(self, trainer: Any, batch: Any, prompts: list[list[int]], scores: list[float]) -> Iterator[Any]:
        """Yield log-probabilities, values, advantages and returns of each completion."""
        ppo = self.PPO
        for prompt, ids, attended, score in zip(
            prompts, batch["input_ids"].tolist(), batch["attention_mask"].tolist(), scores, strict=True
        ):
            sequence = ids[: sum(attended)]
            policy, reference, values = self.foretold(trainer, sequence, len(prompt))
            penalties = [
                ppo["klCoef"] * naive.kl(one, other, "k3") for one, other in zip(policy, reference, strict=True)
            ]
            gained = naive.advantages(naive.rewards(score, penalties), values, ppo["gamma"], ppo["lam"])
            yield policy, values, gained, [one + other for one, other in zip(gained, values, strict=True)]

    def test_a_rollout_and_its_loss(self, trainer: Any) -> None:
        rows = [trainer.train_dataset[number] for number in range(8)]
        prompts = [row["prompt_ids"] for row in rows]
        assert len({len(prompt) for prompt in prompts}) > 1, "prompts of one length would hide what is misplaced"
        batch = trainer._roll_out(rows, 5)
        scores = self.scores(trainer, batch, prompts)
        figures = list(self.wanted(trainer, batch, prompts, scores))
        log_probs, values, gained, returns = ([list(part) for part in zip(*figures, strict=True)][n] for n in range(4))
        of_all = list(itertools.chain(*gained))
        white = [
            [(number - naive.mean(of_all)) / math.sqrt(naive.variance(of_all)) for number in row] for row in gained
        ]
        for name, wanted in (("log_probs", log_probs), ("values", values), ("returns", returns), ("advantages", white)):
            found = batch[name][batch["mask"]].tolist()
            assert found == pytest.approx(list(itertools.chain(*wanted)), abs=2e-5), name

        self.move(trainer)
        loss = self.loss(trainer, batch, prompts, log_probs, values, white, returns)
        tokens = batch["mask"].sum()
        with torch.no_grad():
            whole = trainer.compute_loss(trainer._pair, batch, num_items_in_batch=tokens)
        assert float(whole) == pytest.approx(loss, abs=2e-5)
        with torch.no_grad():
            parts = [
                trainer.compute_loss(trainer._pair, take(batch, rows), num_items_in_batch=tokens)
                for rows in (slice(0, 1), slice(1, 4), slice(4, 8))
            ]
        assert float(sum(parts)) == pytest.approx(float(whole), abs=1e-5), "micro-batches of any size add up"
        assert 0 < float(trainer._figures["policy/clipfrac_avg"][-4]) < 1
        assert 0 < float(trainer._figures["val/clipfrac_avg"][-4]) < 1

    def scores(self, trainer: Any, batch: Any, prompts: list[list[int]]) -> list[float]:
        """The rewards of the spec, counted by hand."""
        import re

        scores = []
        for prompt, ids, attended in zip(
            prompts, batch["input_ids"].tolist(), batch["attention_mask"].tolist(), strict=True
        ):
            completion = ids[len(prompt) : sum(attended)]
            text = trainer.processing_class.decode(completion, skip_special_tokens=True)
            ended = completion[-1] == trainer.processing_class.eos_token_id
            brief = min(1.0, max(0.0, 1 - (len(completion) - 3) / 6))
            scores.append(bool(re.search("[aeiou]{2}", text)) + 0.5 * brief - 0.7 * (not ended))
        assert len(set(scores)) > 1
        return scores

    @staticmethod
    def move(trainer: Any) -> None:
        """Leave where the rollout was drawn, far enough to be clipped."""
        torch.manual_seed(3)
        with torch.no_grad():
            for parameter in trainer._pair.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.01)

    def loss(self, trainer: Any, batch: Any, prompts: Any, *before: list[list[float]]) -> float:
        """The mean over all tokens of what equations 7 and 9 say, and of the entropy."""
        ppo, losses = self.PPO, []
        for prompt, ids, attended, *row in zip(
            prompts, batch["input_ids"].tolist(), batch["attention_mask"].tolist(), *before, strict=True
        ):
            sequence = ids[: sum(attended)]
            policy, _, values = self.foretold(trainer, sequence, len(prompt))
            with torch.no_grad():
                chances = (trainer.model(input_ids=torch.tensor([sequence])).logits[0] / TEMPERATURE).softmax(-1)
            entropies = (-(chances * chances.log()).sum(-1))[len(prompt) - 1 : -1].tolist()
            for now, value, entropy, then, expected, advantage, returned in zip(
                policy, values, entropies, *row, strict=True
            ):
                losses.append(
                    naive.policy_loss(math.exp(now - then), advantage, ppo["cliprange"])
                    + ppo["vfCoef"] * naive.value_loss(value, expected, returned, ppo["cliprangeValue"])
                    - ppo["entropyCoef"] * entropy
                )
        return naive.mean(losses)


@pytest.mark.slow
def test_each_completion_is_trained_on_once_in_each_pass(lab: Any, base: Any, ppo_spec: Spec) -> None:
    """Two rollouts of 16 completions: two passes of two mini batches of two micro-batches of four."""
    training = {"gradientAccumulationSteps": 2, "perDeviceTrainBatchSize": 4, "maxSteps": 6}
    trainer = lab.build(lab.context("ppo", ppo_spec(training=training), base)).trainer
    steps: list[list[list[int]]] = []
    original = trainer.get_batch_samples

    def noted(*args: Any) -> Any:
        batches, tokens = original(*args)
        assert [len(batch["mask"]) for batch in batches] == [4, 4]
        assert float(tokens) == sum(int(batch["mask"].sum()) for batch in batches)
        steps.append([row for batch in batches for row in batch["input_ids"].tolist()])
        return batches, tokens

    trainer.get_batch_samples = noted
    trainer.train()
    assert len(steps) == 6
    first, again, second = (sorted(one + other) for one, other in (steps[0:2], steps[2:4], steps[4:6]))
    assert first == again
    assert len(first) == 16
    assert steps[0:2] != steps[2:4], "in another order"
    assert first != second
    assert {entry["num_tokens"] > 0 for entry in trainer.state.log_history if "loss" in entry} == {True}


def test_prompts_come_rollout_by_rollout_in_an_order_that_a_resumed_run_draws_again() -> None:
    epoch = 0
    sampler = RolloutSampler(7, 3, repeats=2, seed=11, epoch=lambda: epoch)
    first = list(sampler)
    assert len(first) == len(sampler) == 12
    assert first[0:3] == first[3:6]
    assert first[6:9] == first[9:12]
    assert len({*first}) == 6
    epoch = 1
    second = list(sampler)
    assert second != first
    resumed = RolloutSampler(7, 3, repeats=2, seed=11, epoch=lambda: 1)
    assert list(resumed) == second
    in_order = RolloutSampler(7, 3, repeats=1, seed=None, epoch=lambda: 0)
    assert list(in_order) == [0, 1, 2, 3, 4, 5]


def test_too_few_prompts_are_refused(lab: Any, base: Any, ppo_spec: Spec) -> None:
    spec = ppo_spec(ppo={"numMiniBatches": 11})
    with pytest.raises(DataError, match=r"40 prompts that can be used, and a rollout needs 44: perDevice"):
        lab.build(lab.context("ppo", spec, base))


def test_a_reward_whose_column_is_missing_is_refused(lab: Any, base: Any, ppo_spec: Spec) -> None:
    rewards = [{"name": "right", "answer": {"column": "solution"}}]
    with pytest.raises(DataError, match="solution"):
        lab.build(lab.context("ppo", ppo_spec(rewards=rewards), base))


def test_a_completion_without_a_score_teaches_nothing() -> None:
    from tunesmith_api.v1alpha1.methods.ppo import Ppo
    from tunesmith_trainer.reinforcement.estimates import add_estimates

    torch.manual_seed(0)
    batch = {name: torch.randn(3, 4) for name in ("log_probs", "reference_log_probs", "values")} | {
        "mask": torch.ones(3, 4, dtype=torch.bool)
    }
    known = {name: values[[0, 2]] for name, values in batch.items()}
    with_unknown, figures = add_estimates(batch, torch.tensor([1.0, math.nan, -2.0]), Ppo())
    without, expected = add_estimates(known, torch.tensor([1.0, -2.0]), Ppo())
    assert not with_unknown["mask"][1].any()
    for name in ("advantages", "returns"):
        assert torch.allclose(with_unknown[name][[0, 2]], without[name])
        assert not with_unknown[name][1].any()
    assert {name: float(value) for name, value in figures.items()} == pytest.approx(
        {name: float(value) for name, value in expected.items()}
    )


@pytest.mark.parametrize("start", ["new adapter", slow("earlier adapter"), slow("full weights")])
def test_the_output_is_the_policy_and_nothing_else(
    lab: Any, base: Any, adapter: Any, ppo_spec: Spec, start: str
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    change, model = STARTS[start]
    context = lab.context("ppo", ppo_spec(training={"maxSteps": 2}, **change), model(base, adapter))
    plan = lab.build(context)
    saved = lab.finish(context, plan)
    live = copy.deepcopy(plan.trainer.model).eval()
    volume = saved.adapter or saved.base
    folder = lab.path(volume.claim, volume.path)
    loaded = AutoModelForCausalLM.from_pretrained(lab.path(saved.base.claim, saved.base.path), dtype=torch.float32)
    if saved.adapter:
        loaded = PeftModel.from_pretrained(loaded, folder)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        assert torch.allclose(loaded.eval()(ids).logits, live(ids).logits, atol=1e-5)
    assert not [path.name for path in folder.rglob("*") if "value" in path.name]
    from safetensors.torch import load_file

    (weights,) = folder.glob("*.safetensors")
    assert not [name for name in load_file(weights) if "critic" in name or "head.bias" in name]


@pytest.mark.slow
def test_chats_are_answered_and_told_as_chats(lab: Any, base: Any, ppo_spec: Spec) -> None:
    rows = [{"prompt": [{"role": "user", "content": f"What is {number}?"}]} for number in range(16)]
    spec = ppo_spec(training={"maxSteps": 1}, datasets=[lab.put("chats.jsonl", rows)])
    trainer = lab.build(lab.context("chats", spec, base)).trainer
    decoded = trainer.processing_class.decode(trainer.train_dataset[3]["prompt_ids"])
    assert decoded == "<|im_start|>user\nWhat is 3?<|im_end|>\n<|im_start|>assistant\n"
    trainer.train()
    assert len(trainer.sampled) == 8
    for sampled in trainer.sampled:
        assert sampled.prompt in [row["prompt"] for row in rows]
        assert [message["role"] for message in sampled.completion] == ["assistant"]
        assert sampled.rewards.keys() == {"vowels", "brief"}


@pytest.mark.slow
def test_another_reference_is_what_the_policy_is_compared_with(
    lab: Any, base: Any, adapter: Any, ppo_spec: Spec
) -> None:
    """The policy begins as the base, the reference has been trained further."""
    spec = ppo_spec(training={"maxSteps": 1}, referenceModel={"fromJob": {"name": "earlier"}}, **LORA)
    context = lab.context("ppo", spec, base)
    reference = adapter.model_copy(update={"from_adapter": None})
    context = dataclasses.replace(context, run=context.run.model_copy(update={"reference": reference}))
    (first,) = logs(lab.build(context))
    assert first["val/ratio"] == pytest.approx(1, abs=1e-5)
    assert abs(first["objective/kl"]) > 1e-3


@pytest.mark.slow
def test_saved_memory_changes_no_figure(lab: Any, base: Any, ppo_spec: Spec) -> None:
    """Activations that are computed again, and completions that are made a few at a time."""
    plain = logs(lab.build(lab.context("plain", ppo_spec(**LORA), base)))
    spec = ppo_spec(training={"gradientCheckpointing": True}, **LORA)
    trainer = lab.build(lab.context("saving", spec, base)).trainer
    assert trainer._pair.critic.decoder.is_gradient_checkpointing
    trainer.train()
    again = [entry for entry in trainer.state.log_history if "loss" in entry]
    for name in ("loss", "objective/scores", "loss/value_avg"):
        assert [entry.get(name) for entry in again] == pytest.approx([entry.get(name) for entry in plain], abs=1e-5)


@pytest.mark.methods("learning")
def test_what_is_rewarded_comes_more_often(lab: Any, base: Any, ppo_spec: Spec) -> None:
    """And what is punished less often; proofs of learning on a task are in `learning`."""
    means = {}
    for sign in (1, -1):
        spec = ppo_spec(
            ppo={"numMiniBatches": 1, "numPpoEpochs": 4, "klCoef": 0.01},
            training={"maxSteps": 80, "learningRate": 3e-3, "perDeviceTrainBatchSize": 32},
            rewards=[{"name": "vowels", "weight": sign, "regex": {"pattern": "[aeiou]{2}"}}],
        )
        figures = logs(lab.build(lab.context(f"ppo{sign}", spec, base)))
        rates = [abs(entry["objective/scores"]) for entry in figures if "objective/scores" in entry]
        means[sign] = rates[0], sum(rates[-3:]) / 3
    assert means[1][0] == means[-1][0]
    assert means[1][1] > means[1][0] + 0.2
    assert means[-1][1] < means[-1][0]
