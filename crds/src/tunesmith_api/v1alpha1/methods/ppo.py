"""The block of method `ppo`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field
from typing_extensions import override

from tunesmith_api.base import Rule, remedy
from tunesmith_api.v1alpha1.methods.base import MethodBlock
from tunesmith_api.v1alpha1.rewards import RewardName

if TYPE_CHECKING:
    from tunesmith_api.v1alpha1.training import Training

KlEstimator = Literal["k1", "k3"]


class Ppo(MethodBlock):
    """Proximal policy optimisation (Schulman et al. 2017, arXiv:1707.06347), in the terms of TRL's former PPOTrainer.

    A rollout is numMiniBatches global batches of prompts, each with one completion that the model samples. It is
    trained on numPpoEpochs times, one mini batch (one global batch) per optimiser step; then the next one is sampled.
    """

    formats = ("prompt",)
    rows = "prompt rows: a prompt, and the columns that rewards use"
    learning_rate = 3e-6
    ignored = {
        "labelSmoothingFactor": "what a model samples has no targets to smooth: remove it",
        "neftuneNoiseAlpha": "noise would change the probabilities that the clipping compares: remove it",
        "averageTokensAcrossDevices": "a step is a mean over the tokens of all processes already: remove it",
        "includeNumInputTokensSeen": "tokens are counted as they are sampled (num_tokens): remove it",
        "dataloaderDropLast": "a rollout is always whole: remove it",
        "perDeviceEvalBatchSize": "ppo evaluates nothing: remove it",
    }
    spec_rules = (
        Rule(
            "!has(self.evaluation)",
            "ppo measures what it samples while it trains (objective/scores), and evaluates nothing: remove evaluation",
            ".evaluation",
        ),
        Rule(
            "!has(self.peft) || !has(self.peft.lora) || !has(self.peft.lora.loraDropout)"
            " || self.peft.lora.loraDropout == 0.0",
            "dropout would change the probabilities that the clipping compares, so ppo trains without: remove"
            " loraDropout",
            ".peft.lora.loraDropout",
        ),
        Rule(
            "!has(self.ppo) || !has(self.ppo.valueModel) || !has(self.rewards)"
            " || self.rewards.exists(r, r.name == self.ppo.valueModel && has(r.model))",
            "valueModel names a reward of spec.rewards that is a model: correct the name, or remove valueModel",
            ".ppo.valueModel",
        ),
    )
    uses_rewards = True
    trains_values = True
    takes_reference_model = True

    num_mini_batches: Annotated[
        int,
        Field(
            ge=1,
            le=1024,
            description="Global batches of a rollout. A rollout has this times perDeviceTrainBatchSize times"
            " gradientAccumulationSteps times all processes prompts; the dataset needs at least as many.",
            json_schema_extra=remedy("numMiniBatches must be between 1 and 1024: it is a number of global batches"),
        ),
    ] = 1
    num_ppo_epochs: Annotated[
        int, Field(ge=1, le=64, description="How often a rollout is trained on before the next one is sampled.")
    ] = 4
    cliprange: Annotated[
        float,
        Field(
            gt=0,
            lt=1,
            description="How far a token's probability may move within a rollout, as a share of what it was, before"
            " nothing more is to be gained.",
        ),
    ] = 0.2
    cliprange_value: Annotated[
        float,
        Field(
            gt=0,
            le=1e6,
            description="How far a value may move within a rollout, in units of reward, before nothing more is to be"
            " gained.",
        ),
    ] = 0.2
    vf_coef: Annotated[
        float, Field(ge=0, le=1000, description="Weight of the value loss in the loss that is minimised.")
    ] = 0.1
    entropy_coef: Annotated[
        float,
        Field(
            ge=0,
            le=10,
            description="Weight of the policy's mean entropy, in nats per token, which is taken off the loss so that"
            " the policy keeps trying other tokens.",
        ),
    ] = 0.0
    value_model: Annotated[
        RewardName | None,
        Field(
            description="What the value model begins as: the model of this reward of spec.rewards, times its weight; it"
            " must have the tokenizer of `spec.model`. Absent: as the model to train, with a head of zeros."
        ),
    ] = None
    gamma: Annotated[float, Field(ge=0, le=1, description="Discount of a reward that comes one token later.")] = 1.0
    lam: Annotated[
        float,
        Field(
            ge=0,
            le=1,
            description="Lambda of generalised advantage estimation (GAE): 0 trusts the value model's foresight after"
            " one token, 1 what is measured to the end.",
        ),
    ] = 0.95
    kl_coef: Annotated[
        float,
        Field(
            ge=0,
            le=100,
            description="What each token costs per nat that it is likelier than under the reference model, in units of"
            " reward; 0 lets the policy go anywhere.",
        ),
    ] = 0.05
    kl_estimator: Annotated[
        KlEstimator,
        Field(
            description="How the divergence from the reference is estimated at a token. `k1`: difference of the"
            " log-probabilities, right on average and sometimes negative. `k3`: with the same mean, never negative."
        ),
    ] = "k1"
    whiten_rewards: Annotated[
        bool, Field(description="Whether the tokens' rewards of a rollout are scaled to a variance of 1.")
    ] = False
    normalize_advantages: Annotated[
        bool, Field(description="Whether the advantages of a rollout are scaled to a mean of 0 and a variance of 1.")
    ] = True
    generation_batch_size: Annotated[
        int | None,
        Field(
            ge=1,
            le=1_048_576,
            description="Prompts that a process completes at a time. Default: its whole part of a rollout.",
        ),
    ] = None
    max_completion_length: Annotated[
        int,
        Field(
            ge=1,
            le=1048576,
            description="Longest completion, in tokens. training.maxLength holds prompt and completion; longer prompts"
            " are left out and counted.",
        ),
    ] = 256
    missing_eos_penalty: Annotated[
        float | None,
        Field(
            ge=0,
            le=1e6,
            description="What is taken off the score of a completion that does not end within maxCompletionLength, in"
            " units of reward. Absent: nothing.",
        ),
    ] = None
    temperature: Annotated[
        float,
        Field(
            gt=0,
            le=10,
            description="Divides the logits, both where tokens are sampled and where their probabilities are compared.",
        ),
    ] = 1.0
    top_k: Annotated[
        int,
        Field(ge=0, le=1_000_000, description="Sample from this many of the likeliest tokens; 0 from all."),
    ] = 0
    top_p: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="Sample from the likeliest tokens that together have this probability; 1 from all. What topK"
            " and topP cut off is not part of the probabilities that are compared.",
        ),
    ] = 1.0

    @override
    def sampled_at_once(self, training: Training, processes: int) -> int:
        del processes
        mini_batch = training.per_device_train_batch_size * training.gradient_accumulation_steps
        return self.generation_batch_size or self.num_mini_batches * mini_batch
