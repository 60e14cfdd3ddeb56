"""What a preparation tells of data and model that are fit, held against what training makes of them."""

import json
from typing import Any, get_args

import pytest

from tunesmith_api.quantity import parse_bytes
from tunesmith_api.run import ResolvedModel
from tunesmith_api.v1alpha1.training.optimizers import Optimizer
from tunesmith_trainer.models.memory import ModelShape, Workload, estimate
from tunesmith_trainer.outcome import encode

ROWS = [{"prompt": f"{number} + 1 = ", "completion": f"{number + 1}"} for number in range(40)]


def report(outcome: Any) -> Any:
    assert outcome.exit_code == 0, outcome.message
    assert outcome.preparation is not None
    return outcome.preparation


def test_rows_tokens_and_parameters_are_those_of_training(lab: Any, prepare: Any) -> None:
    found = report(prepare())
    context = lab.context(
        "job",
        {
            "method": "sft",
            "model": {"path": {"claim": "models", "path": "tiny"}},
            "datasets": [lab.put("rows.jsonl", ROWS)],
            "peft": {"lora": {"r": 4}},
            "training": {"maxLength": 32, "maxSteps": 1},
        },
        ResolvedModel.model_validate({"base": {"claim": "models", "path": "tiny"}}),
    )
    plan = lab.build(context)
    trained = plan.data_report["train"]
    assert (found.rows, found.tokens) == (trained["rows"], trained["tokens"])
    weights = dict(plan.trainer.model.named_parameters())
    trainable = sum(weight.numel() for weight in weights.values() if weight.requires_grad)
    assert found.trainable_parameters == trainable
    assert found.parameters == sum(weight.numel() for weight in weights.values()) - trainable


def test_lengths_loss_and_duplicates_are_counted(lab: Any, prepare: Any) -> None:
    # One byte is one token: none of the merges of the tokenizer's corpus spans letters like these.
    rows = [{"prompt": "q" * 4, "completion": "z" * 5}] * 3 + [{"prompt": "q" * 4, "completion": "z" * 95}]
    found = report(prepare([lab.put("rows.jsonl", rows)], training={"maxLength": 20}))
    assert (found.rows, found.duplicate_rows, found.dropped_rows) == (4, 2, 0)
    assert (found.token_lengths.p50, found.token_lengths.max) == (10, 100)
    assert found.truncated_share == 0.25
    assert found.tokens == 3 * 10 + 20
    assert found.loss_share == pytest.approx((3 * 6 + 16) / 50, abs=1e-4)
    assert [warning.split(" ", 1)[1].split(";")[0] for warning in found.warnings] == [
        "% of the rows are longer than training.maxLength of 20 and lose their ends",
        "rows repeat earlier ones",
    ]


def test_prompts_that_fill_max_length_are_left_out_and_told(lab: Any, prepare: Any) -> None:
    rows = [{"prompt": "q" * 40, "completion": "z"}, *ROWS]
    found = report(prepare([lab.put("rows.jsonl", rows)]))
    assert found.dropped_rows == 1
    assert found.warnings[0].startswith("1 rows are left out: within training.maxLength of 32 no token of them")


def test_every_dataset_is_told_with_its_format(lab: Any, prepare: Any) -> None:
    chats = [{"messages": [{"role": "user", "content": "1"}, {"role": "assistant", "content": "2"}]}] * 3
    datasets = [lab.put("rows.jsonl", ROWS), lab.put("chats.jsonl", chats)]
    found = report(prepare(datasets, evaluation={"datasets": [lab.put("held.jsonl", ROWS[:5])]}))
    assert [(each.field, each.format, each.rows) for each in found.datasets] == [
        ("spec.datasets[0]", "prompt-completion", 40),
        ("spec.datasets[1]", "messages", 3),
        ("spec.evaluation.datasets[0]", "prompt-completion", 5),
    ]
    assert found.evaluation_rows == 5


def test_full_weights_and_a_split(prepare: Any) -> None:
    found = report(prepare(peft=None, evaluation={"splitRatio": 0.75}))
    assert found.trainable_parameters == found.parameters
    assert (found.rows, found.evaluation_rows) == (30, 10)


