"""What of a model takes memory, counted on torch's meta device: modules without data, of any class."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.models.adapters.modules import output_head
from tunesmith_trainer.models.architectures.registration import register

if TYPE_CHECKING:
    from peft import PeftConfig
    from torch import nn
    from transformers import PreTrainedConfig, PreTrainedModel

    from tunesmith_api.v1alpha1.methods.base import Task

_IN_STEPS = frozenset({"NewGELUActivation", "FastGELUActivation"})
_STEPS = 3  # what those keep more than others, times the width of the feed-forward layer


def meta_model(config: PreTrainedConfig, task: Task = "CAUSAL_LM", *, trusted: bool = False) -> PreTrainedModel:
    """Return a config's causal language model, or its classifier, without data; it takes no memory for weights.

    Args:
        config: The config.
        task: Which of them.
        trusted: Whether code that its folder brings may be run.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    register()
    kind = AutoModelForCausalLM if task == "CAUSAL_LM" else AutoModelForSequenceClassification
    with torch.device("meta"):
        return kind.from_config(config, attn_implementation="sdpa", trust_remote_code=trusted)


@dataclass(frozen=True)
class ModelShape:
    """Counts of a model, exact but for `widths`, which stands for its activations.

    Attributes:
        parameters: Parameters of the base model, tied ones once.
        linear: Those of its linear layers without the output head: what quantisation makes smaller.
        trained: Parameters that get gradients: all of the base's, or the adapter's.
        trained_matrices: Those of them that are matrices of hidden layers, which Muon steps.
        trained_edges: Rows and columns of trained matrices, and the length of vectors: Adafactor's statistics.
        widths: Inputs and outputs of all linear layers but the head, keys and values repeated for their groups, and the
            steps of an activation that is no single kernel; per token.
        norms: Inputs of all norms, per token.
        layers: Decoder layers.
        hidden_size: Width of the residual stream.
        vocabulary: Rows of the output head: words, or scores.
        score_heads: Attention heads over all layers.
        bias_heads: Heads that have a bias of their own on attention scores (ALiBi).
        drops_attention: Whether attention weights have dropout.
        cached: Keys and values over all layers, per token: what generation keeps.
    """

    parameters: int
    linear: int
    trained: int
    trained_matrices: int
    trained_edges: int
    widths: int
    norms: int
    layers: int
    hidden_size: int
    vocabulary: int
    score_heads: int
    bias_heads: int
    drops_attention: bool
    cached: int

    @classmethod
    def of(cls, model: PreTrainedModel, adapter: PeftConfig | None = None) -> ModelShape:
        """Count a model of `meta_model`.

        Args:
            model: The base model; it stays as it is.
            adapter: The config of the adapter to train; None trains the whole model.
        """
        config = model.config.get_text_config()
        linear = _linear_layers(model)
        trained = _trained(model, adapter)
        ends = (output_head(model), model.get_input_embeddings())
        embedded = {id(value) for module in ends for value in module.parameters()}
        return cls(
            parameters=sum(value.numel() for value in model.parameters()),
            linear=sum(module.weight.numel() for module in linear),
            trained=sum(value.numel() for value in trained),
            trained_matrices=sum(value.numel() for value in trained if value.dim() > 1 and id(value) not in embedded),
            trained_edges=sum(sum(value.shape[-2:]) for value in trained),
            widths=sum(sum(module.weight.shape) for module in linear) + config.num_hidden_layers * _more(model, linear),
            norms=sum(module.weight.numel() for module in model.modules() if _is_norm(module)),
            layers=config.num_hidden_layers,
            hidden_size=config.hidden_size,
            vocabulary=ends[0].weight.shape[0],
            score_heads=config.num_hidden_layers * config.num_attention_heads,
            bias_heads=config.num_attention_heads if getattr(config, "position_embedding", None) == "alibi" else 0,
            drops_attention=bool(getattr(config, "attention_dropout", None) or getattr(config, "attn_pdrop", None)),
            cached=_cached(config),
        )


def _cached(config: Any) -> int:
    heads = config.num_attention_heads
    kept = getattr(config, "num_key_value_heads", None) or heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    return int(2 * config.num_hidden_layers * kept * width)


def _linear_layers(model: PreTrainedModel) -> list[Any]:
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    head = output_head(model)
    return [module for module in model.modules() if isinstance(module, nn.Linear | Conv1D) and module is not head]


def _more(model: PreTrainedModel, linear: list[Any]) -> int:
    """Return what a layer keeps beside inputs and outputs of its linear layers, per token."""
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    alone = heads - (getattr(config, "num_key_value_heads", None) or heads)
    in_steps = any(type(module).__name__ in _IN_STEPS for module in model.modules())
    widest = max(max(module.weight.shape) for module in linear)
    return int(2 * config.hidden_size * alone // heads + in_steps * _STEPS * widest)


def _is_norm(module: nn.Module) -> bool:
    """Whether a module is a norm with a weight; every class has its own, told by name as Transformers itself does."""
    return "Norm" in type(module).__name__ and getattr(module, "weight", None) is not None


def _trained(model: PreTrainedModel, adapter: PeftConfig | None) -> list[nn.Parameter]:
    """Return the parameters that get gradients."""
    if adapter is None:
        return list(model.parameters())
    import torch
    from peft import get_peft_model

    adapter = copy.deepcopy(adapter)
    if hasattr(adapter, "init_lora_weights"):
        adapter.init_lora_weights = True  # others look at the weights, which are not there
    with torch.device("meta"):
        adapted = get_peft_model(copy.deepcopy(model), adapter, autocast_adapter_dtype=False)
    return [value for value in adapted.parameters() if value.requires_grad]
