"""What the specs of both kinds have in common, and its rules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule, absent, remedy
from tunesmith_api.v1alpha1.compute import Checkpoint, Output, ResourceRequirements, RunPolicy
from tunesmith_api.v1alpha1.datasets import READ_WHOLE, DataProcessing, Dataset, Evaluation
from tunesmith_api.v1alpha1.early_stopping import EarlyStopping
from tunesmith_api.v1alpha1.model import ModelSource
from tunesmith_api.v1alpha1.peft import ADAPTER_RULES, Peft
from tunesmith_api.v1alpha1.pod_template import PodTemplate
from tunesmith_api.v1alpha1.preparation import Prepare
from tunesmith_api.v1alpha1.reporting import Reporting, StepRange
from tunesmith_api.v1alpha1.status import MAX_NODES
from tunesmith_api.v1alpha1.training import Training
from tunesmith_api.v1alpha1.training.suitability import FITTING_RULES, PROCESS_RULES, ignored_by, not_split
from tunesmith_api.v1alpha1.types import ObjectName, RunId

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tunesmith_api.v1alpha1.auxiliary import AuxiliaryModel
    from tunesmith_api.v1alpha1.data_sources import Function
    from tunesmith_api.v1alpha1.methods.base import MethodBlock
    from tunesmith_api.v1alpha1.model import JobOutput

DEFAULT_RUN_ID = "1"


def or_default(path: str, model: type[ApiModel], field: str) -> str:
    """Return the CEL expression of a field below spec, or its default where it or its block is absent."""
    parts = path.split(".")
    present = " && ".join(f"has(self.{'.'.join(parts[:depth])})" for depth in range(1, len(parts) + 1))
    return f"({present} ? self.{path} : {model.model_fields[field].default})"


def _within_the_run(field: str) -> Rule:
    """Return the rule that a range of steps below `reporting` is part of the run, as far as the spec tells."""
    path = f"reporting.{field}"
    last = " + ".join(or_default(f"{path}.{name}", StepRange, python) for name, python in _RANGE)
    return Rule(
        f"!has(self.reporting) || !has(self.{path}) || !has(self.training) || !has(self.training.maxSteps)"
        f" || {last} - 1 <= self.training.maxSteps",
        f"{path} ends after the run: lower startStep or steps, or raise training.maxSteps",
        f".{path}",
    )


_RANGE = (("startStep", "start_step"), ("steps", "steps"))
_REPORTING_RULES = (_within_the_run("profile"), _within_the_run("verify"))


def _claim_for_all_nodes(block: str) -> Rule:
    """Return the rule that a claim made from a block's template can be mounted by the pods of all nodes."""
    modes = f"{block}.claimTemplate.accessModes"
    return Rule(
        f"!has(self.numNodes) || self.numNodes == 1 || {absent(modes)}"
        f" || self.{modes}.exists(mode, mode != 'ReadWriteOncePod')",
        "a ReadWriteOncePod claim serves one pod: use ReadWriteMany, or numNodes: 1",
        f".{modes}",
    )


_EVALUATES = "(has(self.training) && has(self.training.evalStrategy) && self.training.evalStrategy != 'no')"

_COMMON_RULES = (
    *PROCESS_RULES,
    *FITTING_RULES,
    Rule(
        "!has(self.training) || !has(self.training.evalStrategy) || self.training.evalStrategy == 'no'"
        " || has(self.evaluation)",
        "evalStrategy needs rows to evaluate on: set spec.evaluation, or evalStrategy: 'no'",
        ".training.evalStrategy",
    ),
    Rule(
        "!has(self.checkpoint) || !has(self.checkpoint.saveStrategy) || self.checkpoint.saveStrategy != 'best'"
        f" || {_EVALUATES}",
        "saveStrategy: best needs evaluations to compare: set training.evalStrategy: steps or epoch",
        ".checkpoint.saveStrategy",
    ),
    Rule(
        f"!has(self.earlyStopping) || {_EVALUATES}",
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
        f"{READ_WHOLE} || (has(self.training) && has(self.training.maxSteps))",
        "a stream has no known end: set training.maxSteps, or remove streaming",
        ".dataProcessing.streaming",
    ),
    Rule(
        f"{READ_WHOLE} || !has(self.evaluation) || !has(self.evaluation.splitRatio)",
        "splitRatio needs to count all rows first, and a stream does not: use evaluation.datasets, or remove streaming",
        ".evaluation.splitRatio",
    ),
    *ADAPTER_RULES,
)

SPEC_RULES = (*_COMMON_RULES, *_REPORTING_RULES, *_DATA_RULES)
"""Of both kinds' specs."""


def hub_rules(*more: str) -> Iterator[Rule]:
    """Yield the rules that the Hub's token and cache are set only where something comes from the Hub.

    Args:
        more: CEL expressions, each true when something of the kind's own comes from there.
    """
    for field in ("tokenSecretRef", "cache"):
        yield Rule(
            f"!has(self.model.{field}) || {' || '.join((_FROM_HUB, *more))}",
            f"{field} is only for what comes from the Hub, by the name of a model or tokenizer, another job or"
            " datasets: remove it",
            f".model.{field}",
        )


