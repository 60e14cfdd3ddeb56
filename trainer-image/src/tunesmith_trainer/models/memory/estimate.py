"""The memory of a training step, part by part.

What is held throughout, as the trainer holds it: weights (float32 when they are trained, else the spec's precision, or
4 and 8 bits plus their scales: Dettmers et al. 2023, arXiv:2305.14314, section 3), the reference model, and the
optimiser's state in float32 (two values per parameter for AdamW: Rajbhandari et al. 2020, arXiv:1910.02054, section
3.1). Then gradients in float32, and what the forward pass keeps for the backward pass: of each linear layer its input
and its output, of each norm its input (as Korthikanti et al. 2022, arXiv:2205.05198, count a layer, but from the
modules themselves), of a recomputed layer its input alone. Attention keeps no scores, as its kernels compute them again
(Dao et al. 2022, arXiv:2205.14135), but on a CPU with dropout.

Tensors alone are counted. On a CPU glibc's allocator keeps some of what they leave: resident memory was up to 1.8 times
as much where small tensors of many sizes come and go.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tunesmith_trainer.models.memory.shape import ModelShape
    from tunesmith_trainer.models.memory.workload import Workload

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
_MASTER = 4  # bytes of a trained weight and of its gradient
_QUANTIZED = {4: 0.5 + 4 / 64, 8: 1.0 + 4 / 4096}  # a float32 scale per 64 weights; one per row

_STATE = {
    "adamw_torch": 8.0,
    "adamw_torch_fused": 8.0,
    "adam": 8.0,
    "sophia": 8.0,
    "lion": 4.0,
    "sgd": 4.0,  # with momentum
    "adamw_8bit": 2.0 + 2 * 4 / 256,  # a float32 scale per 256 values
    # Paged: moved to the host's memory when the device's is needed.
    "paged_adamw_32bit": 0.0,
    "paged_adamw_8bit": 0.0,
}
_MOMENTUM = 4.0

# The head scores at most these many tokens and words at a time (TRL's fused head), or all on a CPU up to a limit.
_TILE_TOKENS, _TILE_WORDS = 4096, 32768
_TILE_COPIES = {"cpu": 3, "cuda": 1}  # in steps of torch, or in one kernel
_SCORES = 3  # attention weights before and after dropout, and what was dropped
_DRAWN_COPIES = 3  # logits, those that are drawn from, and their probabilities
_RUNTIME = {"cpu": 600 << 20, "cuda": 1 << 30}  # interpreter and libraries; the device's context and workspaces


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of one device.

    Attributes:
        weights: Weights of the model, adapter included.
        reference: The frozen copy that the model is compared with.
        frozen: Other frozen models: those of rewards, or a reference that is another model.
        optimizer: State of the optimiser.
        gradients: Gradients, and what several processes exchange them in.
        activations: What is kept for the backward pass, at the longest sequences.
        one_layer: What is kept of one layer: it is there when all gradients are.
        head: What scoring the vocabulary takes at once.
        generation: Keys and values of the completions that are sampled at once, at their longest, and their scores.
        runtime: What the process takes without any of these.
        accumulates: Whether gradients are there already while activations are kept.
    """

    weights: int
    reference: int
    frozen: int
    optimizer: int
    gradients: int
    activations: int
    one_layer: int
    head: int
    generation: int
    runtime: int
    accumulates: bool

    @property
    def total(self) -> int:
        """The most that is held at any one time.

        Without accumulation gradients grow in the backward pass as activations go. Nothing is sampled meanwhile.
        """
        passing = self.activations + self.head
        moving = self.gradients + passing if self.accumulates else max(self.gradients + self.one_layer, passing)
        held = self.weights + self.reference + self.frozen + self.optimizer
        return held + max(moving, self.generation) + self.runtime


