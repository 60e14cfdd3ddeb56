"""The config of Tunesmith's decoder. Saved with the weights, it works without Tunesmith (Transformers 5, torch 2.9)."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

ROTARY = ("rope", "yarn")


class TunesmithConfig(PreTrainedConfig):
    """A decoder that is put together from its parts.

    Attributes:
        num_key_value_heads: Heads of keys and values; 0 means as many as attention heads.
        position_embedding: `rope`, `yarn`, `alibi`, `sinusoidal` or `learned`.
        rope_parameters: As in LlamaConfig; None without rotary positions.
        sliding_window: Number of tokens each token attends to, itself included; None means all before it.
        attention_bias: Whether query, key and value projections have a bias.
        attention_output_bias: Whether the output projection of attention has one.
        mlp_bias: Whether the linear layers of the feed-forward layer have one.
        norm_type: `rmsnorm` or `layernorm`.
        norm_placement: `pre`: before attention and feed-forward layer, and once at the end; `post`: after each of them,
            on the sum with the residual stream (Vaswani et al. 2017).
        hidden_act: Activation, a name of `transformers.activations.ACT2FN`.
        gated_mlp: Whether the activation gates a second projection (Shazeer 2020, arXiv:2002.05202).
        residual_dropout: Dropout on the output of attention and feed-forward layer.
        embedding_dropout: Dropout on the embeddings.
    """

    model_type = "tunesmith"
    keys_to_ignore_at_inference = ("past_key_values",)

    vocab_size: int = 32000
    hidden_size: int = 512
    intermediate_size: int = 1408
    num_hidden_layers: int = 8
    num_attention_heads: int = 8
    num_key_value_heads: int = 0
    max_position_embeddings: int = 2048
    position_embedding: str = "rope"
    rope_parameters: dict[str, Any] | None = None
    sliding_window: int | None = None
    attention_bias: bool = False
    attention_output_bias: bool = False
    mlp_bias: bool = False
    norm_type: str = "rmsnorm"
    norm_eps: float = 1e-6
    norm_placement: str = "pre"
    hidden_act: str = "silu"
    gated_mlp: bool = True
    attention_dropout: float = 0.0
    residual_dropout: float = 0.0
    embedding_dropout: float = 0.0
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False
    use_cache: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        """Fill in what depends on other values."""
        self.num_key_value_heads = self.num_key_value_heads or self.num_attention_heads
        super().__post_init__(**kwargs)
        if self.position_embedding not in ROTARY:
            self.rope_parameters = None
