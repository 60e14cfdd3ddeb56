"""The folders of a model that the operator has resolved: found, and checked to be what they were."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith_api.v1alpha1.status import HubModel, VolumePath
from tunesmith_trainer.collectives import from_first
from tunesmith_trainer.errors import ModelNotFound
from tunesmith_trainer.manifests import damage, read_manifest
from tunesmith_trainer.models.folders import Folder
from tunesmith_trainer.models.hub import hub_folder, pins

if TYPE_CHECKING:
    from tunesmith_api.run import ResolvedModel
    from tunesmith_trainer.context import RunContext


@dataclass(frozen=True)
class ModelFolders:
    """Where a model is.

    Attributes:
        base: The folder of the whole model, or of the one that the adapter belongs to.
        adapter: The folder of an earlier job's adapter; None for a whole model.
    """

    base: Folder
    adapter: Folder | None


def find_folders(
    context: RunContext, model: ResolvedModel, field: str = "spec.model", *, outlined: bool = False
) -> ModelFolders:
    """Return where a model is; every process calls this at the same time.

    Args:
        context: The run.
        model: What the frozen run says of it: `model`, `reference`, or one of `reward_models`.
        field: The field that names it, for messages, such as `spec.referenceModel`.
        outlined: Whether weights that lie on the Hub stay there.

    Raises:
        ModelNotFound: A folder is missing, or an earlier job's output is not what it was.
        GatedModel: The Hub does not let the job have the model.
        HubUnreachable: The Hub does not answer.
    """
    of = "" if field == "spec.model" else f" of {field}"
    base = _find_base(context, model, f"the base model{of}", outlined=outlined)
    if not (outlined and isinstance(model.base, HubModel)):
        base.require_model()
    adapter = None if model.adapter is None else Folder.find(model.adapter, context, f"the adapter{of}")
    if model.digest is not None:
        _require_unchanged(context, adapter or base, model.digest)
    if model.checkpoint is not None:
        _require_whole(context, adapter or base)
    return ModelFolders(base, adapter)


def _find_base(context: RunContext, model: ResolvedModel, role: str, *, outlined: bool) -> Folder:
    if model.base is None:
        raise ValueError(f"the frozen run does not say where {role} is")
    if isinstance(model.base, VolumePath):
        return Folder.find(model.base, context, role)
    return hub_folder(context, _as_pinned(context, model.base, model.checkpoint), role, outlined=outlined)


def _as_pinned(context: RunContext, model: HubModel, checkpoint: VolumePath | None) -> HubModel:
    """Return a Hub model at the commit that the job trained on whose checkpoint is gone on with."""
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
