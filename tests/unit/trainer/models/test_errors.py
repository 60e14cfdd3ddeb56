"""A model that is missing, damaged or does not fit is told by claim and path, with what to do."""

import json
from typing import Any

import pytest

from tunesmith_api.run import ResolvedModel
from tunesmith_api.v1alpha1.status import VolumePath
from tunesmith_trainer.errors import InvalidSpec, ModelNotFound

ROWS = [{"prompt": "1+1=", "completion": " 2"}]


def spec(lab: Any, **more: Any) -> dict[str, Any]:
    return {
        "method": "sft",
        "model": {"path": {"claim": "models", "path": "tiny"}},
        "datasets": [lab.put("rows.jsonl", ROWS)],
        "training": {"maxLength": 32, "maxSteps": 1},
    } | more


def fail(lab: Any, model: ResolvedModel, error: type[Exception] = ModelNotFound, **more: Any) -> str:
    with pytest.raises(error) as caught:
        lab.build(lab.context("job", spec(lab, **more), model))
    return str(caught.value)


@pytest.fixture
def undigested(base: Any) -> ResolvedModel:
    """The pretrained model as a folder that no job vouches for."""
    return ResolvedModel(base=base.base)


def test_a_folder_that_does_not_exist(lab: Any) -> None:
    model = ResolvedModel(base=VolumePath(claim="models", path="tiny"))
    assert fail(lab, model) == (
        "the base model (claim models, path tiny) does not exist;"
        " correct the path or copy the model there with save_pretrained"
    )


def test_an_empty_folder(lab: Any) -> None:
    lab.path("models").mkdir(parents=True)
    model = ResolvedModel(base=VolumePath(claim="models"))
    assert "the base model (claim models, path /) has no config.json" in fail(lab, model)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("config.json", "has no config.json; it is no model folder"),
        (
            "model.safetensors",
            "has no model.safetensors or model.safetensors.index.json; save the weights as safetensors",
        ),
        ("tokenizer.json", "holds no tokenizer (tokenizer.json, tokenizer.model, vocab.json); copy it"),
    ],
)
def test_a_file_is_missing(lab: Any, undigested: Any, model_folder: Any, *, file: str, message: str) -> None:
    (model_folder / file).unlink()
    assert message in fail(lab, undigested)


def test_weights_that_are_cut_off(lab: Any, undigested: Any, model_folder: Any) -> None:
    weights = model_folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert "can not be loaded:" in fail(lab, undigested)


def test_weights_that_are_missing_are_not_made_up(lab: Any, undigested: Any, model_folder: Any) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(model_folder / "model.safetensors")
    del weights["model.layers.0.mlp.up_proj.weight"]
    save_file(weights, model_folder / "model.safetensors", metadata={"format": "pt"})
    assert "lacks the weights model.layers.0.mlp.up_proj.weight; copy the whole folder" in fail(lab, undigested)


@pytest.mark.parametrize("text", ["{", '{"model_type": "unheard-of"}'])
def test_a_config_that_can_not_be_read(lab: Any, undigested: Any, model_folder: Any, text: str) -> None:
    (model_folder / "config.json").write_text(text)
    assert "the base model (claim base-ftj" in fail(lab, undigested)


def test_code_in_a_model_folder_is_not_run(lab: Any, undigested: Any, model_folder: Any) -> None:
    config = json.loads((model_folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    (model_folder / "config.json").write_text(json.dumps(config))
    (model_folder / "own.py").write_text("raise SystemExit('code of the folder was run')\n")
    text = fail(lab, undigested, InvalidSpec)
    assert text.startswith("the base model (claim base-ftj")
    assert "is of a class of its own (own.Model), and no code of a model is run unless" in text


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("T5ForConditionalGeneration", "an encoder-decoder or multimodal model"),
        ("LlamaModel", "no causal language model"),
    ],
)
def test_another_kind_of_model_is_named(lab: Any, undigested: Any, model_folder: Any, *, name: str, kind: str) -> None:
    config = json.loads((model_folder / "config.json").read_text())
    (model_folder / "config.json").write_text(json.dumps(config | {"architectures": [name]}))
    assert f" is a {name}: {kind}, and only causal language models" in fail(lab, undigested, InvalidSpec)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attention_is_computed_as_asked(lab: Any, undigested: Any, attention: str) -> None:
    model = {"path": {"claim": "models"}, "attnImplementation": attention}
    plan = lab.build(lab.context("job", spec(lab, model=model), undigested))
    assert plan.trainer.model.config._attn_implementation == attention


