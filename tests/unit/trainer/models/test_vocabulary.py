"""Another tokenizer, added tokens and chat templates: what is trained with is what is saved and loads again."""

import json
from pathlib import Path
from typing import Any

import pytest
from hub_server import HubServer

from tunesmith_api.run import FrozenRun, ResolvedModel
from tunesmith_trainer.errors import InvalidSpec, ModelNotFound
from tunesmith_trainer.generate.loading import load_writer
from tunesmith_trainer.generate.options import parse

CHATS = [
    {"messages": [{"role": "user", "content": f"{number}+1="}, {"role": "assistant", "content": f"benzene {number}"}]}
    for number in range(8)
]
WORDS = {"addedTokens": ["benzene", "toluene"], "addedSpecialTokens": ["<|tool|>"]}
LORA = {"peft": {"lora": {"r": 4}}}
ADDED = [512, 513, 514]


def spec(lab: Any, model: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "method": "sft",
        "model": {"path": {"claim": "models", "path": "tiny"}} | (model or {}),
        "datasets": [lab.put("rows.jsonl", CHATS)],
        "training": {"maxLength": 64, "maxSteps": 4, "perDeviceTrainBatchSize": 4, "learningRate": 1e-2},
    } | more


def tokenizer_of(plan: Any) -> Any:
    return plan.trainer.processing_class


def fail(lab: Any, base: Any, error: type[Exception] = InvalidSpec, **model: Any) -> str:
    with pytest.raises(error) as caught:
        lab.build(lab.context("job", spec(lab, model), base))
    return str(caught.value)


@pytest.fixture
def undigested(base: Any) -> ResolvedModel:
    """The pretrained model as a folder that no job vouches for."""
    return ResolvedModel(base=base.base)


@pytest.fixture
def another(lab: Any, model_folder: Path) -> Path:
    """A tokenizer in a folder of its own, which puts the same pieces in another order."""
    from transformers import AutoTokenizer

    folder: Path = lab.path("tokenizers", "other")
    AutoTokenizer.from_pretrained(model_folder).save_pretrained(folder)
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["vocab"]["z"], content["model"]["vocab"]["y"] = (
        content["model"]["vocab"]["y"],
        content["model"]["vocab"]["z"],
    )
    (folder / "tokenizer.json").write_text(json.dumps(content))
    return folder


def test_a_tokenizer_of_another_folder(lab: Any, undigested: Any, another: Path) -> None:
    place = {"tokenizer": {"path": {"claim": "tokenizers", "path": "other"}}}
    own = tokenizer_of(lab.build(lab.context("own", spec(lab), undigested)))
    plan = lab.build(lab.context("job", spec(lab, place), undigested))
    assert tokenizer_of(plan).convert_tokens_to_ids("y") == own.convert_tokens_to_ids("z")
    missing = {"path": {"claim": "tokenizers", "path": "none"}}
    assert "the tokenizer (claim tokenizers, path none) does not exist" in fail(
        lab, undigested, ModelNotFound, tokenizer=missing
    )


def test_a_tokenizer_of_the_hub_is_fetched_without_weights(
    lab: Any, undigested: Any, another: Path, hub: HubServer
) -> None:
    (another / "model.safetensors").write_bytes(b"weights")
    hub.publish("team/tokenizer", another)
    source = {"tokenizer": {"name": "team/tokenizer"}}
    context = lab.context("job", spec(lab, source), undigested)
    assert context.run.uses_hub
    plan = lab.build(context)
    assert (
        tokenizer_of(plan).get_vocab() != tokenizer_of(lab.build(lab.context("own", spec(lab), undigested))).get_vocab()
    )
    assert not [path for path in hub.fetched() if path.endswith(".safetensors")]
    lab.build(context)
    assert len(hub.fetched()) == len(set(hub.fetched()))
    missing = {"name": "team/none"}
    assert "correct spec.model.tokenizer.name" in fail(lab, undigested, ModelNotFound, tokenizer=missing)


def test_a_new_architecture_takes_a_finished_tokenizer(lab: Any, another: Path) -> None:
    architecture = {"hiddenSize": 16, "intermediateSize": 32, "numHiddenLayers": 1, "numAttentionHeads": 2}
    model = {"architecture": architecture, "tokenizer": {"path": {"claim": "tokenizers", "path": "other"}}}
    pretrain = {"method": "pretrain", "model": model, "datasets": [lab.put("text.txt", "one two\n\nthree four " * 99)]}
    plan = lab.build(lab.context("job", pretrain | {"training": {"maxLength": 16}}))
    assert plan.trainer.model.config.vocab_size == len(tokenizer_of(plan)) == 512


