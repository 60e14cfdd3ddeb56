import re
from typing import Any

import pytest

from tunesmith_api.naming import attempt_name, child_prefix, default_claim_name, job_class, run_config_name
from tunesmith_api.profile import AcceleratorProfile
from tunesmith_api.resolve import resolve
from tunesmith_api.v1alpha1 import AlignmentJob, AlignmentJobSpec, FineTuneJob, FineTuneJobSpec
from tunesmith_api.v1alpha1.methods import METHOD_BLOCKS
from tunesmith_api.v1alpha1.training import Training

Json = dict[str, Any]

PROFILE = AcceleratorProfile(name="cpu", device="cpu", image="trainer", dtypes=("bfloat16", "float32"))
ARCHITECTURE = {"hiddenSize": 64, "intermediateSize": 128, "numHiddenLayers": 2, "numAttentionHeads": 4}


def resolved(change: Json | None = None, *, trains_adapter: bool = False) -> FineTuneJobSpec:
    """Return a minimal fine-tuning, changed and resolved."""
    wire = {
        "method": "sft",
        "model": {"path": {"claim": "models"}},
        "datasets": [{"claim": {"name": "data", "path": "train.jsonl"}}],
        **(change or {}),
    }
    return resolve("FineTuneJob", "tiny", FineTuneJobSpec.model_validate(wire), PROFILE, trains_adapter=trains_adapter)


@pytest.mark.parametrize(
    ("change", "trains_adapter", "rate"),
    [
        pytest.param({}, False, 2e-5, id="sft, full weights"),
        pytest.param({"peft": {"lora": {}}}, True, 2e-4, id="sft, adapter"),
        pytest.param({"peft": {"ia3": {}}}, True, 3e-3, id="sft, few scales"),
        pytest.param({"peft": {"promptTuning": {}}}, True, 3e-2, id="sft, few embeddings"),
        pytest.param({"method": "pretrain", "model": {"architecture": ARCHITECTURE}}, False, 5e-4, id="pretrain"),
        pytest.param({"training": {"learningRate": 0.5}}, False, 0.5, id="the user's own"),
    ],
)
def test_the_learning_rate_depends_on_method_and_adapter(change: Json, trains_adapter: bool, rate: float) -> None:
    assert resolved(change, trains_adapter=trains_adapter).training.learning_rate == rate


def test_the_description_of_the_learning_rate_tells_every_method() -> None:
    told = Training.model_fields["learning_rate"].description or ""
    rates: dict[str, float] = {}
    for part in re.findall(r"(?:on full weights:|;) ([^;.]+ \S+e-\d)", told):
        *methods, rate = re.findall(r"[\w-]+", part)
        rates |= dict.fromkeys(set(methods) - {"and"}, float(rate))
    assert rates == {method: block.learning_rate for method, block in METHOD_BLOCKS.items()}


@pytest.mark.parametrize(("trains_adapter", "rate"), [(False, 1e-6), (True, 1e-5)])
def test_the_learning_rate_of_dpo(trains_adapter: bool, rate: float) -> None:
    wire = {
        "method": "dpo",
        "model": {"fromJob": {"name": "tiny"}},
        "datasets": [{"claim": {"name": "data", "path": "pairs.jsonl"}}],
    }
    spec = resolve(
        "AlignmentJob", "tiny", AlignmentJobSpec.model_validate(wire), PROFILE, trains_adapter=trains_adapter
    )
    assert spec.training.learning_rate == rate
    assert spec.output.claim_name == "tiny-alj"
    assert spec.output.path == "alignmentjobs/tiny"
    assert spec.dpo is not None
    assert spec.dpo.beta == 0.1


@pytest.mark.parametrize(("method", "metric", "rises"), [("dpo", "loss", False), ("grpo", "reward", True)])
def test_the_best_model_of_a_method_that_samples_is_that_of_the_most_reward(
    method: str, metric: str, rises: bool
) -> None:
    wire = {
        "method": method,
        "model": {"path": {"claim": "models"}},
        "datasets": [{"claim": {"name": "data", "path": "rows.jsonl"}}],
        "evaluation": {"splitRatio": 0.9},
        "training": {"evalStrategy": "epoch"},
        "referenceModel": {"name": "team/tiny"},
    }
    spec = resolve("AlignmentJob", "tiny", AlignmentJobSpec.model_validate(wire), PROFILE, trains_adapter=False)
    assert (spec.training.metric_for_best_model, spec.training.greater_is_better) == (metric, rises)
    assert (spec.reporting.completions is not None) == (method == "grpo")
    assert spec.reference_model is not None
    assert spec.reference_model.revision == "main"


@pytest.mark.parametrize(
    ("training", "epochs"),
    [({}, 3.0), ({"maxSteps": 10}, None), ({"numTrainEpochs": 0.5}, 0.5)],
)
def test_three_epochs_unless_told_otherwise(training: Json, epochs: float | None) -> None:
    assert resolved({"training": training}).training.num_train_epochs == epochs


def test_evaluation_by_steps_follows_logging() -> None:
    change = {"evaluation": {"splitRatio": 0.9}, "training": {"evalStrategy": "steps", "loggingSteps": 7}}
    assert resolved(change).training.eval_steps == 7
    assert resolved().training.eval_steps is None


