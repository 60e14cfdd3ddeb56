"""Which folders can become classifiers or are some, and what is refused with a remedy."""

import json
import os
from typing import Any

import pytest

from tunesmith_trainer.errors import InvalidSpec, ModelNotFound
from tunesmith_trainer.models.adapters.modules import output_head
from tunesmith_trainer.models.classifier import classifier_weights, load_classifier
from tunesmith_trainer.models.folders import Folder
from tunesmith_trainer.optimizers.muon import hidden_matrices


@pytest.fixture
def source() -> Any:
    """The spec's block about a model."""
    from tunesmith_api.v1alpha1.model import ModelSource

    return ModelSource.model_validate({"path": {"claim": "models"}, "attnImplementation": "sdpa"})


@pytest.fixture
def folder(lab: Any, base: Any) -> Folder:
    """The pretrained model."""
    return Folder.find(base.base, lab.context("job", JOB), "the base model")


JOB = {"method": "sft", "model": {"path": {"claim": "models"}}, "datasets": [{"claim": {"name": "data", "path": "x"}}]}


def rewrite(folder: Folder, **changes: Any) -> None:
    path = folder.path / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_fresh_head_follows_the_seed_and_all_else_is_the_models(folder: Folder, source: Any) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    first, again, other = (classifier_weights(folder, "float32", source, seed) for seed in (1, 1, 2))
    assert torch.equal(first.score.weight, again.score.weight)
    assert not torch.equal(first.score.weight, other.score.weight)
    assert first.score.weight.shape == (1, 32)
    causal = AutoModelForCausalLM.from_pretrained(folder.path).model.state_dict()
    assert all(torch.equal(value, causal[name]) for name, value in first.model.state_dict().items())


def test_the_head_is_no_hidden_layer(folder: Folder, source: Any) -> None:
    model = classifier_weights(folder, "float32", source, 1)
    assert output_head(model) is model.score
    assert all(matrix is not model.score.weight for matrix in hidden_matrices(model))


def test_a_language_model_scores_nothing(folder: Folder, source: Any) -> None:
    with pytest.raises(InvalidSpec, match="is a language model without a score head: train one on it"):
        load_classifier(folder, None, "float32", source)


def test_classes_are_no_score(folder: Folder, source: Any) -> None:
    rewrite(folder, architectures=["LlamaForSequenceClassification"], id2label={"0": "bad", "1": "good"})
    with pytest.raises(InvalidSpec, match="tells 2 classes apart; choose a classifier with one score"):
        load_classifier(folder, None, "float32", source)


def test_a_type_without_classifiers(folder: Folder, source: Any) -> None:
    rewrite(folder, model_type="mamba", architectures=["MambaForCausalLM"])
    with pytest.raises(
        InvalidSpec, match="of the type mamba, which transformers has no classifier for; choose another"
    ):
        classifier_weights(folder, "float32", source, 1)


def test_a_classifier_lacks_its_head(folder: Folder, source: Any) -> None:
    """It says that it is a classifier, and has the weights of a language model."""
    rewrite(folder, architectures=["LlamaForSequenceClassification"], id2label={"0": "reward"})
    with pytest.raises(ModelNotFound, match=r"lacks the weights score\.weight; copy the whole folder"):
        classifier_weights(folder, "float32", source, 1)


@pytest.mark.parametrize("task", ["CAUSAL_LM", "SEQ_CLS"])
def test_an_adapter_without_a_head(folder: Folder, source: Any, tmp_path: Any, task: str) -> None:
    """One that was trained as a classifier, and lost its head."""
    from peft import LoraConfig, get_peft_model

    model = get_peft_model(classifier_weights(folder, "float32", source, 1), LoraConfig(r=2, target_modules=["q_proj"]))
    model.save_pretrained(tmp_path / "adapter")
    path = tmp_path / "adapter" / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"task_type": task}))
    adapter = Folder(folder.place, tmp_path / "adapter", "the adapter")
    with pytest.raises(InvalidSpec, match=f"was trained for {task} and brings no score head to score texts with"):
        load_classifier(folder, adapter, "float32", source)


@pytest.mark.parametrize(
    ("width", "told"), [(32, "can not be read: .*; copy the whole"), (16, "does not fit its base")]
)
def test_an_adapter_that_is_cut_off_or_of_another_model(
    folder: Folder, source: Any, tmp_path: Any, width: int, told: str
) -> None:
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaConfig, LlamaForSequenceClassification

    config = LlamaConfig.from_pretrained(folder.path, hidden_size=width, num_labels=1)
    adapter = Folder(folder.place, tmp_path / "adapter", "the adapter")
    lora = LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["q_proj"])
    get_peft_model(LlamaForSequenceClassification(config), lora).save_pretrained(adapter.path)
    if width == 32:
        os.truncate(adapter.path / "adapter_model.safetensors", 1000)
    with pytest.raises(ModelNotFound, match=told):
        load_classifier(folder, adapter, "float32", source)