def test_an_architecture_is_prepared_with_the_tokenizer_that_training_then_uses(lab: Any, prepare: Any) -> None:
    architecture = {"hiddenSize": 16, "intermediateSize": 32, "numHiddenLayers": 1, "numAttentionHeads": 2}
    spec = {
        "method": "pretrain",
        "model": {"architecture": architecture, "tokenizer": {"train": {"vocabSize": 300}}},
        "training": {"maxLength": 32, "maxSteps": 1},
    }
    texts = [lab.put("texts.txt", "\n\n".join(f"{row['prompt']}{row['completion']}" for row in ROWS))]
    found = report(prepare(texts, resolved=ResolvedModel(), peft=None, **spec))
    (tokenizer,) = lab.path("job-ftj").rglob("tokenizer.json")
    made = tokenizer.stat().st_mtime_ns
    plan = lab.build(lab.context("job", {**spec, "datasets": texts}))
    assert tokenizer.stat().st_mtime_ns == made
    assert found.tokens == plan.data_report["train"]["tokens"]
    assert found.parameters == found.trainable_parameters == plan.trainer.model.num_parameters()


@pytest.mark.parametrize("peft", [None, {"lora": {"r": 4}}])
def test_added_tokens_make_the_model_larger(prepare: Any, peft: Any) -> None:
    model = {"path": {"claim": "models", "path": "tiny"}, "addedTokens": ["<|one|>", "<|two|>"]}
    plain, larger = report(prepare(peft=peft)), report(prepare(peft=peft, model=model))
    assert larger.parameters == plain.parameters + 2 * 2 * 16, "a row of 16 at the input, and one at the output, each"
    assert larger.trainable_parameters > plain.trainable_parameters


@pytest.mark.parametrize("optim", get_args(Optimizer))
def test_every_optimiser_has_its_memory_estimated(lab: Any, optim: str) -> None:
    spec = {
        "method": "sft",
        "model": {"path": {"claim": "models"}},
        "datasets": [{"claim": {"name": "data", "path": "rows.jsonl"}}],
        "training": {"optim": optim},
    }
    sizes: dict[str, Any] = dict.fromkeys(ModelShape.__dataclass_fields__, 1000)
    shape = ModelShape(**sizes)
    assert estimate(shape, Workload.of(lab.context("job", spec).run)).total > 4000


ALIGNED: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    # What is added to a LoRA job with 2 times 4 rows; what its workload then has.
    "dpo": ({}, {"sequences": 2, "reference": "none"}),
    "dpo on full weights": ({"peft": None}, {"sequences": 2, "reference": "model"}),
    "dpo with what the reference says computed before": (
        {"peft": None, "dpo": {"precomputeRefLogProbs": True}},
        {"sequences": 2, "reference": "none"},
    ),
    "orpo on full weights": ({"peft": None}, {"sequences": 2, "reference": "none"}),
    "kto on full weights": ({"peft": None}, {"sequences": 1, "reference": "model"}),
    "kto with what the reference says computed before": (
        {"peft": None, "kto": {"precomputeRefLogProbs": True}},
        {"sequences": 1, "reference": "none"},
    ),
    "reward": ({}, {"sequences": 2, "reference": "none"}),
    "grpo on full weights": ({"peft": None}, {"reference": "none", "sampled_rows": 8}),
    "grpo at once on full weights": (
        {"peft": None, "grpo": {"beta": 0.04, "generationBatchSize": 32}},
        {"reference": "model", "sampled_rows": 32},
    ),
    "rloo": ({}, {"reference": "none", "sampled_rows": 8}),
    "rloo at once": ({"rloo": {"stepsPerGeneration": 6}}, {"reference": "none", "sampled_rows": 24}),
    "ppo": ({"ppo": {"numMiniBatches": 3}}, {"reference": "adapter", "sampled_rows": 24, "trained_models": 2}),
}


