"""What a training asks of one device, as far as its memory goes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from tunesmith_api.run import FrozenRun
    from tunesmith_api.v1alpha1.methods.base import MethodBlock

Reference = Literal["none", "model", "adapter"]


@dataclass(frozen=True)
class Workload:
    """One process's part of a training.

    Attributes:
        device: Type of the device, `cpu` or `cuda`.
        dtype: Precision that is computed in, and that a frozen base is held in; what is trained is float32.
        batch_size: Rows of a micro-batch.
        accumulation: Micro-batches of an optimiser step.
        max_length: Longest sequence, in tokens.
        gradient_checkpointing: Whether activations are computed again in the backward pass.
        adapted: Whether an adapter is trained and the base model frozen.
        sequences: Sequences of a row.
        reference: The frozen copy that the model is compared with.
        processes: Training processes, over all nodes.
        optimizer: Name of the optimiser, as `spec.training.optim` has it.
        quantized_bits: Bits of a weight of the frozen base's linear layers; None is `dtype`.
        trained_models: Models that are trained together: PPO's value model is another one on the same base.
        frozen: Parameters of frozen models beside the trained one's base: reward models, a reference of its own.
        sampled_rows: Completions that are sampled at once; 0 for methods that sample none.
    """

    device: str
    dtype: str
    batch_size: int
    accumulation: int
    max_length: int
    gradient_checkpointing: bool
    adapted: bool = False
    sequences: int = 1
    reference: Reference = "none"
    processes: int = 1
    optimizer: str = "adamw_torch_fused"
    quantized_bits: Literal[4, 8] | None = None
    trained_models: int = 1
    frozen: int = 0
    sampled_rows: int = 0

    @classmethod
    def of(cls, run: FrozenRun) -> Workload:
        """Return what a frozen run asks of each of its devices."""
        spec = run.spec
        training = spec.training
        continues = run.model.adapter is not None and run.model.from_adapter == "continue"
        adapted = spec.peft is not None or continues
        block: MethodBlock = getattr(spec, spec.method)  # which a resolved spec always has
        # Found at run time, the micro-batch is one row when it must be.
        rows = training.per_device_train_batch_size * training.gradient_accumulation_steps
        smallest = 1 if training.auto_find_batch_size else training.per_device_train_batch_size
        return cls(
            device=run.profile.device,
            dtype=spec.model.dtype,
            batch_size=smallest,
            accumulation=rows // smallest,
            max_length=training.max_length,
            gradient_checkpointing=training.gradient_checkpointing,
            adapted=adapted,
            # A pair is trained on as two sequences of one batch.
            sequences=2 if block.formats == ("preference",) else 1,
            reference=_reference(block, run, adapted=adapted, continues=continues),
            processes=run.world_size,
            optimizer=training.optim,
            quantized_bits=None if spec.model.quantization is None else spec.model.quantization.bits,
            trained_models=2 if block.trains_values else 1,
            sampled_rows=block.sampled_at_once(training, run.world_size),
        )

    @property
    def tokens(self) -> int:
        """Tokens of a micro-batch at most."""
        return self.batch_size * self.sequences * self.max_length


def _reference(block: MethodBlock, run: FrozenRun, *, adapted: bool, continues: bool) -> Reference:
    """Return the copy of the trained model that is its reference; another model is counted with the frozen ones."""
    if run.reference is not None:
        return "none"
    if block.trains_values:
        return "adapter" if adapted else "model"
    if not block.compares or (adapted and not continues):
        return "none"  # without its new adapter the base is the reference
    return "adapter" if continues else "model"
