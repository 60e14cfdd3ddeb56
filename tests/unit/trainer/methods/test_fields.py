"""Each field of `spec.training` reaches TRL, and changes the run of each method that takes it."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tunesmith_api.v1alpha1.methods import METHOD_BLOCKS
from tunesmith_api.v1alpha1.training import Training

METHODS = tuple(METHOD_BLOCKS)
EVALUATED = {"evalStrategy": "steps", "evalSteps": 1}
# Inductor takes minutes; what is handed to it is the same.
COMPILED = {"torchCompile": True, "torchCompileBackend": "eager"}
LOADING = {"dataloaderNumWorkers": 1}
# Field: what it needs beside it, what it is changed to.
CHANGES: dict[str, tuple[dict[str, Any], Any]] = {
    "numTrainEpochs": ({"maxSteps": None, "numTrainEpochs": 1}, 0.5),
    "maxSteps": ({}, 2),
    "perDeviceTrainBatchSize": ({}, 3),
    "perDeviceEvalBatchSize": ({}, 1),
    "gradientAccumulationSteps": ({}, 2),
    "maxLength": ({}, 8),
    "autoFindBatchSize": ({}, True),
    "learningRate": ({}, 5e-3),
    "lrSchedulerType": ({}, "cosine"),
    "lrSchedulerKwargs": ({"lrSchedulerType": "cosine"}, {"numCycles": 1}),
    "warmupSteps": ({}, 2),
    "optim": ({}, "lion"),
    "optimArgs": ({}, {"beta1": 0.2}),
    "weightDecay": ({}, 0.5),
    "maxGradNorm": ({}, 0.01),
    "labelSmoothingFactor": ({}, 0.2),
    "neftuneNoiseAlpha": ({}, 5),
    "averageTokensAcrossDevices": ({}, False),
    "loggingStrategy": ({"loggingSteps": None}, "epoch"),
    "loggingSteps": ({}, 2),
    "logLevel": ({}, "error"),
    "logOnEachNode": ({}, False),
    "includeNumInputTokensSeen": ({}, "all"),
    "evalStrategy": ({}, "epoch"),
    "evalSteps": (EVALUATED, 2),
    "loadBestModelAtEnd": (EVALUATED, True),
    "metricForBestModel": (EVALUATED, "mean_token_accuracy"),
    "greaterIsBetter": (EVALUATED, True),
    "seed": ({}, 7),
    "dataSeed": ({}, 8),
    "trainSamplingStrategy": ({}, "sequential"),
    "dataloaderNumWorkers": ({}, 1),
    "dataloaderPrefetchFactor": (LOADING, 3),
    "dataloaderPersistentWorkers": (LOADING, True),
    "dataloaderPinMemory": ({}, True),
    "dataloaderDropLast": ({"perDeviceTrainBatchSize": 5}, True),
    "gradientCheckpointing": ({}, True),
    "gradientCheckpointingKwargs": ({"gradientCheckpointing": True}, {"useReentrant": True}),
    "tf32": ({}, False),
    "torchCompile": ({}, True),
    "torchCompileBackend": (COMPILED, "aot_eager"),
    "torchCompileMode": (COMPILED, "max-autotune"),
    "fullDeterminism": ({}, True),
    "ddpBucketCapMb": ({}, 5),
    "ddpFindUnusedParameters": ({}, True),
    "ddpBroadcastBuffers": ({}, False),
    "ddpTimeout": ({}, 60),
    "extraArguments": ({}, {"ddp_static_graph": "true"}),
}
# What other methods measure, compare by, or leave out as too long; and whole groups of completions, whose prompts leave
# room for them.
MARGINS = {"metricForBestModel": "rewards/margins"}
GROUPED = {
    "metricForBestModel": "entropy",
    "greaterIsBetter": False,
    "perDeviceTrainBatchSize": 4,
    "perDeviceEvalBatchSize": 4,
    "maxLength": 12,
}
OTHERWISE: dict[str, dict[str, Any]] = {
    "kto": {"metricForBestModel": "kl"},
    "reward": {"metricForBestModel": "accuracy", "maxLength": 16},
    **dict.fromkeys(("orpo", "cpo", "simpo"), MARGINS),
    **dict.fromkeys(("grpo", "rloo"), GROUPED),
    "ppo": {"perDeviceTrainBatchSize": 4, "maxLength": 12},
}
# They speak of evaluations, of which ppo has none.
EVALUATIONS = {"evalStrategy", "evalSteps", "loadBestModelAtEnd", "metricForBestModel", "greaterIsBetter"}
# The API refuses them there: see tests/contract/bad.
REFUSED = {
    method: {*METHOD_BLOCKS[method].ignored, *(() if METHOD_BLOCKS[method].splits else ("autoFindBatchSize",))}
    for method in METHODS
}
REFUSED["ppo"] |= EVALUATIONS
# Not TRL's business but the trainer's: which prompts are short enough, its optimiser, the checkpoint that the output is
# from, the micro-batch it finds.
OURS = {"optim", "optimArgs", "loadBestModelAtEnd", "autoFindBatchSize"}
# What one process on a CPU can not show: it is an argument there, and no more.
UNSEEN = {"averageTokensAcrossDevices", "logOnEachNode", "dataloaderPinMemory", "tf32", "ddpTimeout"}
PROMPT_LENGTHS = {(method, "maxLength") for method in ("grpo", "rloo", "ppo")}
ELSEWHERE = {"loadBestModelAtEnd", "autoFindBatchSize"}  # lifecycle/test_best, test_batch_size
PAIRED = [{"prompt": f"{a} and {a}=", "chosen": " one two" * (1 + a % 3), "rejected": " four"} for a in range(8)]
PROMPTS = [{"prompt": f"{a} and {a}" + " and more" * (a % 3)} for a in range(8)]
ROWS: dict[str, list[dict[str, Any]]] = {
    "sft": [{"prompt": f"{a} and {a}=", "completion": " one two three" * (1 + a % 3)} for a in range(8)],
    "dpo": PAIRED,
    "kto": [
        {"prompt": f"{a} and {a}=", "completion": " one two three" * (1 + a % 3), "label": a % 3 > 0} for a in range(8)
    ],
    "reward": PAIRED,
    **dict.fromkeys(("orpo", "cpo", "simpo"), PAIRED),
    **dict.fromkeys(("grpo", "rloo", "ppo"), PROMPTS),
    "pretrain": [{"text": f"Row {a} of the text" + " goes on" * (a % 3)} for a in range(8)],
}
# Hardly two completions of a prompt have the same, so that every step learns.
REWARDS = [{"name": "short", "length": {"unit": "characters", "max": 1, "margin": 100}}]
BLOCKS: dict[str, dict[str, Any]] = {
    "pretrain": {"pretrain": {"packing": False}},
    "grpo": {"grpo": {"numGenerations": 2, "maxCompletionLength": 6}, "rewards": REWARDS},
    "rloo": {"rloo": {"numGenerations": 2, "maxCompletionLength": 6}, "rewards": REWARDS},
    "ppo": {"ppo": {"maxCompletionLength": 6}, "rewards": REWARDS},
}
BASIS = {
    "maxLength": 32,
    "maxSteps": 3,
    "loggingSteps": 1,
    "learningRate": 1e-2,
    "perDeviceTrainBatchSize": 2,
}
# Of the fields that change a run, those whose tests stand for the others in shorter suites.
STANDING = {(method, "learningRate") for method in METHODS}
STANDING |= {
    ("sft", field) for field in ("maxSteps", "perDeviceTrainBatchSize", "optim", "evalSteps", "extraArguments")
}
PAIRS = [(method, field) for method in METHODS for field in CHANGES if field not in REFUSED.get(method, ())]


def context(lab: Any, base: Any, method: str, training: dict[str, Any]) -> Any:
    measured = {} if method == "ppo" else {"perDeviceEvalBatchSize": 2}
    given = {name: value for name, value in (BASIS | measured | training).items() if value is not None}
    spec = {
        "method": method,
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put(f"{method}.jsonl", ROWS[method])],
        "training": given,
    }
    if measured:
        spec["evaluation"] = {"datasets": [lab.put(f"{method}-held-out.jsonl", ROWS[method][:5])]}
    return lab.context(method, spec | BLOCKS.get(method, {}), base)


def changed(method: str, field: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what a field needs beside it, and that with the field changed."""
    beside, value = CHANGES[field]
    value = OTHERWISE.get(method, {}).get(field, value)
    return beside, beside | (COMPILED if field == "torchCompile" else {field: value})


