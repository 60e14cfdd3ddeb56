"""What the blocks of `grpo` and `rloo` share: the model answers each prompt several times, rewards score that."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field
from typing_extensions import override

from tunesmith_api.base import ApiModel, Rule, cel, remedy
from tunesmith_api.v1alpha1.methods.base import MethodBlock

if TYPE_CHECKING:
    from tunesmith_api.v1alpha1.training import Training

_IN_PROCESS = ("gpuMemoryUtilization", "tensorParallelSize", "enableSleepMode")


class Vllm(ApiModel):
    """Completions by vLLM, on NVIDIA GPUs; the trainer's image must bring the package."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.mode) && self.mode == 'server') == has(self.serverBaseUrl)",
            "a server has an address, vLLM in the training processes has none: set mode: server together with"
            " serverBaseUrl",
            ".serverBaseUrl",
        ),
        *(
            Rule(
                f"!has(self.{field}) || !has(self.mode) || self.mode == 'colocate'",
                f"{field} is a setting of the server itself: remove it, or use mode: colocate",
                f".{field}",
            )
            for field in _IN_PROCESS
        ),
    )

    mode: Annotated[
        Literal["colocate", "server"],
        Field(
            description="`colocate`: vLLM runs in the training processes, on their GPUs; `server`: in a server"
            " (`trl vllm-serve`) that gets the new weights after every step."
        ),
    ] = "colocate"
    server_base_url: Annotated[
        str | None,
        Field(
            min_length=8,
            max_length=1024,
            description="Address of the server, such as http://vllm.models:8000.",
            json_schema_extra=cel(
                Rule(
                    "self.matches('^https?://[^/@?#]+$')",
                    "must be http:// or https://, a host and a port, such as http://vllm.models:8000",
                )
            ),
        ),
    ] = None
    gpu_memory_utilization: Annotated[
        float, Field(gt=0, lt=1, description="Share of a GPU's memory that vLLM takes for weights and cache.")
    ] = 0.3
    tensor_parallel_size: Annotated[
        int, Field(ge=1, le=64, description="Training processes whose GPUs share one copy of the model.")
    ] = 1
    enable_sleep_mode: Annotated[
        bool, Field(description="Whether vLLM gives its memory back while the weights are trained.")
    ] = False


class Online(MethodBlock):
    """A method that trains on completions of its own.

    `training.perDeviceTrainBatchSize` counts completions: `numGenerations` of them are one prompt's.
    """

    formats = ("prompt",)
    rows = "prompt rows: a prompt, and the columns that rewards use"
    learning_rate = 1e-6
    ignored = {
        "labelSmoothingFactor": "there are no target tokens whose labels could be smoothed: remove it",
        "neftuneNoiseAlpha": "noise on the embeddings would disturb what the model samples: remove it",
        "averageTokensAcrossDevices": "the loss has a mean of its own: remove it",
        "includeNumInputTokensSeen": "tokens are counted as they are sampled (num_tokens): remove it",
        "dataSeed": "prompts are drawn by training.seed: use that",
        "dataloaderDropLast": "only whole groups of completions are trained on: remove it",
    }
    has_reference = True
    uses_rewards = True
    takes_reference_model = True
    metric = "reward"

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.generationBatchSize) && has(self.stepsPerGeneration))",
            "set generationBatchSize or stepsPerGeneration, not both: each says how many completions are made at once",
            ".stepsPerGeneration",
        ),
    )

    num_generations: Annotated[
        int,
        Field(
            ge=2,
            le=1024,
            description="Completions of each prompt; they are compared with each other. Must divide the completions of"
            " a generation batch.",
            json_schema_extra=remedy("numGenerations must be between 2 and 1024: one completion compares with nothing"),
        ),
    ] = 8
    num_generations_eval: Annotated[
        int | None,
        Field(
            ge=1,
            le=1024,
            description="Completions of each held-out prompt. Default: numGenerations. Must divide"
            " training.perDeviceEvalBatchSize times all processes.",
        ),
    ] = None
    generation_batch_size: Annotated[
        int | None,
        Field(
            ge=2,
            le=1_048_576,
            description="Completions that are made at once, over all processes: a multiple of a micro-batch of all"
            " processes. Default: those of one optimiser step.",
        ),
    ] = None
    steps_per_generation: Annotated[
        int | None,
        Field(
            ge=1,
            le=65536,
            description="The same as micro-batches per generation. Default: training.gradientAccumulationSteps.",
        ),
    ] = None
    max_completion_length: Annotated[
        int,
        Field(
            ge=1,
            le=1_048_575,
            description="Longest completion, in tokens. A prompt may take what it leaves of training.maxLength; longer"
            " prompts are left out and counted.",
        ),
    ] = 512
    temperature: Annotated[
        float,
        Field(
            gt=0,
            le=10,
            description="Completions are drawn from the model's probabilities with their logits divided by this; below"
            " 1 the likelier tokens gain.",
        ),
    ] = 1.0
    top_k: Annotated[
        int, Field(ge=0, le=1_000_000, description="Draw from this many of the likeliest tokens; 0 draws from all.")
    ] = 0
    top_p: Annotated[
        float,
        Field(gt=0, le=1, description="Draw from the likeliest tokens that together have this probability."),
    ] = 1.0
    min_p: Annotated[
        float | None,
        Field(
            ge=0,
            le=1,
            description="Draw from tokens that have at least this share of the likeliest token's probability.",
        ),
    ] = None
    repetition_penalty: Annotated[
        float,
        Field(gt=0, le=10, description="Above 1 tokens lose that are in prompt or completion already; 1 is none."),
    ] = 1.0
    num_iterations: Annotated[
        int, Field(ge=1, le=1000, description="How often each generation batch is trained on (mu in the GRPO paper).")
    ] = 1
    epsilon: Annotated[
        float,
        Field(
            gt=0,
            le=10,
            description="How far a probability may move from that at generation before its gradient is cut, as a share."
            " Probabilities move when a generation batch is trained on in several steps.",
        ),
    ] = 0.2
    epsilon_high: Annotated[
        float | None, Field(gt=0, le=10, description="The same for moves upwards. Default: epsilon.")
    ] = None
    mask_truncated_completions: Annotated[
        bool, Field(description="Whether completions that maxCompletionLength cuts off are left out of the loss.")
    ] = False
    vllm: Annotated[
        Vllm | None, Field(description="Let vLLM make the completions. Absent: Transformers does, on any device.")
    ] = None

    @override
    def sampled_at_once(self, training: Training, processes: int) -> int:
        if self.vllm is not None:
            return 0  # in memory of its own
        if self.generation_batch_size is not None:
            return self.generation_batch_size // processes
        steps = self.steps_per_generation or training.gradient_accumulation_steps
        return training.per_device_train_batch_size * steps
