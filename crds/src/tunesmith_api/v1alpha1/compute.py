"""The blocks that say where a job runs, what it writes and how it may fail: compute, output, checkpoint, runPolicy."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule, cel
from tunesmith_api.v1alpha1.types import QUALIFIED_KEYS, ObjectName, Quantity, RelativePath, ResourceName

AccessMode = Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"]
Resources = dict[ResourceName, Quantity]


class ResourceRequirements(ApiModel):
    """Compute resources of one node's pod."""

    requests: Annotated[
        Resources | None,
        Field(max_length=16, description="What the scheduler reserves.", json_schema_extra=cel(QUALIFIED_KEYS)),
    ] = None
    limits: Annotated[
        Resources | None,
        Field(max_length=16, description="What the pod may not exceed.", json_schema_extra=cel(QUALIFIED_KEYS)),
    ] = None


class ClaimTemplate(ApiModel):
    """The PersistentVolumeClaim to create when none of the wanted name exists."""

    size: Annotated[
        Quantity,
        Field(
            description="Size to request.",
            json_schema_extra=cel(
                Rule(
                    "!isQuantity(string(self)) || quantity(string(self)).isGreaterThan(quantity('0'))",
                    "must be above zero, such as 10Gi",
                )
            ),
        ),
    ] = "10Gi"
    storage_class_name: Annotated[
        ObjectName | None, Field(description="StorageClass. Absent: the cluster's default.")
    ] = None
    access_modes: Annotated[
        tuple[AccessMode, ...] | None,
        Field(
            min_length=1,
            max_length=3,
            description="Access modes. Default: ReadWriteOnce on one node, ReadWriteMany when numNodes is above 1.",
            json_schema_extra={"x-kubernetes-list-type": "set"},
        ),
    ] = None


class Output(ApiModel):
    """Where checkpoints and the trained adapter or model go. Claims are never deleted by the operator."""

    claim_name: Annotated[
        ObjectName | None,
        Field(
            description="PersistentVolumeClaim to write to; used as it is when it exists, else made from"
            " `claimTemplate`. Default: `<name>-ftj` for a FineTuneJob, `<name>-alj` for an AlignmentJob."
        ),
    ] = None
    claim_template: Annotated[ClaimTemplate, Field(description="The claim to create when it does not exist.")] = (
        ClaimTemplate()
    )
    path: Annotated[
        RelativePath | None,
        Field(description="Folder below the claim's root. Default: `finetunejobs/<name>` or `alignmentjobs/<name>`."),
    ] = None
    keep_checkpoints: Annotated[
        bool,
        Field(
            description="Whether the run's last checkpoints stay when its output is complete. They hold weights and"
            " optimiser: several times the size of the output."
        ),
    ] = True
    overwrite: Annotated[bool, Field(description="Whether the output of another job at this path may be replaced.")] = (
        False
    )
    merge_adapter: Annotated[
        bool,
        Field(
            description="Whether the model with the trained adapter merged into it is written too, in model.dtype, as"
            " the folder `merged` of the output, which model.path can name. status.output and model.fromJob still mean"
            " the adapter. Merging takes host memory for the whole model in float32."
        ),
    ] = False


class Checkpoint(ApiModel):
    """When training state is saved; a later attempt goes on from the newest whole one. SIGTERM saves as well."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.saveSteps) || !has(self.saveStrategy) || self.saveStrategy == 'steps'",
            "saveSteps needs saveStrategy: steps",
            ".saveSteps",
        ),
    )

    save_strategy: Annotated[
        Literal["steps", "epoch", "best", "no"],
        Field(
            description="steps: every saveSteps and after the last step; epoch: after each; best: when an evaluation is"
            " better than all before (training.metricForBestModel); no: only on SIGTERM, so that any other failure"
            " starts the run from the beginning."
        ),
    ] = "steps"
    save_steps: Annotated[int, Field(ge=1, le=100_000_000, description="Optimiser steps between two checkpoints.")] = (
        100
    )
    keep_last: Annotated[
        int,
        Field(
            ge=1,
            le=1000,
            description="Number of checkpoints that are kept. With saveStrategy: best or training.loadBestModelAtEnd"
            " the best one is kept as well.",
        ),
    ] = 2


class RunPolicy(ApiModel):
    """How often a run may start again. May be changed at any time."""

    backoff_limit: Annotated[
        int,
        Field(ge=0, le=100, description="How many attempts and preparations may crash; one more makes the job Failed."),
    ] = 3
    max_disruptions: Annotated[
        int,
        Field(
            ge=0,
            le=1000,
            description="How many attempts and preparations may be lost to preemption, drains and deletions; one more"
            " makes the job Failed.",
        ),
    ] = 20
