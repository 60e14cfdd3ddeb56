"""Every adapter type and variant: what it trains, and that plain peft and transformers load what was saved."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from tunesmith_api.run import ResolvedModel
from tunesmith_api.v1alpha1.status import VolumePath
from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.manifests import read_manifest

ROWS = [{"prompt": f"{a}+{b}=", "completion": f" {a + b}"} for a in range(6) for b in range(4)]
IDS = [[5, 6, 7, 8, 9, 10]]


def spec(lab: Any, peft: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "method": "sft",
        "model": {"path": {"claim": "models", "path": "base"}},
        "peft": peft,
        "datasets": [lab.put("rows.jsonl", ROWS)],
        "training": {"maxLength": 32, "maxSteps": 2, "learningRate": 1e-2},
    } | more


def logits(model: Any) -> Any:
    """Return what the model says about the same tokens, also where learnt embeddings stand before them."""
    import torch

    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor(IDS)).logits[:, -len(IDS[0]) :]


def plain(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)


def reloaded(lab: Any, model: ResolvedModel) -> Any:
    """Load with plain peft on the base that the adapter names."""
    from peft import PeftConfig, PeftModel

    assert model.adapter is not None
    folder = lab.path(model.adapter.claim, model.adapter.path)
    named = PeftConfig.from_pretrained(folder).base_model_name_or_path
    assert isinstance(model.base, VolumePath)
    assert named == f"/tunesmith/claims/{model.base.claim}/{model.base.path}"
    return PeftModel.from_pretrained(plain(lab.root / named.lstrip("/")), folder)


@pytest.mark.methods("PEFT type")
@pytest.mark.parametrize(
    ("peft", "trained"),
    [
        pytest.param(
            {"lora": {"r": 4, "loraDropout": 0.1}}, {"lora_A", "lora_B"}, id="lora", marks=pytest.mark.representative
        ),
        pytest.param(
            {"lora": {"useDora": True}},
            {"lora_A", "lora_B", "lora_magnitude_vector"},
            id="dora",
            marks=pytest.mark.slow,
        ),
        pytest.param({"lora": {"useRslora": True, "r": 16}}, {"lora_A", "lora_B"}, id="rslora"),
        pytest.param({"lora": {"initLoraWeights": "gaussian"}}, {"lora_A", "lora_B"}, id="gaussian"),
        pytest.param({"lora": {"initLoraWeights": "orthogonal"}}, {"lora_A", "lora_B"}, id="orthogonal"),
        pytest.param(
            {"lora": {"initLoraWeights": "pissa", "r": 4}},
            {"lora_A", "lora_B"},
            id="pissa",
            marks=pytest.mark.representative,
        ),
        pytest.param({"lora": {"initLoraWeights": "olora", "useRslora": True}}, {"lora_A", "lora_B"}, id="olora"),
        pytest.param(
            {"lora": {"modulesToSave": ["lm_head", "embed_tokens"]}},
            {"lora_A", "lora_B", "lm_head", "embed_tokens"},
            id="modules to save",
            marks=pytest.mark.representative,
        ),
        pytest.param(
            {
                "lora": {
                    "targetModules": ["q_proj", "mlp.up_proj"],
                    "rankPattern": {"q_proj": 2},
                    "alphaPattern": {r".*\.1\.mlp\.up_proj": 5},
                    "initLoraWeights": "pissa",
                }
            },
            {"lora_A", "lora_B"},
            id="patterns",
        ),
        pytest.param({"ia3": {}}, {"ia3_l"}, id="ia3", marks=pytest.mark.representative),
        pytest.param({"promptTuning": {"numVirtualTokens": 4}}, {"prompt_encoder"}, id="prompt tuning"),
        pytest.param(
            {"promptTuning": {"promptTuningInit": "TEXT", "promptTuningInitText": "Add the numbers."}},
            {"prompt_encoder"},
            id="prompt tuning from text",
            marks=pytest.mark.representative,
        ),
    ],
)
def test_what_is_trained_is_saved_for_plain_peft(
    lab: Any, base: Any, model_folder: Path, *, peft: dict[str, Any], trained: set[str]
) -> None:
    import torch

    context = lab.context("job", spec(lab, peft), base)
    plan = lab.build(context)
    model = plan.trainer.model
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    plan.trainer.train()
    changed = {name for name, value in model.named_parameters() if not value.equal(before[name])}
    assert changed == {name for name, value in model.named_parameters() if value.requires_grad}
    assert {part for name in changed for part in name.split(".") if part in trained} == trained
    live = logits(model)
    assert torch.allclose(live, logits(reloaded(lab, lab.finish(context, plan, train=False))), atol=1e-5)
    assert not torch.allclose(live, logits(plain(model_folder)), atol=1e-3)


MERGEABLE = [
    pytest.param({"lora": {"r": 4}}, id="lora", marks=pytest.mark.slow),
    pytest.param({"lora": {"useDora": True}}, id="dora"),
    pytest.param({"lora": {"initLoraWeights": "pissa"}}, id="pissa"),
    pytest.param({"lora": {"modulesToSave": ["embed_tokens"]}}, id="modules to save"),
    pytest.param({"ia3": {}}, id="ia3"),
]
KEPT = pytest.param({"promptTuning": {"promptTuningInit": "TEXT", "promptTuningInitText": "Add."}}, id="prompt tuning")


@pytest.mark.methods("PEFT type")
@pytest.mark.parametrize("peft", [*MERGEABLE, KEPT])
def test_an_adapter_is_trained_further(lab: Any, base: Any, peft: dict[str, Any]) -> None:
    import torch

    first = lab.context("first", spec(lab, peft), base)
    trained = lab.build(first)
    adapter = lab.finish(first, trained)
    second = lab.context("second", without_peft(lab, "continue"), adapter)
    plan = lab.build(second)
    assert torch.allclose(logits(trained.trainer.model), logits(plan.trainer.model), atol=1e-5)
    assert plan.base_model == base.base
    saved = lab.finish(second, plan)
    live = logits(plan.trainer.model)
    assert not torch.allclose(live, logits(trained.trainer.model), atol=1e-3)
    assert torch.allclose(live, logits(reloaded(lab, saved)), atol=1e-5)


@pytest.mark.methods("PEFT type")
@pytest.mark.parametrize("peft", MERGEABLE)
def test_a_merged_adapter_is_the_base_of_the_next(lab: Any, base: Any, peft: dict[str, Any]) -> None:
    import torch

    first = lab.context("first", spec(lab, peft), base)
    trained = lab.build(first)
    adapter = lab.finish(first, trained)
    second = lab.context("second", without_peft(lab, "merge") | {"peft": peft}, merging(adapter))
    plan = lab.build(second)
    assert torch.allclose(logits(trained.trainer.model), logits(plan.trainer.model), atol=1e-5)
    saved = lab.finish(second, plan)
    assert saved.base.path == f"{second.run.directory}/base"
    assert torch.allclose(logits(plan.trainer.model), logits(reloaded(lab, saved)), atol=1e-5)


def test_learnt_embeddings_can_not_be_merged(lab: Any, base: Any) -> None:
    first = lab.context("first", spec(lab, {"promptTuning": {}}), base)
    adapter = lab.finish(first, lab.build(first), train=False)
    with pytest.raises(
        InvalidSpec, match=r"the adapter \(claim first-ftj.* can not be merged into it; use .*fromAdapter: continue"
    ):
        lab.build(lab.context("second", without_peft(lab, "merge"), merging(adapter)))


def without_peft(lab: Any, from_adapter: str) -> dict[str, Any]:
    whole = spec(lab, {}, model={"fromJob": {"name": "first", "fromAdapter": from_adapter}})
    del whole["peft"]
    return whole


def merging(adapter: ResolvedModel) -> ResolvedModel:
    return adapter.model_copy(update={"from_adapter": "merge"})


@pytest.mark.methods("PEFT type")
@pytest.mark.parametrize("peft", MERGEABLE)
@pytest.mark.parametrize("tied", [False, True])
def test_the_merged_model_beside_the_adapter(lab: Any, other: Any, *, peft: dict[str, Any], tied: bool) -> None:
    import torch

    base = other("llama", tie_word_embeddings=tied, intermediate_size=48)
    context = lab.context("job", spec(lab, peft, output={"mergeAdapter": True}), base)
    plan = lab.build(context)
    saved = lab.finish(context, plan)
    assert saved.adapter is not None
    folder = lab.path(saved.adapter.claim, saved.adapter.path)
    live = logits(plan.trainer.model)
    assert torch.allclose(live, logits(plain(folder / "merged")), atol=1e-5)
    assert torch.allclose(live, logits(reloaded(lab, saved)), atol=1e-5)
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest.artifact == "adapter"
    assert "merged/model.safetensors" in {file.path for file in manifest.files}
    stops = "generation_config.json"
    assert (
        json.loads((folder / stops).read_text())["eos_token_id"]
        == json.loads((folder / "merged" / stops).read_text())["eos_token_id"]
    )
    place = VolumePath(claim=saved.adapter.claim, path=f"{saved.adapter.path}/merged")
    again = lab.build(lab.context("next", spec(lab, peft), ResolvedModel(base=place)))
    assert torch.allclose(live, logits(again.trainer.model), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bias", "trained"), [("all", {"q_proj", "k_proj", "v_proj", "o_proj"}), ("lora_only", {"q_proj"})]
)
def test_biases(lab: Any, other: Any, *, bias: str, trained: set[str]) -> None:
    import torch

    base = other("llama", attention_bias=True, intermediate_size=48)
    peft = {"lora": {"bias": bias, "targetModules": ["q_proj", "up_proj"]}}
    context = lab.context("job", spec(lab, peft), base)
    plan = lab.build(context)
    names = [name for name, value in plan.trainer.model.named_parameters() if value.requires_grad]
    assert {name.split(".")[6] for name in names if name.endswith("bias")} == trained
    saved = lab.finish(context, plan)
    live = logits(plan.trainer.model)
    assert torch.allclose(live, logits(reloaded(lab, saved)), atol=1e-5)
    merge = lab.build(lab.context("merge", without_peft(lab, "merge"), merging(saved)))
    assert torch.allclose(live, logits(merge.trainer.model), atol=1e-5)
    with pytest.raises(InvalidSpec, match=f"the adapter to train further has bias: {bias}"):
        lab.build(lab.context("dpo", preferences(lab) | {"model": {"fromJob": {"name": "job"}}}, saved))


def preferences(lab: Any) -> dict[str, Any]:
    rows = [row | {"chosen": row["completion"], "rejected": " no"} for row in ROWS]
    for row in rows:
        del row["completion"]
    whole = spec(lab, {}) | {"method": "dpo", "datasets": [lab.put("pairs.jsonl", rows)]}
    del whole["peft"]
    return whole


@pytest.mark.methods("PEFT type")
@pytest.mark.parametrize(
    "peft",
    [
        pytest.param({"lora": {"r": 4}}, id="lora", marks=pytest.mark.slow),
        pytest.param({"lora": {"initLoraWeights": "olora"}}, id="olora"),
        pytest.param({"lora": {"modulesToSave": ["lm_head"]}}, id="modules to save"),
        pytest.param({"ia3": {}}, id="ia3"),
        pytest.param({"promptTuning": {"numVirtualTokens": 4}}, id="prompt tuning"),
    ],
)
def test_preferences_are_compared_with_the_beginning(lab: Any, base: Any, peft: dict[str, Any]) -> None:
    """A new adapter's reference is the base; one that is trained further is compared with a frozen copy of itself."""
    new = preferences(lab) | {"peft": peft, "training": {"maxLength": 32, "maxSteps": 4, "loggingSteps": 1}}
    new["training"] |= {"learningRate": 3e-3, "perDeviceTrainBatchSize": 4}
    first = lab.context("new", new, base)
    plan = lab.build(first)
    adapter = lab.finish(first, plan)
    further = {name: value for name, value in new.items() if name != "peft"}
    again = lab.build(lab.context("further", further | {"model": {"fromJob": {"name": "new"}}}, adapter))
    again.trainer.train()
    for log in (plan.trainer.state.log_history, again.trainer.state.log_history):
        losses = [entry["loss"] for entry in log if "loss" in entry]
        # Learnt embeddings move what the base says from the very beginning, before anything is learnt.
        if "promptTuning" not in peft or log is again.trainer.state.log_history:
            assert losses[0] == pytest.approx(math.log(2), abs=1e-4)
        assert losses[-1] < losses[0]


