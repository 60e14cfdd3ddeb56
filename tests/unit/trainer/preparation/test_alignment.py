"""Alignments are prepared: every method's rows, and the models beside the one that is trained."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.exitcodes import ExitCode
from tunesmith_api.quantity import parse_bytes
from tunesmith_api.run import ResolvedModel
from tunesmith_api.v1alpha1.methods import ALIGNMENT
from tunesmith_api.v1alpha1.status import VolumePath

PAIRS = [{"prompt": f"{number} + 1 = ", "chosen": f"{number + 1}", "rejected": f"{number}"} for number in range(16)]
SAMPLED = {"maxCompletionLength": 8}
LENGTH = {"name": "short", "length": {"max": 4}}
SCORED = {"name": "score", "model": {"path": {"claim": "models", "path": "judge"}}}
OTHER = ResolvedModel(base=VolumePath(claim="models", path="judge"))


def spec(lab: Any, method: str, **more: Any) -> dict[str, Any]:
    """Return what a job of a method has beside what all have."""
    online = ALIGNMENT[method].uses_rewards
    block = {"rewards": [LENGTH], method: SAMPLED} if online else {}
    rows = lab.put("pairs.jsonl", PAIRS) | ({"format": "prompt"} if online else {})
    return {"method": method, "datasets": [rows], **block, **more}


@pytest.fixture
def judge(lab: Any, model_folder: Path) -> Any:
    """Writes a copy of the model beside it, with a score head or another vocabulary where asked for."""

    def write(*, headed: bool = False, foreign: bool = False) -> None:
        from transformers import AutoTokenizer, LlamaConfig, LlamaForSequenceClassification

        from tunesmith_api.v1alpha1.architecture import TrainedTokenizer
        from tunesmith_trainer.models.trained_tokenizer import train_tokenizer

        folder = lab.path("models", "judge")
        shutil.copytree(model_folder, folder)
        if headed:
            config = LlamaConfig.from_pretrained(folder)
            config.num_labels = 1
            config.pad_token_id = AutoTokenizer.from_pretrained(folder).pad_token_id
            LlamaForSequenceClassification(config).save_pretrained(folder)
        if foreign:
            train_tokenizer(iter(["zyx wvu " * 9]), TrainedTokenizer(vocab_size=280), 64).save_pretrained(folder)

    return write


@pytest.mark.parametrize("method", ALIGNMENT)
def test_every_method_is_prepared(lab: Any, prepare: Any, method: str) -> None:
    outcome = prepare(**spec(lab, method))
    assert outcome.exit_code == ExitCode.SUCCESS, outcome.message
    found = outcome.preparation
    answers = {each.kind: each.count for each in found.answers}
    expected = {"kto": {"desirable": 16, "undesirable": 16}}
    assert answers == expected.get(method, {} if ALIGNMENT[method].uses_rewards else {"chosen": 16, "rejected": 16})
    assert found.rows == (32 if method == "kto" else 16)
    assert parse_bytes(found.memory.required) > 2**20


def test_a_reward_model_that_reads_otherwise_is_told(lab: Any, prepare: Any, judge: Any) -> None:
    judge(headed=True, foreign=True)
    alone = prepare(**spec(lab, "grpo")).preparation
    outcome = prepare(**spec(lab, "grpo", rewards=[SCORED]), beside={"reward_models": {"score": OTHER}})
    assert outcome.exit_code == ExitCode.SUCCESS, outcome.message
    assert any("tokenizer" in warning for warning in outcome.preparation.warnings)
    assert not any("tokenizer" in warning for warning in alone.warnings if "chat template" not in warning)


def test_a_language_model_is_no_reward_model(lab: Any, prepare: Any, judge: Any) -> None:
    judge()
    outcome = prepare(**spec(lab, "grpo", rewards=[SCORED]), beside={"reward_models": {"score": OTHER}})
    assert outcome.exit_code == ExitCode.INVALID_SPEC
    assert "without a score head" in outcome.message


def test_a_reference_of_another_vocabulary_is_refused(lab: Any, prepare: Any, judge: Any) -> None:
    judge(foreign=True)
    outcome = prepare(**spec(lab, "dpo"), beside={"reference": OTHER})
    assert outcome.exit_code == ExitCode.INVALID_SPEC
    assert outcome.message.startswith("spec.referenceModel: ")
    assert "has another vocabulary than the model to train" in outcome.message


def test_a_classifier_is_no_reference(lab: Any, prepare: Any, judge: Any) -> None:
    judge(headed=True)
    outcome = prepare(**spec(lab, "dpo"), beside={"reference": OTHER})
    assert outcome.exit_code == ExitCode.INVALID_SPEC
    assert "the base model of spec.referenceModel (claim models, path judge) is a LlamaForSeq" in outcome.message


def test_learnt_embeddings_are_no_reference(lab: Any, prepare: Any, model_folder: Path) -> None:
    from peft import PromptTuningConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_folder)
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    get_peft_model(model, config).save_pretrained(lab.path("models", "judge"))
    reference = ResolvedModel(
        base=VolumePath(claim="models", path="tiny"), adapter=VolumePath(claim="models", path="judge")
    )
    outcome = prepare(**spec(lab, "dpo"), beside={"reference": reference})
    assert outcome.exit_code == ExitCode.INVALID_SPEC
    assert "spec.referenceModel: the adapter of spec.referenceModel" in outcome.message
    assert "holds learnt embeddings" in outcome.message


def test_a_type_that_can_not_score_is_no_reward_model(lab: Any, prepare: Any, judge: Any) -> None:
    judge()
    config = lab.path("models", "judge") / "config.json"
    told = json.loads(config.read_text())
    config.write_text(json.dumps(told | {"model_type": "mamba", "architectures": ["MambaForCausalLM"]}))
    outcome = prepare(**spec(lab, "grpo", rewards=[SCORED]), beside={"reward_models": {"score": OTHER}})
    assert outcome.exit_code == ExitCode.INVALID_SPEC
    assert "spec.rewards[0].model" in outcome.message
    assert "of the type mamba, which transformers has no classifier for; choose another" in outcome.message


@pytest.mark.parametrize("role", ["reference", "reward model"])
def test_models_beside_the_trained_one_are_part_of_what_does_not_fit(
    lab: Any, prepare: Any, judge: Any, role: str
) -> None:
    judge(headed=role == "reward model")
    job, beside = {
        "reference": (spec(lab, "dpo"), {"reference": OTHER}),
        "reward model": (spec(lab, "grpo", rewards=[SCORED]), {"reward_models": {"score": OTHER}}),
    }[role]
    outcome = prepare(**job, beside=beside, device_memory="1Mi")
    assert outcome.exit_code == ExitCode.INVALID_SPEC
    assert "other models" in outcome.message


def test_all_pairs_that_prefer_nothing_are_told_before_a_device_is_asked_for(lab: Any, prepare: Any) -> None:
    rows = [row | {"rejected": row["chosen"]} if number % 4 == 1 else row for number, row in enumerate(PAIRS)]
    outcome = prepare([lab.put("pairs.jsonl", rows)], method="orpo")
    assert outcome.exit_code == ExitCode.DATA_ERROR
    assert "line 2: columns 'chosen' and 'rejected' are equal" in outcome.message
    assert "and so in 3 more rows (line 6, line 10, line 14); remove the rows" in outcome.message
