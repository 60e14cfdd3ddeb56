"""What `spec.training` asks of every method's trainer beyond TRL's arguments: its optimiser and its order of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from transformers import Trainer
from typing_extensions import override

from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.optimizers.build import build_optimizer
from tunesmith_trainer.optimizers.sampling import LengthGroupedSampler

if TYPE_CHECKING:
    from collections.abc import Callable

    from datasets import Dataset
    from torch import nn
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler
    from torch.utils.data import Sampler

    from tunesmith_api.v1alpha1.training import Training

# Schedules that divide by the steps that the warm-up leaves.
_DECAYING = ("polynomial", "warmup_stable_decay")


class SpecTrainer(Trainer):
    """Comes before a TRL trainer among a trainer's bases."""

    beat: Callable[[], None] = staticmethod(lambda: None)
    """Called now and then by what takes long within a step, to show that something is being done."""

    def __init__(self, *args: Any, training: Training, lora_b_ratio: float = 1.0, **kwargs: Any) -> None:
        """Make a trainer.

        Args:
            args: What the TRL trainer takes.
            training: The resolved `spec.training`.
            lora_b_ratio: How many times faster the second matrices of LoRA learn than the first (LoRA+).
            kwargs: What the TRL trainer takes.
        """
        self.optimizer: Optimizer | None
        self.spec = training
        self._lora_b_ratio = lora_b_ratio
        super().__init__(*args, **kwargs)

    @override
    def create_optimizer(self, model: nn.Module | None = None) -> Optimizer:
        if self.optimizer is None:
            trained = self.model if model is None else model
            decaying = self.get_decay_parameter_names(trained)
            self.optimizer = build_optimizer(trained, self.spec, decaying, lora_b_ratio=self._lora_b_ratio)
        return self.optimizer

    @override
    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LRScheduler:
        warmup = self.args.get_warmup_steps(num_training_steps)
        kwargs = self.spec.lr_scheduler_kwargs
        decay = (kwargs and kwargs.num_decay_steps) or 1
        if self.spec.lr_scheduler_type in _DECAYING and warmup + decay > num_training_steps:
            raise InvalidSpec(
                f"spec.training.lrSchedulerType: {self.spec.lr_scheduler_type} has {warmup} steps of warm-up and at"
                f" least {decay} of decay, and the run has {num_training_steps}; lower warmupSteps or"
                " lrSchedulerKwargs.numDecaySteps, or train longer"
            )
        return super().create_scheduler(num_training_steps, optimizer)

    @override
    def _get_train_sampler(self, train_dataset: Dataset | None = None) -> Sampler[int] | None:
        rows = self.train_dataset if train_dataset is None else train_dataset
        if self.spec.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(train_dataset)
        return LengthGroupedSampler(
            [len(ids) for ids in rows["input_ids"]],
            self.args.train_batch_size * self.args.gradient_accumulation_steps,
            self.spec.order_seed,
            lambda: int(self.state.epoch or 0),
        )