@pytest.mark.methods("PEFT type")
@pytest.mark.parametrize(
    ("kind", "config", "targets", "feed_forward"),
    [
        ("llama", {"intermediate_size": 48}, {"k_proj", "v_proj", "down_proj"}, {"down_proj"}),
        ("gpt2", {}, {"c_attn", "mlp.c_proj"}, {"mlp.c_proj"}),
        ("olmo2", {"intermediate_size": 48}, {"k_proj", "v_proj", "down_proj"}, {"down_proj"}),
        ("gpt_neox", {"intermediate_size": 48}, {"query_key_value", "dense_4h_to_h"}, {"dense_4h_to_h"}),
    ],
)
def test_ia3_finds_its_modules(
    lab: Any, other: Any, *, kind: str, config: dict[str, Any], targets: set[str], feed_forward: set[str]
) -> None:
    plan = lab.build(lab.context("job", spec(lab, {"ia3": {}}), other(kind, **config)))
    made = plan.trainer.model.peft_config["default"]
    assert made.target_modules == targets
    assert made.feedforward_modules == feed_forward
    plan.trainer.train()


def test_ia3_takes_the_modules_of_the_spec(lab: Any, base: Any) -> None:
    peft = {"ia3": {"targetModules": ["q_proj", "mlp.down_proj"]}}
    config = lab.build(lab.context("own", spec(lab, peft), base)).trainer.model.peft_config["default"]
    assert (config.target_modules, config.feedforward_modules) == ({"q_proj", "mlp.down_proj"}, {"mlp.down_proj"})
    peft["ia3"]["feedforwardModules"] = ["q_proj"]
    config = lab.build(lab.context("set", spec(lab, peft), base)).trainer.model.peft_config["default"]
    assert config.feedforward_modules == {"q_proj"}


