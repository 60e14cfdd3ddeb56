"""`spec.datasets` and `spec.evaluation`: the rows to train and to evaluate on."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule, cel, exactly_one_of, remedy
from tunesmith_api.v1alpha1.types import ObjectName, RelativePath

DataFormat = Literal["auto", "text", "messages", "prompt-completion", "instruction", "preference"]
ColumnName = Annotated[str, Field(min_length=1, max_length=128)]
Template = Annotated[str, Field(min_length=1, max_length=8192)]


class ClaimSource(ApiModel):
    """A file or folder on a PersistentVolumeClaim, mounted read-only."""

    name: Annotated[ObjectName, Field(description="Name of the PersistentVolumeClaim.")]
    path: Annotated[
        RelativePath,
        Field(
            description="A file (`.txt`, `.json`, `.jsonl`), or a folder whose files of these kinds are read in the"
            " order of their names, below the claim's root."
        ),
    ]


class ConfigMapSource(ApiModel):
    """One key of a ConfigMap; its ending (`.txt`, `.json`, `.jsonl`) tells the file type."""

    name: Annotated[ObjectName, Field(description="Name of the ConfigMap.")]
    key: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            description="Key of the ConfigMap, such as `train.jsonl`.",
            json_schema_extra=cel(
                Rule(
                    "self.matches('^[-._a-zA-Z0-9]+[.](txt|json|jsonl)$')",
                    "must be a ConfigMap key that ends in .txt, .json or .jsonl, such as train.jsonl",
                )
            ),
        ),
    ]


class Columns(ApiModel):
    """The names of the columns in the data, where they differ from TRL's."""

    text: Annotated[ColumnName | None, Field(description="Column of plain text. Default: `text`.")] = None
    messages: Annotated[
        ColumnName | None,
        Field(
            description="Column of chat messages (role/content, or ShareGPT from/value)."
            " Default: `messages` or `conversations`."
        ),
    ] = None
    prompt: Annotated[ColumnName | None, Field(description="Column of the prompt. Default: `prompt`.")] = None
    completion: Annotated[ColumnName | None, Field(description="Column of the completion. Default: `completion`.")] = (
        None
    )
    chosen: Annotated[ColumnName | None, Field(description="Column of the preferred answer. Default: `chosen`.")] = None
    rejected: Annotated[ColumnName | None, Field(description="Column of the other answer. Default: `rejected`.")] = None


class Dataset(ApiModel):
    """One source of rows and how they are read."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of("claim", "configMap", remedy="a file on a PersistentVolumeClaim or a key of a ConfigMap"),
        Rule(
            "has(self.promptTemplate) == has(self.completionTemplate)",
            "promptTemplate and completionTemplate belong together: set both or neither",
            ".promptTemplate",
        ),
        Rule(
            "!has(self.promptTemplate) || !has(self.format) || self.format in ['auto', 'prompt-completion']",
            "templates make prompt-completion rows: leave format out or set it to prompt-completion",
            ".format",
        ),
        Rule(
            "!has(self.promptTemplate) || !has(self.columns)",
            "templates name their columns themselves, as {column}: remove columns",
            ".columns",
        ),
    )

    claim: Annotated[ClaimSource | None, Field(description="A file or folder on a PersistentVolumeClaim.")] = None
    config_map: Annotated[ConfigMapSource | None, Field(description="One key of a ConfigMap, for small data.")] = None
    format: Annotated[
        DataFormat,
        Field(
            description="Shape of a row. `auto` detects it from the columns and reports what it found;"
            " `text`: one text; `messages`: a chat (OpenAI or ShareGPT); `prompt-completion`;"
            " `instruction`: Alpaca's instruction, input, output; `preference`: prompt, chosen, rejected."
        ),
    ] = "auto"
    columns: Annotated[
        Columns | None, Field(description="Names of the columns, where they differ from the format's.")
    ] = None
    prompt_template: Annotated[
        Template | None,
        Field(description="Builds the prompt of a row; `{column}` is replaced, `{{` and `}}` are braces."),
    ] = None
    completion_template: Annotated[
        Template | None, Field(description="Builds the completion of a row, like `promptTemplate`.")
    ] = None
    max_samples: Annotated[
        int | None,
        Field(ge=1, le=1_000_000_000, description="Read at most this many rows, from the first on. Absent means all."),
    ] = None


class Evaluation(ApiModel):
    """Held-out rows. The loss on them is measured before the first step, at the end, and as asked in between."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of("datasets", "splitRatio", remedy="rows of their own, or a share of the training rows"),
    )

    datasets: Annotated[
        tuple[Dataset, ...] | None, Field(min_length=1, max_length=16, description="Rows to evaluate on.")
    ] = None
    split_ratio: Annotated[
        float | None,
        Field(
            gt=0,
            lt=1,
            description="Share of the rows that is trained on, such as 0.9; the rest is held out."
            " The split follows `training.seed`.",
            json_schema_extra=remedy(
                "splitRatio is the share that is trained on: choose one between 0 and 1, such as 0.9"
            ),
        ),
    ] = None
