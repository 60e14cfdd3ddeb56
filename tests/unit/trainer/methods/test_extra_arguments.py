"""`extraArguments`: read as TRL's types, and only what is nobody else's."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from tunesmith_api.v1alpha1.methods import METHOD_BLOCKS
from tunesmith_api.v1alpha1.training import Training
from tunesmith_api.v1alpha1.training.extra_arguments import REFUSED_ARGUMENTS
from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.methods.extra_arguments import extra_arguments

PAIRS = [{"prompt": f"{a}=", "chosen": " x", "rejected": " y"} for a in range(6)]
ROWS = {
    "sft": [{"prompt": f"{a}=", "completion": " x"} for a in range(6)],
    "dpo": PAIRS,
    "orpo": PAIRS,
}
# What reaches TRL this way. A new argument of TRL's has to be judged before it does: give it a field, refuse it, or
# name it here.
EVERY = {
    "dataloader_in_order",
    "ddp_static_graph",
    "eval_delay",
    "log_level_replica",
    "skip_memory_metrics",
    "torch_empty_cache_steps",
    "use_liger_kernel",
}
MANY = EVERY | {"activation_offloading", "router_aux_loss_coef"}
ONLINE = EVERY | {
    "cache_implementation",
    "chat_template_kwargs",
    "disable_dropout",
    "generation_kwargs",
    "pad_to_multiple_of",
    "router_aux_loss_coef",
    "transformers_continuous_batching_config",
    "use_transformers_continuous_batching",
    "use_transformers_paged",
}
PASSED = {
    "pretrain": MANY | {"loss_type"},
    "sft": MANY | {"loss_type"},
    "dpo": MANY | {"disable_dropout"},
    "kto": MANY
    | {"disable_dropout", "pad_to_multiple_of", "ref_model_mixup_alpha", "ref_model_sync_steps", "sync_ref_model"},
    "reward": EVERY | {"activation_offloading", "pad_to_multiple_of"},
    "orpo": EVERY | {"disable_dropout"},
    "cpo": EVERY | {"disable_dropout"},
    "simpo": EVERY | {"disable_dropout"},
    "grpo": ONLINE
    | {
        "cast_lm_head_to_fp32",
        "entropy_coef",
        "entropy_coef_delta",
        "entropy_coef_max",
        "entropy_coef_min",
        "entropy_target",
        "multi_objective_aggregation",
        "off_policy_mask_threshold",
        "sapo_temperature_neg",
        "sapo_temperature_pos",
        "use_adaptive_entropy",
        "use_bias_correction_kl",
        "vespo_k_neg",
        "vespo_k_pos",
        "vespo_lambda_neg",
        "vespo_lambda_pos",
    },
    "rloo": ONLINE,
    "ppo": EVERY,
}


def trainer(lab: Any, base: Any, method: str, extra: dict[str, str]) -> Any:
    spec = {
        "method": method,
        "model": {"fromJob": {"name": "base"}},
        "datasets": [lab.put("rows.jsonl", ROWS[method])],
        "training": {"maxLength": 32, "maxSteps": 1, "extraArguments": extra},
    }
    return lab.build(lab.context(method, spec, base)).trainer


def test_every_method_is_here() -> None:
    assert PASSED.keys() == METHOD_BLOCKS.keys()


@pytest.mark.parametrize("method", PASSED)
def test_every_argument_of_trl_is_judged(lab: Any, base: Any, config_of: Callable[[str], Any], method: str) -> None:
    from tunesmith_trainer.methods import METHODS

    spec = {"method": method, "model": {"fromJob": {"name": "base"}}, "datasets": [lab.put("a.jsonl", PAIRS)]}
    ours = METHODS[method].trl_arguments(lab.context("arguments", spec, base)).keys() | Training.model_fields.keys()
    arguments = {field.name for field in dataclasses.fields(config_of(method)) if field.init}
    assert arguments - ours - REFUSED_ARGUMENTS.keys() == PASSED[method]


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("torch_empty_cache_steps", "10", 10),
        ("eval_delay", "2", 2.0),
        ("eval_delay", "0.5", 0.5),
        ("skip_memory_metrics", "False", False),
        ("loss_type", "dft", "dft"),
        ("pad_to_multiple_of", "8", 8),
        ("pad_to_multiple_of", "auto", "auto"),
        ("router_aux_loss_coef", "1e-3", 0.001),
    ],
)
def test_a_value_is_read_as_the_argument_s_type(
    config_of: Callable[[str], Any], name: str, text: str, value: Any
) -> None:
    read = extra_arguments({name: text}, config_of("sft"), ())[name]
    assert (type(read), read) == (type(value), value)


def test_a_list_is_json(config_of: Callable[[str], Any]) -> None:
    values = {"loss_type": '["sigmoid", "sft"]', "loss_weights": "[1.0, 0.5]"}
    assert extra_arguments(values, config_of("dpo"), ()) == {
        "loss_type": ["sigmoid", "sft"],
        "loss_weights": [1.0, 0.5],
    }


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("learning_rate", "0.1", r"extraArguments.learning_rate: the job sets learning_rate itself"),
        ("gradient_checkpointing", "true", "the job sets gradient_checkpointing itself"),
        ("optim", "galore_adamw", "the job sets optim itself"),
        (
            "output_dir",
            "/tmp",
            r"extraArguments.output_dir is refused: outputs and checkpoints have blocks of their own",
        ),
        ("trust_remote_code", "true", r"is refused: the model, its code and its tokens come by spec.model"),
        ("warmup_ratio", "0.1", "SFTConfig of the installed TRL has no argument warmup_ratio"),
        ("eval_delay", "soon", r'extraArguments.eval_delay: "soon" can not be read; the argument takes float'),
        ("torch_empty_cache_steps", "1.5", '"1.5" can not be read; the argument takes int'),
        ("use_liger_kernel", "1", '"1" can not be read; the argument takes bool'),
    ],
)
def test_what_is_refused(lab: Any, base: Any, name: str, text: str, told: str) -> None:
    with pytest.raises(InvalidSpec, match=told):
        trainer(lab, base, "sft", {name: text})


@pytest.mark.parametrize("method", ["sft", "dpo", "orpo"])
def test_it_reaches_the_trainer(lab: Any, base: Any, method: str) -> None:
    args = trainer(lab, base, method, {"eval_delay": "3", "log_level_replica": "error"}).args
    assert (args.eval_delay, args.log_level_replica) == (3.0, "error")


def test_no_refused_argument_is_misspelt(config_of: Callable[[str], Any]) -> None:
    """Those that the installed TRL lacks are names of the other versions that the trainer supports."""
    known = {field.name for method in ROWS for field in dataclasses.fields(config_of(method))}
    assert REFUSED_ARGUMENTS.keys() - known == {"logging_dir", "overwrite_output_dir"}