def test_layers_and_patterns_choose_modules_and_ranks(lab: Any, base: Any) -> None:
    lora = {"targetModules": ["q_proj", "up_proj"], "layersToTransform": [1], "layersPattern": "layers"}
    lora |= {"rankPattern": {"q_proj": 3}, "alphaPattern": {"mlp.up_proj": 24}}
    lora |= {"r": 5, "loraAlpha": 20, "loraDropout": 0.25}
    model = lab.build(lab.context("job", spec(lab, {"lora": lora}), base)).trainer.model
    layers = {
        name.removeprefix("base_model.model.model."): (
            module.r["default"],
            module.scaling["default"],
            module.lora_dropout["default"].p,
        )
        for name, module in model.named_modules()
        if hasattr(module, "lora_A")
    }
    assert layers == {"layers.1.self_attn.q_proj": (3, 20 / 3, 0.25), "layers.1.mlp.up_proj": (5, 24 / 5, 0.25)}


@pytest.mark.parametrize(
    ("peft", "message"),
    [
        ({"lora": {"layersToTransform": [0, 2]}}, r"layersToTransform\[1\] is 2, and the model has the layers 0 to 1"),
        ({"lora": {"layersToTransform": [0], "layersPattern": "h"}}, "no module is left to adapt"),
        ({"lora": {"targetModules": ["q_proj"], "rankPattern": {"v_proj": 2}}}, "'v_proj' fits none of the adapted"),
        ({"lora": {"alphaPattern": {"(": 2}}}, r"lora\.alphaPattern: '\(' is no regular expression"),
        ({"lora": {"bias": "all"}}, "bias: all would train nothing: the model has no biases"),
        ({"lora": {"modulesToSave": ["head"]}}, r"modulesToSave\[0\]: the model has no module 'head'; it has"),
        (
            {"lora": {"modulesToSave": ["norm"]}},
            r"'norm' also ends the name of .*input_layernorm.* such as model\.norm",
        ),
        (
            {"ia3": {"targetModules": ["k_proj", "key"]}},
            r"spec\.peft\.ia3\.targetModules\[1\]: the model has no linear",
        ),
        ({"promptTuning": {"numVirtualTokens": 240}}, r"maxLength 32 and the 240 virtual tokens .* at most 16"),
    ],
)
def test_what_the_model_has_not(lab: Any, base: Any, peft: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidSpec, match=message):
        lab.build(lab.context("job", spec(lab, peft), base))


