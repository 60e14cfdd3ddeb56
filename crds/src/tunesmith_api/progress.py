"""What the trainer tells the operator: progress while it runs, the outcome when it ends. Nothing in it is trusted."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.alias_generators import to_camel

from tunesmith_api.base import ApiModel
from tunesmith_api.v1alpha1.preparation import PreparationReport
from tunesmith_api.v1alpha1.status import ArtifactKind, HubModel, Name, Seconds, Step, Uid, VolumePath

Phase = Literal["starting", "loading", "training", "evaluating", "checkpointing", "saving", "finished"]
MetricName = Annotated[str, Field(min_length=1, max_length=63)]
MAX_PROGRESS_BYTES = 65536
Checkpoints = Annotated[tuple[Step, ...], Field(max_length=1024)]
"""Those that `checkpoint.keepLast` keeps, 1000 at most, the best one, and one that is about to go."""


class Report(ApiModel):
    """A message of the trainer. A newer trainer may say more than this operator knows; that is ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class SpentSeconds(Report):
    """Where the trainer's time went, in seconds of its monotonic clock."""

    initialising: Seconds = 0.0
    training: Seconds = 0.0
    checkpointing: Seconds = 0.0
    evaluating: Seconds = 0.0


class Progress(Report):
    """The answer of GET /progress, served by rank 0."""

    attempt: Annotated[int, Field(ge=1)]
    pod_uid: Uid
    phase: Phase
    current_step: Step = 0
    total_steps: Step | None = None
    epoch: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    metrics: Annotated[dict[MetricName, float], Field(max_length=64)] = {}
    estimated_remaining_seconds: Seconds | None = None
    seconds_since_heartbeat: Seconds = 0.0
    resumed_from_step: Step | None = None
    checkpoint_steps: Checkpoints = ()
    world_size: Annotated[int | None, Field(ge=1, le=65536)] = None
    seconds: SpentSeconds = SpentSeconds()


class SavedOutput(Report):
    """The final output on the claim."""

    kind: ArtifactKind
    path: Annotated[str, Field(max_length=1024)]
    digest: Annotated[str, Field(max_length=80)]
    size_bytes: Annotated[int, Field(ge=0)]
    base_model: VolumePath | HubModel | None = None


class Outcome(Report):
    """The termination message of a trainer container: how attempt or preparation ended, in at most 4,096 bytes."""

    attempt: Annotated[int, Field(ge=1)]
    pod_uid: Uid
    exit_code: Annotated[int, Field(ge=0, le=255)]
    reason: Annotated[str, Field(max_length=63)]
    message: Annotated[str, Field(max_length=2048)]
    last_step: Step = 0
    total_steps: Step | None = None
    epoch: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    metrics: Annotated[dict[MetricName, float], Field(max_length=64)] = {}
    resumed_from_step: Step | None = None
    checkpoint_steps: Checkpoints = ()
    world_size: Annotated[int | None, Field(ge=1, le=65536)] = None
    seconds: SpentSeconds = SpentSeconds()
    output: SavedOutput | None = None
    preparation: PreparationReport | None = None


__all__ = ["MAX_PROGRESS_BYTES", "Name", "Outcome", "Phase", "Progress", "Report", "SavedOutput", "SpentSeconds"]
