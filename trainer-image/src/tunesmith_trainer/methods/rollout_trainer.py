"""A Trainer whose rows are completions that its model samples in between: one optimiser step is one mini batch."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from typing_extensions import override

from tunesmith_trainer.callbacks.completions import Completion
from tunesmith_trainer.data.prompts import COLUMNS, IDS, PROMPT, by_name
from tunesmith_trainer.errors import DataError
from tunesmith_trainer.generation import Sampling, complete, end_ids
from tunesmith_trainer.optimizers.trainer import SpecTrainer
from tunesmith_trainer.reinforcement.masked import masked_mean, masked_variance
from tunesmith_trainer.reinforcement.rollout import Batch, lay_out, take
from tunesmith_trainer.reinforcement.sampler import RolloutSampler

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor
    from torch.utils.data import DataLoader, Sampler

    from tunesmith_api.v1alpha1.methods.ppo import Ppo
    from tunesmith_trainer.generation import Ids
    from tunesmith_trainer.reinforcement.estimates import Figures
    from tunesmith_trainer.rewards import Rewards

Row = dict[str, Any]


class RolloutTrainer(SpecTrainer, ABC):
    """Samples rollouts with `model`, has them scored, and hands them out mini batch by mini batch.

    `get_batch_samples`, which fetches the rows of one optimiser step, hands out a mini batch of the current rollout and
    samples the next one when that is used up. The position in a rollout follows from the number of the step: a run that
    is resumed in the middle of one samples the rest of it anew from the same prompts, and no step comes twice.
    """

    sampled: tuple[Completion, ...] = ()
    """The newest completions of this process."""

    # A step is a mean over the tokens of all its micro-batches.
    loss_is_scaled_for_ga = True

    def __init__(self, *args: Any, ppo: Ppo, rewards: Rewards, **kwargs: Any) -> None:
        """Make a trainer.

        Args:
            args: What a Trainer takes.
            ppo: The method's parameters.
            rewards: What scores completions.
            kwargs: What a Trainer takes.

        Raises:
            DataError: There are fewer prompts than a rollout has.
        """
        super().__init__(*args, data_collator=list, **kwargs)
        self._ppo = ppo
        self._rewards = rewards
        self._rollout: Batch | None = None
        self._figures: defaultdict[str, list[Tensor]] = defaultdict(list)
        self._steps_per_rollout = ppo.num_ppo_epochs * ppo.num_mini_batches
        # Prompts of a rollout that each batch of the data loader has, and those of all processes.
        self._part_size = self.args.train_batch_size * ppo.num_mini_batches
        self._rollout_size = self._part_size * self.args.gradient_accumulation_steps * self.args.world_size
        count = len(self.train_dataset)
        if count < self._rollout_size:
            raise DataError(
                f"spec.datasets have {count} prompts that can be used, and a rollout needs {self._rollout_size}:"
                " perDeviceTrainBatchSize x gradientAccumulationSteps x ppo.numMiniBatches x processes; add prompts, or"
                " lower one of these"
            )

    @abstractmethod
    def _estimate(self, batch: Batch, scores: Tensor) -> tuple[Batch, Figures]:
        """Return what is trained on of a rollout, and figures of it.

        Args:
            batch: The completions.
            scores: Their scores; NaN of one that nothing is known of.
        """

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
        trains = self.model.training
        self.model.eval()
        with torch.random.fork_rng(cuda), self.accelerator.autocast():
            torch.manual_seed(self._seed(number))
            completions = self._complete(prompts)
        batch = lay_out(prompts, completions, self.processing_class.pad_token_id, self.args.device)
        self.state.num_input_tokens_seen += int(self._total(batch["attention_mask"].sum()))
        batch, figures = self._estimate(batch, self._scores(rows, completions))
        self.model.train(trains)
        self._record(figures)
        return batch

    def _complete(self, prompts: list[Ids]) -> list[Ids]:
        """Return a completion of each prompt; one that ended has its end."""
        ppo = self._ppo
        sampling = Sampling(ppo.max_completion_length, ppo.temperature, ppo.top_k, ppo.top_p)
        size = ppo.generation_batch_size or len(prompts)
        return [
            completion
            for start in range(0, len(prompts), size)
            for completion in complete(
                self.model,
                self.processing_class,
                prompts[start : start + size],
                sampling,
                keeps_end=True,
                beat=self.beat,
            )
        ]

    def _scores(self, rows: list[Row], completions: list[Ids]) -> Tensor:
        """Return the score of each completion, NaN of one that no reward says anything of."""
        prompts = [row[PROMPT] for row in rows]
        texts = self.processing_class.batch_decode(completions, skip_special_tokens=True)
        answers = [
            text if isinstance(prompt, str) else [{"role": "assistant", "content": text}]
            for prompt, text in zip(prompts, texts, strict=True)
        ]
        failures: dict[str, float] = {}
        scored = self._rewards.score(
            prompts=prompts,
            completions=answers,
            completion_ids=completions,
            log_metric=failures.__setitem__,
            **by_name([row[COLUMNS] for row in rows]),
        )
        each = [
            dict(zip(scored.by_name, figures, strict=True)) for figures in zip(*scored.by_name.values(), strict=True)
        ]
        self.sampled = tuple(
            Completion(prompt, answer, figures, self._rewards.weights)
            for prompt, answer, figures in zip(prompts, answers, each, strict=True)
        )
        for name, figures in scored.by_name.items():
            self._record({f"rewards/{name}/mean": self._moments(self._tensor(figures))[0]})
            # Every process logs the same figures: what one of them has to tell, all do.
            failed = f"rewards/{name}/failures"
            share = self._total(self._tensor([failures.get(failed, 0.0)]))[0] / self.args.world_size
            self._record({failed: share} if share > 0 else {})
        scores, unended = self._tensor(scored.totals), self._unended(completions)
        mean, spread = self._moments(scores)
        self._record({"reward": mean, "reward_std": spread})
        return scores - (self._ppo.missing_eos_penalty or 0.0) * unended

    def _unended(self, completions: list[Ids]) -> Tensor:
        """Return 1 for each completion that was cut off, else 0, and tell about lengths, the ends included."""
        ends = end_ids(self.model)
        unended = self._tensor([completion[-1] not in ends for completion in completions])
        lengths = self.accelerator.gather(self._tensor([len(completion) for completion in completions]))
        self._record(
            {
                "completions/mean_length": lengths.mean(),
                "completions/min_length": lengths.min(),
                "completions/max_length": lengths.max(),
                "completions/clipped_ratio": self._moments(unended)[0],
            }
        )
        return unended

    def _moments(self, figures: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and standard deviation of the figures that are known, over all processes."""
        known = ~figures.isnan()
        values = figures.nan_to_num()
        return masked_mean(values, known, self._total), masked_variance(values, known, self._total).sqrt()

    def _tensor(self, figures: Sequence[float | None]) -> Tensor:
        known = [math.nan if figure is None else float(figure) for figure in figures]
        return torch.tensor(known, dtype=torch.float32, device=self.args.device)

    def _total(self, values: Tensor) -> Tensor:
        """Return the sum over all processes."""
        summed: Tensor = self.accelerator.reduce(values, reduction="sum")
        return summed

    def _record(self, figures: Figures, parts: int = 1) -> None:
        """Keep figures for the next log, each of which is one of so many parts of a mean."""
        for name, value in figures.items():
            self._figures[name].append(value.detach().float() * parts)

    @override
    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if self._figures:
            means = torch.stack([torch.stack(values).mean() for values in self._figures.values()])
            means = self.accelerator.reduce(means, reduction="mean")
            logs |= dict(zip(self._figures, means.tolist(), strict=True))
            logs["num_tokens"] = self.state.num_input_tokens_seen
            self._figures.clear()
        super().log(logs, start_time)
