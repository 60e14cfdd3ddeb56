"""`spec.prepare`, and what a preparation finds: data and model are checked before an accelerator is asked for."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from tunesmith_api.base import ApiModel, Rule, cel
from tunesmith_api.v1alpha1.compute import ResourceRequirements
from tunesmith_api.v1alpha1.types import QUALIFIED_KEYS, LabelKey, LabelValue

PrepareMode = Literal["auto", "always", "never"]
Count = Annotated[int, Field(ge=0, le=10**15)]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]

MAX_FINDINGS = 32
MAX_WARNINGS = 8
WARNING_LENGTH = 300
_CPU_ONLY = "['cpu', 'memory', 'ephemeral-storage']"


class Prepare(ApiModel):
    """A pod without accelerators that reads all data and the model's configuration before the first attempt."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.mode) || self.mode != 'never'"
            " || !(has(self.resources) || has(self.nodeSelector) || has(self.timeoutSeconds))",
            "mode: never prepares nothing: remove resources, nodeSelector and timeoutSeconds, or choose another mode",
            ".mode",
        ),
    )

    mode: Annotated[
        PrepareMode,
        Field(
            description="When the pod runs: `auto` where the accelerator profile has devices, so that none waits for a"
            " mistake in the data, and not on CPU profiles; `always`; `never`."
        ),
    ] = "auto"
    resources: Annotated[
        ResourceRequirements,
        Field(
            description="Compute resources of the pod: cpu, memory and ephemeral-storage. Default: 1 CPU core and 2Gi"
            " of memory requested, no limit.",
            json_schema_extra=cel(
                Rule(
                    f"(!has(self.requests) || self.requests.all(name, name in {_CPU_ONLY}))"
                    f" && (!has(self.limits) || self.limits.all(name, name in {_CPU_ONLY}))",
                    "the preparation runs without devices: set cpu, memory and ephemeral-storage only",
                )
            ),
        ),
    ] = ResourceRequirements(requests={"cpu": "1", "memory": "2Gi"})
    node_selector: Annotated[
        dict[LabelKey, LabelValue] | None,
        Field(
            max_length=32,
            description="Labels that the pod's node must have, such as kubernetes.io/arch. Those of the accelerator"
            " profile and of podTemplate choose nodes for training and are not used.",
            json_schema_extra=cel(QUALIFIED_KEYS),
        ),
    ] = None
    timeout_seconds: Annotated[
        int, Field(ge=60, le=604800, description="Longest time the checks may take, in seconds.")
    ] = 3600


class Finding(ApiModel):
    """A part of what a preparation tells. A newer trainer may say more than this operator knows; that is ignored."""

    model_config = ConfigDict(extra="ignore")


class DatasetFinding(Finding):
    """What was found in one dataset."""

    field: Annotated[str, Field(max_length=63, description="The dataset's place, such as spec.datasets[0].")]
    format: Annotated[str, Field(max_length=63, description="Format of its rows, given or detected.")]
    rows: Annotated[Count, Field(description="Rows that are read from it.")]


class TokenLengths(Finding):
    """How long the rows to train on are before anything is cut off, in tokens."""

    p50: Annotated[Count, Field(description="Half of the rows are at most this long.")]
    p90: Annotated[Count, Field(description="90 % of the rows are.")]
    p99: Annotated[Count, Field(description="99 % of the rows are.")]
    max: Annotated[Count, Field(description="The longest row.")]


class AnswerFinding(Finding):
    """Answers of one kind: those that were chosen or rejected, or those with the one or the other label."""

    kind: Annotated[str, Field(max_length=63, description="What they are, such as chosen.")]
    count: Annotated[Count, Field(description="How many there are.")]
    token_lengths: Annotated[TokenLengths, Field(description="How long they are, before anything is cut off.")]


class MemoryEstimate(Finding):
    """What training needs of one device, estimated from the model, the sequence length and the batch."""

    required: Annotated[str, Field(max_length=31, description="Estimated need, a quantity.")]
    available: Annotated[
        str | None,
        Field(max_length=31, description="`deviceMemory` of the accelerator profile; absent: it was not compared."),
    ] = None


class PreparationReport(Finding):
    """What the checks found. The whole report, with more of it, is `preparation.json` in the run's folder."""

    datasets: Annotated[
        tuple[DatasetFinding, ...], Field(max_length=MAX_FINDINGS, description="Each dataset, in the spec's order.")
    ] = ()
    rows: Annotated[Count, Field(description="Rows to train on.")]
    evaluation_rows: Annotated[Count | None, Field(description="Rows to evaluate on. Absent without evaluation.")] = (
        None
    )
    tokens: Annotated[Count, Field(description="Tokens of the rows to train on, within training.maxLength.")]
    token_lengths: Annotated[TokenLengths, Field(description="Lengths of the rows to train on.")]
    truncated_share: Annotated[
        Share, Field(description="Share of the rows to train on that training.maxLength cuts, between 0 and 1.")
    ]
    dropped_rows: Annotated[
        Count,
        Field(
            description="Rows to train on that are left out: within training.maxLength there is nothing to learn from,"
            " or no room for what a method needs whole."
        ),
    ]
    loss_share: Annotated[Share, Field(description="Share of the tokens that carry loss, between 0 and 1.")]
    duplicate_rows: Annotated[Count, Field(description="Rows to train on that repeat an earlier one.")]
    alike_pairs: Annotated[
        Count | None,
        Field(
            description="Pairs to train on whose answers are the same within training.maxLength. Absent where rows are"
            " not compared."
        ),
    ] = None
    answers: Annotated[
        tuple[AnswerFinding, ...],
        Field(max_length=8, description="The answers to train on, kind by kind. Empty where rows are not compared."),
    ] = ()
    parameters: Annotated[Count | None, Field(description="Parameters of the model, an adapter's left out.")] = None
    trainable_parameters: Annotated[Count | None, Field(description="Parameters that are trained.")] = None
    memory: Annotated[MemoryEstimate | None, Field(description="Need of one device. Absent: not estimated.")] = None
    warnings: Annotated[
        tuple[Annotated[str, Field(max_length=WARNING_LENGTH)], ...],
        Field(max_length=MAX_WARNINGS, description="What is allowed but probably not meant, and what to do about it."),
    ] = ()
