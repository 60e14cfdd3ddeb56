"""Proximal policy optimisation on transformers' Trainer; TRL 1.16 has none any more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from transformers import TrainingArguments
from typing_extensions import override

from tunesmith_trainer.methods.rollout_trainer import RolloutTrainer
from tunesmith_trainer.reinforcement.critic import ActorCritic
from tunesmith_trainer.reinforcement.estimates import Figures, add_estimates
from tunesmith_trainer.reinforcement.losses import policy_loss, value_loss
from tunesmith_trainer.reinforcement.rollout import Batch, add_foresight, token_entropy, token_log_probs

if TYPE_CHECKING:
    from peft import PeftModel
    from torch import Tensor, nn
    from torch.optim import Optimizer
    from transformers import PreTrainedModel

    from tunesmith_trainer.reinforcement.critic import Critic

VALUE_MODEL = "value_model.safetensors"


@dataclass
class PPOConfig(TrainingArguments):
    """Arguments of a PPOTrainer; what is the method's own, `spec.ppo` has.

    Attributes:
        max_length: Longest sequence of prompt and completion, in tokens.
    """

    max_length: int = 1024


class PPOTrainer(RolloutTrainer):
    """Trains a policy and its value model on rollouts.

    `model` is the policy alone, so that it is saved, sampled and reported like any other. What is wrapped for several
    processes, and what the optimiser trains, is the pair; of the value model checkpoints have a file of their own.
    """

    def __init__(self, *args: Any, critic: Critic, reference: PreTrainedModel | PeftModel, **kwargs: Any) -> None:
        """Make a trainer.

        Args:
            args: What a RolloutTrainer takes.
            critic: The value model.
            reference: The model that the policy is not to leave too far behind; it is frozen.
            kwargs: What a RolloutTrainer takes.
        """
        super().__init__(*args, **kwargs)
        self._pair = ActorCritic(self.model, critic.to(self.args.device))
        self._reference = reference.to(self.args.device)

    @override
    def _estimate(self, batch: Batch, scores: Tensor) -> tuple[Batch, Figures]:
        self._pair.eval()
        with self.accelerator.autocast():
            batch = add_foresight(
                batch,
                self._pair,
                self._reference,
                temperature=self._ppo.temperature,
                size=self.args.train_batch_size,
                beat=self.beat,
            )
        return add_estimates(batch, scores, self._ppo, self._total)

    @override
    def compute_loss(
        self,
        model: nn.Module,
        inputs: Batch,
        return_outputs: bool = False,
        num_items_in_batch: Tensor | None = None,
    ) -> Tensor:
        ppo, mask = self._ppo, inputs["mask"]
        logits, values = model(inputs["input_ids"], inputs["attention_mask"], mask.shape[1])
        moved = (token_log_probs(logits, inputs, ppo.temperature) - inputs["log_probs"]) * mask
        of_policy = policy_loss(moved.exp(), inputs["advantages"], ppo.cliprange)
        of_values = value_loss(values, inputs["values"], inputs["returns"], ppo.cliprange_value)
        with torch.set_grad_enabled(torch.is_grad_enabled() and ppo.entropy_coef > 0):
            entropy = token_entropy(logits, ppo.temperature)

        def mean(figures: Tensor) -> Tensor:
            """Return the part of the mean over all tokens of the step that these tokens have."""
            return (figures * mask).sum() / num_items_in_batch

        self._record(
            {
                "loss/policy_avg": mean(of_policy.loss),
                "loss/value_avg": mean(of_values.loss),
                "policy/approxkl_avg": mean(moved**2) / 2,
                "policy/clipfrac_avg": mean(of_policy.clipped),
                "policy/entropy_avg": mean(entropy),
                "val/clipfrac_avg": mean(of_values.clipped),
                "val/ratio": mean(moved.exp()),
            },
            parts=self.args.gradient_accumulation_steps,
        )
        return mean(of_policy.loss + ppo.vf_coef * of_values.loss - ppo.entropy_coef * entropy)

    @override
    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        return super().create_optimizer(self._pair)

    @override
    def _wrap_model(self, model: nn.Module, training: bool = True, dataloader: Any = None) -> nn.Module:
        if training and model is self.model:
            wrapped: nn.Module = self.accelerator.prepare_model(self._pair)
            return wrapped
        return model

    @override
    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        if self.args.should_save:
            trained = {name: value for name, value in self._pair.critic.named_parameters() if value.requires_grad}
            save_file(trained, Path(output_dir or self.args.output_dir) / VALUE_MODEL)

    @override
    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: nn.Module | None = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        weights = load_file(Path(resume_from_checkpoint) / VALUE_MODEL, device=str(self.args.device))
        self._pair.critic.load_state_dict(weights, strict=False)