def test_every_field_is_here() -> None:
    assert {field.alias for field in Training.model_fields.values()} == CHANGES.keys()


@pytest.mark.parametrize(
    ("method", "field"), [pair for pair in PAIRS if pair[1] not in OURS and pair not in PROMPT_LENGTHS]
)
def test_it_is_an_argument_of_trl(lab: Any, config_of: Callable[[str], Any], method: str, field: str) -> None:
    from tunesmith_trainer.methods import METHODS

    before, after = (
        METHODS[method].trl_arguments(context(lab, None, method, training)) for training in changed(method, field)
    )
    assert before != after
    assert after.keys() <= config_of(method).__dataclass_fields__.keys()


@pytest.fixture
def _as_before() -> Iterator[None]:
    """Undo what arguments do to the whole process."""
    import torch
    import transformers

    environment, verbosity = dict(os.environ), transformers.utils.logging.get_verbosity()
    yield
    os.environ.clear()
    os.environ.update(environment)
    torch.use_deterministic_algorithms(mode=False)
    transformers.utils.logging.set_verbosity(verbosity)


def shown(lab: Any, base: Any, method: str, training: dict[str, Any]) -> dict[str, Any]:
    """Return what of a run can be seen: figures, weights, and how its parts are set up."""
    import torch
    import transformers

    trainer = lab.build(context(lab, base, method, training)).trainer
    trainer.train()
    digest = hashlib.sha256()
    for parameter in trainer.model.parameters():
        digest.update(parameter.detach().numpy().tobytes())
    loader, model, accelerator = trainer.get_train_dataloader(), trainer.model, trainer.accelerator
    recomputation = next((m._gradient_checkpointing_func for m in model.modules() if trains(m)), None)
    return {
        "log": [
            {name: value for name, value in entry.items() if not name.endswith(("runtime", "_per_second", "step_time"))}
            for entry in trainer.state.log_history
        ],
        "best": (trainer.state.best_metric, trainer.state.best_global_step),
        "weights": digest.hexdigest(),
        "loader": (loader.num_workers, loader.prefetch_factor, loader.persistent_workers),
        "evaluation": trainer.eval_dataset and trainer.get_eval_dataloader().batch_sampler.batch_size,
        "recomputation": recomputation and recomputation.keywords,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "verbosity": transformers.utils.logging.get_verbosity(),
        "compilation": accelerator.state.dynamo_plugin.to_kwargs(),
        "ddp": accelerator.ddp_handler.to_kwargs(),
    }


