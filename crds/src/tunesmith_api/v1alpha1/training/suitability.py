"""What of `spec.training` depends on the rest of the spec: its method, its processes, the accelerator's device."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_api.base import Rule, absent
from tunesmith_api.v1alpha1.datasets import READ_WHOLE
from tunesmith_api.v1alpha1.training.optimizers import BITSANDBYTES_OPTIMIZERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tunesmith_api.v1alpha1.methods.base import MethodBlock
    from tunesmith_api.v1alpha1.training.block import Training

PROCESSES = "((has(self.numNodes) ? self.numNodes : 1) * (has(self.numProcPerNode) ? self.numProcPerNode : 1))"
"""The CEL expression of how many processes a spec trains in."""
_BETWEEN_PROCESSES = (
    "averageTokensAcrossDevices",
    "ddpBucketCapMb",
    "ddpFindUnusedParameters",
    "ddpBroadcastBuffers",
    "ddpTimeout",
)


def _absent(field: str) -> str:
    return absent(f"training.{field}")


def _is_not(field: str, value: str) -> str:
    return f"{_absent(field)} || self.training.{field} != '{value}'"


PROCESS_RULES = (
    *(
        Rule(
            f"{_absent(field)} || {PROCESSES} > 1",
            f"{field} is about what processes exchange: remove it, or train in several (numNodes, numProcPerNode)",
            f".training.{field}",
        )
        for field in _BETWEEN_PROCESSES
    ),
    Rule(
        f"{_absent('logOnEachNode')} || (has(self.numNodes) && self.numNodes > 1)",
        "logOnEachNode is about several nodes: remove it, or set numNodes above 1",
        ".training.logOnEachNode",
    ),
)
"""Of both kinds' specs: what has no effect in one process alone."""

FITTING_RULES = (
    Rule(
        f"{_absent('autoFindBatchSize')} || !self.training.autoFindBatchSize || {PROCESSES} == 1",
        "autoFindBatchSize looks at one device's memory: remove it, or train in one process",
        ".training.autoFindBatchSize",
    ),
    Rule(
        f"{READ_WHOLE} || {_absent('autoFindBatchSize')} || !self.training.autoFindBatchSize",
        "autoFindBatchSize tries the longest rows, and a stream does not tell them before: remove it or streaming",
        ".training.autoFindBatchSize",
    ),
)
"""Of both kinds' specs: what finding a micro-batch needs."""

LANGUAGE_RULES = (
    Rule(
        f"self.method != 'pretrain' || {_is_not('trainSamplingStrategy', 'group_by_length')}"
        " || (has(self.pretrain) && has(self.pretrain.packing) && !self.pretrain.packing)",
        "packed windows are all of one length: remove trainSamplingStrategy, or set pretrain.packing: false",
        ".training.trainSamplingStrategy",
    ),
    Rule(
        "!has(self.sft) || !has(self.sft.packing) || !self.sft.packing"
        f" || {_is_not('trainSamplingStrategy', 'group_by_length')}",
        "packed rows are nearly of one length: remove trainSamplingStrategy or sft.packing",
        ".training.trainSamplingStrategy",
    ),
    Rule(
        f"{READ_WHOLE} || {_absent('trainSamplingStrategy')}",
        "a stream is shuffled by dataProcessing.shuffleBufferSize: remove trainSamplingStrategy or streaming",
        ".training.trainSamplingStrategy",
    ),
)
"""Of FineTuneJob's spec."""

ALIGNMENT_RULES = (
    Rule(
        _is_not("trainSamplingStrategy", "group_by_length"),
        "group_by_length is for sft and pretrain: remove it, or use random or sequential",
        ".training.trainSamplingStrategy",
    ),
    Rule(
        _is_not("optim", "sophia"),
        "sophia estimates curvature from a model's own next tokens, for sft and pretrain: choose another optim",
        ".training.optim",
    ),
)
"""Of AlignmentJob's spec: what no method of it can use."""


def ignored_by(block: type[MethodBlock]) -> Iterator[Rule]:
    """Yield the rules that no field is set that a method would ignore."""
    for field, reason in block.ignored.items():
        yield Rule(_absent(field), f"{field} has no place here: {reason}", f".training.{field}")


def not_split(block: type[MethodBlock]) -> Iterator[Rule]:
    """Yield the rule that the micro-batch of a method stays as it is where the loss is formed within it."""
    if not block.splits:
        yield Rule(
            f"{_absent('autoFindBatchSize')} || !self.training.autoFindBatchSize",
            "the steps of this method depend on the micro-batch: remove autoFindBatchSize",
            ".training.autoFindBatchSize",
        )


def cuda_only(training: Training) -> Iterator[tuple[str, str]]:
    """Yield each setting that needs an NVIDIA GPU: its field below `spec.training` and what to do without one."""
    if training.optim in BITSANDBYTES_OPTIMIZERS:
        yield "optim", f"{training.optim} runs on NVIDIA GPUs alone; use adamw_torch_fused"
    if training.auto_find_batch_size:
        yield "autoFindBatchSize", "only a GPU says that memory is short, a CPU's process is killed; remove it"
    if training.tf32:
        yield "tf32", "TF32 is a mode of NVIDIA GPUs; remove it"
    if training.torch_compile and training.torch_compile_backend in {None, "inductor", "cudagraphs"}:
        yield "torchCompile", "images for CPUs have no compiler; remove it"
    if (training.extra_arguments or {}).get("use_liger_kernel", "false").lower() == "true":
        yield "extraArguments.use_liger_kernel", "Liger's kernels are for GPUs; remove it"
    if training.dataloader_pin_memory:
        yield "dataloaderPinMemory", "only copies to GPUs gain from pinned memory; remove it"
