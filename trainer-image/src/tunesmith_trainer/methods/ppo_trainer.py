"""Proximal policy optimisation as a Trainer: one optimiser step is one mini batch of a rollout."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import TrainingArguments
from typing_extensions import override

from tunesmith_trainer.data.prompts import COLUMNS, IDS, PROMPT, by_name
from tunesmith_trainer.errors import DataError
from tunesmith_trainer.generation import Sampling, complete, end_ids
from tunesmith_trainer.optimizers.trainer import SpecTrainer
from tunesmith_trainer.reinforcement.critic import ActorCritic
from tunesmith_trainer.reinforcement.estimates import Figures, add_estimates
from tunesmith_trainer.reinforcement.losses import policy_loss, value_loss
from tunesmith_trainer.reinforcement.masked import masked_mean
from tunesmith_trainer.reinforcement.rollout import (
    Batch,
    add_foresight,
    lay_out,
    take,
    token_entropy,
    token_log_probs,
)
from tunesmith_trainer.reinforcement.sampler import RolloutSampler

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from peft import PeftModel
    from torch import Tensor, nn
    from torch.optim import Optimizer
    from torch.utils.data import DataLoader, Sampler
    from transformers import PreTrainedModel

    from tunesmith_api.v1alpha1.methods.ppo import Ppo
    from tunesmith_trainer.generation import Ids
    from tunesmith_trainer.reinforcement.critic import Critic
    from tunesmith_trainer.rewards import Rewards

VALUE_MODEL = "value_model.safetensors"
Row = dict[str, Any]


@dataclass
class PPOConfig(TrainingArguments):  # type: ignore[misc]  # transformers is not typed
    """Arguments of a PPOTrainer; what is the method's own, `spec.ppo` has.

    Attributes:
        max_length: Longest sequence of prompt and completion, in tokens.
    """

    max_length: int = 1024


class PPOTrainer(SpecTrainer):
    """Trains a policy and its value model on rollouts, which the policy samples in between.

    `model` is the policy alone, so that it is saved, sampled and reported like any other; `get_batch_samples`, which
    fetches the rows of one optimiser step, hands out a mini batch of the current rollout instead and samples the next
    one when that is used up. The position in a rollout follows from the number of the step: a run that is resumed in
    the middle of one samples the rest of it anew from the same prompts, and none of its steps comes twice.
    """

    # A step is a mean over the tokens of all its micro-batches.
    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *args: Any,
        ppo: Ppo,
        critic: Critic,
        reference: PreTrainedModel | PeftModel,
        rewards: Rewards,
        **kwargs: Any,
    ) -> None:
        """Make a trainer.

        Args:
            args: What a Trainer takes.
            ppo: The method's parameters.
            critic: The value model.
            reference: The model that the policy is not to leave too far behind; it is frozen.
            rewards: The functions that score completions, and their weights.
            kwargs: What a Trainer takes.

        Raises:
            DataError: There are fewer prompts than a rollout has.
        """
        super().__init__(*args, data_collator=list, **kwargs)
        self._ppo = ppo
        self._pair = ActorCritic(self.model, critic.to(self.args.device))
        self._reference = reference.to(self.args.device)
        self._rewards = rewards
        self._rollout: Batch | None = None
        self._figures: defaultdict[str, list[Tensor]] = defaultdict(list)
        # A row of Python values has no tokens to count.
        self.model.warnings_issued["estimate_tokens"] = True
        self._require_prompts()

    # Prompts

    @property
    def _rollout_size(self) -> int:
        """Prompts of one rollout, over all processes."""
        return self._part_size * self.args.gradient_accumulation_steps * self.args.world_size

    @property
    def _part_size(self) -> int:
        """Prompts of one rollout that come with each batch of the data loader."""
        return self.args.train_batch_size * self._ppo.num_mini_batches

    @property
    def _steps_per_rollout(self) -> int:
        return self._ppo.num_ppo_epochs * self._ppo.num_mini_batches

    def _require_prompts(self) -> None:
        if len(self.train_dataset) < self._rollout_size:
            raise DataError(
                f"spec.datasets have {len(self.train_dataset)} prompts that can be used, and a rollout needs"
                f" {self._rollout_size}: perDeviceTrainBatchSize x gradientAccumulationSteps x ppo.numMiniBatches x"
                " processes; add prompts, or lower one of these"
            )

    @override
    def get_train_dataloader(self) -> DataLoader[Any]:
        loader: DataLoader[Any] = self._get_dataloader(
            dataset=self.train_dataset,
            description="Training",
            batch_size=self._part_size,
            sampler_fn=self._get_train_sampler,
            is_training=True,
        )
        return loader

    @override
    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        return RolloutSampler(
            len(self.train_dataset),
            self._rollout_size,
            repeats=self._steps_per_rollout,
            seed=None if self.spec.train_sampling_strategy == "sequential" else self.spec.order_seed,
            epoch=lambda: int(self.state.epoch or 0),
        )

    # Rollouts

    @override
    def get_batch_samples(
        self, epoch_iterator: Iterator[list[Row]], num_batches: int, device: torch.device
    ) -> tuple[list[Batch], Tensor]:
        parts, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        number, step = divmod(self.state.global_step, self._steps_per_rollout)
        if step == 0 or self._rollout is None:
            self._rollout = self._roll_out([row for part in parts for row in part], number)
        epoch, place = divmod(step, self._ppo.num_mini_batches)
        mini_batch = take(self._rollout, self._order(number, epoch)[place])
        tokens = self._total(mini_batch["mask"].sum()).clamp(min=1) / self.args.world_size
        size = self.args.train_batch_size
        return [
            take(mini_batch, slice(start, start + size)) for start in range(0, len(mini_batch["mask"]), size)
        ], tokens

    def _order(self, number: int, epoch: int) -> Tensor:
        """Return the rows of each mini batch, drawn anew each time that a rollout is trained on."""
        generator = torch.Generator().manual_seed(self._seed(number, epoch))
        rows = self._rollout_size // self.args.world_size
        return torch.randperm(rows, generator=generator).reshape(self._ppo.num_mini_batches, -1)

    def _seed(self, *places: int) -> int:
        """Return a seed of this process's own, for something that the places tell apart."""
        return int(np.random.SeedSequence((self.args.seed, self.args.process_index, *places)).generate_state(1)[0])

    def _roll_out(self, rows: list[Row], number: int) -> Batch:
        """Return the completions of some prompts, with all that training on them needs.

        They are drawn from a random state of their own: a run that is resumed where a rollout begins draws the same.
        """
        prompts = [row[IDS] for row in rows]
        cuda = [self.args.device] if self.args.device.type == "cuda" else []
        trains = self._pair.training
        self._pair.eval()
        try:
            with torch.random.fork_rng(cuda), self.accelerator.autocast():
                torch.manual_seed(self._seed(number))
                completions = self._complete(prompts)
                batch = lay_out(prompts, completions, self.processing_class.pad_token_id, self.args.device)
                size = self.args.train_batch_size
                batch = add_foresight(batch, self._pair, self._reference, temperature=self._ppo.temperature, size=size)
        finally:
            self._pair.train(trains)
        batch, figures = add_estimates(batch, self._scores(rows, completions), self._ppo, self._total)
        self._record(figures | self._lengths(completions))
        self.state.num_input_tokens_seen += int(self._total(batch["attention_mask"].sum()))
        del batch["reference_log_probs"]
        return batch

    def _complete(self, prompts: list[Ids]) -> list[Ids]:
        """Return a completion of each prompt; one that ended has its end."""
        ppo = self._ppo
        sampling = Sampling(ppo.max_completion_length, ppo.temperature, ppo.top_k, ppo.top_p)
        size = ppo.generation_batch_size or len(prompts)
        parts = (prompts[start : start + size] for start in range(0, len(prompts), size))
        policy, tokenizer = self._pair.policy, self.processing_class
        return [
            each
            for part in parts
            for each in complete(policy, tokenizer, part, sampling, keeps_end=True, beat=self.beat)
        ]

    def _scores(self, rows: list[Row], completions: list[Ids]) -> Tensor:
        """Return the score of each completion, NaN of one that no reward says anything of."""
        prompts = [row[PROMPT] for row in rows]
        texts = self.processing_class.batch_decode(completions, skip_special_tokens=True)
        scored = self._rewards.score(
            prompts=prompts,
            completions=[
                text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
                for prompt, text in zip(prompts, texts, strict=True)
            ],
            completion_ids=completions,
            **by_name([row[COLUMNS] for row in rows]),
        )
        scores = self._tensor(scored.totals)
        self._record({f"rewards/{name}/mean": self._known_mean(figures) for name, figures in scored.by_name.items()})
        known = self.accelerator.gather(scores)
        known = known[~known.isnan()]
        self._record({"reward": known.mean(), "reward_std": known.std(correction=0)} if len(known) else {})
        if self._ppo.missing_eos_penalty is not None:
            scores -= self._ppo.missing_eos_penalty * ~self._ended(completions)
        return scores

    def _lengths(self, completions: list[Ids]) -> Figures:
        """Return figures about the completions' lengths in tokens, their ends included."""
        lengths = self._tensor([len(each) for each in completions])
        gathered = self.accelerator.gather(lengths)
        return {
            "completions/mean_length": gathered.mean(),
            "completions/min_length": gathered.min(),
            "completions/max_length": gathered.max(),
            "completions/clipped_ratio": self.accelerator.gather(~self._ended(completions)).float().mean(),
        }

    def _ended(self, completions: list[Ids]) -> Tensor:
        ends = end_ids(self._pair.policy)
        return torch.tensor([each[-1] in ends for each in completions], device=self.args.device)

    def _tensor(self, figures: Sequence[float | None]) -> Tensor:
        known = [math.nan if figure is None else figure for figure in figures]
        return torch.tensor(known, dtype=torch.float32, device=self.args.device)

    def _known_mean(self, figures: Sequence[float | None]) -> Tensor:
        values = self._tensor(figures)
        return masked_mean(values.nan_to_num(), ~values.isnan(), self._total)

    def _total(self, values: Tensor) -> Tensor:
        """Return the sum over all processes."""
        summed: Tensor = self.accelerator.reduce(values, reduction="sum")
        return summed

    # Steps

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
        log_probs = token_log_probs(logits, inputs, ppo.temperature)
        moved = (log_probs - inputs["log_probs"]) * mask
        of_policy = policy_loss(moved.exp(), inputs["advantages"], ppo.cliprange)
        of_values = value_loss(values, inputs["values"], inputs["returns"], ppo.cliprange_value)
        with torch.set_grad_enabled(ppo.entropy_coef > 0):
            entropy = token_entropy(logits, ppo.temperature)

        def mean(figures: Tensor) -> Tensor:
            """Return the part of a mean over all tokens of the step that these tokens have."""
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

    def _record(self, figures: Figures, parts: int = 1) -> None:
        """Keep figures for the next log, each of which is one of so many parts of a mean."""
        for name, value in figures.items():
            self._figures[name].append(value.detach() * parts)

    @override
    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self._figures:
            means = torch.stack([torch.stack(values).float().mean() for values in self._figures.values()])
            means = self.accelerator.reduce(means, reduction="mean")
            logs |= dict(zip(self._figures, means.tolist(), strict=True))
            logs["num_tokens"] = self.state.num_input_tokens_seen
            self._figures.clear()
        super().log(logs, start_time)

    # Two models, one optimiser, one checkpoint

    @override
    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        return super().create_optimizer(self._pair)

    @override
    def _wrap_model(self, model: nn.Module, training: bool = True, dataloader: Any = None) -> nn.Module:
        if training and model is self.model:
            model = self.accelerator.prepare_model(self._pair)
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