def test_the_output_has_a_name_a_folder_and_access_modes() -> None:
    output = resolved().output
    assert (output.claim_name, output.path) == ("tiny-ftj", "finetunejobs/tiny")
    assert output.claim_template.access_modes == ("ReadWriteOnce",)
    assert resolved({"numNodes": 2}).output.claim_template.access_modes == ("ReadWriteMany",)


def test_the_output_of_the_user_stays() -> None:
    wire = {"claimName": "mine", "path": "a/b", "claimTemplate": {"accessModes": ["ReadWriteOncePod"]}}
    output = resolved({"output": wire}).output
    assert (output.claim_name, output.path) == ("mine", "a/b")
    assert output.claim_template.access_modes == ("ReadWriteOncePod",)


def test_dtype_auto_is_the_profile_s_first() -> None:
    assert resolved().model.dtype == "bfloat16"
    assert resolved({"model": {"path": {"claim": "m"}, "dtype": "float32"}}).model.dtype == "float32"


def test_a_quantised_model_computes_in_its_dtype() -> None:
    def quantization(**fields: Any) -> Any:
        model = {"path": {"claim": "m"}, "dtype": "float16", "quantization": fields}
        return resolved({"model": model, "peft": {"lora": {}}}, trains_adapter=True).model.quantization

    assert quantization(loadIn4bit=True).bnb_4bit_compute_dtype == "float16"
    assert quantization(loadIn4bit=True, bnb4bitComputeDtype="float32").bnb_4bit_compute_dtype == "float32"
    assert quantization(loadIn8bit=True).bnb_4bit_compute_dtype is None
    assert (quantization(loadIn4bit=True).bits, quantization(loadIn8bit=True).bits) == (4, 8)
    assert quantization(loadIn4bit=True).to_wire() == {
        "loadIn4bit": True,
        "loadIn8bit": False,
        "bnb4bitQuantType": "nf4",
        "bnb4bitComputeDtype": "float16",
        "bnb4bitUseDoubleQuant": False,
    }


def test_a_hub_model_is_taken_from_main_into_a_claim_that_fits_the_nodes() -> None:
    spec = resolved({"model": {"name": "team/tiny", "cache": {"claimName": "models"}}, "numNodes": 2})
    assert spec.model.revision == "main"
    assert spec.model.cache is not None
    assert spec.model.cache.claim_template.access_modes == ("ReadWriteMany",)
    assert resolved({"model": {"name": "team/tiny", "revision": "v1"}}).model.revision == "v1"


def test_a_model_from_scratch_trains_a_tokenizer() -> None:
    spec = resolved({"method": "pretrain", "model": {"architecture": ARCHITECTURE}})
    assert spec.model.tokenizer is not None
    assert spec.model.tokenizer.train is not None
    assert spec.model.tokenizer.train.vocab_size == 8192
    assert resolved().model.tokenizer is None


def test_the_method_s_block_is_explicit_and_resolving_again_changes_nothing() -> None:
    spec = resolved()
    assert spec.sft is not None
    assert spec.pretrain is None
    assert resolve("FineTuneJob", "tiny", spec, PROFILE, trains_adapter=False) == spec


def test_names_of_children_tell_the_kinds_apart() -> None:
    assert child_prefix("FineTuneJob", "tiny") == "tiny-ftj"
    assert attempt_name("AlignmentJob", "tiny", 3) == "tiny-alj-3"
    assert run_config_name("FineTuneJob", "tiny", "2") == "tiny-ftj-run-2"
    assert default_claim_name("AlignmentJob", "tiny") == "tiny-alj"
    assert job_class("FineTuneJob") is FineTuneJob
    assert job_class("AlignmentJob") is AlignmentJob
    with pytest.raises(KeyError):
        job_class("TrainJob")


def test_the_longest_name_leaves_room_for_a_pod_s() -> None:
    pod = f"{attempt_name('FineTuneJob', 'a' * 40, 99999)}-worker-127"
    assert len(pod) <= 63


def architecture(change: Json) -> Json:
    """Return the resolved architecture of a spec that changes a few of its fields."""
    spec = resolved({"method": "pretrain", "model": {"architecture": ARCHITECTURE | change}})
    assert spec.model.architecture is not None
    return spec.model.architecture.to_wire()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({}, {"ropeTheta": 10000.0, "attentionOutputBias": False}, id="a Llama"),
        pytest.param(
            {"ropeTheta": 5e5, "attentionBias": True}, {"ropeTheta": 5e5, "attentionOutputBias": True}, id="set"
        ),
        pytest.param({"positionEmbedding": "alibi"}, {"ropeTheta": None}, id="nothing turns"),
        pytest.param(
            {"positionEmbedding": "yarn", "yarn": {"factor": 4}, "maxPositionEmbeddings": 8192},
            {"yarn": {"factor": 4.0, "originalMaxPositionEmbeddings": 2048}, "ropeTheta": 10000.0},
            id="yarn stretches what is a factor shorter",
        ),
        pytest.param(
            {"positionEmbedding": "yarn", "yarn": {"factor": 4, "originalMaxPositionEmbeddings": 1024}},
            {"yarn": {"factor": 4.0, "originalMaxPositionEmbeddings": 1024}},
            id="yarn as it is told",
        ),
    ],
)
def test_an_architecture_says_what_depends_on_its_other_options(change: Json, expected: Json) -> None:
    wire = architecture(change)
    assert {name: wire.get(name) for name in expected} == expected
