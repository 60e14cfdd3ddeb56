"""`spec.model.chatTemplate`: how a chat becomes one text."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule, cel, exactly_one_of
from tunesmith_api.v1alpha1.types import ObjectName, RelativePath

TemplateName = Literal["chatml", "alpaca", "llama3"]


class ConfigMapFile(ApiModel):
    """One key of a ConfigMap."""

    name: Annotated[ObjectName, Field(description="Name of the ConfigMap.")]
    key: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            description="Key of the ConfigMap, such as `chat.jinja`.",
            json_schema_extra=cel(
                Rule("self.matches('^[-._a-zA-Z0-9]+$')", "must be a ConfigMap key, such as chat.jinja")
            ),
        ),
    ]


class ClaimFile(ApiModel):
    """One file on a PersistentVolumeClaim, mounted read-only."""

    name: Annotated[ObjectName, Field(description="Name of the PersistentVolumeClaim.")]
    path: Annotated[RelativePath, Field(description="The file below the claim's root.")]


class ChatTemplate(ApiModel):
    """A Jinja template as tokenizers have it; it is saved with the tokenizer of the output."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of(
            "name",
            "template",
            "configMap",
            "claim",
            remedy="a template that the trainer knows, one written out here, or a file with one",
        ),
    )

    name: Annotated[
        TemplateName | None,
        Field(
            description="A template that the trainer knows. `chatml` spells its marks out where the vocabulary lacks"
            " them; `alpaca`: instruction and response under headings; `llama3` needs a vocabulary that has its marks."
        ),
    ] = None
    template: Annotated[str | None, Field(min_length=1, max_length=16384, description="The template itself.")] = None
    config_map: Annotated[ConfigMapFile | None, Field(description="A key of a ConfigMap that holds it.")] = None
    claim: Annotated[ClaimFile | None, Field(description="A file on a PersistentVolumeClaim that holds it.")] = None
