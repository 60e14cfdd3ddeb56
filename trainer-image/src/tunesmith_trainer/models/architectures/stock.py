"""The classes of Transformers that an architecture may be: which options each has, and what its config is made with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from tunesmith_api.v1alpha1.architecture import Architecture

_GATED = {"swiglu": "silu", "geglu": "gelu", "reglu": "relu"}
_PLAIN = ("silu", "gelu", "gelu_new", "relu", "relu2", "leaky_relu")
_NO_DROPOUT = (0.0,)
_NO_BIAS = (False, False)
_QKV = (True, False)
_ALL = (True, True)
_SPELLED = {
    "grouped": "numKeyValueHeads below numAttentionHeads",
    "attention_biases": "attentionBias and attentionOutputBias",
    "biases": "attentionBias, attentionOutputBias and mlpBias",
}


@dataclass(frozen=True)
class StockClass:
    """A class of Transformers.

    Attributes:
        model_type: Its name in Transformers.
        has: The values it has of each option; an option that is not named here it has in full.
        arguments: What its config is made with.
    """

    model_type: str
    has: Mapping[str, Collection[Any]]
    arguments: Callable[[Architecture], dict[str, Any]]

    def lacks(self, architecture: Architecture) -> str | None:
        """Return the first option of an architecture that this class does not have, None when it has them all."""
        options = _options(architecture)
        for option, values in self.has.items():
            if options[option] not in values:
                return f"{_SPELLED.get(option, _camel(option))}: {_spelled(options[option])}"
        return None


def _options(architecture: Architecture) -> dict[str, Any]:
    """Return the options by which classes differ; those that classes have together only are one."""
    attention = (architecture.attention_bias, bool(architecture.attention_output_bias))
    return dict(architecture) | {
        "attention_biases": attention,
        "biases": (*attention, architecture.mlp_bias),
        "grouped": architecture.num_key_value_heads not in (None, architecture.num_attention_heads),
    }


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(part.capitalize() for part in rest)


def _spelled(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(_spelled(part) for part in value)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _decoder(architecture: Architecture) -> dict[str, Any]:
    """Return what most configs name alike."""
    return {
        "hidden_size": architecture.hidden_size,
        "intermediate_size": architecture.intermediate_size,
        "num_hidden_layers": architecture.num_hidden_layers,
        "num_attention_heads": architecture.num_attention_heads,
        "num_key_value_heads": architecture.num_key_value_heads or architecture.num_attention_heads,
        "max_position_embeddings": architecture.max_position_embeddings,
        "rope_parameters": _rope(architecture),
        "hidden_act": _GATED.get(architecture.hidden_act, architecture.hidden_act),
        "attention_dropout": architecture.attention_dropout,
        "initializer_range": architecture.initializer_range,
        "tie_word_embeddings": architecture.tie_word_embeddings,
    }


def _rope(architecture: Architecture) -> dict[str, Any] | None:
    if architecture.rope_theta is None:
        return None
    if architecture.yarn is None:
        return {"rope_type": "default", "rope_theta": architecture.rope_theta}
    stretch = architecture.yarn.model_dump(exclude_none=True)
    return {"rope_type": "yarn", "rope_theta": architecture.rope_theta, **stretch}


def _llama(architecture: Architecture) -> dict[str, Any]:
    return _decoder(architecture) | {
        "rms_norm_eps": architecture.norm_eps,
        "attention_bias": architecture.attention_bias,
        "mlp_bias": architecture.mlp_bias,
    }


def _mistral(architecture: Architecture) -> dict[str, Any]:
    return _decoder(architecture) | {
        "rms_norm_eps": architecture.norm_eps,
        "sliding_window": architecture.sliding_window,
    }


def _qwen2(architecture: Architecture) -> dict[str, Any]:
    return _decoder(architecture) | {
        "rms_norm_eps": architecture.norm_eps,
        "use_sliding_window": architecture.sliding_window is not None,
        "sliding_window": architecture.sliding_window,
        "max_window_layers": 0,  # from the first layer on
    }


def _stablelm(architecture: Architecture) -> dict[str, Any]:
    arguments = _decoder(architecture)
    # The class turns a quarter of each head unless it is told otherwise.
    return arguments | {
        "rope_parameters": arguments["rope_parameters"] | {"partial_rotary_factor": 1.0},
        "layer_norm_eps": architecture.norm_eps,
        "use_qkv_bias": architecture.attention_bias,
    }


def _starcoder2(architecture: Architecture) -> dict[str, Any]:
    return _decoder(architecture) | {
        "norm_epsilon": architecture.norm_eps,
        "sliding_window": architecture.sliding_window,
        "use_bias": architecture.mlp_bias,
        "residual_dropout": architecture.residual_dropout,
        "embedding_dropout": architecture.embedding_dropout,
    }


def _gpt2(architecture: Architecture) -> dict[str, Any]:
    return {
        "n_embd": architecture.hidden_size,
        "n_inner": architecture.intermediate_size,
        "n_layer": architecture.num_hidden_layers,
        "n_head": architecture.num_attention_heads,
        "n_positions": architecture.max_position_embeddings,
        "activation_function": architecture.hidden_act,
        "layer_norm_epsilon": architecture.norm_eps,
        "attn_pdrop": architecture.attention_dropout,
        "resid_pdrop": architecture.residual_dropout,
        "embd_pdrop": architecture.embedding_dropout,
        "initializer_range": architecture.initializer_range,
        "tie_word_embeddings": architecture.tie_word_embeddings,
    }


def own_arguments(architecture: Architecture) -> dict[str, Any]:
    """Return what the config of our own decoder is made with; it has every option."""
    return _decoder(architecture) | {
        "position_embedding": architecture.position_embedding,
        "sliding_window": architecture.sliding_window,
        "attention_bias": architecture.attention_bias,
        "attention_output_bias": bool(architecture.attention_output_bias),
        "mlp_bias": architecture.mlp_bias,
        "norm_type": architecture.norm,
        "norm_eps": architecture.norm_eps,
        "norm_placement": architecture.norm_placement,
        "gated_mlp": architecture.hidden_act in _GATED,
        "residual_dropout": architecture.residual_dropout,
        "embedding_dropout": architecture.embedding_dropout,
    }


_GATED_RMSNORM: dict[str, Collection[Any]] = {
    "position_embedding": ("rope", "yarn"),
    "norm": ("rmsnorm",),
    "norm_placement": ("pre",),
    "hidden_act": _GATED,
    "residual_dropout": _NO_DROPOUT,
    "embedding_dropout": _NO_DROPOUT,
}
STOCK_CLASSES = (
    StockClass("llama", {**_GATED_RMSNORM, "sliding_window": (None,), "attention_biases": (_NO_BIAS, _ALL)}, _llama),
    StockClass("mistral", {**_GATED_RMSNORM, "biases": ((*_NO_BIAS, False),)}, _mistral),
    StockClass("qwen2", {**_GATED_RMSNORM, "biases": ((*_QKV, False),)}, _qwen2),
    StockClass(
        "stablelm",
        {
            "position_embedding": ("rope",),
            "sliding_window": (None,),
            "biases": ((*_NO_BIAS, False), (*_QKV, False)),
            "norm": ("layernorm",),
            "norm_placement": ("pre",),
            "hidden_act": _GATED,
            "residual_dropout": _NO_DROPOUT,
            "embedding_dropout": _NO_DROPOUT,
        },
        _stablelm,
    ),
    StockClass(
        "starcoder2",
        {
            "position_embedding": ("rope", "yarn"),
            "biases": ((*_NO_BIAS, False), (*_ALL, True)),
            "norm": ("layernorm",),
            "norm_placement": ("pre",),
            "hidden_act": _PLAIN,
        },
        _starcoder2,
    ),
    StockClass(
        "gpt2",
        {
            "position_embedding": ("learned",),
            "grouped": (False,),
            "sliding_window": (None,),
            "biases": ((*_ALL, True),),
            "norm": ("layernorm",),
            "norm_placement": ("pre",),
            "hidden_act": _PLAIN,
        },
        _gpt2,
    ),
)
