"""Tunesmith's decoder: a causal language model, or a classifier, of the parts that its config names, for Transformers.

Saved with the weights, this file works without Tunesmith: `AutoModelForCausalLM.from_pretrained(folder,
trust_remote_code=True)`. Its layers have the names of Llama's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import DynamicCache, GenerationMixin, PreTrainedModel
from transformers.activations import ACT2FN
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask
from transformers.modeling_layers import GenericForSequenceClassification, GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb, eager_attention_forward
from transformers.utils import can_return_tuple

# Relative, as Transformers finds and saves what a model's file imports.
from .configuration_tunesmith import ROTARY, TunesmithConfig
from .positions_tunesmith import alibi, rotary, sinusoidal

if TYPE_CHECKING:
    from transformers import Cache


def _norm(config: TunesmithConfig) -> nn.Module:
    kind = nn.RMSNorm if config.norm_type == "rmsnorm" else nn.LayerNorm
    return kind(config.hidden_size, eps=config.norm_eps)


class TunesmithAttention(nn.Module):
    """Attention of several heads, whose keys and values may serve a group of them each."""

    is_causal = True

    def __init__(self, config: TunesmithConfig, layer_idx: int) -> None:
        super().__init__()
        self.config = config
        self.layer_idx = layer_idx
        self.head_dim = config.hidden_size // config.num_attention_heads
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = self.head_dim**-0.5
        width, keys = config.hidden_size, config.num_key_value_heads * self.head_dim
        self.q_proj = nn.Linear(width, width, bias=config.attention_bias)
        self.k_proj = nn.Linear(width, keys, bias=config.attention_bias)
        self.v_proj = nn.Linear(width, keys, bias=config.attention_bias)
        self.o_proj = nn.Linear(width, width, bias=config.attention_output_bias)

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None,
        past_key_values: Cache | None = None,
        position_embeddings: tuple[torch.Tensor, torch.Tensor] | None = None,
        **kwargs: Any,
    ) -> torch.Tensor:
        """Return what the tokens take from those before them."""
        shape = (*hidden_states.shape[:-1], -1, self.head_dim)
        projections = (self.q_proj, self.k_proj, self.v_proj)
        query, key, value = (project(hidden_states).view(shape).transpose(1, 2) for project in projections)
        if position_embeddings is not None:
            query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        kernel = self.config._attn_implementation  # noqa: SLF001 - where Transformers keeps it
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(kernel, eager_attention_forward)
        attended, _ = attend(
            self,
            query,
            key,
            value,
            attention_mask,
            dropout=self.config.attention_dropout if self.training else 0.0,
            scaling=self.scaling,
            sliding_window=self.config.sliding_window,
            **kwargs,
        )
        return self.o_proj(attended.reshape(*hidden_states.shape).contiguous())


class TunesmithMLP(nn.Module):
    """The feed-forward layer."""

    def __init__(self, config: TunesmithConfig) -> None:
        super().__init__()
        width, inner, bias = config.hidden_size, config.intermediate_size, config.mlp_bias
        if config.gated_mlp:
            self.gate_proj = nn.Linear(width, inner, bias=bias)
        self.up_proj = nn.Linear(width, inner, bias=bias)
        self.down_proj = nn.Linear(inner, width, bias=bias)
        self.gated = config.gated_mlp
        self.act_fn = ACT2FN[config.hidden_act]

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        """Return what the layer makes of each token alone."""
        up = self.up_proj(hidden_states)
        inner = self.act_fn(self.gate_proj(hidden_states)) * up if self.gated else self.act_fn(up)
        return self.down_proj(inner)


class TunesmithDecoderLayer(GradientCheckpointingLayer):
    """Attention and feed-forward layer, each around the residual stream."""

    def __init__(self, config: TunesmithConfig, layer_idx: int) -> None:
        super().__init__()
        self.self_attn = TunesmithAttention(config, layer_idx)
        self.mlp = TunesmithMLP(config)
        self.input_layernorm = _norm(config)
        self.post_attention_layernorm = _norm(config)
        self.dropout = nn.Dropout(config.residual_dropout)
        self.normalises_first = config.norm_placement == "pre"

    def forward(self, hidden_states: torch.Tensor, **kwargs: Any) -> torch.Tensor:
        """Return the residual stream after this layer; `kwargs` are those of attention."""
        if self.normalises_first:
            hidden_states = hidden_states + self.dropout(self.self_attn(self.input_layernorm(hidden_states), **kwargs))
            return hidden_states + self.dropout(self.mlp(self.post_attention_layernorm(hidden_states)))
        hidden_states = self.input_layernorm(hidden_states + self.dropout(self.self_attn(hidden_states, **kwargs)))
        return self.post_attention_layernorm(hidden_states + self.dropout(self.mlp(hidden_states)))


class TunesmithPreTrainedModel(PreTrainedModel):
    """What Transformers has to know of the decoder."""

    config_class = TunesmithConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ("TunesmithDecoderLayer",)
    _skip_keys_device_placement = ("past_key_values",)
    _supports_sdpa = True

    @property
    def _supports_flash_attn(self) -> bool:
        """Flash attention takes no bias on its scores."""
        return bool(self.config.position_embedding != "alibi")


class TunesmithModel(TunesmithPreTrainedModel):
    """The decoder without its head."""

    def __init__(self, config: TunesmithConfig) -> None:
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id)
        if config.position_embedding == "learned":
            self.embed_positions = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.dropout = nn.Dropout(config.embedding_dropout)
        self.layers = nn.ModuleList(TunesmithDecoderLayer(config, place) for place in range(config.num_hidden_layers))
        self.norm = _norm(config) if config.norm_placement == "pre" else nn.Identity()
        self.gradient_checkpointing = False
        self.post_init()

    @can_return_tuple  # type: ignore[untyped-decorator] # as all of Transformers
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        *,
        inputs_embeds: torch.Tensor | None = None,
        use_cache: bool | None = None,
        output_hidden_states: bool | None = None,
        **kwargs: Any,
    ) -> BaseModelOutputWithPast:
        """Return the last hidden states; rows that hold several sequences tell so by their `position_ids`."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("exactly one of input_ids and inputs_embeds is needed")
        embeds = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        if past_key_values is None and (self.config.use_cache if use_cache is None else use_cache):
            past_key_values = DynamicCache(config=self.config)
        seen = 0 if past_key_values is None else past_key_values.get_seq_length()
        if position_ids is None:
            position_ids = (torch.arange(embeds.shape[1], device=embeds.device) + seen)[None]
        shared = {
            "attention_mask": self._mask(embeds, attention_mask, past_key_values, position_ids),
            "position_ids": position_ids,
            "past_key_values": past_key_values,
            "position_embeddings": rotary(self.config, position_ids, embeds.dtype)
            if self.config.position_embedding in ROTARY
            else None,
        }
        hidden_states = self.dropout(self._placed(embeds, position_ids))
        passed = []
        for layer in self.layers:
            if output_hidden_states:
                passed.append(hidden_states)
            hidden_states = layer(hidden_states, **shared, **kwargs)
        hidden_states = self.norm(hidden_states)
        return BaseModelOutputWithPast(
            last_hidden_state=hidden_states,
            past_key_values=past_key_values,
            hidden_states=(*passed, hidden_states) if output_hidden_states else None,
        )

    def _placed(self, embeds: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        """Return the embeddings with what is added for their positions."""
        if self.config.position_embedding == "learned":
            return embeds + self.embed_positions(positions)
        if self.config.position_embedding == "sinusoidal":
            width = self.config.hidden_size
            return embeds * width**0.5 + sinusoidal(width, positions, embeds.dtype)
        return embeds

    def _mask(
        self, embeds: torch.Tensor, attention_mask: torch.Tensor | None, past: Cache | None, positions: torch.Tensor
    ) -> torch.Tensor | None:
        """Return what may be attended to, with ALiBi's bias; None leaves a plain causal mask to the kernel."""
        make = create_causal_mask if self.config.sliding_window is None else create_sliding_window_causal_mask
        mask = make(
            config=self.config,
            inputs_embeds=embeds,
            attention_mask=attention_mask,
            past_key_values=past,
            position_ids=positions,
        )
        if self.config.position_embedding != "alibi":
            return mask
        if getattr(past, "is_compileable", False):
            raise ValueError("ALiBi needs a cache that grows: leave cache_implementation at its default")
        queries = embeds.shape[1]
        seen = 0 if past is None else past.get_seq_length()
        keys = seen + queries if mask is None else mask.shape[-1]
        return alibi(self.config.num_attention_heads, mask, (queries, keys), embeds)


class TunesmithForCausalLM(TunesmithPreTrainedModel, GenerationMixin):
    """The decoder with its language modelling head."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}  # noqa: RUF012 - as Transformers reads it

    def __init__(self, config: TunesmithConfig) -> None:
        super().__init__(config)
        self.model = TunesmithModel(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    @can_return_tuple  # type: ignore[untyped-decorator] # as all of Transformers
    def forward(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        *,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """Return logits, and the loss on labels, which are shifted here.

        Args:
            input_ids: Tokens, (batch, tokens).
            attention_mask: Zero where there is padding, (batch, tokens).
            position_ids: Position of each token in its sequence, (batch, tokens).
            past_key_values: Keys and values of tokens that came before.
            inputs_embeds: Embeddings in place of tokens.
            labels: Tokens to predict, -100 where none is.
            use_cache: Whether to return keys and values for the tokens to come.
            logits_to_keep: For how many tokens at the end, or for which, to return logits; 0 means all.
            kwargs: For the loss, the attention kernel, and `output_hidden_states`.
        """
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        return CausalLMOutputWithPast(
            loss=loss, logits=logits, past_key_values=outputs.past_key_values, hidden_states=outputs.hidden_states
        )


class TunesmithForSequenceClassification(GenericForSequenceClassification, TunesmithPreTrainedModel):
    """The decoder with a head that scores the last token before padding."""

    def __init__(self, config: TunesmithConfig) -> None:
        # Not Generic's own, which asks the Auto classes for the decoder: they know it only where it is registered.
        super(GenericForSequenceClassification, self).__init__(config)
        self.num_labels = config.num_labels
        self.model = TunesmithModel(config)
        self.score = nn.Linear(config.hidden_size, config.num_labels, bias=False)
        self.post_init()
