"""The model of a run, as the spec and what the operator resolved say: first the tokenizer, then the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith_api.v1alpha1.status import VolumePath
from tunesmith_trainer.collectives import from_first
from tunesmith_trainer.errors import InvalidSpec, ModelNotFound
from tunesmith_trainer.models.adapters import new_config
from tunesmith_trainer.models.adapters.conversion import InitialAdapter, mutates_base
from tunesmith_trainer.models.adapters.prompt_tuning import require_positions
from tunesmith_trainer.models.adapters.saved import ADAPTER, continue_adapter, read_config
from tunesmith_trainer.models.folders import Folder
from tunesmith_trainer.models.merge import merged_base
from tunesmith_trainer.models.output import OutputWriter
from tunesmith_trainer.models.quantized import require_lora
from tunesmith_trainer.models.tokenizers import has_tokenizer, load_tokenizer
from tunesmith_trainer.models.trained_tokenizer import run_tokenizer
from tunesmith_trainer.models.weights import fit_tokenizer, load_weights, new_weights

if TYPE_CHECKING:
    from collections.abc import Iterable

    from peft import PeftConfig, PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainingArguments

    from tunesmith_trainer.context import RunContext


@dataclass(frozen=True)
class PreparedModel:
    """A model, ready to be handed to a trainer.

    Attributes:
        model: The model; with its adapter, when that is an earlier job's or has changed the model's weights.
        adapter: The config of a new adapter, which the trainer puts on the model.
        output: What writes the result.
    """

    model: PreTrainedModel | PeftModel
    adapter: PeftConfig | None
    output: OutputWriter

    @property
    def adapter_config(self) -> PeftConfig | None:
        """The config of the adapter, new or not; None for full weights."""
        return getattr(self.model, "peft_config", {}).get(ADAPTER, self.adapter)


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
    def trains_adapter(self) -> bool:
        """Whether an adapter is trained, not the whole model."""
        return self.context.run.spec.peft is not None or self.adapter is not None

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
        max_length = self.context.run.spec.training.max_length
        model = self._weights(tokenizer)
        where = "the new architecture" if self.base is None else self.base.name
        fit_tokenizer(model, tokenizer, max_length, where)
        config = self._adapter_config(model)
        require_lora(self.context.run.spec.model.quantization, config)
        if config is not None:
            require_positions(config, model, max_length)
        if self.adapter is not None:
            return PreparedModel(continue_adapter(model, self.adapter), None, self._output())
        if config is None or not mutates_base(config):
            return PreparedModel(model, config, self._output())
        peft_model, initial = InitialAdapter.split_from(model, config)
        return PreparedModel(peft_model, None, self._output(initial))

    def _adapter_config(self, model: PreTrainedModel) -> PeftConfig | None:
        """Return the config of the adapter to train, an earlier job's or a new one; None for full weights."""
        if self.adapter is not None:
            return read_config(self.adapter)
        peft = self.context.run.spec.peft
        return None if peft is None or self.base is None else new_config(peft, model, self.base)

    def _weights(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        spec = self.context.run.spec
        if self.base is not None:
            return load_weights(self.base, self.weights_dtype, spec.model.quantization)
        if spec.model.architecture is None:
            raise ValueError("a frozen run names neither a base model nor an architecture")
        return new_weights(spec.model.architecture, tokenizer, spec.training.seed)

    def _output(self, initial: InitialAdapter | None = None) -> OutputWriter:
        run = self.context.run
        if not self.trains_adapter:
            return OutputWriter(run.spec.model.dtype)
        place = VolumePath(claim=run.output.claim, path=run.output_directory)
        return OutputWriter(
            run.spec.model.dtype, self.base, initial, merged_at=place if run.spec.output.merge_adapter else None
        )


def plan_model(context: RunContext, arguments: TrainingArguments) -> ModelPlan:
    """Return where the model comes from; an adapter that is to be merged is merged first.

    Args:
        context: The run.
        arguments: The trainer's arguments, which know the other processes.

    Raises:
        ModelNotFound: A folder is missing, or an earlier job's output is not what it was.
        InvalidSpec: The spec asks for another adapter than the one to train further.
    """
    resolved = context.run.model
    if resolved.base is None:
        return ModelPlan(context, None, None)
    base = Folder.find(resolved.base, context, "the base model")
    base.require_model()
    adapter = None if resolved.adapter is None else Folder.find(resolved.adapter, context, "the adapter")
    if resolved.digest is not None:
        _require_unchanged(context, adapter or base, resolved.digest)
    if adapter is not None and resolved.from_adapter == "merge":
        return ModelPlan(context, merged_base(context, arguments, base, adapter), None)
    if adapter is not None and context.run.spec.peft is not None:
        raise InvalidSpec(
            "spec.peft: with model.fromJob.fromAdapter: continue the earlier adapter is trained further as it is;"
            " remove peft, or use fromAdapter: merge for a new adapter"
        )
    return ModelPlan(context, base, adapter)


def _require_unchanged(context: RunContext, folder: Folder, digest: str) -> None:
    """Refuse an earlier job's output that has changed; rank 0 reads it, and all end alike."""
    change = from_first(folder.change_since(digest) if context.rank == 0 else None)
    if change:
        raise ModelNotFound(f"{folder.name} was changed after that job was Complete: {change}; run that job again")
