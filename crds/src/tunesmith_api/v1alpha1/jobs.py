"""The two kinds: FineTuneJob and AlignmentJob."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from tunesmith_api.base import REMEDY, ApiModel, Rule, remedy
from tunesmith_api.v1alpha1.architecture import Architecture
from tunesmith_api.v1alpha1.compute import Checkpoint, Output, ResourceRequirements, RunPolicy
from tunesmith_api.v1alpha1.datasets import DataProcessing, Dataset, Evaluation
from tunesmith_api.v1alpha1.early_stopping import EarlyStopping
from tunesmith_api.v1alpha1.methods import Dpo, Pretrain, Sft
from tunesmith_api.v1alpha1.model import ModelSource
from tunesmith_api.v1alpha1.peft import ADAPTER_RULES, REFERENCE_STAYS, ROWS_STAY_APART, Peft
from tunesmith_api.v1alpha1.pod_template import PodTemplate
from tunesmith_api.v1alpha1.preparation import Prepare
from tunesmith_api.v1alpha1.reporting import Reporting, StepRange
from tunesmith_api.v1alpha1.status import MAX_NODES, JobStatus
from tunesmith_api.v1alpha1.training import Training
from tunesmith_api.v1alpha1.training.suitability import LANGUAGE_RULES, PREFERENCE_RULES, PROCESS_RULES
from tunesmith_api.v1alpha1.types import ObjectName, RunId

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

DEFAULT_RUN_ID = "1"

NAME_RULE = Rule(
    "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    "must be at most 40 characters, begin with a letter and hold only lower case letters, digits and '-':"
    " pods and services are named after it",
    ".metadata.name",
)


def _claim_for_all_nodes(block: str) -> Rule:
    """Return the rule that a claim made from a block's template can be mounted by the pods of all nodes."""
    template = f"{block}.claimTemplate.accessModes".split(".")
    absent = " || ".join(f"!has(self.{'.'.join(template[:depth])})" for depth in range(1, len(template) + 1))
    modes = ".".join(template)
    return Rule(
        f"!has(self.numNodes) || self.numNodes == 1 || {absent}"
        f" || self.{modes}.exists(mode, mode != 'ReadWriteOncePod')",
        "a ReadWriteOncePod claim serves one pod: use ReadWriteMany, or numNodes: 1",
        f".{modes}",
    )


_COMMON_RULES = (
    *PROCESS_RULES,
    Rule(
        "!has(self.training) || !has(self.training.evalStrategy) || self.training.evalStrategy == 'no'"
        " || has(self.evaluation)",
        "evalStrategy needs rows to evaluate on: set spec.evaluation, or evalStrategy: 'no'",
        ".training.evalStrategy",
    ),
    Rule(
        "!has(self.checkpoint) || !has(self.checkpoint.saveStrategy) || self.checkpoint.saveStrategy != 'best'"
        " || (has(self.training) && has(self.training.evalStrategy) && self.training.evalStrategy != 'no')",
        "saveStrategy: best needs evaluations to compare: set training.evalStrategy: steps or epoch",
        ".checkpoint.saveStrategy",
    ),
    Rule(
        "!has(self.earlyStopping)"
        " || (has(self.training) && has(self.training.evalStrategy) && self.training.evalStrategy != 'no')",
        "earlyStopping compares evaluations: set training.evalStrategy: steps or epoch",
        ".earlyStopping",
    ),
    Rule(
        "!has(self.reporting) || !has(self.reporting.samples) || !has(self.reporting.samples.fromEvaluation)"
        " || has(self.evaluation)",
        "samples of held-out rows need some: set spec.evaluation, or reporting.samples.prompts",
        ".reporting.samples.fromEvaluation",
    ),
    _claim_for_all_nodes("output"),
    _claim_for_all_nodes("model.cache"),
)
_FROM_HUB = (
    "has(self.model.name) || has(self.model.fromJob) || has(self.model.resumeFrom)"
    " || (has(self.model.tokenizer) && has(self.model.tokenizer.name))"
    " || (has(self.datasets) && self.datasets.exists(d, has(d.hub)))"
    " || (has(self.evaluation) && has(self.evaluation.datasets) && self.evaluation.datasets.exists(d, has(d.hub)))"
)
_DATA_RULES = (
    *(
        Rule(
            f"!has(self.model.{field}) || {_FROM_HUB}",
            f"{field} is only for what comes from the Hub, by model.name, model.tokenizer.name, another job or"
            " datasets: remove it",
            f".model.{field}",
        )
        for field in ("tokenSecretRef", "cache")
    ),
    Rule(
        "!has(self.datasets) || self.datasets.all(d, !has(d.weight))"
        " || (self.datasets.size() > 1 && self.datasets.all(d, has(d.weight)))",
        "weights mix several datasets: set weight on each of them, or on none",
        ".datasets",
    ),
    Rule(
        "!has(self.dataProcessing) || !has(self.dataProcessing.stoppingStrategy)"
        " || (has(self.datasets) && self.datasets.exists(d, has(d.weight)))",
        "stoppingStrategy says when drawing by weight ends: set weight on each dataset, or remove it",
        ".dataProcessing.stoppingStrategy",
    ),
    Rule(
        "!has(self.dataProcessing) || !has(self.dataProcessing.streaming) || !self.dataProcessing.streaming"
        " || (has(self.training) && has(self.training.maxSteps))",
        "a stream has no known end: set training.maxSteps, or remove streaming",
        ".dataProcessing.streaming",
    ),
    Rule(
        "!has(self.dataProcessing) || !has(self.dataProcessing.streaming) || !self.dataProcessing.streaming"
        " || !has(self.evaluation) || !has(self.evaluation.splitRatio)",
        "splitRatio needs to count all rows first, and a stream does not: use evaluation.datasets, or remove streaming",
        ".evaluation.splitRatio",
    ),
    *ADAPTER_RULES,
)


