"""The value model: what is still to be had from a completion that has come so far."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from typing_extensions import override

from tunesmith_trainer.models.adapters.modules import output_head
from tunesmith_trainer.models.adapters.saved import ADAPTER
from tunesmith_trainer.models.twin import twin

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor
    from transformers import PreTrainedModel


class Critic(nn.Module):
    """A decoder with a head of one value per token, in float32."""

    def __init__(self, decoder: PreTrainedModel, head: nn.Linear) -> None:
        """Make a value model.

        Args:
            decoder: A model that returns `last_hidden_state`.
            head: From hidden states to values.
        """
        super().__init__()
        self.decoder = decoder
        self.head = head

    @classmethod
    def of(cls, policy: PreTrainedModel | PeftModel) -> Critic:
        """Return a value model that begins as the policy's decoder, and expects nothing of any token.

        It shares what the policy does not train: beside an adapter it is one more adapter and a head, and a head alone
        beside learnt embeddings, which are none of the decoder's.
        """
        model = policy.get_base_model() if hasattr(policy, "peft_config") else policy
        head = nn.Linear(model.config.get_text_config().hidden_size, 1, device=model.device, dtype=torch.float32)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        return cls(twin(model.base_model), head)

    @classmethod
    def of_classifier(cls, classifier: PreTrainedModel | PeftModel, scale: float) -> Critic:
        """Return a value model that begins as a classifier with one score: it expects that score after any token.

        Args:
            classifier: Layers under a linear score head; what of them is to be trained is.
            scale: What the score is multiplied by.
        """
        model = classifier.get_base_model() if hasattr(classifier, "peft_config") else classifier
        score = output_head(model)
        # What peft trains whole it wraps.
        weight = getattr(score, "modules_to_save", {ADAPTER: score})[ADAPTER].weight
        head = nn.Linear(weight.shape[1], 1, device=weight.device, dtype=torch.float32)
        with torch.no_grad():
            head.weight.copy_(weight.float() * scale)
            head.bias.zero_()
        return cls(model.base_model, head)

    @override
    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Return the value of each prefix: what is still to be had after its last token."""
        hidden = self.decoder(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).last_hidden_state
        with torch.autocast(hidden.device.type, enabled=False):
            values: Tensor = self.head(hidden.float())[..., 0]
        return values


class ActorCritic(nn.Module):
    """Policy and value model as one module, which several processes keep alike and one optimiser trains."""

    def __init__(self, policy: PreTrainedModel | PeftModel, critic: Critic) -> None:
        """Make one; it has no weights of its own."""
        super().__init__()
        self.policy = policy
        self.critic = critic

    def get_output_embeddings(self) -> nn.Module | None:
        """Return the policy's output head, which optimisers treat apart."""
        return self.policy.get_output_embeddings()

    @override
    def forward(self, input_ids: Tensor, attention_mask: Tensor, kept: int) -> tuple[Tensor, Tensor]:
        """Return logits and values of the last tokens, each as foretold by what comes before it.

        Args:
            input_ids: Sequences, padded on the right.
            attention_mask: 1 where a sequence is, 0 where padding is.
            kept: For how many tokens at the end.
        """
        logits = completion_logits(self.policy, input_ids, attention_mask, kept)
        return logits, self.critic(input_ids, attention_mask)[:, -kept - 1 : -1]


def completion_logits(
    policy: PreTrainedModel | PeftModel, input_ids: Tensor, attention_mask: Tensor, kept: int
) -> Tensor:
    """Return the logits of the last tokens, each as foretold by what comes before it; see `ActorCritic.forward`."""
    output = policy(input_ids=input_ids, attention_mask=attention_mask, logits_to_keep=kept + 1, use_cache=False)
    logits: Tensor = output.logits[:, :-1]
    return logits


def without_dropout(model: nn.Module) -> None:
    """Turn dropout off in a model for good: it would change the probabilities that a ratio compares."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        # Attentions, whole layers and some models' residuals drop by function.
        for name, value in list(vars(module).items()):
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)
