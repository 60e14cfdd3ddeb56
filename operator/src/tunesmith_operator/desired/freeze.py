"""Freezing a run: the spec with every default explicit, the model's place, image and profile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from tunesmith_api.resolve import DEFAULT_REVISION, resolve
from tunesmith_api.run import FrozenRun, ResolvedModel
from tunesmith_api.v1alpha1.alignment import AlignmentJobSpec
from tunesmith_api.v1alpha1.fine_tuning import FineTuneJobSpec
from tunesmith_api.v1alpha1.status import HubModel, OutputRecord, VolumePath
from tunesmith_operator.desired.dependencies import Saved
from tunesmith_operator.inputs import JobKey

if TYPE_CHECKING:
    from tunesmith_api.profile import AcceleratorProfile
    from tunesmith_api.v1alpha1.auxiliary import AuxiliaryModel
    from tunesmith_api.v1alpha1.model import FromAdapter, ModelSource
    from tunesmith_operator.desired.dependencies import Sources


@dataclass(frozen=True)
class Ingredients:
    """What a run is frozen from.

    Attributes:
        key: The job.
        uid: UID of the job.
        run_id: The run.
        generation: Generation of the spec.
        spec: The spec as the user wrote it.
        profile: The accelerator profile that the spec names.
        sources: What other jobs made for this one.
        operator_version: Version of this operator.
    """

    key: JobKey
    uid: str
    run_id: str
    generation: int
    spec: FineTuneJobSpec | AlignmentJobSpec
    profile: AcceleratorProfile
    sources: Sources
    operator_version: str


def freeze(ingredients: Ingredients) -> FrozenRun:
    """Return the frozen run: from here on nothing else decides what is trained."""
    key, spec = ingredients.key, ingredients.spec
    model = resolve_model(spec, ingredients.sources)
    auxiliary = resolve_auxiliary(spec, ingredients.sources)
    return FrozenRun(
        kind="FineTuneJob" if key.kind == "FineTuneJob" else "AlignmentJob",
        namespace=key.namespace,
        name=key.name,
        uid=ingredients.uid,
        run_id=ingredients.run_id,
        generation=ingredients.generation,
        spec=_resolved(key, spec, model, ingredients.profile),
        model=model,
        reference=auxiliary.get("referenceModel"),
        reward_models=_by_reward(spec, auxiliary),
        profile=ingredients.profile,
        operator_version=ingredients.operator_version,
    )


def is_of(run: FrozenRun, spec: FineTuneJobSpec | AlignmentJobSpec) -> bool:
    """Return whether a run was frozen from a spec; runPolicy makes no difference.

    Args:
        run: The frozen run.
        spec: A spec as the user wrote it.
    """
    if spec.accelerator != run.spec.accelerator:
        return False
    wanted = _resolved(JobKey(run.kind, run.namespace, run.name), spec, run.model, run.profile)
    return wanted.model_copy(update={"run_policy": run.spec.run_policy}).to_wire() == run.spec.to_wire()


def _resolved(
    key: JobKey, spec: FineTuneJobSpec | AlignmentJobSpec, model: ResolvedModel, profile: AcceleratorProfile
) -> FineTuneJobSpec | AlignmentJobSpec:
    trains_adapter = spec.peft is not None or model.from_adapter == "continue"
    if isinstance(spec, FineTuneJobSpec):
        return resolve(key.kind, key.name, spec, profile, trains_adapter=trains_adapter)
    return resolve(key.kind, key.name, spec, profile, trains_adapter=trains_adapter)


def resolve_model(spec: FineTuneJobSpec | AlignmentJobSpec, sources: Sources) -> ResolvedModel:
    """Return where the weights are; the trainer pins a Hub model to a commit.

    Args:
        spec: The job's spec.
        sources: What other jobs made for it.
    """
    source = sources.get("model.fromJob") or sources.get("model.resumeFrom")
    if isinstance(source, Saved):
        return _checkpoint(source)
    if source is not None:
        return _output(source, spec.model.from_job.from_adapter if spec.model.from_job else None)
    return _named(spec.model)


def resolve_auxiliary(spec: FineTuneJobSpec | AlignmentJobSpec, sources: Sources) -> dict[str, ResolvedModel]:
    """Return where the models are that take part without being trained, by their path below spec."""
    resolved = {}
    for path, model in spec.auxiliary_models.items():
        source = sources.get(f"{path}.fromJob")
        resolved[path] = _output(source, None) if isinstance(source, OutputRecord) else _named(model)
    return resolved


def _by_reward(
    spec: FineTuneJobSpec | AlignmentJobSpec, auxiliary: dict[str, ResolvedModel]
) -> dict[str, ResolvedModel]:
    rewards = (spec.rewards or ()) if isinstance(spec, AlignmentJobSpec) else ()
    paths = {reward.name: f"rewards[{index}].model" for index, reward in enumerate(rewards)}
    return {name: auxiliary[path] for name, path in paths.items() if path in auxiliary}


def _named(model: ModelSource | AuxiliaryModel) -> ResolvedModel:
    if model.name is not None:
        return ResolvedModel(base=HubModel(name=model.name, revision=model.revision or DEFAULT_REVISION))
    if model.path is not None:
        return ResolvedModel(base=VolumePath(claim=model.path.claim, path=model.path.path or ""))
    return ResolvedModel()


def _checkpoint(saved: Saved) -> ResolvedModel:
    if saved.base is None:
        return ResolvedModel(base=saved.folder, checkpoint=saved.folder)
    return ResolvedModel(base=saved.base, adapter=saved.folder, from_adapter="continue", checkpoint=saved.folder)


def _output(output: OutputRecord, from_adapter: FromAdapter | None) -> ResolvedModel:
    folder = VolumePath(claim=output.claim, path=output.path)
    if output.kind == "model":
        return ResolvedModel(base=folder, digest=output.digest)
    return ResolvedModel(
        base=output.base_model.model if output.base_model else None,
        adapter=folder,
        from_adapter=from_adapter,
        digest=output.digest,
    )
