"""Parameters are counted exactly without building weights; the memory of a training is told within a factor."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from zoo import EVERY, VOCABULARY

GIB = 1 << 30
# Of what was measured; below the lower bound a training would be let through that does not fit.
LOWER, UPPER = 0.9, 1.2


@pytest.mark.parametrize("name", EVERY)
def test_parameters_are_those_of_the_built_model(build: Any, resolved: Any, name: str) -> None:
    from tunesmith_trainer.models.architectures.choice import choose
    from tunesmith_trainer.models.memory import ModelShape, meta_model

    model = build(EVERY[name])
    shape = ModelShape.of(meta_model(choose(resolved(EVERY[name])).config(VOCABULARY, pad_token_id=0)))
    assert shape.parameters == shape.trained == model.num_parameters()


@pytest.mark.parametrize("name", ["llama", "gpt2", "alibi"])
@pytest.mark.parametrize("kind", ["lora", "dora", "ia3", "prompt tuning"])
def test_trained_parameters_are_those_of_the_adapter(build: Any, name: str, kind: str) -> None:
    from peft import IA3Config, LoraConfig, PromptTuningConfig, get_peft_model

    from tunesmith_trainer.models.memory import ModelShape, meta_model

    model = build(EVERY[name])
    targets = ["c_attn", "c_fc"] if name == "gpt2" else ["k_proj", "up_proj"]
    config = {
        "lora": LoraConfig(r=3, target_modules=targets, modules_to_save=["lm_head"], task_type="CAUSAL_LM"),
        "dora": LoraConfig(r=3, target_modules=targets, use_dora=True, init_lora_weights="pissa"),
        "ia3": IA3Config(target_modules=targets, feedforward_modules=targets[1:], task_type="CAUSAL_LM"),
        "prompt tuning": PromptTuningConfig(num_virtual_tokens=5, task_type="CAUSAL_LM"),
    }[kind]
    shape = ModelShape.of(meta_model(model.config), config)
    assert shape.parameters == model.num_parameters()
    adapted = get_peft_model(model, config)
    assert shape.trained == sum(value.numel() for value in adapted.parameters() if value.requires_grad) > 0


@pytest.fixture(scope="module")
def seven_billion() -> Any:
    """Llama 2 7B without its weights: the defaults of its class."""
    from transformers import LlamaConfig

    from tunesmith_trainer.models.memory import meta_model

    return meta_model(LlamaConfig())


@pytest.fixture(scope="module")
def load() -> Any:
    from tunesmith_trainer.models.memory import Workload

    return Workload(
        device="cuda",
        dtype="bfloat16",
        batch_size=8,
        accumulation=1,
        max_length=2048,
        gradient_checkpointing=False,
    )


@pytest.fixture(scope="module")
def shapes(seven_billion: Any) -> Any:
    """The whole model, and an adapter on it."""
    from peft import LoraConfig

    from tunesmith_trainer.models.memory import ModelShape

    adapter = LoraConfig(r=8, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
    return ModelShape.of(seven_billion), ModelShape.of(seven_billion, adapter)


def test_a_known_model_has_its_known_size(shapes: Any) -> None:
    whole, adapter = shapes
    assert whole.parameters == 6_738_415_616
    assert adapter.trained == 4_194_304, "as in the table of the LoRA paper's authors for r = 8 on q and v"


def test_states_take_sixteen_bytes_per_trained_parameter(shapes: Any, load: Any) -> None:
    from tunesmith_trainer.models.memory import estimate

    needed = estimate(shapes[0], load)
    assert needed.weights + needed.gradients + needed.optimizer == 16 * shapes[0].parameters
    assert needed.total > 16 * 6.7e9 - needed.gradients
    assert estimate(shapes[0], replace(load, accumulation=4)).total == needed.total + needed.gradients


def test_a_frozen_base_is_held_in_its_precision(shapes: Any, load: Any) -> None:
    from tunesmith_trainer.models.memory import estimate

    whole, adapter = shapes
    lora = replace(load, adapted=True)
    assert estimate(adapter, lora).weights == 2 * whole.parameters + 4 * adapter.trained
    four_bits = estimate(adapter, replace(lora, quantized_bits=4)).weights / GIB
    assert 3.8 < four_bits < 4.0, "3.4 GiB of 4-bit weights with their scales, half a GiB of embeddings and head"
    eight_bits = estimate(adapter, replace(lora, quantized_bits=8)).weights / GIB
    assert 6.4 < eight_bits < 6.8


@pytest.mark.parametrize(
    ("optimizer", "least", "most"),
    [
        ("adamw_torch_fused", 8, 8),
        ("adam", 8, 8),
        ("sophia", 8, 8),
        ("lion", 4, 4),
        ("sgd", 4, 4),
        ("adamw_8bit", 2, 2.1),
        ("paged_adamw_32bit", 0, 0),
        ("muon", 4, 5),
        ("adafactor", 0, 0.1),
    ],
)
def test_optimisers_differ(shapes: Any, load: Any, optimizer: str, least: float, most: float) -> None:
    from tunesmith_trainer.models.memory import estimate

    per_parameter = estimate(shapes[0], replace(load, optimizer=optimizer)).optimizer / shapes[0].parameters
    assert least <= per_parameter <= most


def test_every_optimiser_of_the_contract_is_known(shapes: Any, load: Any) -> None:
    from tunesmith_api.v1alpha1.training.optimizers import OPTIMIZER_DEFAULTS
    from tunesmith_trainer.models.memory import estimate

    for optimizer in OPTIMIZER_DEFAULTS:
        assert estimate(shapes[0], replace(load, optimizer=optimizer)).optimizer >= 0


def test_what_takes_more_and_less(shapes: Any, load: Any) -> None:
    from tunesmith_trainer.models.memory import estimate

    whole, adapter = shapes
    base = estimate(whole, load)
    adapted = replace(load, adapted=True)
    halves = (replace(adapted, batch_size=4), replace(adapted, max_length=1024))
    rows, length = (estimate(adapter, half).activations / estimate(adapter, adapted).activations for half in halves)
    assert rows == 0.5
    assert 0.45 < length < 0.5, "masks grow with the square of it"
    assert estimate(whole, replace(load, gradient_checkpointing=True)).activations < base.activations / 8
    assert estimate(adapter, replace(adapted, sequences=2)).activations == 2 * estimate(adapter, adapted).activations
    assert estimate(whole, replace(load, processes=2)).gradients == base.gradients * 2
    assert estimate(whole, replace(load, reference="model")).reference == base.weights
    lora = replace(load, adapted=True, reference="adapter")
    assert estimate(adapter, lora).reference == 4 * adapter.trained


def test_keys_and_values_are_cached_for_each_of_their_heads(seven_billion: Any, shapes: Any) -> None:
    from transformers import LlamaConfig

    from tunesmith_trainer.models.memory import ModelShape, meta_model

    config = LlamaConfig(num_hidden_layers=2, num_key_value_heads=8)
    assert shapes[0].cached == 2 * 32 * 4096, "keys and values of 32 layers, as wide as the model"
    assert ModelShape.of(meta_model(config)).cached == 2 * 2 * 4096 // 4, "a key for every four of 32 heads"


def test_what_sampling_and_other_models_take(shapes: Any, load: Any) -> None:
    from tunesmith_trainer.models.memory import estimate

    whole, adapter = shapes
    lora = replace(load, adapted=True)
    alone = estimate(adapter, lora)
    assert alone.frozen == alone.generation == 0
    assert estimate(adapter, replace(lora, frozen=7_000)).total == alone.total + 2 * 7_000
    # 128 completions of 2,048 tokens: 0.5 MiB a token in bfloat16 for a model of this size, as is often told.
    sampling = estimate(adapter, replace(lora, sampled_rows=128))
    assert sampling.generation == 128 * (2048 * 2**19 + 3 * 4 * 32_000)
    assert sampling.total > alone.total
    # What is sampled is gone before it is trained on.
    assert estimate(adapter, replace(lora, sampled_rows=1)).total == alone.total
    values = estimate(whole, replace(load, trained_models=2))
    once = estimate(whole, load)
    for part in ("weights", "optimizer", "gradients", "activations"):
        assert getattr(values, part) == 2 * getattr(once, part)
    assert estimate(adapter, replace(lora, trained_models=2)).weights == alone.weights + 4 * adapter.trained


class TestNearestFit:
    def fit(self, shapes: Any, load: Any, gibibytes: float, **more: Any) -> Any:
        from tunesmith_trainer.models.memory import nearest_fit

        return nearest_fit(shapes[0], load, int(gibibytes * GIB), **more)

    def test_what_fits_is_left_alone(self, shapes: Any, load: Any) -> None:
        assert self.fit(shapes, load, 1000).changes == {}

    def test_fewer_rows_keep_the_global_batch(self, shapes: Any, load: Any) -> None:
        fit = self.fit(shapes, load, 160)
        assert fit.changes.keys() == {
            "spec.training.perDeviceTrainBatchSize",
            "spec.training.gradientAccumulationSteps",
        }
        rows, steps = (int(value) for value in fit.changes.values())
        assert rows * steps == 8
        assert fit.estimate.total <= 160 * GIB
        assert str(fit).startswith(f"spec.training.perDeviceTrainBatchSize: {rows}, spec.training.gradient")

    def test_then_activations_are_recomputed(self, shapes: Any, load: Any) -> None:
        fit = self.fit(shapes, load, 112)
        assert fit.changes["spec.training.gradientCheckpointing"] == "true"

    def test_then_an_adapter_and_four_bits(self, shapes: Any, load: Any) -> None:
        adapter = self.fit(shapes, load, 40, adapted=shapes[1])
        assert adapter.changes["spec.peft.lora"] == "{}"
        four_bits = self.fit(shapes, load, 11, adapted=shapes[1])
        assert four_bits.changes["spec.model.quantization"] == "{loadIn4bit: true}"

    def test_at_last_shorter_sequences_or_nothing(self, shapes: Any, load: Any) -> None:
        long = replace(load, max_length=65536)
        assert int(self.fit(shapes, long, 120).changes["spec.training.maxLength"]) < 65536
        assert self.fit(shapes, load, 40) is None

    def test_what_is_sampled_shortens_sequences_where_nothing_else_is_left(self, shapes: Any, load: Any) -> None:
        sampling = replace(load, adapted=True, sampled_rows=64)
        fit = self.fit((shapes[1],), sampling, 48)
        assert fit.changes["spec.training.maxLength"] == "1024"
        assert fit.estimate.generation < 34 * GIB

    def test_no_fewer_rows_than_the_method_takes(self, shapes: Any, load: Any) -> None:
        fit = self.fit(shapes, load, 160, fewest_rows=8)
        assert "spec.training.perDeviceTrainBatchSize" not in fit.changes


TINY = {"hiddenSize": 32, "intermediateSize": 64, "numHiddenLayers": 1, "numAttentionHeads": 4}
SMALL = {"hiddenSize": 384, "intermediateSize": 1024, "numHiddenLayers": 6, "numAttentionHeads": 6}
TEXT = "\n\n".join(f"Paragraph {number} tells the number {number} and nothing else." * 6 for number in range(200))
TRAINING = {"maxLength": 256, "maxSteps": 2, "perDeviceTrainBatchSize": 4}
OPTIONS: dict[str, dict[str, Any]] = {
    "full weights": {},
    "accumulation": {"training": TRAINING | {"gradientAccumulationSteps": 2}},
    "recomputed": {"training": TRAINING | {"gradientCheckpointing": True}},
    "bfloat16": {"dtype": "bfloat16"},
    "adapter": {"peft": {"lora": {"r": 8}}},
    "adapter on bfloat16": {"peft": {"lora": {"r": 8}}, "dtype": "bfloat16"},
    "aligning": {"method": "dpo"},
    "alibi": {"architecture": {"positionEmbedding": "alibi", "hiddenAct": "gelu"}},
    "dropout": {"architecture": {"attentionDropout": 0.1}},
}


STANDING = {"full weights", "adapter on bfloat16"}


@pytest.mark.methods("memory estimate")
@pytest.mark.parametrize(
    "options",
    [
        pytest.param(options, id=name, marks=pytest.mark.slow if name in STANDING else ())
        for name, options in OPTIONS.items()
    ],
)
def test_the_estimate_is_near_what_was_measured(lab: Any, options: dict[str, Any], record_property: Any) -> None:
    """Between 0.9 and 1.2 times the peak of resident memory that training adds."""
    from transformers import AutoConfig

    from tunesmith_trainer.models.adapters import new_config
    from tunesmith_trainer.models.folders import Folder
    from tunesmith_trainer.models.memory import ModelShape, Workload, estimate, meta_model

    tiny, context = (_context(lab, name, size, options) for name, size in (("tiny", TINY), ("small", SMALL)))
    bare = meta_model(AutoConfig.from_pretrained(lab.path(context.run.model.base.claim, context.run.model.base.path)))
    peft = context.run.spec.peft
    folder = Folder.find(context.run.model.base, context, "the base model")
    shape = ModelShape.of(bare, None if peft is None else new_config(peft, bare, folder))
    needed = estimate(shape, Workload.of(context.run))
    measured = _measure(lab, tiny, context)
    told = needed.total - needed.runtime
    record_property("estimated MiB", told >> 20)
    record_property("measured MiB", measured >> 20)
    assert LOWER < told / measured < UPPER


def _context(lab: Any, name: str, size: dict[str, Any], options: dict[str, Any]) -> Any:
    """Return a run on a new model of some size, which is on a claim."""
    architecture = size | options.get("architecture", {})
    base = {
        "method": "pretrain",
        "model": {"architecture": architecture, "tokenizer": {"train": {"vocabSize": 4096}}},
        "datasets": [lab.put("corpus.txt", TEXT)],
        "training": TRAINING,
    }
    earlier = lab.context(f"base-{name}", base)
    model = lab.finish(earlier, lab.build(earlier), train=False)
    method = options.get("method", "sft")
    rows: list[dict[str, Any]] = [{"text": TEXT[place : place + 4000]} for place in range(32)]
    if method == "dpo":
        rows = [{"prompt": "Tell:", "chosen": row["text"], "rejected": row["text"][::-1]} for row in rows]
    spec = {
        "method": method,
        "model": {"fromJob": {"name": "base"}, "dtype": options.get("dtype", "float32")},
        "datasets": [lab.put("rows.jsonl", rows)],
        "training": options.get("training", TRAINING),
    }
    return lab.context(name, spec | {key: options[key] for key in ("peft",) if key in options}, model)


def _measure(lab: Any, *contexts: Any) -> int:
    runs = []
    for context in contexts:
        runs.append(lab.root / f"{context.run.name}.json")
        runs[-1].write_text(json.dumps(context.run.to_wire()), encoding="utf-8")
    script = Path(__file__).with_name("measure.py")
    done = subprocess.run(
        [sys.executable, script, str(lab.root), *map(str, runs)],
        # Memory that is freed goes back at once, so that it is tensors that are measured, not the allocator.
        env=os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536"},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout.rsplit("peak", 1)[1])
