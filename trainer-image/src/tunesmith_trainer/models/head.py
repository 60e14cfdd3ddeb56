"""The LM head on CPUs: all logits at once while they fit, in place of TRL's tiles.

TRL saves memory: it scores every position, also padding and masked prompts, in tiles that the backward pass computes a
second time. With memory to spare that is time for nothing: on a CPU it was 42 % of a fine-tuning step.
"""

from __future__ import annotations

import functools
import types
from typing import TYPE_CHECKING, Any

from tunesmith_trainer.data.encode import IGNORED

if TYPE_CHECKING:
    import torch
    from peft import PeftModel
    from transformers import PreTrainedModel, Trainer

BYTES_PER_LOGIT = 16  # float32 logits, their log-softmax, its gradient, and what entropy takes
LIMIT_BYTES = 1 << 30
# Models that do more to their logits than a linear layer, or add a loss of their own, keep TRL's head.
_TRANSFORMING = ("final_logit_softcapping", "logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")
_ROUTING = "output_router_logits"


def use_plain_head(trainer: Trainer) -> None:
    """Let a TRL trainer on a CPU score tokens by the model's whole head; elsewhere nothing changes."""
    if trainer.args.device.type != "cpu":
        return
    if getattr(trainer.args, "entropy_coef", 0) or getattr(trainer.args, "use_adaptive_entropy", False):
        # The entropy is learnt from as well, and here it has no gradient.
        return
    for model in (trainer.model, getattr(trainer, "ref_model", None)):
        if model is not None:
            base = model.get_base_model() if hasattr(model, "peft_config") else model
            weighs = getattr(trainer, "use_weighting", False)
            _patch(base, getattr(trainer, "temperature", 1.0), weighs=weighs)


def _patch(model: PreTrainedModel | PeftModel, temperature: float, *, weighs: bool) -> None:
    config = model.config.get_text_config()
    if hasattr(config, _ROUTING) or any(getattr(config, name, None) is not None for name in _TRANSFORMING):
        return
    tiled = model.forward
    vocabulary = model.get_output_embeddings().weight.shape[0]

    # The signature stays: `generate` looks at it.
    @functools.wraps(type(model).forward)
    def forward(
        self: Any, *args: Any, fused_lm_head: bool = False, labels: torch.Tensor | None = None, **kwargs: Any
    ) -> Any:
        if not fused_lm_head or labels is None or kwargs.get("shift_labels") is not None:
            return tiled(*args, fused_lm_head=fused_lm_head, labels=labels, **kwargs)
        scored = labels[:, 1:] != IGNORED
        if int(scored.sum()) * vocabulary * BYTES_PER_LOGIT > LIMIT_BYTES:
            return tiled(*args, fused_lm_head=True, labels=labels, **kwargs)
        count = kwargs.pop("num_items_in_batch", None)
        hidden = self.base_model(*args, **(kwargs | {"use_cache": False})).last_hidden_state[:, :-1]
        logits = self.get_output_embeddings()(hidden[scored]) / temperature
        return _score(logits, labels[:, 1:], scored, count, weighs=weighs)

    model.forward = types.MethodType(forward, model)


def _score(logits: torch.Tensor, labels: torch.Tensor, scored: torch.Tensor, count: Any, *, weighs: bool) -> Any:
    """Return what TRL's head returns: figures per position, zero where no label is; WPO's too where DPO weighs."""
    import torch
    from trl.trainer.utils import FusedCausalLMOutput

    targets = labels[scored]
    logits = logits.float()
    chances = logits.log_softmax(-1)
    log_probs = chances.gather(-1, targets[:, None])[:, 0]
    with torch.no_grad():
        figures = {
            "entropy": -(chances.exp() * chances).sum(-1),
            "mean_logits": logits.mean(-1),
            "is_top1": logits.argmax(-1) == targets,
        }
        if weighs:
            figures["log_sum_sq_probs"] = (2 * chances).logsumexp(-1)
    items = scored.sum().clamp(min=1) if count is None else count
    return FusedCausalLMOutput(
        loss=-log_probs.sum() / items,
        log_probs=_spread(log_probs, scored),
        label_mask=scored,
        **{name: _spread(values, scored) for name, values in figures.items()},
    )


def _spread(values: torch.Tensor, scored: torch.Tensor) -> torch.Tensor:
    return values.new_zeros(scored.shape).masked_scatter(scored, values)
