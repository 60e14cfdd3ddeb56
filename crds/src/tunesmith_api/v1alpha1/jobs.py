"""The two kinds: FineTuneJob and AlignmentJob."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule
from tunesmith_api.v1alpha1.alignment import AlignmentJobSpec
from tunesmith_api.v1alpha1.fine_tuning import FineTuneJobSpec
from tunesmith_api.v1alpha1.immutable import immutable_once_started
from tunesmith_api.v1alpha1.spec import DEFAULT_RUN_ID
from tunesmith_api.v1alpha1.status import JobStatus

NAME_RULE = Rule(
    "self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
    "must be at most 40 characters, begin with a letter and hold only lower case letters, digits and '-':"
    " pods and services are named after it",
    ".metadata.name",
)


class Job(ApiModel):
    """A custom resource of the group tunesmith.dev."""

    plural: ClassVar[str]
    singular: ClassVar[str]
    short: ClassVar[str]
    figures: ClassVar[tuple[str, ...]] = ("loss",)
    """The figures of training that `kubectl get` shows."""

    @classmethod
    def kind(cls) -> str:
        """Return the Kubernetes kind."""
        return cls.__name__


class FineTuneJob(Job):
    """Trains a language model: from scratch, or further on data of one's own."""

    plural: ClassVar[str] = "finetunejobs"
    singular: ClassVar[str] = "finetunejob"
    short: ClassVar[str] = "ftj"
    rules: ClassVar[tuple[Rule, ...]] = (NAME_RULE, immutable_once_started(FineTuneJobSpec, DEFAULT_RUN_ID))

    spec: Annotated[FineTuneJobSpec, Field(description="What is wanted.")]
    status: Annotated[JobStatus | None, Field(description="What the operator sees. Never set it.")] = None


class AlignmentJob(Job):
    """Aligns a language model with preferences or rewards, or makes a reward model of it."""

    plural: ClassVar[str] = "alignmentjobs"
    singular: ClassVar[str] = "alignmentjob"
    short: ClassVar[str] = "alj"
    figures: ClassVar[tuple[str, ...]] = ("loss", "reward")
    rules: ClassVar[tuple[Rule, ...]] = (NAME_RULE, immutable_once_started(AlignmentJobSpec, DEFAULT_RUN_ID))

    spec: Annotated[AlignmentJobSpec, Field(description="What is wanted.")]
    status: Annotated[JobStatus | None, Field(description="What the operator sees. Never set it.")] = None


KINDS: tuple[type[FineTuneJob | AlignmentJob], ...] = (FineTuneJob, AlignmentJob)
