"""`spec.model`: where the weights come from."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule, exactly_one_of
from tunesmith_api.v1alpha1.quantization import Quantization
from tunesmith_api.v1alpha1.types import ObjectName, RelativePath

DType = Literal["auto", "float32", "bfloat16", "float16"]
JobKind = Literal["FineTuneJob", "AlignmentJob"]
FromAdapter = Literal["continue", "merge"]


class ModelPath(ApiModel):
    """A model folder on a PersistentVolumeClaim, as `save_pretrained` writes it."""

    claim: Annotated[ObjectName, Field(description="Name of the PersistentVolumeClaim that holds the model.")]
    path: Annotated[
        RelativePath | None,
        Field(description="Folder of the model below the claim's root. Absent means the root itself."),
    ] = None


class FromJob(ApiModel):
    """The output of another job in the same namespace. The operator waits until that job is Complete."""

    kind: Annotated[JobKind, Field(description="Kind of the other job.")] = "FineTuneJob"
    name: Annotated[ObjectName, Field(description="Name of the other job.")]
    from_adapter: Annotated[
        FromAdapter,
        Field(
            description="What to do when the other job's output is an adapter: `continue` trains that adapter further"
            " on the same base model (preference methods take a frozen copy of it as the reference); `merge` first"
            " writes the merged model as a base of its own below the run's folder and trains on that."
        ),
    ] = "continue"


class Architecture(ApiModel):
    """A Llama decoder with random weights, to pretrain from scratch (transformers.LlamaConfig)."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.hiddenSize % self.numAttentionHeads == 0",
            "hiddenSize must be a multiple of numAttentionHeads:"
            " each head gets hiddenSize / numAttentionHeads dimensions",
            ".hiddenSize",
        ),
        Rule(
            "self.hiddenSize % self.numAttentionHeads != 0 || self.hiddenSize / self.numAttentionHeads % 2 == 0",
            "hiddenSize / numAttentionHeads must be even: rotary position embedding turns pairs of dimensions",
            ".hiddenSize",
        ),
        Rule(
            "!has(self.numKeyValueHeads) || self.numAttentionHeads % self.numKeyValueHeads == 0",
            "numAttentionHeads must be a multiple of numKeyValueHeads: every key/value head serves a group of them",
            ".numKeyValueHeads",
        ),
    )

    hidden_size: Annotated[int, Field(ge=8, le=65536, description="Width of the residual stream.")]
    intermediate_size: Annotated[int, Field(ge=8, le=262144, description="Width of the feed-forward layer.")]
    num_hidden_layers: Annotated[int, Field(ge=1, le=512, description="Number of decoder layers.")]
    num_attention_heads: Annotated[int, Field(ge=1, le=512, description="Number of attention heads per layer.")]
    num_key_value_heads: Annotated[
        int | None,
        Field(
            ge=1,
            le=512,
            description="Number of key/value heads (grouped-query attention). Absent means one per attention head.",
        ),
    ] = None
    max_position_embeddings: Annotated[int, Field(ge=16, le=1048576, description="Longest sequence, in tokens.")] = 2048
    rope_theta: Annotated[float, Field(ge=1, le=1e9, description="Base period of the rotary position embedding.")] = (
        10000.0
    )
    tie_word_embeddings: Annotated[bool, Field(description="Whether input and output embeddings share weights.")] = (
        False
    )


class TrainedTokenizer(ApiModel):
    """A byte-level BPE tokenizer trained on the job's datasets."""

    vocab_size: Annotated[
        int, Field(ge=300, le=1048576, description="Size of the vocabulary, special tokens included.")
    ] = 8192


class Tokenizer(ApiModel):
    """The tokenizer of a model that is pretrained from scratch."""

    train: Annotated[TrainedTokenizer, Field(description="Train a tokenizer on the job's datasets.")] = (
        TrainedTokenizer()
    )


class ModelSource(ApiModel):
    """Where the weights come from, and in which precision they are trained."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of(
            "path",
            "fromJob",
            "architecture",
            remedy="a model folder on a claim, the output of another job, or an architecture to pretrain from scratch",
        ),
        Rule(
            "!has(self.tokenizer) || has(self.architecture)",
            "tokenizer is only for model.architecture: a model from path or fromJob brings its own; remove it",
            ".tokenizer",
        ),
    )

    path: Annotated[ModelPath | None, Field(description="A model folder on a PersistentVolumeClaim.")] = None
    from_job: Annotated[FromJob | None, Field(description="The output of another job in the same namespace.")] = None
    architecture: Annotated[
        Architecture | None, Field(description="A model with random weights; for method `pretrain` only.")
    ] = None
    tokenizer: Annotated[
        Tokenizer | None,
        Field(description="The tokenizer of an `architecture`. Absent means one trained on the datasets."),
    ] = None
    dtype: Annotated[
        DType,
        Field(
            description="Precision to compute in, and of the weights that are written; trained weights are held in"
            " float32. `auto` takes the default of the accelerator profile."
        ),
    ] = "auto"
    quantization: Annotated[Quantization | None, Field(description="The base model in 4 or 8 bits, on CUDA.")] = None
