"""The model of a run, as the spec and what the operator resolved say: first the tokenizer, then the weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith_api.resolve import DEFAULT_REVISION
from tunesmith_api.v1alpha1.status import HubModel, VolumePath
from tunesmith_trainer.collectives import from_first
from tunesmith_trainer.errors import ModelNotFound
from tunesmith_trainer.manifests import damage, read_manifest
from tunesmith_trainer.models.chat_template import set_chat_template
from tunesmith_trainer.models.folders import Folder
from tunesmith_trainer.models.hub import hub_folder, pins
from tunesmith_trainer.models.lora import continue_adapter, lora_config, read_config
from tunesmith_trainer.models.merge import merged_base
from tunesmith_trainer.models.output import OutputWriter
from tunesmith_trainer.models.tokenizers import has_tokenizer, load_tokenizer
from tunesmith_trainer.models.trained_tokenizer import run_tokenizer
from tunesmith_trainer.models.vocabulary import add_tokens, added_ids, grow, make_room, train_rows
from tunesmith_trainer.models.weights import fit_tokenizer, load_weights, new_weights, require_attention

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
        adapter: LoraConfig | None = None
        if self.adapter is not None:
            model = continue_adapter(model, self.adapter, self.lora)
        else:
            adapter = self.new_adapter(model, added)
        return PreparedModel(model, adapter, self._output())

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

    def new_adapter(self, model: PreTrainedModel, added: list[int]) -> LoraConfig | None:
        """Return the config of the adapter that the spec asks for, None when the whole model is trained.

        Args:
            model: The model that gets it.
            added: Ids of tokens whose embeddings are trained with it.

        Raises:
            InvalidSpec: A target module does not exist in the model, or is its output head.
        """
        if self.lora is None:
            return None
        adapter = lora_config(self.lora, model)
        if added:
            train_rows(adapter, model, added)
        return adapter

    def _weights(self, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
        spec = self.context.run.spec
        if self.base is not None:
            return load_weights(self.base, self.weights_dtype, spec.model)
        if spec.model.architecture is None:
            raise ValueError("a frozen run names neither a base model nor an architecture")
        require_attention(spec.model)
        return new_weights(
            spec.model.architecture, tokenizer, spec.training.seed, attention=spec.model.attn_implementation
        )

    def _output(self) -> OutputWriter:
        dtype = self.context.run.spec.model.dtype
        if not self.trains_adapter or self.base is None:
            return OutputWriter(dtype)
        return OutputWriter(dtype, self.base.place, self.base.reference)


def plan_model(context: RunContext, arguments: TrainingArguments) -> ModelPlan:
    """Return where the model comes from; an adapter that is to be merged is merged first.

    Args:
        context: The run.
        arguments: The trainer's arguments, which know the other processes.

    Raises:
        ModelNotFound: A model is missing, or an earlier job's output is not what it was.
        GatedModel: The Hub does not let the job have the model.
        HubUnreachable: The Hub does not answer.
    """
    plan = find_model(context)
    if plan.base is not None and plan.adapter is not None and context.run.model.from_adapter == "merge":
        return ModelPlan(context, merged_base(context, arguments, plan.base, plan.adapter), None)
    return plan


def find_model(context: RunContext, *, outlined: bool = False) -> ModelPlan:
    """Return where the model comes from; an adapter that is to be merged lies beside its base still.

    Args:
        context: The run.
        outlined: Whether weights that lie on the Hub stay there.

    Raises:
        ModelNotFound: A folder is missing, or an earlier job's output is not what it was.
    """
    resolved = context.run.model
    if resolved.base is None:
        return ModelPlan(context, None, None)
    base = _find_base(context, resolved.base, outlined=outlined)
    if not (outlined and isinstance(resolved.base, HubModel)):
        base.require_model()
    adapter = None if resolved.adapter is None else Folder.find(resolved.adapter, context, "the adapter")
    if resolved.digest is not None:
        _require_unchanged(context, adapter or base, resolved.digest)
    if resolved.checkpoint is not None:
        _require_whole(context, adapter or base)
    return ModelPlan(context, base, adapter)


def _find_base(context: RunContext, place: VolumePath | HubModel, *, outlined: bool) -> Folder:
    role = "the base model"
    if isinstance(place, VolumePath):
        return Folder.find(place, context, role)
    return hub_folder(context, _as_pinned(context, place), role, outlined=outlined)


def _as_pinned(context: RunContext, model: HubModel) -> HubModel:
    """Return a Hub model at the commit that the job trained on whose checkpoint is gone on with."""
    checkpoint = context.run.model.checkpoint
    if checkpoint is None:
        return model
    run_directory = context.claim_path(checkpoint.claim, checkpoint.path).parents[1]
    commits = [pin.commit for pin in pins(run_directory) if pin.weights and pin.name == model.name]
    return model.model_copy(update={"revision": commits[0]}) if commits else model


def _require_unchanged(context: RunContext, folder: Folder, digest: str) -> None:
    """Refuse an earlier job's output that has changed; rank 0 reads it, and all end alike."""
    change = from_first(folder.change_since(digest) if context.rank == 0 else None)
    if change:
        raise ModelNotFound(f"{folder.name} was changed after that job was Complete: {change}; run that job again")


def _require_whole(context: RunContext, checkpoint: Folder) -> None:
    """Refuse another job's checkpoint that is not what it was; rank 0 reads it, and all end alike."""
    manifest = read_manifest(checkpoint.path) if context.rank == 0 else None
    wrong = "its manifest is gone" if manifest is None else damage(checkpoint.path, manifest)
    wrong = from_first(wrong)
    if wrong:
        raise ModelNotFound(f"{checkpoint.name} is no whole checkpoint: {wrong}; choose another step of that job")
