"""Thirteen architectures, which have every option between them, as tiny models."""

from typing import Any

VOCABULARY = 96
SIZE = {
    "hiddenSize": 32,
    "intermediateSize": 48,
    "numHiddenLayers": 2,
    "numAttentionHeads": 4,
    "maxPositionEmbeddings": 64,
    "initializerRange": 0.2,  # so that what the options change is not lost in small numbers
}
ALL_BIASES = {"attentionBias": True, "mlpBias": True}
STOCK: dict[str, tuple[dict[str, Any], str]] = {
    "llama": ({"numKeyValueHeads": 2, "attentionBias": True}, "LlamaForCausalLM"),
    "yarn": (
        {"positionEmbedding": "yarn", "yarn": {"factor": 4}, "hiddenAct": "geglu", "tieWordEmbeddings": True},
        "LlamaForCausalLM",
    ),
    "mistral": ({"slidingWindow": 6, "numKeyValueHeads": 1}, "MistralForCausalLM"),
    "qwen2": (
        {"attentionBias": True, "attentionOutputBias": False, "numKeyValueHeads": 2, "slidingWindow": 6},
        "Qwen2ForCausalLM",
    ),
    "stablelm": ({"norm": "layernorm", "normEps": 1e-5}, "StableLmForCausalLM"),
    "starcoder2": (
        {"norm": "layernorm", "hiddenAct": "gelu", "slidingWindow": 6, "numKeyValueHeads": 2, **ALL_BIASES},
        "Starcoder2ForCausalLM",
    ),
    "gpt2": (
        {"positionEmbedding": "learned", "norm": "layernorm", "hiddenAct": "gelu_new", **ALL_BIASES},
        "GPT2LMHeadModel",
    ),
}
OWN: dict[str, dict[str, Any]] = {
    "alibi": {"positionEmbedding": "alibi", "hiddenAct": "relu", "numKeyValueHeads": 1},
    "alibi-window": {
        "positionEmbedding": "alibi",
        "slidingWindow": 6,
        "norm": "layernorm",
        "hiddenAct": "leaky_relu",
        "hiddenSize": 24,
        "numAttentionHeads": 3,  # no power of two
    },
    "sinusoidal-post": {
        "positionEmbedding": "sinusoidal",
        "norm": "layernorm",
        "normPlacement": "post",
        "hiddenAct": "relu",
        **ALL_BIASES,
    },
    "learned-rmsnorm": {
        "positionEmbedding": "learned",
        "hiddenAct": "silu",
        "numKeyValueHeads": 2,
        "tieWordEmbeddings": True,
        "residualDropout": 0.1,
    },
    "yarn-post": {
        "positionEmbedding": "yarn",
        "yarn": {"factor": 2},
        "normPlacement": "post",
        "hiddenAct": "reglu",
        "slidingWindow": 6,
        "attentionBias": True,
        "embeddingDropout": 0.1,
        "attentionDropout": 0.1,
    },
    "rope-plain": {"hiddenAct": "relu2", "mlpBias": True, "numKeyValueHeads": 2},
}
EVERY = {**{name: fields for name, (fields, _) in STOCK.items()}, **OWN}
