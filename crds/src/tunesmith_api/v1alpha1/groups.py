"""What the completions of online methods ask of the batch sizes: TRL trains on whole groups of `numGenerations`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tunesmith_api.base import Rule
from tunesmith_api.v1alpha1.spec import or_default
from tunesmith_api.v1alpha1.training import Training
from tunesmith_api.v1alpha1.training.suitability import PROCESSES

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tunesmith_api.v1alpha1.methods.base import MethodBlock


def group_rules(methods: Mapping[str, type[MethodBlock]]) -> Iterator[Rule]:
    """Yield the rules about the completions of the methods that sample, and the batches of those that make several."""
    for method, block in methods.items():
        if "max_completion_length" in block.model_fields:
            yield _fits(method, block)
        if "num_generations" in block.model_fields:
            yield from _rules(method, block)


def _fits(method: str, block: type[MethodBlock]) -> Rule:
    """Return the rule that a completion leaves room for its prompt."""
    longest = or_default("training.maxLength", Training, "max_length")
    return Rule(
        f"self.method != '{method}'"
        f" || {or_default(f'{method}.maxCompletionLength', block, 'max_completion_length')} < {longest}",
        f"prompt and completion share training.maxLength: raise it above {method}.maxCompletionLength, or lower that",
        f".{method}.maxCompletionLength",
    )


def _rules(method: str, block: type[MethodBlock]) -> Iterator[Rule]:
    def given(field: str) -> str:
        return f"has(self.{method}) && has(self.{method}.{field})"

    generations = or_default(f"{method}.numGenerations", block, "num_generations")
    micro_batch, accumulation, evaluated = (
        or_default(f"training.{field}", Training, name)
        for field, name in (
            ("perDeviceTrainBatchSize", "per_device_train_batch_size"),
            ("gradientAccumulationSteps", "gradient_accumulation_steps"),
            ("perDeviceEvalBatchSize", "per_device_eval_batch_size"),
        )
    )
    together = f"{micro_batch} * {PROCESSES}"
    batch = (
        f"({given('generationBatchSize')} ? self.{method}.generationBatchSize : {together} *"
        f" ({given('stepsPerGeneration')} ? self.{method}.stepsPerGeneration : {accumulation}))"
    )
    other = f"self.method != '{method}'"
    yield Rule(
        f"{other} || {batch} % {generations} == 0",
        f"a generation batch holds whole groups of completions: make training.perDeviceTrainBatchSize x all processes x"
        f" training.gradientAccumulationSteps (or {method}.stepsPerGeneration, or {method}.generationBatchSize) a"
        f" multiple of {method}.numGenerations",
        f".{method}.numGenerations",
    )
    yield Rule(
        f"{other} || !({given('generationBatchSize')}) || self.{method}.generationBatchSize % ({together}) == 0",
        "generationBatchSize is trained on in whole micro-batches: make it a multiple of"
        " training.perDeviceTrainBatchSize x all processes",
        f".{method}.generationBatchSize",
    )
    yield Rule(
        f"{other} || !has(self.evaluation) || {evaluated} * {PROCESSES}"
        f" % ({given('numGenerationsEval')} ? self.{method}.numGenerationsEval : {generations}) == 0",
        f"held-out prompts are scored in whole groups of completions: make training.perDeviceEvalBatchSize x all"
        f" processes a multiple of {method}.numGenerationsEval (default numGenerations)",
        ".training.perDeviceEvalBatchSize",
    )
    yield Rule(
        f"has(self.evaluation) || !({given('numGenerationsEval')})",
        "numGenerationsEval is about held-out prompts: set spec.evaluation, or remove it",
        f".{method}.numGenerationsEval",
    )
    yield Rule(
        f"{other} || !has(self.referenceModel) || {or_default(f'{method}.beta', block, 'beta')} > 0.0",
        f"without {method}.beta nothing is compared with a reference model: set it above 0, or remove referenceModel",
        ".referenceModel",
    )
