"""Two processes train what one does: the same rows in each step, the same loss, whatever each one's share weighs."""

from typing import Any

import pytest

# Of very different length, so that an average of averages would show.
ROWS = [{"prompt": f"{a}=", "completion": " one" * (1 + 7 * (a % 4))} for a in range(48)]
PAIRS = [{"prompt": f"{a}=", "chosen": " one" * (1 + a % 5), "rejected": " two"} for a in range(48)]
TEXT = "\n\n".join(f"Paragraph {number} tells the number {number} and nothing else." for number in range(80))
FROM_BASE = {"model": {"fromJob": {"name": "base"}}}
LORA = {"peft": {"lora": {"r": 4}}}


def specs(lab: Any, model: dict[str, Any]) -> dict[str, dict[str, Any]]:
    sft = {"method": "sft", "datasets": [lab.put("rows.jsonl", ROWS)]} | FROM_BASE
    pairs: dict[str, Any] = {"datasets": [lab.put("pairs.jsonl", PAIRS)]} | FROM_BASE
    return {
        "sft": sft,
        "lora": sft | LORA,
        "muon": sft | {"training": {"optim": "muon"}},
        "packed": sft | {"sft": {"packing": True}},
        "streamed": sft | {"dataProcessing": {"streaming": True}},
        "dpo": pairs | {"method": "dpo"},
        "kto": pairs | {"method": "kto", "kto": {"lossType": "apo_zero_unpaired", "precomputeRefLogProbs": True}},
        "reward": pairs | {"method": "reward"},
        # Rows that do not divide evenly among the processes.
        "asked ahead": pairs | {"method": "dpo", "dpo": {"precomputeRefLogProbs": True, "precomputeRefBatchSize": 5}},
        "simpo": pairs | {"method": "simpo"},
        "pretrain": {"method": "pretrain", "model": model, "datasets": [lab.put("text.txt", TEXT)]},
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    "names",
    [("sft", "lora", "muon", "packed", "streamed", "pretrain"), ("dpo", "asked ahead", "simpo", "kto", "reward")],
    ids=["language", "preferences"],
)
def test_two_processes_have_the_losses_of_one(lab: Any, base: Any, train_in_two: Any, names: tuple[str, ...]) -> None:
    architecture = {"hiddenSize": 16, "intermediateSize": 32, "numHiddenLayers": 1, "numAttentionHeads": 2}
    model = {"architecture": architecture, "tokenizer": {"train": {"vocabSize": 300}}}
    training = {"maxLength": 64, "maxSteps": 5, "loggingSteps": 1, "learningRate": 1e-2}
    together, alone = [], []
    for name in names:
        spec = specs(lab, model)[name]
        source = None if name == "pretrain" else base
        given = training | spec.get("training", {})
        whole = given | {"perDeviceTrainBatchSize": 8, "gradientAccumulationSteps": 2}
        trainer = lab.build(lab.context(f"{name}-1", spec | {"training": whole}, source)).trainer
        trainer.train()
        alone.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
        halves = given | {"ddpTimeout": 77} | {"perDeviceTrainBatchSize": 4, "gradientAccumulationSteps": 2}
        together.append(lab.context(f"{name}-2", spec | {"training": halves, "numProcPerNode": 2}, source))
    for name, losses, seen in zip(names, alone, train_in_two(*together), strict=True):
        assert (seen["apart"], seen["timeout"]) == (pytest.approx(0, abs=1e-6), 77), name
        assert seen["losses"] == pytest.approx(losses, abs=2e-4), name
        assert losses[-1] < losses[0]


# What processes draw for themselves, so that the losses are not those of one.
APART: dict[str, dict[str, Any]] = {
    "sophia": {"optim": "sophia", "optimArgs": {"estimationInterval": 2}, "learningRate": 1e-3},
    "groups": {"trainSamplingStrategy": "group_by_length", "dataloaderNumWorkers": 1},
    "ddp": {"ddpBucketCapMb": 1, "ddpFindUnusedParameters": True, "ddpBroadcastBuffers": False},
    "processes weigh the same": {"averageTokensAcrossDevices": False},
}


@pytest.mark.slow
def test_two_processes_hold_the_same_weights(lab: Any, base: Any, train_in_two: Any) -> None:
    basis = {"maxLength": 64, "maxSteps": 8, "loggingSteps": 1, "learningRate": 1e-2, "perDeviceTrainBatchSize": 4}
    spec = {"method": "sft", "datasets": [lab.put("rows.jsonl", ROWS)], "numProcPerNode": 2} | FROM_BASE
    contexts = [lab.context(name, spec | {"training": basis | training}, base) for name, training in APART.items()]
    for name, seen in zip(APART, train_in_two(*contexts), strict=True):
        assert seen["apart"] == pytest.approx(0, abs=1e-6), name
        assert seen["losses"][-1] < seen["losses"][0], name


@pytest.mark.slow
@pytest.mark.parametrize("method", ["grpo", "rloo"])
def test_the_completions_of_a_prompt_may_lie_in_two_processes(
    lab: Any, base: Any, train_in_two: Any, method: str
) -> None:
    spec = {
        "method": method,
        "datasets": [lab.put("prompts.jsonl", ROWS)],
        "rewards": [{"name": "vowel", "regex": {"pattern": "[ae]"}}],
        "training": {"maxLength": 64, "maxSteps": 3, "loggingSteps": 1, "perDeviceTrainBatchSize": 2},
        method: {"numGenerations": 4, "maxCompletionLength": 8, "beta": 0.1},
        "numProcPerNode": 2,
    }
    (seen,) = train_in_two(lab.context("online", spec | FROM_BASE, base))
    assert seen["apart"] == pytest.approx(0, abs=1e-6)
    assert len(seen["losses"]) == 3