def _only_with(method: str) -> Rule:
    """Return the rule that a method's block is present only with its method."""
    return Rule(
        f"self.method == '{method}' || !has(self.{method})",
        f"the {method} block belongs to method: {method}; remove it or change method",
        f".{method}",
    )


def _rows_of(method: str, formats: tuple[str, ...], *, templates: bool, needs: str) -> tuple[Rule, Rule]:
    """Return the rules that training and evaluation rows have a shape the method can train on."""
    fits = f"(!has(d.format) || d.format in {['auto', *formats]})"
    if not templates:
        fits += " && !has(d.promptTemplate) && !has(d.promptFunction)"
    message = f"method: {method} needs {needs}: leave format out, or choose a dataset or a method that fit"
    return (
        Rule(f"self.method != '{method}' || !has(self.datasets) || self.datasets.all(d, {fits})", message, ".datasets"),
        Rule(
            f"self.method != '{method}' || !has(self.evaluation) || !has(self.evaluation.datasets)"
            f" || self.evaluation.datasets.all(d, {fits})",
            message,
            ".evaluation.datasets",
        ),
    )


class JobSpec(ApiModel):
    """What both kinds have in common."""

    model: Annotated[ModelSource, Field(description="Where the weights come from.")]
    datasets: Annotated[
        tuple[Dataset, ...],
        Field(
            min_length=1,
            max_length=16,
            description="Rows to train on; several follow each other, or are mixed by `weight`. Required.",
            json_schema_extra=remedy(
                "spec.datasets must list between 1 and 16 sources of rows: add one, such as"
                " datasets: [{claim: {name: my-data, path: train.jsonl}}]"
            ),
        ),
    ]
    data_processing: Annotated[
        DataProcessing, Field(description="How the rows of all datasets are read and drawn.")
    ] = DataProcessing()
    evaluation: Annotated[Evaluation | None, Field(description="Held-out rows. Absent means no evaluation.")] = None
    peft: Annotated[Peft | None, Field(description="The adapter to train. Absent means full weights.")] = None
    training: Annotated[Training, Field(description="How long, how fast and on how much at a time to train.")] = (
        Training()
    )
    accelerator: Annotated[
        ObjectName,
        Field(description="Name of an accelerator profile of this installation; `cuda` and `cpu` are shipped."),
    ] = "cuda"
    num_nodes: Annotated[
        int, Field(ge=1, le=MAX_NODES, description="Number of pods, each on a node of its own kind.")
    ] = 1
    num_proc_per_node: Annotated[
        int, Field(ge=1, le=64, description="Training processes per pod; on an accelerator each takes one device.")
    ] = 1
    resources_per_node: Annotated[
        ResourceRequirements,
        Field(description="Compute resources of each pod; devices of the profile are added by numProcPerNode."),
    ] = ResourceRequirements()
    pod_template: Annotated[PodTemplate | None, Field(description="A typed overlay on the trainer pods.")] = None
    prepare: Annotated[Prepare, Field(description="The check of data and model ahead of training.")] = Prepare()
    output: Annotated[Output, Field(description="Where checkpoints and the result go.")] = Output()
    checkpoint: Annotated[Checkpoint, Field(description="When training state is saved.")] = Checkpoint()
    early_stopping: Annotated[
        EarlyStopping | None,
        Field(description="End training when evaluations get no better. Absent: the last step is the planned one."),
    ] = None
    reporting: Annotated[Reporting, Field(description="What the run tells of itself, beside its progress.")] = (
        Reporting()
    )
    run_policy: Annotated[RunPolicy, Field(description="How often the run may start again.")] = RunPolicy()
    run_id: Annotated[
        RunId,
        Field(
            description="Name of the run. A started spec is immutable; changing it together with a new runId starts a"
            " fresh run."
        ),
    ] = DEFAULT_RUN_ID

    @property
    def all_datasets(self) -> dict[str, tuple[Dataset, ...]]:
        """The datasets to train and to evaluate on, by their field."""
        evaluation = self.evaluation.datasets if self.evaluation else None
        return {"datasets": self.datasets, "evaluation.datasets": evaluation or ()}