def test_flash_attention_needs_its_package(lab: Any, undigested: Any) -> None:
    model = {"path": {"claim": "models"}, "attnImplementation": "flash_attention_2"}
    with pytest.raises(InvalidSpec) as caught:
        lab.build(lab.context("job", spec(lab, model=model), undigested))
    assert str(caught.value).startswith("spec.model.attnImplementation: flash_attention_2 needs the package flash-attn")


def test_a_tokenizer_of_another_model(lab: Any, undigested: Any, model_folder: Any) -> None:
    file = model_folder / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    tokenizer["added_tokens"].append(tokenizer["added_tokens"][0] | {"id": 512, "content": "<|more|>"})
    file.write_text(json.dumps(tokenizer))
    assert "has 513 tokens and the model embeds 512" in fail(lab, undigested)


def test_an_adapter_where_a_model_should_be(lab: Any, undigested: Any, model_folder: Any) -> None:
    (model_folder / "config.json").rename(model_folder / "adapter_config.json")
    assert "is an adapter; use model.fromJob" in fail(lab, undigested)


def test_modules_that_the_model_lacks(lab: Any, undigested: Any) -> None:
    peft = {"lora": {"targetModules": ["q_proj", "query"]}}
    assert fail(lab, undigested, InvalidSpec, peft=peft) == (
        "spec.peft.lora.targetModules[1]: the model has no linear module 'query' that can be adapted;"
        " it has down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"
    )
    assert "no linear module 'lm_head'" in fail(
        lab, undigested, InvalidSpec, peft={"lora": {"targetModules": ["lm_head"]}}
    )


@pytest.fixture
def adapter(lab: Any, undigested: Any) -> Any:
    context = lab.context("earlier", spec(lab, peft={"lora": {"r": 4}}), undigested)
    model = lab.finish(context, lab.build(context), train=False)
    return model.model_copy(update={"digest": None})


def folder_of(lab: Any, adapter: Any) -> Any:
    return lab.path(adapter.adapter.claim, adapter.adapter.path)


def test_settings_of_another_adapter_than_there_is(lab: Any, adapter: Any) -> None:
    text = fail(lab, adapter, InvalidSpec, peft={"lora": {"r": 8}})
    assert text.startswith("spec.peft: with model.fromJob.fromAdapter: continue the earlier adapter is trained further")


@pytest.mark.parametrize("file", ["adapter_config.json", "adapter_model.safetensors"])
def test_an_adapter_that_is_not_whole(lab: Any, adapter: Any, file: str) -> None:
    (folder_of(lab, adapter) / file).unlink()
    assert (
        f"the adapter (claim earlier-ftj, path finetunejobs/earlier/runs/uid-earlier-1/output) has no {file}"
        in fail(lab, adapter)
    )


def test_an_adapter_of_another_model(lab: Any, adapter: Any) -> None:
    from safetensors.torch import load_file, save_file

    weights = folder_of(lab, adapter) / "adapter_model.safetensors"
    save_file({name: value[:, :8].contiguous() for name, value in load_file(weights).items()}, weights)
    assert "does not fit its base model" in fail(lab, adapter)


def test_an_adapter_of_another_kind(lab: Any, adapter: Any) -> None:
    file = folder_of(lab, adapter) / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"peft_type": "VERA"}))
    assert "is an adapter of type VERA; only LORA, IA3, PROMPT_TUNING can be used" in fail(lab, adapter)
