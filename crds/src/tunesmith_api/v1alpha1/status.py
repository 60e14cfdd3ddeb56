"""`status`: what the operator tells about a job. Written by the operator alone, whole, once per pass."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tunesmith_api.base import ApiModel
from tunesmith_api.meta import Condition, State, Timestamp
from tunesmith_api.v1alpha1.preparation import PreparationReport
from tunesmith_api.v1alpha1.types import HubName, Revision

Step = Annotated[int, Field(ge=0, le=10**12)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]
Name = Annotated[str, Field(max_length=253)]
Uid = Annotated[str, Field(max_length=64)]
ArtifactKind = Literal["model", "adapter"]
AttemptResult = Literal["Succeeded", "Failed", "Crashed", "Disrupted"]

MAX_ATTEMPTS = 64
MAX_NODES = 128


class Metric(ApiModel):
    """One figure of the trainer."""

    name: Annotated[str, Field(min_length=1, max_length=63, description="Name, such as `loss` or `eval_loss`.")]
    value: Annotated[
        str, Field(max_length=63, description="Latest value, a decimal number of four significant digits.")
    ]


class JobProgress(ApiModel):
    """How far training is, as the running pod told last; the installation says how often it is asked."""

    progress_percentage: Annotated[
        int | None, Field(ge=0, le=100, description="Share of the steps done, in percent.")
    ] = None
    estimated_remaining_seconds: Annotated[
        int | None, Field(ge=0, le=10**10, description="Estimated time to the end of training, in seconds.")
    ] = None
    current_step: Annotated[Step | None, Field(description="Optimiser steps done.")] = None
    total_steps: Annotated[Step | None, Field(description="Optimiser steps in all.")] = None
    epoch: Annotated[str | None, Field(max_length=31, description="Passes over the data done, a decimal number.")] = (
        None
    )
    metrics: Annotated[tuple[Metric, ...], Field(max_length=32, description="Latest figures of the trainer.")] = ()
    last_updated_time: Annotated[Timestamp, Field(description="When this was read from the trainer.")]


class PodIdentity(ApiModel):
    """One pod of an attempt. A pod of the same index with another UID is not part of the attempt: it ends it."""

    index: Annotated[int, Field(ge=0, lt=MAX_NODES, description="Replica index (the node rank).")]
    uid: Annotated[Uid, Field(description="UID of the pod.")]


class Attempt(ApiModel):
    """One try at the run: one PyTorchJob."""

    number: Annotated[int, Field(ge=1, description="Number of the attempt, counted over all runs of the job.")]
    run_id: Annotated[str, Field(max_length=16, description="The run it belongs to.")]
    child: Annotated[Name, Field(description="Name of the PyTorchJob.")]
    child_uid: Annotated[Uid | None, Field(description="UID of the PyTorchJob.")] = None
    start_time: Annotated[Timestamp, Field(description="When the PyTorchJob was created.")]
    end_time: Annotated[Timestamp | None, Field(description="When the attempt ended. Absent while it runs.")] = None
    result: Annotated[AttemptResult | None, Field(description="How it ended.")] = None
    reason: Annotated[str | None, Field(max_length=1024, description="Why it ended, in one word.")] = None
    message: Annotated[str | None, Field(max_length=2048, description="Why it ended, for people.")] = None
    exit_code: Annotated[int | None, Field(ge=0, le=255, description="Exit code of the trainer.")] = None
    resumed_from_step: Annotated[
        Step | None, Field(description="Step of the checkpoint it went on from; 0 when it began anew.")
    ] = None
    last_step: Annotated[Step | None, Field(description="Last step it is known to have trained.")] = None
    lost_steps: Annotated[
        Step | None, Field(description="Steps trained after the last whole checkpoint, to be trained again.")
    ] = None
    world_size: Annotated[int | None, Field(ge=1, description="Number of processes that really trained together.")] = (
        None
    )
    pods: Annotated[tuple[PodIdentity, ...], Field(max_length=MAX_NODES, description="The pods of this attempt.")] = ()


class Preparation(ApiModel):
    """The newest check of data and model ahead of the first attempt: one batch/v1 Job."""

    number: Annotated[int, Field(ge=1, description="Number of the preparation, counted over all runs of the job.")]
    run_id: Annotated[str, Field(max_length=16, description="The run it belongs to.")]
    job: Annotated[Name, Field(description="Name of the Job.")]
    job_uid: Annotated[Uid | None, Field(description="UID of the Job.")] = None
    pod_uid: Annotated[Uid | None, Field(description="UID of its pod.")] = None
    start_time: Annotated[Timestamp, Field(description="When the Job was created.")]
    end_time: Annotated[Timestamp | None, Field(description="When it ended. Absent while it runs.")] = None
    result: Annotated[AttemptResult | None, Field(description="How it ended. Succeeded: training may begin.")] = None
    reason: Annotated[str | None, Field(max_length=1024, description="Why it ended, in one word.")] = None
    message: Annotated[str | None, Field(max_length=2048, description="What came of it, for people.")] = None
    exit_code: Annotated[int | None, Field(ge=0, le=255, description="Exit code of the checks.")] = None
    report: Annotated[PreparationReport | None, Field(description="What was found.")] = None


class Timings(ApiModel):
    """Where the time of the current attempt went, in seconds."""

    queued: Annotated[Seconds | None, Field(description="From creation to the first scheduled pod.")] = None
    pulling: Annotated[Seconds | None, Field(description="From scheduling to the start of the container.")] = None
    initialising: Annotated[Seconds | None, Field(description="From the start of the container to the first step.")] = (
        None
    )
    training: Annotated[Seconds | None, Field(description="Training steps.")] = None
    checkpointing: Annotated[Seconds | None, Field(description="Saving checkpoints.")] = None
    evaluating: Annotated[Seconds | None, Field(description="Evaluation.")] = None


class CheckpointRecord(ApiModel):
    """A whole checkpoint on the output claim."""

    step: Annotated[Step, Field(description="Optimiser step it was saved at.")]
    path: Annotated[str, Field(max_length=1024, description="Folder below the claim's root.")]


class VolumePath(ApiModel):
    """A folder on a PersistentVolumeClaim."""

    claim: Annotated[Name, Field(description="Name of the PersistentVolumeClaim.")]
    path: Annotated[
        str, Field(max_length=1024, description="Folder below the claim's root; empty for the root itself.")
    ] = ""


class HubModel(ApiModel):
    """A model of the Hugging Face Hub."""

    name: Annotated[HubName, Field(description="Id of the repository.")]
    revision: Annotated[Revision, Field(description="Branch, tag or commit.")]


class BaseRecord(ApiModel):
    """The model that an adapter belongs to: `claim` and `path`, or `name` and `revision` of a Hub model."""

    claim: Annotated[Name | None, Field(description="Name of the PersistentVolumeClaim that holds it.")] = None
    path: Annotated[
        str | None, Field(max_length=1024, description="Folder below the claim's root; empty for the root itself.")
    ] = None
    name: Annotated[HubName | None, Field(description="Id of its repository on the Hugging Face Hub.")] = None
    revision: Annotated[
        Revision | None, Field(description="Branch, tag or commit; of an output the commit that was trained on.")
    ] = None

    @classmethod
    def of(cls, model: VolumePath | HubModel) -> BaseRecord:
        """Return the record of a model."""
        return cls.model_validate(model.model_dump())

    @property
    def model(self) -> VolumePath | HubModel | None:
        """The model, None when the record names none."""
        if self.claim is not None:
            return VolumePath(claim=self.claim, path=self.path or "")
        if self.name is not None and self.revision is not None:
            return HubModel(name=self.name, revision=self.revision)
        return None


class OutputRecord(ApiModel):
    """The trained adapter or model, verified against its manifest."""

    kind: Annotated[ArtifactKind, Field(description="`adapter` (load it with peft on `baseModel`) or `model`.")]
    claim: Annotated[Name, Field(description="Name of the PersistentVolumeClaim.")]
    path: Annotated[
        str, Field(max_length=1024, description="Folder of this run's output below the claim's root; it never changes.")
    ]
    latest_path: Annotated[
        str, Field(max_length=1024, description="Link to the output of the job's newest complete run.")
    ]
    digest: Annotated[str, Field(max_length=80, description="`sha256:` of the manifest's list of files.")]
    size_bytes: Annotated[int, Field(ge=0, description="Size of all files, in bytes.")]
    base_model: Annotated[BaseRecord | None, Field(description="The model an adapter belongs to.")] = None
    load: Annotated[
        str, Field(max_length=4096, description="Python that loads it, with the claims mounted as in the job's pods.")
    ]


class Resolved(ApiModel):
    """What a run trains with, once defaults and accelerator profile have spoken; the run's ConfigMap has all of it."""

    dtype: Annotated[str, Field(max_length=31, description="Precision to compute in.")]
    attn_implementation: Annotated[str, Field(max_length=63, description="How attention is computed.")]
    gradient_checkpointing: Annotated[bool, Field(description="Whether activations are recomputed.")]
    optim: Annotated[str, Field(max_length=63, description="The optimiser.")]
    learning_rate: Annotated[str, Field(max_length=31, description="Peak learning rate, a decimal number.")]
    world_size: Annotated[int, Field(ge=1, description="Training processes over all nodes.")]
    global_batch_size: Annotated[int, Field(ge=1, description="Rows per optimiser step, over all processes.")]
    base_model: Annotated[
        BaseRecord | None,
        Field(description="The model that an adapter is trained on. Absent: whole weights are trained."),
    ] = None


