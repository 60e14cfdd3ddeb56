"""`spec.model.architecture`: a decoder with random weights, and the tokenizer that is trained for it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule

PositionEmbedding = Literal["rope", "yarn", "alibi", "sinusoidal", "learned"]
Norm = Literal["rmsnorm", "layernorm"]
NormPlacement = Literal["pre", "post"]
HiddenAct = Literal["swiglu", "geglu", "reglu", "silu", "gelu", "gelu_new", "relu", "relu2", "leaky_relu"]
TokenizerType = Literal["bpe", "unigram", "wordpiece", "char"]

DEFAULT_POSITIONS = 2048
DEFAULT_ROPE_THETA = 10000.0

_Probability = Annotated[float, Field(ge=0, lt=1)]
_TURNS = "(!has(self.positionEmbedding) || self.positionEmbedding in ['rope', 'yarn'])"
_YARN = "(has(self.positionEmbedding) && self.positionEmbedding == 'yarn')"
_POSITIONS = f"(has(self.maxPositionEmbeddings) ? self.maxPositionEmbeddings : {DEFAULT_POSITIONS})"


class Yarn(ApiModel):
    """YaRN: rotary positions stretched for long sequences (Peng et al. 2023, arXiv:2309.00071)."""

    factor: Annotated[
        float, Field(ge=1, le=1024, description="How many times longer sequences are than without stretching.")
    ]
    original_max_position_embeddings: Annotated[
        int | None,
        Field(
            ge=16,
            le=1048576,
            description="Length in tokens whose positions stay as they are. Default: maxPositionEmbeddings / factor.",
        ),
    ] = None


class Architecture(ApiModel):
    """A decoder with random weights, to pretrain from scratch. Left as it is, a Llama.

    Options that a class of Transformers has exactly make a model of that class, which anything can serve: Llama,
    Mistral, Qwen2, StableLm, Starcoder2 or GPT-2. All others make Tunesmith's own decoder, whose code is saved with the
    weights. The run record says which class it is, and why.
    """

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.hiddenSize % self.numAttentionHeads == 0",
            "hiddenSize must be a multiple of numAttentionHeads:"
            " each head gets hiddenSize / numAttentionHeads dimensions",
            ".hiddenSize",
        ),
        Rule(
            f"!{_TURNS} || self.hiddenSize % self.numAttentionHeads != 0"
            " || self.hiddenSize / self.numAttentionHeads % 2 == 0",
            "hiddenSize / numAttentionHeads must be even: rotary position embedding turns pairs of dimensions",
            ".hiddenSize",
        ),
        Rule(
            "!has(self.positionEmbedding) || self.positionEmbedding != 'sinusoidal' || self.hiddenSize % 2 == 0",
            "hiddenSize must be even: sinusoidal positions are pairs of a sine and a cosine",
            ".hiddenSize",
        ),
        Rule(
            "!has(self.numKeyValueHeads) || self.numAttentionHeads % self.numKeyValueHeads == 0",
            "numAttentionHeads must be a multiple of numKeyValueHeads: every key/value head serves a group of them",
            ".numKeyValueHeads",
        ),
        Rule(
            f"!has(self.ropeTheta) || {_TURNS}",
            "ropeTheta is only for positionEmbedding: rope or yarn; remove it",
            ".ropeTheta",
        ),
        Rule(
            f"has(self.yarn) == {_YARN}",
            "positionEmbedding: yarn needs the yarn block with its factor, and no other has it",
            ".yarn",
        ),
        Rule(
            f"!has(self.slidingWindow) || self.slidingWindow < {_POSITIONS}",
            "slidingWindow must be below maxPositionEmbeddings: a window over all positions does nothing; remove it",
            ".slidingWindow",
        ),
        Rule(
            "!has(self.attentionOutputBias) || (has(self.attentionBias) && self.attentionBias)",
            "attentionOutputBias needs attentionBias: true; remove it",
            ".attentionOutputBias",
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
            description="Number of key/value heads: 1 is multi-query attention, between 1 and numAttentionHeads"
            " grouped-query attention. Absent means one per attention head: multi-head attention.",
        ),
    ] = None
    max_position_embeddings: Annotated[int, Field(ge=16, le=1048576, description="Longest sequence, in tokens.")] = (
        DEFAULT_POSITIONS
    )
    position_embedding: Annotated[
        PositionEmbedding,
        Field(
            description="How the model knows positions. `rope`: rotary; `yarn`: rotary, stretched; `alibi`: a linear"
            " bias on attention scores; `sinusoidal`: fixed sines and cosines, added to embeddings that are scaled by"
            " sqrt(hiddenSize); `learned`: a trained vector per position, added to the embeddings."
        ),
    ] = "rope"
    rope_theta: Annotated[
        float | None,
        Field(
            ge=1,
            le=1e9,
            description="Base period of the rotary position embedding. Default: 10000 with `rope` and `yarn`.",
        ),
    ] = None
    yarn: Annotated[Yarn | None, Field(description="Parameters of `positionEmbedding: yarn`.")] = None
    sliding_window: Annotated[
        int | None,
        Field(
            ge=2,
            le=1048576,
            description="Number of tokens each token attends to, itself included. Absent means all before it.",
        ),
    ] = None
    attention_bias: Annotated[
        bool, Field(description="Whether the query, key, value and output projections of attention have a bias.")
    ] = False
    attention_output_bias: Annotated[
        bool | None,
        Field(description="Whether attention's output projection has a bias too. Default: attentionBias."),
    ] = None
    mlp_bias: Annotated[bool, Field(description="Whether the linear layers of the feed-forward layer have a bias.")] = (
        False
    )
    norm: Annotated[
        Norm, Field(description="`rmsnorm`: root mean square, a weight; `layernorm`: mean and variance, with a bias.")
    ] = "rmsnorm"
    norm_eps: Annotated[float, Field(gt=0, le=0.1, description="Added to the variance, so that none is zero.")] = 1e-6
    norm_placement: Annotated[
        NormPlacement,
        Field(
            description="`pre`: before attention and feed-forward layer, and once at the end; `post`: after each of"
            " them, on the sum with the residual stream."
        ),
    ] = "pre"
    hidden_act: Annotated[
        HiddenAct,
        Field(
            description="Activation of the feed-forward layer. `swiglu`, `geglu` and `reglu` are gated, by silu, gelu"
            " and relu: three matrices instead of two. `gelu_new` is gelu's tanh approximation; `relu2` relu squared."
        ),
    ] = "swiglu"
    attention_dropout: Annotated[_Probability, Field(description="Dropout on attention weights, as a probability.")] = (
        0.0
    )
    residual_dropout: Annotated[
        _Probability,
        Field(description="Dropout on the output of attention and feed-forward layer, as a probability."),
    ] = 0.0
    embedding_dropout: Annotated[_Probability, Field(description="Dropout on the embeddings, as a probability.")] = 0.0
    tie_word_embeddings: Annotated[bool, Field(description="Whether input and output embeddings share weights.")] = (
        False
    )
    initializer_range: Annotated[
        float,
        Field(
            gt=0,
            le=1,
            description="Standard deviation of the normal distribution that initial weights are drawn from; GPT-2's own"
            " class divides that of the projections into the residual stream by sqrt(2 × numHiddenLayers).",
        ),
    ] = 0.02


class TrainedTokenizer(ApiModel):
    """A tokenizer trained on the job's datasets. All but `char` work on bytes: they decode to the very text."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "(has(self.type) && self.type == 'char') || !has(self.vocabSize) || self.vocabSize >= 300",
            "vocabSize must be at least 300: every byte has a token; use type: char for a smaller vocabulary",
            ".vocabSize",
        ),
        Rule(
            "!has(self.type) || self.type != 'wordpiece' || !has(self.vocabSize) || self.vocabSize >= 600",
            "vocabSize must be at least 600 for wordpiece: every byte has a token to begin a word and one to go on",
            ".vocabSize",
        ),
    )

    type: Annotated[
        TokenizerType,
        Field(
            description="`bpe`: byte pair encoding; `unigram`: the likeliest pieces; `wordpiece`: the longest pieces;"
            " `char`: one token per character, those beyond vocabSize and those never seen all one unknown token."
        ),
    ] = "bpe"
    vocab_size: Annotated[
        int,
        Field(
            ge=8,
            le=1048576,
            description="Size of the vocabulary in tokens, special ones included; little text makes a smaller one.",
        ),
    ] = 8192
