"""A preparation looks at the rewards: what is wrong with one is told before an accelerator is asked for."""

import json
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.run import ResolvedModel
from tunesmith_api.v1alpha1.architecture import TrainedTokenizer
from tunesmith_api.v1alpha1.status import VolumePath

QUESTIONS = [{"question": f"{number} + 1 = ", "answer": number + 1} for number in range(8)]
RIGHT = {"name": "right", "answer": {}}
FUNCTION = {"configMap": {"name": "code", "key": "own.py"}, "function": "score"}
MODEL = {"name": "helpful", "model": {"path": {"claim": "models", "path": "judge"}}}


def grpo(lab: Any, *rewards: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of a job that answers questions."""
    return {
        "method": "grpo",
        "datasets": [lab.put("questions.jsonl", QUESTIONS) | {"columns": {"prompt": "question"}}],
        "rewards": list(rewards),
        "training": {"perDeviceTrainBatchSize": 4},
        "grpo": {"numGenerations": 4, "maxCompletionLength": 4},
    }


def judge(folder: Path, model: Any) -> dict[str, ResolvedModel]:
    """Put a model that somebody means to score with next to the model to train, with a tokenizer of its own."""
    from tunesmith_trainer.models.trained_tokenizer import train_tokenizer

    path = folder.with_name("judge")
    model.save_pretrained(path)
    train_tokenizer(iter(["quite another text"]), TrainedTokenizer(vocab_size=300), 64).save_pretrained(path)
    return {"helpful": ResolvedModel(base=VolumePath(claim="models", path="judge"))}


def test_rewards_that_fit(lab: Any, prepare: Any, model_folder: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    models = judge(model_folder, AutoModelForSequenceClassification.from_pretrained(model_folder, num_labels=1))
    outcome = prepare(beside={"reward_models": models}, **grpo(lab, RIGHT, MODEL))
    assert outcome.exit_code == 0, outcome.message
    assert outcome.preparation.rows == 8
    (warning,) = [warning for warning in outcome.preparation.warnings if "rewards" in warning]
    assert warning.startswith("spec.rewards[1].model has another tokenizer than spec.model")


@pytest.mark.parametrize(
    ("reward", "code", "told"),
    [
        ({"regex": {"pattern": "("}}, ExitCode.INVALID_SPEC, "spec.rewards[1].regex.pattern: '(' is no regular"),
        ({"jsonSchema": '{"tipe": []}'}, ExitCode.INVALID_SPEC, "spec.rewards[1].jsonSchema: 'tipe' is not among"),
        ({"function": FUNCTION}, ExitCode.DATA_ERROR, "key own.py of ConfigMap code does not exist"),
        (
            {"answer": {"column": "solution"}},
            ExitCode.DATA_ERROR,
            "spec.datasets[0]: the first row has no column 'solution' beside the prompt (found: answer), which spec.re",
        ),
    ],
)
def test_rewards_that_can_not_be(lab: Any, prepare: Any, reward: Any, code: ExitCode, told: str) -> None:
    outcome = prepare(**grpo(lab, RIGHT, {"name": "other", **reward}))
    assert told in outcome.message
    assert outcome.exit_code == code


def test_a_language_model_does_not_score(lab: Any, prepare: Any, model_folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    models = judge(model_folder, AutoModelForCausalLM.from_pretrained(model_folder))
    outcome = prepare(beside={"reward_models": models}, **grpo(lab, MODEL))
    assert "spec.rewards[0].model" in outcome.message
    assert "is a language model without a score head" in outcome.message
    assert outcome.exit_code == ExitCode.INVALID_SPEC


def test_code_that_can_not_be_loaded(lab: Any, prepare: Any) -> None:
    path = lab.root / "tunesmith/configmaps/code/own.py"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps("no function"))
    outcome = prepare(**grpo(lab, {"name": "own", "function": FUNCTION}))
    assert "spec.rewards[0].function: key own.py of ConfigMap code has no function score" in outcome.message
    assert outcome.exit_code == ExitCode.INVALID_SPEC