class JobStatus(ApiModel):
    """The state of a job as the operator sees it."""

    conditions: Annotated[
        tuple[Condition, ...],
        Field(
            max_length=16,
            description="Ready, and while they hold Reconciling, Stalled, Complete, Failed.",
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]},
        ),
    ] = ()
    observed_generation: Annotated[
        int | None, Field(ge=0, description="Generation of the spec this status speaks of.")
    ] = None
    state: Annotated[State | None, Field(description="One word for the whole, derived from the rest.")] = None
    model: Annotated[str | None, Field(max_length=512, description="What is trained, in short.")] = None
    run_id: Annotated[str | None, Field(max_length=16, description="The run this status speaks of.")] = None
    resolved: Annotated[Resolved | None, Field(description="What the run trains with.")] = None
    start_time: Annotated[
        Timestamp | None, Field(description="When the run was frozen; from then on the spec is immutable.")
    ] = None
    completion_time: Annotated[Timestamp | None, Field(description="When the run was Complete or Failed.")] = None
    preparation: Annotated[
        Preparation | None, Field(description="What was found in data and model before the first attempt.")
    ] = None
    progress: Annotated[JobProgress | None, Field(description="How far training is.")] = None
    attempts: Annotated[
        tuple[Attempt, ...],
        Field(max_length=MAX_ATTEMPTS, description="The attempts, oldest first; the newest are kept."),
    ] = ()
    failures: Annotated[
        int,
        Field(ge=0, description="Attempts and preparations of this run that counted against runPolicy.backoffLimit."),
    ] = 0
    disruptions: Annotated[
        int, Field(ge=0, description="Attempts and preparations of this run that were lost to disruptions.")
    ] = 0
    timings: Annotated[Timings | None, Field(description="Where the time of the newest attempt went.")] = None
    checkpoints: Annotated[
        tuple[CheckpointRecord, ...], Field(max_length=16, description="The newest whole checkpoints, oldest first.")
    ] = ()
    output: Annotated[OutputRecord | None, Field(description="The result, once Complete.")] = None
