"""How it is computed: recomputation, compilation, precision of products, determinism, what processes exchange."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule

_NEEDS_COMPILE = "has(self.torchCompile) && self.torchCompile"
COMPUTATION_RULES = (
    Rule(
        "!has(self.gradientCheckpointingKwargs) || (has(self.gradientCheckpointing) && self.gradientCheckpointing)",
        "gradientCheckpointingKwargs needs gradientCheckpointing: true",
        ".gradientCheckpointingKwargs",
    ),
    Rule(
        f"!has(self.torchCompileBackend) || ({_NEEDS_COMPILE})",
        "torchCompileBackend needs torchCompile: true",
        ".torchCompileBackend",
    ),
    Rule(
        f"!has(self.torchCompileMode) || ({_NEEDS_COMPILE}"
        " && (!has(self.torchCompileBackend) || self.torchCompileBackend == 'inductor'))",
        "torchCompileMode needs torchCompile: true and the backend inductor",
        ".torchCompileMode",
    ),
)


class GradientCheckpointingKwargs(ApiModel):
    """Arguments of torch.utils.checkpoint."""

    use_reentrant: Annotated[bool, Field(description="Use autograd's older, reentrant variant of recomputation.")] = (
        False
    )
    preserve_rng_state: Annotated[
        bool,
        Field(
            description="Draw the same dropout when recomputing; false is a little faster, and right without dropout."
        ),
    ] = True


class Computation(ApiModel):
    """How it is computed."""

    gradient_checkpointing: Annotated[
        bool, Field(description="Recompute activations in the backward pass: less memory, more time.")
    ] = False
    gradient_checkpointing_kwargs: Annotated[
        GradientCheckpointingKwargs | None, Field(description="How activations are recomputed.")
    ] = None
    tf32: Annotated[
        bool | None,
        Field(
            description="Whether float32 products may be computed in TF32: faster, with 10 bits of mantissa. NVIDIA"
            " GPUs from Ampere on. Default: as torch has it, false."
        ),
    ] = None
    torch_compile: Annotated[bool, Field(description="Compile the model with torch.compile.")] = False
    torch_compile_backend: Annotated[
        Literal["inductor", "cudagraphs", "aot_eager", "eager"] | None,
        Field(
            description="Backend of torch.compile; inductor and cudagraphs are for GPUs, the others find faults."
            " Default: inductor."
        ),
    ] = None
    torch_compile_mode: Annotated[
        Literal["default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"] | None,
        Field(description="What inductor optimises for. Default: default."),
    ] = None
    full_determinism: Annotated[
        bool,
        Field(description="Use deterministic algorithms alone, which are slower; a step that has none fails."),
    ] = False
    ddp_bucket_cap_mb: Annotated[
        int | None,
        Field(
            ge=1,
            le=65536,
            description="MiB of gradients that processes exchange at a time. Default: torch's, 25.",
        ),
    ] = None
    ddp_find_unused_parameters: Annotated[
        bool | None,
        Field(
            description="Look for parameters that a step leaves out; slower, for models whose steps do. Default: false."
        ),
    ] = None
    ddp_broadcast_buffers: Annotated[
        bool | None,
        Field(description="Copy the first process's buffers to the others before each step. Default: torch's, true."),
    ] = None
    ddp_timeout: Annotated[
        int | None,
        Field(
            ge=10,
            le=86_400,
            description="Seconds a process waits for the others before the attempt fails. Default: 1800.",
        ),
    ] = None
