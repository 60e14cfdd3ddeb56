"""The model of a run, as the spec and what the operator resolved say: first the tokenizer, then the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith_trainer.collectives import from_first
from tunesmith_trainer.errors import ModelNotFound
from tunesmith_trainer.models.folders import Folder
from tunesmith_trainer.models.lora import continue_adapter, lora_config
from tunesmith_trainer.models.merge import merged_base
from tunesmith_trainer.models.output import OutputWriter
from tunesmith_trainer.models.tokenizers import has_tokenizer, load_tokenizer
from tunesmith_trainer.models.trained_tokenizer import run_tokenizer
from tunesmith_trainer.models.weights import fit_tokenizer, load_weights, new_weights

if TYPE_CHECKING:
    from collections.abc import Iterable

    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

    from tunesmith_api.v1alpha1.peft import Lora
    from tunesmith_trainer.context import RunContext


@dataclass(frozen=True)
class PreparedModel:
    """A model, ready to be handed to a trainer.

    Attributes:
        model: The model; with its adapter, when an earlier job's is trained further.
        adapter: The config of a new adapter, which the trainer puts on the model.
        output: What writes the result.
    """

    model: PreTrainedModel | PeftModel
    adapter: LoraConfig | None
    output: OutputWriter


@dataclass(frozen=True)
class ModelPlan:
    """Where a run's model comes from.

    Attributes:
        context: The run.
        base: The folder of the base model; None for an architecture with random weights.
        adapter: The folder of an adapter that is trained further.
    """

    context: RunContext
    base: Folder | None
    adapter: Folder | None

    @property
    def lora(self) -> Lora | None:
        """The adapter that the spec asks for."""
        peft = self.context.run.spec.peft
        return None if peft is None else peft.lora

    @property
    def trains_adapter(self) -> bool:
        """Whether an adapter is trained, not the whole model."""
        return self.lora is not None or self.adapter is not None

    @property
    def weights_dtype(self) -> str:
        """Precision that the weights are held in: those that are trained in float32, whatever is computed in.

        An optimiser's steps vanish in the eight bits of a bfloat16, and float16 gradients can not be unscaled.
        """
        return self.context.run.spec.model.dtype if self.trains_adapter else "float32"

    def tokenizer(self, texts: Iterable[str], arguments: TrainingArguments) -> PreTrainedTokenizerBase:
        """Return the tokenizer; that of a new architecture is trained on the texts.

        Args:
            texts: The texts to train on; they are not read for a model that brings its tokenizer.
            arguments: The trainer's arguments, which know the other processes.
        """
        if self.base is None:
            return run_tokenizer(self.context, texts, arguments)
        # An earlier job may have given the adapter's tokenizer a chat template that the base lacks.
        source = self.adapter if self.adapter is not None and has_tokenizer(self.adapter.path) else self.base
        return load_tokenizer(source.path, source.name)

    def load(self, tokenizer: PreTrainedTokenizerBase) -> PreparedModel:
        """Return the model with its weights.

        Raises:
            ModelNotFound: It is missing or not whole.
            InvalidSpec: It can not be trained as the spec says.
        """
        spec = self.context.run.spec
        model = self._weights(tokenizer)
        where = "the new architecture" if self.base is None else self.base.name
        fit_tokenizer(model, tokenizer, spec.training.max_length, where)
        adapter: LoraConfig | None = None
        if self.adapter is not None:
            model = continue_adapter(model, self.adapter, self.lora)
        elif self.lora is not None:
            adapter = lora_config(self.lora, model)
        return PreparedModel(model, adapter, self._output())

    def _weights(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        spec = self.context.run.spec
        if self.base is not None:
            return load_weights(self.base, self.weights_dtype)
        if spec.model.architecture is None:
            raise ValueError("a frozen run names neither a base model nor an architecture")
        return new_weights(spec.model.architecture, tokenizer, spec.training.seed)

    def _output(self) -> OutputWriter:
        dtype = self.context.run.spec.model.dtype
        if not self.trains_adapter or self.base is None:
            return OutputWriter(dtype)
        return OutputWriter(dtype, self.base.volume, self.base.pod_path)


def plan_model(context: RunContext, arguments: TrainingArguments) -> ModelPlan:
    """Return where the model comes from; an adapter that is to be merged is merged first.

    Args:
        context: The run.
        arguments: The trainer's arguments, which know the other processes.

    Raises:
        ModelNotFound: A folder is missing, or an earlier job's output is not what it was.
    """
    plan = find_model(context)
    if plan.base is not None and plan.adapter is not None and context.run.model.from_adapter == "merge":
        return ModelPlan(context, merged_base(context, arguments, plan.base, plan.adapter), None)
    return plan


def find_model(context: RunContext) -> ModelPlan:
    """Return where the model comes from; an adapter that is to be merged lies beside its base still.

    Raises:
        ModelNotFound: A folder is missing, or an earlier job's output is not what it was.
    """
    resolved = context.run.model
    if resolved.base is None:
        return ModelPlan(context, None, None)
    base = Folder.find(resolved.base, context, "the base model")
    base.require_model()
    adapter = None if resolved.adapter is None else Folder.find(resolved.adapter, context, "the adapter")
    if resolved.digest is not None:
        _require_unchanged(context, adapter or base, resolved.digest)
    return ModelPlan(context, base, adapter)


def _require_unchanged(context: RunContext, folder: Folder, digest: str) -> None:
    """Refuse an earlier job's output that has changed; rank 0 reads it, and all end alike."""
    change = from_first(folder.change_since(digest) if context.rank == 0 else None)
    if change:
        raise ModelNotFound(f"{folder.name} was changed after that job was Complete: {change}; run that job again")