@pytest.mark.parametrize("name", ALIGNED)
def test_what_a_method_asks_of_a_device(lab: Any, name: str) -> None:
    changes, expected = ALIGNED[name]
    method = name.split(maxsplit=1)[0]
    rewards = {"rewards": [{"name": "length", "length": {"max": 9}}]} if method in {"grpo", "rloo", "ppo"} else {}
    spec = {
        "method": method,
        "model": {"path": {"claim": "models"}},
        "datasets": [{"claim": {"name": "data", "path": "rows.jsonl"}}],
        "training": {"perDeviceTrainBatchSize": 4, "gradientAccumulationSteps": 2},
        "peft": {"lora": {}},
        **rewards,
        **changes,
    }
    load = Workload.of(lab.context("job", {field: value for field, value in spec.items() if value is not None}).run)
    found = {"reference": load.reference, "sampled_rows": load.sampled_rows, "trained_models": load.trained_models}
    plain = {"sequences": 1, "sampled_rows": 0, "trained_models": 1}
    assert {**found, "sequences": load.sequences} == plain | expected


def test_the_need_of_memory_is_told_and_held_against_the_device(prepare: Any) -> None:
    alone, compared = report(prepare()).memory, report(prepare(device_memory="80Gi")).memory
    assert alone.available is None
    assert compared.available == "80Gi"
    assert alone.required == compared.required
    assert parse_bytes(alone.required) > 2**20


def test_preferences_are_prepared(lab: Any, prepare: Any) -> None:
    rows = [{"prompt": "1 + 1 = ", "chosen": "2", "rejected": str(number)} for number in range(3, 9)]
    found = report(prepare([lab.put("pairs.jsonl", rows)], method="dpo"))
    assert (found.rows, found.datasets[0].format) == (6, "preference")


def test_answers_of_preferences_are_counted_and_what_is_odd_about_them_is_told(lab: Any, prepare: Any) -> None:
    rows = [{"prompt": "q", "chosen": "z" * 20, "rejected": "z" * (4 + number)} for number in range(3)]
    rows += [{"prompt": "q", "chosen": "z" * 40, "rejected": "z" * 50}]
    found = report(prepare([lab.put("pairs.jsonl", rows)], method="dpo"))
    # Each answer ends with a token of its own.
    assert {each.kind: (each.count, each.token_lengths.p50, each.token_lengths.max) for each in found.answers} == {
        "chosen": (4, 21, 41),
        "rejected": (4, 7, 51),
    }
    assert found.alike_pairs == 1
    assert "1 pairs are the same within training.maxLength and teach nothing" in found.warnings[-2]
    assert found.warnings[-1].startswith("half of the chosen answers have 21 tokens or more, of the rejected ones 7:")


def test_pairs_that_a_reward_model_can_not_tell_apart_are_counted(lab: Any, prepare: Any) -> None:
    """The end of an answer may be there already."""
    rows = [
        {"prompt": "q", "chosen": "z", "rejected": "y"},
        {"prompt": "q", "chosen": "z", "rejected": "z<|endoftext|>"},
    ]
    assert report(prepare([lab.put("pairs.jsonl", rows)], method="reward")).alike_pairs == 1


def test_the_whole_report_lies_in_the_run_s_folder(lab: Any, prepare: Any) -> None:
    found = report(prepare())
    (path,) = lab.path("job-ftj").rglob("preparation.json")
    whole = json.loads(path.read_text())
    assert whole["report"] == found.to_wire()
    assert whole["data"]["train"]["rows"] == 40
    assert [token.name for token in (path.parent / "preparations").iterdir()] == ["1.json"]


def test_a_report_of_many_datasets_fits_the_termination_message(lab: Any, prepare: Any) -> None:
    datasets = [lab.put(f"rows-{number}.jsonl", ROWS) for number in range(16)]
    outcome = prepare(datasets, evaluation={"datasets": datasets})
    crowded = outcome.preparation.model_copy(update={"warnings": ("ä" * 300,) * 8})
    message = encode(outcome.model_copy(update={"preparation": crowded}))
    assert len(message) <= 4096
    assert json.loads(message)["preparation"]["rows"] == 640