def trains(module: Any) -> bool:
    return bool(getattr(module, "gradient_checkpointing", False))


@pytest.fixture(scope="session")
def unchanged() -> dict[tuple[str, str], dict[str, Any]]:
    """What was seen of runs by method and what the fields need beside them, which many of them share."""
    return {}


@pytest.mark.methods("training field")
@pytest.mark.usefixtures("_as_before")
@pytest.mark.parametrize(
    ("method", "field"),
    [
        pytest.param(*pair, marks=pytest.mark.slow if pair in STANDING else ())
        for pair in PAIRS
        if pair[1] not in UNSEEN | ELSEWHERE
    ],
)
def test_it_changes_the_run(
    lab: Any, base: Any, unchanged: dict[tuple[str, str], dict[str, Any]], method: str, field: str
) -> None:
    beside, after = changed(method, field)
    case = (method, json.dumps(beside))
    if case not in unchanged:
        unchanged[case] = shown(lab, base, method, beside)
    assert shown(lab, base, method, after) != unchanged[case]


@pytest.mark.methods("training field")
@pytest.mark.parametrize(
    "method", [pytest.param(method, marks=pytest.mark.slow if method == "sft" else ()) for method in METHODS]
)
def test_the_same_settings_give_the_same_run(lab: Any, base: Any, method: str) -> None:
    training = {} if method == "ppo" else EVALUATED
    assert shown(lab, base, method, training) == shown(lab, base, method, training)