def _or_default(path: str, model: type[ApiModel], field: str) -> str:
    """Return the CEL expression of a field below spec, or its default where it or its block is absent."""
    parts = path.split(".")
    present = " && ".join(f"has(self.{'.'.join(parts[:depth])})" for depth in range(1, len(parts) + 1))
    return f"({present} ? self.{path} : {model.model_fields[field].default})"


_MAX_LENGTH_FITS = Rule(
    "!has(self.model.architecture)"
    f" || {_or_default('training.maxLength', Training, 'max_length')}"
    f" <= {_or_default('model.architecture.maxPositionEmbeddings', Architecture, 'max_position_embeddings')}",
    "training.maxLength is above model.architecture.maxPositionEmbeddings: the model would not know these positions;"
    " lower one or raise the other",
    ".training.maxLength",
)


def _within_the_run(field: str) -> Rule:
    """Return the rule that a range of steps below `reporting` is part of the run, as far as the spec tells."""
    path = f"reporting.{field}"
    last = " + ".join(_or_default(f"{path}.{name}", StepRange, python) for name, python in _RANGE)
    return Rule(
        f"!has(self.reporting) || !has(self.{path}) || !has(self.training) || !has(self.training.maxSteps)"
        f" || {last} - 1 <= self.training.maxSteps",
        f"{path} ends after the run: lower startStep or steps, or raise training.maxSteps",
        f".{path}",
    )


_RANGE = (("startStep", "start_step"), ("steps", "steps"))
_REPORTING_RULES = (_within_the_run("profile"), _within_the_run("verify"))


class FineTuneJobSpec(JobSpec):
    """What to train, on what, and how."""

    rules: ClassVar[tuple[Rule, ...]] = (
        *_COMMON_RULES,
        *_REPORTING_RULES,
        *_DATA_RULES,
        _only_with("pretrain"),
        _only_with("sft"),
        *_rows_of("pretrain", ("text",), templates=False, needs="rows of plain text (no templates)"),
        *_rows_of(
            "sft",
            ("text", "messages", "prompt-completion", "instruction"),
            templates=True,
            needs="text, messages, prompt-completion or instruction rows",
        ),
        ROWS_STAY_APART,
        Rule(
            "!has(self.model.resumeFrom) || !has(self.peft)",
            "what is trained is what the checkpoint holds, weights or adapter: remove peft, or use model.fromJob",
            ".peft",
        ),
        Rule(
            "!has(self.model.resumeFrom) || (has(self.training) && has(self.training.maxSteps)"
            " && (!has(self.model.resumeFrom.step) || self.training.maxSteps > self.model.resumeFrom.step))",
            "resumeFrom needs training.maxSteps, beyond the checkpoint's step: steps are counted from the first one of"
            " the other job",
            ".training.maxSteps",
        ),
        _MAX_LENGTH_FITS,
        *LANGUAGE_RULES,
        Rule(
            "self.method == 'pretrain' || !has(self.model.architecture)",
            "an architecture has random weights and must be pretrained:"
            " use method: pretrain, or model.path or model.fromJob",
            ".model.architecture",
        ),
        Rule(
            "self.method != 'pretrain' || !has(self.peft)",
            "pretraining trains full weights: remove peft or use method: sft",
            ".peft",
        ),
    )

    method: Annotated[
        Literal["sft", "pretrain"], Field(description="`sft`: supervised fine-tuning; `pretrain`: on plain text.")
    ]
    pretrain: Annotated[Pretrain | None, Field(description="Parameters of method `pretrain`.")] = None
    sft: Annotated[Sft | None, Field(description="Parameters of method `sft`.")] = None


