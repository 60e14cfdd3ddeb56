"""`training.extraArguments`: what TRL knows and this API has no field for; and what must not come in that way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tunesmith_api.base import Rule, cel

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_REFUSED: Mapping[str, str] = {
    "outputs and checkpoints have blocks of their own, output and checkpoint": (
        "output_dir logging_dir overwrite_output_dir save_only_model save_strategy save_steps save_total_limit"
        " save_on_each_node"
    ),
    "nothing is pushed from a training pod": (
        "push_to_hub hub_model_id hub_token hub_strategy hub_revision hub_private_repo hub_always_push"
    ),
    "figures are logged and reported by the job": (
        "report_to run_name project trackio_space_id trackio_bucket_id trackio_static_space_id disable_tqdm"
        " logging_nan_inf_filter logging_first_step eval_on_start debug generate_during_eval"
    ),
    "the model, its code and its tokens come by spec.model": (
        "trust_remote_code model_init_kwargs chat_template_path eos_token pad_token use_cache liger_kernel_config"
        " is_encoder_decoder"
    ),
    "processes and devices are the job's: use accelerator, numNodes, numProcPerNode and model.dtype": (
        "deepspeed fsdp fsdp_config accelerator_config parallelism_config local_rank ddp_backend use_cpu bf16 fp16"
        " dataloader_multiprocessing_context"
    ),
    "rows are prepared by the job: use datasets and the method's block": (
        "dataset_kwargs dataset_num_proc dataset_text_field shuffle_dataset truncation_mode packing packing_strategy"
        " eval_packing padding_free remove_unused_columns label_names length_column_name completion_only_loss"
        " assistant_only_loss precompute_ref_log_probs precompute_ref_batch_size padding_value max_completion_length"
    ),
    "attempts begin and resume by themselves, exactly": (
        "resume_from_checkpoint ignore_data_skip enable_jit_checkpoint restore_callback_states_from_checkpoint do_train"
        " do_eval do_predict"
    ),
    "the optimiser is built from optim and optimArgs": "adam_beta1 adam_beta2 adam_epsilon optim_target_modules",
    "use gradientCheckpointing and gradientCheckpointingKwargs": (
        "activation_checkpointing activation_checkpointing_kwargs"
    ),
    "it would round the weights that are trained": "bf16_full_eval fp16_full_eval",
    "it has no effect here: evaluation computes losses alone": (
        "prediction_loss_only eval_do_concat_batches eval_use_gather_object eval_accumulation_steps include_for_metrics"
        " batch_eval_metrics"
    ),
}
REFUSED_ARGUMENTS: Mapping[str, str] = {name: reason for reason, names in _REFUSED.items() for name in names.split()}
"""Arguments of TRL's configs that reach outside of the job or undo what it promises, with the reason."""

ExtraArguments = Annotated[
    dict[str, Annotated[str, Field(max_length=1024)]],
    Field(
        max_length=64,
        json_schema_extra=cel(
            Rule(
                "self.all(key, key.matches('^[a-z][a-z0-9_]{0,63}$'))",
                "every key must be the name of an argument as TRL writes it, such as eval_delay",
            ),
            *(
                Rule(
                    f"self.all(key, !(key in {names.split()}))",
                    f"must not hold {', '.join(names.split())}: {reason}",
                )
                for reason, names in _REFUSED.items()
            ),
        ),
    ),
]


def no_second_way(fields: Iterable[str]) -> Rule:
    """Return the rule that no argument is given here that has a field of its own.

    Args:
        fields: Names of the fields of `spec.training`, as TRL spells them.
    """
    return Rule(
        f"!has(self.extraArguments) || self.extraArguments.all(key, !(key in {sorted(fields)}))",
        "extraArguments holds an argument that has a field of its own: set that field of spec.training",
        ".extraArguments",
    )