def test_added_tokens_begin_at_the_mean_and_are_trained_with_full_weights(lab: Any, undigested: Any) -> None:
    context = lab.context("job", spec(lab, WORDS), undigested)
    plan = lab.build(context)
    tokenizer, model = tokenizer_of(plan), plan.trainer.model
    assert tokenizer.convert_tokens_to_ids(["benzene", "toluene", "<|tool|>"]) == ADDED
    assert tokenizer.decode(tokenizer("<|tool|>benzene")["input_ids"], skip_special_tokens=True) == "benzene"
    weights = model.get_input_embeddings().weight.detach()
    mean = weights[:512].mean(dim=0)
    assert weights.shape[0] == 515
    assert (weights[ADDED] - mean).abs().max() < 1e-2
    began = weights.clone()
    saved = lab.finish(context, plan)
    assert not model.get_input_embeddings().weight[512].equal(began[512])
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = lab.path(saved.base.claim, saved.base.path)
    assert AutoModelForCausalLM.from_pretrained(folder).config.vocab_size == 515
    assert len(AutoTokenizer.from_pretrained(folder)) == 515


def tie(model_folder: Path) -> None:
    """Make the pretrained model one that ties its embeddings."""
    from safetensors.torch import load_file, save_file

    config = json.loads((model_folder / "config.json").read_text())
    (model_folder / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": True}))
    weights = load_file(model_folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, model_folder / "model.safetensors", metadata={"format": "pt"})


def loaded_as_told(lab: Any, run: FrozenRun, saved: ResolvedModel) -> Any:
    """Load an adapter with the lines that the status tells."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert saved.adapter is not None
    folder = lab.path(saved.adapter.claim, saved.adapter.path)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    base = AutoModelForCausalLM.from_pretrained(lab.path(saved.base.claim, saved.base.path))  # type: ignore[union-attr]  # a folder
    if len(tokenizer) > base.get_input_embeddings().num_embeddings:
        base.resize_token_embeddings(len(tokenizer))
    return PeftModel.from_pretrained(base, folder)


@pytest.mark.parametrize("tied", [pytest.param(False, marks=pytest.mark.slow), True])
def test_an_adapter_trains_the_rows_of_added_tokens_and_loads_exactly(
    lab: Any, undigested: Any, model_folder: Path, *, tied: bool
) -> None:
    import torch

    if tied:
        tie(model_folder)
    context = lab.context("job", spec(lab, WORDS) | LORA, undigested)
    plan = lab.build(context)
    ids = torch.tensor([[5, *ADDED, 7]])
    before = plan.trainer.model.eval()(input_ids=ids).logits.detach()
    plan.trainer.model.train()
    saved = lab.finish(context, plan)
    live = plan.trainer.model.eval()(input_ids=ids).logits.detach()
    assert not torch.allclose(live[..., 512:], before[..., 512:], atol=1e-2), "the new rows are trained at the output"
    reloaded = loaded_as_told(lab, context.run, saved)
    assert torch.allclose(live, reloaded.eval()(input_ids=ids).logits, atol=1e-5)
    base, adapter = (lab.path(place.claim, place.path) for place in (saved.base, saved.adapter))
    tried = load_writer(parse(["--model", str(base), "--adapter", str(adapter)])).model
    assert torch.allclose(live, tried(input_ids=ids.to(tried.device)).logits.cpu(), atol=1e-5)
    further = lab.build(lab.context("further", spec(lab, {"fromJob": {"name": "job"}}), saved))
    assert torch.allclose(live, further.trainer.model.eval()(input_ids=ids).logits, atol=1e-5)
    merge = saved.model_copy(update={"from_adapter": "merge"})
    merged = lab.build(lab.context("merged", spec(lab, {"fromJob": {"name": "job", "fromAdapter": "merge"}}), merge))
    assert torch.allclose(live, merged.trainer.model.eval()(input_ids=ids).logits, atol=1e-4)


TEMPLATE = "{% for message in messages %}[{{ message['role'] }}] {{ message['content'] }}{{ eos_token }}{% endfor %}"


@pytest.mark.parametrize("place", ["template", "configMap", "claim"])
def test_a_template_of_one_s_own_renders_the_rows_and_is_saved(lab: Any, undigested: Any, place: str) -> None:
    claim, configmap = lab.path("templates", "chat.jinja"), lab.root / "tunesmith/configmaps/templates/chat.jinja"
    for path in (claim, configmap):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TEMPLATE)
    source = {
        "template": TEMPLATE,
        "configMap": {"name": "templates", "key": "chat.jinja"},
        "claim": {"name": "templates", "path": "chat.jinja"},
    }[place]
    context = lab.context("job", spec(lab, {"chatTemplate": {place: source}}) | LORA, undigested)
    plan = lab.build(context)
    row = tokenizer_of(plan).decode(plan.trainer.train_dataset[0]["input_ids"])
    assert row == "[user] 0+1=<|endoftext|>[assistant] benzene 0<|endoftext|>"
    saved = lab.finish(context, plan, train=False)
    assert (lab.path(saved.adapter.claim, saved.adapter.path) / "chat_template.jinja").read_text() == TEMPLATE


LLAMA3 = ["<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]


RENDERED = {
    "chatml": "<|im_start|>user\n0+1=<|im_end|>\n<|im_start|>assistant\nbenzene 0<|im_end|>\n",
    "alpaca": (
        "Below is an instruction that describes a task. Write a response that appropriately completes the request."
        "\n\n### Instruction:\n0+1=\n\n### Response:\nbenzene 0<|endoftext|>\n\n"
    ),
    "llama3": (
        "<|endoftext|><|start_header_id|>user<|end_header_id|>\n\n0+1=<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nbenzene 0<|eot_id|>"
    ),
}


@pytest.mark.parametrize(("name", "tokens"), [("chatml", []), ("alpaca", []), ("llama3", LLAMA3)])
def test_a_template_by_name(lab: Any, undigested: Any, name: str, tokens: list[str]) -> None:
    wanted: dict[str, Any] = {"chatTemplate": {"name": name}} | ({"addedSpecialTokens": tokens} if tokens else {})
    long = {"training": {"maxLength": 128, "maxSteps": 1}}
    plan = lab.build(lab.context("job", spec(lab, wanted) | long, undigested))
    tokenizer = tokenizer_of(plan)
    assert tokenizer.decode(plan.trainer.train_dataset[0]["input_ids"]) == RENDERED[name]
    encoded = tokenizer.apply_chat_template(CHATS[0]["messages"], return_dict=True, return_assistant_tokens_mask=True)
    said = [id_ for id_, mask in zip(encoded["input_ids"], encoded["assistant_masks"], strict=True) if mask]
    end = {"chatml": "<|im_end|>", "alpaca": "<|endoftext|>", "llama3": "<|eot_id|>"}[name]
    assert tokenizer.decode(said) == f"benzene 0{end}"
    stops = plan.trainer.model.generation_config.eos_token_id
    assert tokenizer.convert_tokens_to_ids(end) in (stops if isinstance(stops, list) else [stops])
    prompt = tokenizer.apply_chat_template(CHATS[0]["messages"][:1], tokenize=False, add_generation_prompt=True)
    assert RENDERED[name].startswith(prompt)


def test_templates_that_do_not_work_are_told(lab: Any, undigested: Any) -> None:
    assert "llama3 needs the tokens <|start_header_id|>, <|end_header_id|>, <|eot_id|>, which the tokenizer" in fail(
        lab, undigested, chatTemplate={"name": "llama3"}
    )
    text = fail(lab, undigested, chatTemplate={"template": "{% for message in messages %}\n{{ message.content }"})
    assert text.startswith("spec.model.chatTemplate.template, line 2: the template does not work on a chat of user")
    text = fail(lab, undigested, chatTemplate={"template": "{{ raise_exception('only in French') }}"})
    assert "only in French" in text
    assert "the template leaves out what the assistant says" in fail(
        lab, undigested, chatTemplate={"template": "{{ messages[0]['content'] }}"}
    )
    lab.path("templates").mkdir(parents=True)
    missing = {"claim": {"name": "templates", "path": "none.jinja"}}
    assert "spec.model.chatTemplate.claim (file none.jinja of templates) can not be read" in fail(
        lab, undigested, chatTemplate=missing
    )