class AlignmentJobSpec(JobSpec):
    """What to align, on which preferences, and how."""

    rules: ClassVar[tuple[Rule, ...]] = (
        *_COMMON_RULES,
        *_REPORTING_RULES,
        *_DATA_RULES,
        Rule(
            "!has(self.dataProcessing) || !has(self.dataProcessing.streaming) || !self.dataProcessing.streaming",
            "preferences are read before training: remove streaming",
            ".dataProcessing.streaming",
        ),
        _only_with("dpo"),
        *PREFERENCE_RULES,
        *_rows_of(
            "dpo", ("preference",), templates=False, needs="preference rows: prompt, chosen, rejected (no templates)"
        ),
        Rule(
            "!has(self.model.resumeFrom)",
            "a checkpoint does not hold the model that preferences are measured against: use model.fromJob",
            ".model.resumeFrom",
        ),
        Rule(
            "!has(self.model.architecture)",
            "an architecture has random weights and can not be aligned:"
            " pretrain it with a FineTuneJob and use model.fromJob",
            ".model.architecture",
        ),
        REFERENCE_STAYS,
    )

    method: Annotated[Literal["dpo"], Field(description="`dpo`: direct preference optimisation.")]
    dpo: Annotated[Dpo | None, Field(description="Parameters of method `dpo`.")] = None


def _immutable_once_started(spec: type[JobSpec]) -> Rule:
    """Return the rule that a started spec changes only together with runId; runPolicy is free.

    Spelled with has(): the cost of comparing optionals (`self.spec.?model`) counts as unbounded, and the API server
    then refuses the CRD.
    """
    same = " && ".join(
        _unchanged(info.alias or name, always_there=info.is_required() and REMEDY not in _extra(info))
        for name, info in spec.model_fields.items()
        if name not in {"run_policy", "run_id"}
    )
    return Rule(
        "!has(oldSelf.status) || !has(oldSelf.status.startTime)"
        f" || {_run_id('self')} != {_run_id('oldSelf')} || ({same})",
        "the spec of a started job is immutable but for runPolicy:"
        " set a new runId together with the change to start a fresh run",
        ".spec",
    )


def _run_id(of: str) -> str:
    return f"(has({of}.spec.runId) ? {of}.spec.runId : '{DEFAULT_RUN_ID}')"


def _extra(info: FieldInfo) -> dict[str, Any]:
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}


def _unchanged(field: str, *, always_there: bool) -> str:
    if always_there:
        return f"self.spec.{field} == oldSelf.spec.{field}"
    return (
        f"(has(self.spec.{field}) ? has(oldSelf.spec.{field}) && self.spec.{field} == oldSelf.spec.{field}"
        f" : !has(oldSelf.spec.{field}))"
    )


class Job(ApiModel):
    """A custom resource of the group tunesmith.dev."""

    plural: ClassVar[str]
    singular: ClassVar[str]
    short: ClassVar[str]

    @classmethod
    def kind(cls) -> str:
        """Return the Kubernetes kind."""
        return cls.__name__


class FineTuneJob(Job):
    """Trains a language model: from scratch, or further on data of one's own."""

    plural: ClassVar[str] = "finetunejobs"
    singular: ClassVar[str] = "finetunejob"
    short: ClassVar[str] = "ftj"
    rules: ClassVar[tuple[Rule, ...]] = (NAME_RULE, _immutable_once_started(FineTuneJobSpec))

    spec: Annotated[FineTuneJobSpec, Field(description="What is wanted.")]
    status: Annotated[JobStatus | None, Field(description="What the operator sees. Never set it.")] = None


class AlignmentJob(Job):
    """Aligns a language model with preferences."""

    plural: ClassVar[str] = "alignmentjobs"
    singular: ClassVar[str] = "alignmentjob"
    short: ClassVar[str] = "alj"
    rules: ClassVar[tuple[Rule, ...]] = (NAME_RULE, _immutable_once_started(AlignmentJobSpec))

    spec: Annotated[AlignmentJobSpec, Field(description="What is wanted.")]
    status: Annotated[JobStatus | None, Field(description="What the operator sees. Never set it.")] = None


KINDS: tuple[type[FineTuneJob | AlignmentJob], ...] = (FineTuneJob, AlignmentJob)