def test_biases_of_modules_that_have_none(lab: Any, other: Any) -> None:
    base = other("llama", attention_bias=True, intermediate_size=48)
    peft = {"lora": {"bias": "lora_only", "targetModules": ["up_proj"]}}
    with pytest.raises(InvalidSpec, match="lora_only would train nothing: of the model's biases, in k_proj, o_proj"):
        lab.build(lab.context("job", spec(lab, peft), base))


@pytest.mark.methods("PEFT type")
@pytest.mark.parametrize(
    "peft",
    [
        {"lora": {"initLoraWeights": "pissa"}},
        {"lora": {"useDora": True, "modulesToSave": ["embed_tokens"]}},
        {"ia3": {}},
        {"promptTuning": {"promptTuningInit": "TEXT", "promptTuningInitText": "Add."}},
    ],
    ids=["lora", "dora", "ia3", "prompt tuning"],
)
def test_what_is_trained_is_counted_without_weights(lab: Any, base: Any, peft: dict[str, Any]) -> None:
    from tunesmith_trainer.models.outline import outline
    from tunesmith_trainer.models.prepare import find_model

    context = lab.context("job", spec(lab, peft), base)
    plan = lab.build(context)
    trained = sum(value.numel() for value in plan.trainer.model.parameters() if value.requires_grad)
    assert outline(find_model(context), plan.trainer.processing_class).shape.trained == trained


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_the_second_matrices_learn_faster(lab: Any, base: Any, method: str) -> None:
    peft = {"lora": {"r": 2, "loraplusLrRatio": 16}}
    whole = spec(lab, peft) if method == "sft" else preferences(lab) | {"peft": peft}
    trainer = lab.build(lab.context("plus", whole, base)).trainer
    names = {value: name for name, value in trainer.model.named_parameters()}
    rates = {
        (part, group["lr"])
        for group in trainer.create_optimizer().param_groups
        for value in group["params"]
        for part in ("lora_A", "lora_B")
        if part in names[value]
    }
    assert rates == {("lora_A", 1e-2), ("lora_B", 16e-2)}
