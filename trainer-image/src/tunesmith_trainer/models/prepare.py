"""The model of a run, as the spec and what the operator resolved say: first the tokenizer, then the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith_api.resolve import DEFAULT_REVISION
from tunesmith_api.v1alpha1.status import HubModel, VolumePath
from tunesmith_trainer.errors import InvalidSpec
from tunesmith_trainer.models.adapters import new_config
from tunesmith_trainer.models.adapters.conversion import InitialAdapter, mutates_base
from tunesmith_trainer.models.adapters.prompt_tuning import require_positions
from tunesmith_trainer.models.adapters.saved import ADAPTER, continue_adapter, read_config, require_task
from tunesmith_trainer.models.chat_template import set_chat_template
from tunesmith_trainer.models.classifier import classifier_weights
from tunesmith_trainer.models.folders import Folder
from tunesmith_trainer.models.hub import hub_folder
from tunesmith_trainer.models.merge import merged_base
from tunesmith_trainer.models.output import OutputWriter
from tunesmith_trainer.models.places import find_folders
from tunesmith_trainer.models.quantized import require_lora
from tunesmith_trainer.models.tokenizers import has_tokenizer, load_tokenizer
from tunesmith_trainer.models.trained_tokenizer import run_tokenizer
from tunesmith_trainer.models.vocabulary import add_tokens, added_ids, grow, make_room, train_rows
from tunesmith_trainer.models.weights import fit_tokenizer, load_weights, new_weights, require_attention

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
        """Return the tokenizer, with the tokens and the chat template that the spec gives it.

        Args:
            texts: The texts to train on; they are read only where the spec has a tokenizer trained.
            arguments: The trainer's arguments, which know the other processes.
        """
        spec = self.context.run.spec.model
        source = self._tokenizer_folder()
        if source is None:
            tokenizer = run_tokenizer(self.context, texts, arguments)
        else:
            tokenizer = load_tokenizer(source.path, source.name, trusted=spec.trust_remote_code)
        add_tokens(tokenizer, spec)
        if spec.chat_template is not None:
            set_chat_template(tokenizer, spec.chat_template, self.context)
        return tokenizer

    def _tokenizer_folder(self) -> Folder | None:
        """Return where the tokenizer is; None when it is trained."""
        override, role = self.context.run.spec.model.tokenizer, "the tokenizer"
        if override is not None and override.name is not None:
            model = HubModel(name=override.name, revision=override.revision or DEFAULT_REVISION)
            return hub_folder(self.context, model, role, weights=False)
        if override is not None and override.path is not None:
            volume = VolumePath(claim=override.path.claim, path=override.path.path or "")
            return Folder.find(volume, self.context, role)
        # An earlier job may have given the adapter's tokenizer a chat template that the base lacks.
        return self.adapter if self.adapter is not None and has_tokenizer(self.adapter.path) else self.base

    def load(self, tokenizer: PreTrainedTokenizerBase) -> PreparedModel:
        """Return the model with its weights.

        Raises:
            ModelNotFound: It is missing or not whole.
            InvalidSpec: It can not be trained as the spec says.
        """
        model = self._weights(tokenizer)
        added = self.fit(model, tokenizer)
        config = self.adapter_config(model, added)
        if self.adapter is not None:
            return PreparedModel(continue_adapter(model, self.adapter), None, self._output())
        if config is None or not mutates_base(config):
            return PreparedModel(model, config, self._output())
        peft_model, initial = InitialAdapter.split_from(model, config)
        return PreparedModel(peft_model, None, self._output(initial))

    def fit(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
        """Make model and tokenizer fit each other, and return the ids of the tokens that the spec adds.

        Raises:
            ModelNotFound: They do not belong together.
            InvalidSpec: The model knows fewer positions than `training.maxLength`.
        """
        spec = self.context.run.spec
        if self.adapter is not None:
            make_room(model, read_config(self.adapter))
        added = added_ids(tokenizer, spec.model)
        grow(model, tokenizer, added, spec.training.seed)
        where = "the new architecture" if self.base is None else self.base.name
        fit_tokenizer(model, tokenizer, spec.training.max_length, where)
        return added

    def adapter_config(self, model: PreTrainedModel, added: list[int]) -> PeftConfig | None:
        """Return the config of the adapter to train, new or an earlier job's; None when the whole model is trained.

        Args:
            model: The model that gets it.
            added: Ids of tokens whose embeddings are trained with a new one.

        Raises:
            ModelNotFound: That of an earlier job can not be read.
            InvalidSpec: The model has not what the spec names, or not the room for it.
        """
        run = self.context.run
        continues = self.adapter is not None and run.model.from_adapter != "merge"
        config = read_config(self.adapter) if self.adapter and continues else self._new_adapter(model, added)
        require_lora(run.spec.model.quantization, config)
        if config is not None:
            require_positions(config, model, run.spec.training.max_length)
        return config

    def _new_adapter(self, model: PreTrainedModel, added: list[int]) -> PeftConfig | None:
        peft = self.context.run.spec.peft
        if peft is None or self.base is None:
            return None
        config = new_config(peft, model, self.base)
        if added:
            train_rows(config, model, added)
        return config

    def _weights(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        spec = self.context.run.spec
        if self.base is not None and self.context.run.task == "SEQ_CLS":
            seed = spec.training.seed
            return classifier_weights(self.base, self.weights_dtype, spec.model, seed, quantises=True)
        if self.base is not None:
            return load_weights(self.base, self.weights_dtype, spec.model, quantises=True)
        if spec.model.architecture is None:
            raise ValueError("a frozen run names neither a base model nor an architecture")
        require_attention(spec.model)
        return new_weights(
            spec.model.architecture, tokenizer, spec.training.seed, attention=spec.model.attn_implementation
        )

    def _output(self, initial: InitialAdapter | None = None) -> OutputWriter:
        run = self.context.run
        if not self.trains_adapter:
            return OutputWriter(run.spec.model)
        place = VolumePath(claim=run.output.claim, path=run.output_directory)
        return OutputWriter(
            run.spec.model, self.base, initial, merged_at=place if run.spec.output.merge_adapter else None
        )


def plan_model(context: RunContext, arguments: TrainingArguments) -> ModelPlan:
    """Return where the model comes from; an adapter that is to be merged is merged first.

    Args:
        context: The run.
        arguments: The trainer's arguments, which know the other processes.

    Raises:
        ModelNotFound: A model is missing, or an earlier job's output is not what it was.
        GatedModel: The Hub does not let the job have the model.
        HubUnreachable: The Hub does not answer.
        InvalidSpec: The spec asks for another adapter than the one to train further.
    """
    plan = find_model(context)
    if plan.base is None or plan.adapter is None:
        return plan
    if context.run.model.from_adapter == "merge":
        return ModelPlan(context, merged_base(context, arguments, plan.base, plan.adapter), None)
    if context.run.spec.peft is not None:
        raise InvalidSpec(
            "spec.peft: with model.fromJob.fromAdapter: continue the earlier adapter is trained further as it is;"
            " remove peft, or use fromAdapter: merge for a new adapter"
        )
    return plan


def find_model(context: RunContext, *, outlined: bool = False) -> ModelPlan:
    """Return where the model comes from; an adapter that is to be merged lies beside its base still.

    Args:
        context: The run.
        outlined: Whether weights that lie on the Hub stay there.

    Raises:
        ModelNotFound: A folder is missing, or an earlier job's output is not what it was.
    """
    if context.run.model.base is None:
        return ModelPlan(context, None, None)
    found = find_folders(context, context.run.model, outlined=outlined)
    if found.adapter is not None:
        require_task(found.adapter, context.run.task, continues=context.run.model.from_adapter != "merge")
    return ModelPlan(context, found.base, found.adapter)