def _only_with(method: str) -> Rule:
    """Return the rule that a method's block is present only with its method."""
    return Rule(
        f"!has(self.{method}) || self.method == '{method}'",
        f"the {method} block belongs to method: {method}; remove it or change method",
        f".{method}",
    )


def _rows_of(block: type[MethodBlock]) -> Iterator[Rule]:
    """Yield the rules that training and evaluation rows have a shape the method can train on."""
    asks, completes = (f"(has(d.{part}Template) || has(d.{part}Function))" for part in ("prompt", "completion"))
    named = f"(!has(d.format) || d.format in {['auto', *block.formats]})"
    needed = f"this method needs {block.rows}: leave format out, or choose a dataset or a method that fit"
    if "prompt-completion" in block.formats:
        yield from _of_all_rows(named, needed)
        both = "promptTemplate and completionTemplate belong together, a function may stand for either"
        yield from _of_all_rows(f"{asks} == {completes}", f"{both}: set both or neither")
    elif "prompt" in block.formats:
        yield from _of_all_rows(f"{named} && !{completes}", needed)
    else:
        yield from _of_all_rows(f"{named} && !{asks}", needed)


def _of_all_rows(fits: str, message: str) -> Iterator[Rule]:
    """Yield the rules that every dataset `d` fits, of those to train and of those to evaluate on."""
    for field in ("datasets", "evaluation.datasets"):
        yield Rule(f"{absent(field)} || self.{field}.all(d, {fits})", message, f".{field}")


def _margins_for(methods: list[str]) -> Iterator[Rule]:
    """Yield the rules that datasets name a column of margins only for methods that read it."""
    for field in ("datasets", "evaluation.datasets"):
        yield Rule(
            f"self.method in {methods} || {absent(field)}"
            f" || self.{field}.all(d, !has(d.columns) || !has(d.columns.margin))",
            f"by how much an answer is preferred is learnt by {', '.join(methods)} alone: remove columns.margin",
            f".{field}",
        )


def _rows_at_a_time(fewest: int) -> Iterator[Rule]:
    """Yield the rules that a micro-batch has the rows that a method compares with each other."""
    for field in ("perDeviceTrainBatchSize", "perDeviceEvalBatchSize"):
        yield Rule(
            f"{absent(f'training.{field}')} || self.training.{field} >= {fewest}",
            f"this method compares the rows of a micro-batch with each other: set {field} to at least {fewest},"
            " with fewer gradientAccumulationSteps or a smaller maxLength where memory is short",
            f".training.{field}",
        )


def _of_block(block: type[MethodBlock]) -> Iterator[Rule]:
    """Yield what a method's block says of the rest of a spec of that method."""
    yield from _rows_of(block)
    yield from ignored_by(block)
    if block.fewest_rows > 1:
        yield from _rows_at_a_time(block.fewest_rows)
    yield from block.spec_rules
    yield from not_split(block)


def method_rules(methods: Mapping[str, type[MethodBlock]]) -> Iterator[Rule]:
    """Yield what each method's block says of the rest of the spec.

    What several methods say is one rule: the API server evaluates every rule at each write of an object, its status
    included, and a look at a field costs it time for each field beside that one.
    """
    yield from map(_only_with, methods)
    stated_by: dict[Rule, list[str]] = {}
    for method, block in methods.items():
        for rule in _of_block(block):
            stated_by.setdefault(rule, []).append(method)
    for rule, stating in stated_by.items():
        others = f"self.method != '{stating[0]}'" if len(stating) == 1 else f"!(self.method in {stating})"
        yield Rule(f"{others} || ({rule.rule})", rule.message, rule.field_path)
    sampling = [method for method, block in methods.items() if block.uses_rewards]
    samples = f" || self.method in {sampling}" if sampling else ""
    yield Rule(
        f"{absent('reporting.completions')}{samples}",
        "this method learns from no completions of its own that could be kept: remove it",
        ".reporting.completions",
    )
    taking = [method for method, block in methods.items() if block.takes_margins]
    if taking:
        yield from _margins_for(taking)


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
    num_nodes: Annotated[int, Field(ge=1, le=MAX_NODES, description="Number of pods that train together.")] = 1
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
    def auxiliary_models(self) -> dict[str, AuxiliaryModel]:
        """The models beside the one that is trained, by their path below spec."""
        return {}

    @property
    def from_jobs(self) -> dict[str, JobOutput]:
        """The outputs of other jobs that are taken, by the field below spec."""
        blocks: dict[str, ModelSource | AuxiliaryModel] = {"model": self.model, **self.auxiliary_models}
        return {f"{path}.fromJob": block.from_job for path, block in blocks.items() if block.from_job is not None}

    @property
    def all_datasets(self) -> dict[str, tuple[Dataset, ...]]:
        """The datasets to train and to evaluate on, by their field."""
        evaluation = self.evaluation.datasets if self.evaluation else None
        return {"datasets": self.datasets, "evaluation.datasets": evaluation or ()}

    @property
    def functions(self) -> dict[str, Function]:
        """The user's functions that the job runs, by their field."""
        return {
            f"{block}[{index}].{name}": function
            for block, datasets in self.all_datasets.items()
            for index, dataset in enumerate(datasets)
            for name, function in dataset.functions.items()
        }