def estimate(shape: ModelShape, load: Workload) -> MemoryEstimate:
    """Return what a training needs of one device.

    Args:
        shape: The model, with the adapter that is trained.
        load: What is done with it.
    """
    activations, one_layer = _activations(shape, load)
    exchanged = 2 if load.processes > 1 else 1  # DDP's buckets
    return MemoryEstimate(
        weights=_weights(shape, load),
        reference=_reference(shape, load),
        frozen=load.frozen * _BYTES[load.dtype],
        optimizer=_optimizer(shape, load) * load.trained_models,
        gradients=shape.trained * _MASTER * exchanged * load.trained_models,
        activations=activations * load.trained_models,
        one_layer=one_layer,
        head=_head(shape, load),
        generation=_generation(shape, load),
        runtime=_RUNTIME[load.device],
        accumulates=load.accumulation > 1,
    )


def most_state_bytes(optimizer: str, trained: int) -> int:
    """Return the most that an optimiser's state takes, whatever the shapes of what it steps.

    Args:
        optimizer: Its name, as `spec.training.optim` has it.
        trained: Number of the parameters that it steps.
    """
    return int(trained * _STATE.get(optimizer, _STATE["adamw_torch"]))


def _weights(shape: ModelShape, load: Workload) -> int:
    trained = shape.trained * _MASTER * load.trained_models
    if not load.adapted:
        return trained
    held = _BYTES[load.dtype]
    quantized = held if load.quantized_bits is None else _QUANTIZED[load.quantized_bits]
    return int((shape.parameters - shape.linear) * held + shape.linear * quantized) + trained


def _reference(shape: ModelShape, load: Workload) -> int:
    """Return the bytes of the reference: a copy of what is trained; without its adapter the base is one for nothing."""
    return 0 if load.reference == "none" else shape.trained * _MASTER


def _generation(shape: ModelShape, load: Workload) -> int:
    """Return the bytes of the cache of keys and values, and of the scores that next tokens are drawn from."""
    cache = load.max_length * shape.cached * _BYTES[load.dtype]
    return load.sampled_rows * (cache + _DRAWN_COPIES * shape.vocabulary * _MASTER)


def _optimizer(shape: ModelShape, load: Workload) -> int:
    if load.optimizer == "muon":
        others = shape.trained - shape.trained_matrices
        return int(shape.trained_matrices * _MOMENTUM + others * _STATE["adamw_torch"])
    if load.optimizer == "adafactor":
        return shape.trained_edges * _MASTER
    return int(shape.trained * _STATE[load.optimizer])


def _activations(shape: ModelShape, load: Workload) -> tuple[int, int]:
    """Return the bytes kept of all layers, or of one layer and the inputs of all; and those of one layer."""
    size, half = _BYTES[load.dtype], load.dtype != "float32"
    # Norms compute in float32: in half precision they keep what they have normalised, too.
    layers = shape.widths * size + shape.norms * _MASTER * (2 if half else 1)
    # Rows with padding have a mask, of which each layer's kernel keeps a copy as numbers.
    layers += shape.layers * load.max_length * size
    if load.device == "cpu" and shape.drops_attention:
        layers += _SCORES * shape.score_heads * load.max_length * _MASTER
    kept = layers * load.tokens
    # Trained weights in the precision computed in.
    kept += shape.linear * size if half and not load.adapted else 0
    one_layer = kept // shape.layers
    if load.gradient_checkpointing:
        stream = size if load.adapted else _MASTER
        kept = one_layer + shape.layers * shape.hidden_size * stream * load.tokens
    bias = shape.bias_heads * load.max_length * size  # one for all layers
    return kept + bias * load.tokens, one_layer


def _head(shape: ModelShape, load: Workload) -> int:
    """Return the bytes of scoring: logits on a CPU while they fit, else tiles and the head's own gradients."""
    from tunesmith_trainer.models.head import BYTES_PER_LOGIT, LIMIT_BYTES

    whole = load.tokens * shape.vocabulary * BYTES_PER_LOGIT
    if load.device == "cpu" and whole <= LIMIT_BYTES:
        return whole
    tile = min(load.tokens, _TILE_TOKENS) * _TILE_WORDS * _MASTER * _TILE_COPIES[load.device]
    head_gradient = 0 if load.adapted else shape.vocabulary * shape.hidden_size * _MASTER
    return tile + load.tokens * shape.hidden_size * _MASTER + head_gradient
