"""Models beside the one that is trained: read, never changed."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule, exactly_one_of
from tunesmith_api.v1alpha1.model import JobOutput, ModelPath
from tunesmith_api.v1alpha1.types import HubName, Revision


class AuxiliaryModel(ApiModel):
    """A model that takes part in a training without being trained; a token and a cache for the Hub are `spec.model`'s.

    It is loaded in the precision and with the attention of `spec.model`.
    """

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of(
            "name",
            "path",
            "fromJob",
            remedy="a model of the Hub, a model folder on a claim, or the output of another job",
        ),
        Rule("!has(self.revision) || has(self.name)", "revision belongs to a Hub model: set name", ".revision"),
    )

    name: Annotated[
        HubName | None,
        Field(
            description="A model of the Hugging Face Hub, such as `Qwen/Qwen3-0.6B`, at one commit for all attempts."
            " Its weights must be safetensors."
        ),
    ] = None
    revision: Annotated[Revision | None, Field(description="Branch, tag or commit of `name`. Default: `main`.")] = None
    path: Annotated[ModelPath | None, Field(description="A model folder on a PersistentVolumeClaim.")] = None
    from_job: Annotated[
        JobOutput | None,
        Field(description="The output of another job in the same namespace; an adapter is put on its own base model."),
    ] = None


def from_the_hub(path: str) -> str:
    """Return the CEL expression that an auxiliary model, given by its path, needs the Hub or may need it."""
    return f"(has({path}) && (has({path}.name) || has({path}.fromJob)))"
