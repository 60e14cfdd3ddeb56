"""What every method's parameter block tells of its method."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule, remedy
from tunesmith_api.v1alpha1.datasets import DataFormat

if TYPE_CHECKING:
    from tunesmith_api.v1alpha1.training import Training

PadToMultipleOf = Annotated[
    int | None,
    Field(
        ge=2,
        le=1024,
        description="Pad the rows of a batch to the next multiple of this many tokens, such as 8 for tensor cores."
        " Absent: to the longest row of the batch.",
        json_schema_extra=remedy("padToMultipleOf must be between 2 and 1024: leave it out to pad to the longest row"),
    ),
]


Task = Literal["CAUSAL_LM", "SEQ_CLS"]
"""What a model is made for, in PEFT's terms: to go on with a text, or to score one."""


class MethodBlock(ApiModel):
    """The parameter block of one method; the field of the spec that holds it is named as the method."""

    formats: ClassVar[tuple[DataFormat, ...]]
    """Formats of the rows that the method trains on."""
    rows: ClassVar[str]
    """These rows in words, for messages."""
    learning_rate: ClassVar[float]
    """Default for full weights; what `resolve` makes of it is an adapter's."""
    ignored: ClassVar[Mapping[str, str]] = {}
    """Fields of `spec.training` that would change nothing, each with the reason and what to do instead."""
    spec_rules: ClassVar[tuple[Rule, ...]] = ()
    """What a job of this method may not say outside of the block; `self` is its spec."""
    fewest_rows: ClassVar[int] = 1
    """Rows that a micro-batch has at least, in training and in evaluation."""
    takes_margins: ClassVar[bool] = False
    """Whether it learns by how much an answer is preferred."""
    task: ClassVar[Task] = "CAUSAL_LM"
    """What the trained model is made for."""
    has_reference: ClassVar[bool] = False
    """Whether the model is compared with itself as it was: the base model, with the adapter switched off."""
    metric: ClassVar[str] = "loss"
    """Evaluated figure that tells which model is best, unless the spec names another."""
    splits: ClassVar[bool] = False
    """Whether smaller micro-batches of the same global batch make the same steps."""
    trains_values: ClassVar[bool] = False
    """Whether a model of values is trained beside the policy, on the same base; then the reference is a copy too."""
    takes_reference_model: ClassVar[bool] = False
    """Whether `spec.referenceModel` may name another model to compare with."""
    uses_rewards: ClassVar[bool] = False
    """Whether the model samples completions, and learns from what `spec.rewards` say of them."""

    @property
    def compares(self) -> bool:
        """Whether every step asks the reference, with these parameters."""
        return self.has_reference

    def sampled_at_once(self, training: Training, processes: int) -> int:
        """Return how many completions a process samples at once; 0 for a method that samples none.

        Args:
            training: `spec.training`.
            processes: Training processes, over all nodes.
        """
        del training, processes
        return 0
