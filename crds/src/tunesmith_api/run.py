"""The frozen run: everything the trainer is told, fixed when a run starts."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tunesmith_api.base import ApiModel
from tunesmith_api.profile import AcceleratorProfile
from tunesmith_api.v1alpha1.alignment import AlignmentJobSpec
from tunesmith_api.v1alpha1.fine_tuning import FineTuneJobSpec
from tunesmith_api.v1alpha1.methods import METHOD_BLOCKS
from tunesmith_api.v1alpha1.methods.base import Task
from tunesmith_api.v1alpha1.model import FromAdapter, JobKind
from tunesmith_api.v1alpha1.status import HubModel, VolumePath

Spec = Annotated[FineTuneJobSpec | AlignmentJobSpec, Field(discriminator="method")]


class ResolvedModel(ApiModel):
    """Where the weights are. All absent: the spec's architecture, with random weights."""

    base: Annotated[VolumePath | HubModel | None, Field(description="The model: a folder, or one of the Hub.")] = None
    adapter: Annotated[VolumePath | None, Field(description="An adapter that an earlier job trained on `base`.")] = None
    from_adapter: Annotated[FromAdapter | None, Field(description="What to do with that adapter.")] = None
    checkpoint: Annotated[
        VolumePath | None, Field(description="The checkpoint of an earlier job whose state is gone on with.")
    ] = None
    digest: Annotated[str | None, Field(description="Digest of the earlier job's output, checked before training.")] = (
        None
    )


class FrozenRun(ApiModel):
    """One run of one job: its identity, the resolved spec with every default explicit, image and profile.

    Kept in the run's immutable ConfigMap, so that a newer operator with other defaults changes nothing under way.
    """

    kind: JobKind
    namespace: str
    name: str
    uid: str
    run_id: str
    generation: Annotated[int, Field(description="Generation of the spec that was frozen.")]
    spec: Spec
    model: ResolvedModel
    reference: Annotated[
        ResolvedModel | None,
        Field(description="The model that `spec.referenceModel` names; its adapter stays as it is."),
    ] = None
    reward_models: Annotated[
        dict[str, ResolvedModel], Field(description="The models of `spec.rewards`, by the name of the reward.")
    ] = {}
    profile: AcceleratorProfile
    operator_version: str

    @property
    def output(self) -> VolumePath:
        """The job's folder on its output claim; the resolved spec always names both."""
        claim, path = self.spec.output.claim_name, self.spec.output.path
        if claim is None or path is None:
            raise ValueError("spec.output of a frozen run must name its claim and path")
        return VolumePath(claim=claim, path=path)

    @property
    def auxiliary_models(self) -> tuple[ResolvedModel, ...]:
        """The models that take part beside the one that is trained."""
        return (*((self.reference,) if self.reference else ()), *self.reward_models.values())

    @property
    def task(self) -> Task:
        """What the trained model is made for."""
        return METHOD_BLOCKS[self.spec.method].task

    @property
    def uses_hub(self) -> bool:
        """Whether something of the run comes from the Hugging Face Hub."""
        tokenizer = self.spec.model.tokenizer
        return (
            any(isinstance(model.base, HubModel) for model in (self.model, *self.auxiliary_models))
            or (tokenizer is not None and tokenizer.name is not None)
            or any(dataset.hub is not None for datasets in self.spec.all_datasets.values() for dataset in datasets)
        )

    @property
    def directory(self) -> str:
        """The run's own folder below the claim's root."""
        return f"{self.output.path}/runs/{self.uid}-{self.run_id}"

    @property
    def merged_base(self) -> VolumePath:
        """The folder of the model that `fromAdapter: merge` writes."""
        return VolumePath(claim=self.output.claim, path=f"{self.directory}/base")

    @property
    def adapter_base(self) -> VolumePath | HubModel | None:
        """The model that an adapter is trained on, None when whole weights are trained."""
        if self.spec.peft is None and self.model.from_adapter != "continue":
            return None
        return self.merged_base if self.model.from_adapter == "merge" else self.model.base

    @property
    def output_directory(self) -> str:
        """The folder of the run's final output below the claim's root."""
        return f"{self.directory}/output"

    @property
    def world_size(self) -> int:
        """Number of training processes over all nodes."""
        return self.spec.num_nodes * self.spec.num_proc_per_node
