"""Every alignment method from one fine-tuned adapter, applied at once, each result loaded with plain libraries."""

import json
from collections.abc import Callable
from typing import Any

import jobs
import pytest
import volume
from kube import Kubectl, config_map
from watching import Watched, metric

Object = dict[str, Any]

PAIRS = "pairs"
LENGTH = {"name": "short", "length": {"max": 4, "margin": 8}}
JUDGE = {"name": "judge", "model": {"fromJob": {"kind": "AlignmentJob", "name": "reward"}}}
METHODS: dict[str, Object] = {
    "reward": {"peft": {"lora": {"r": 4}}, "model": {"fromJob": {"name": "tuned", "fromAdapter": "merge"}}},
    "dpo": {},
    "orpo": {},
    "cpo": {},
    "simpo": {},
    "kto": {},
    "grpo": {"grpo": {"numGenerations": 4, "maxCompletionLength": 8, "beta": 0.04}, "rewards": [LENGTH]},
    "rloo": {"rloo": {"numGenerations": 4, "maxCompletionLength": 8}, "rewards": [LENGTH]},
    "ppo": {"ppo": {"maxCompletionLength": 8}, "rewards": [LENGTH, JUDGE]},
}
# The figure that each method's users watch first.
WATCHED = {"reward": "accuracy", "grpo": "reward", "rloo": "reward", "ppo": "reward"}

# Runs in a pod without our package: what each output says of one text.
_LOAD = """
import json, sys
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
said = {}
for name, (base, adapter) in json.loads(sys.argv[1]).items():
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    if name == 'reward':
        model = AutoModelForSequenceClassification.from_pretrained(base, num_labels=1)
        model.config.pad_token_id = tokenizer.pad_token_id
    else:
        model = AutoModelForCausalLM.from_pretrained(base)
    ids = tokenizer('A function is', return_tensors='pt').input_ids
    with torch.no_grad():
        before = model(ids).logits.flatten()[-64:]
        after = PeftModel.from_pretrained(model, adapter)(ids).logits.flatten()[-64:]
    said[name] = float((after - before).abs().max())
print(json.dumps(said))
"""


def pairs(rows: int = 40) -> str:
    """Return rows with prompt, chosen and rejected answer: how a topic begins, and how it does not."""
    found = [json.loads(line) for line in jobs.questions(rows).splitlines()]
    answers = [row["completion"][:20] for row in found]
    return "".join(
        json.dumps({"prompt": row["prompt"], "chosen": answer, "rejected": answer[::-1]}) + "\n"
        for row, answer in zip(found, answers, strict=True)
    )


@pytest.fixture(scope="module")
def outputs(apply_shared: Callable[..., Watched], shared_space: Kubectl) -> dict[str, Object]:
    """The status of each method's job."""
    shared_space.apply(config_map(PAIRS, {"train.jsonl": pairs()}))
    apply_shared(jobs.pretrain("base", steps=10))
    apply_shared(jobs.sft("tuned", "base", training={"maxSteps": 5}))
    training = {"maxSteps": 4, "perDeviceTrainBatchSize": 4, "maxLength": 64, "loggingSteps": 1, "learningRate": 0.003}
    common = {"model": {"fromJob": {"name": "tuned"}}, "datasets": [jobs.dataset(PAIRS)], "training": training}
    watched = {
        method: apply_shared(jobs.job(method, {"method": method, **common, **more}, kind="AlignmentJob"))
        for method, more in METHODS.items()
    }
    return {method: job.wait_complete(limit=420) for method, job in watched.items()}


@pytest.mark.parametrize("method", METHODS)
def test_it_trains_and_tells_its_figures(outputs: dict[str, Object], method: str) -> None:
    status = outputs[method]
    assert len(status["attempts"]) == 1
    assert status["output"]["kind"] == "adapter"
    assert status["progress"]["currentStep"] == 4
    assert metric(status, WATCHED.get(method, "rewards/margins")) is not None


def test_plain_libraries_load_them_all(
    outputs: dict[str, Object], shared_space: Kubectl, references: dict[str, str]
) -> None:
    found = {method: status["output"] for method, status in outputs.items()}
    folders = {
        method: [f"/tunesmith/claims/{place['claim']}/{place['path']}" for place in (output["baseModel"], output)]
        for method, output in found.items()
    }
    claims = tuple({place["claim"] for output in found.values() for place in (output["baseModel"], output)})
    command = ("python3", "-c", _LOAD, json.dumps(folders))
    said = json.loads(volume.run(shared_space, references["trainer-cpu"], "load", command, claims).splitlines()[-1])
    assert all(moved > 1e-4 for moved in said.values()), said
