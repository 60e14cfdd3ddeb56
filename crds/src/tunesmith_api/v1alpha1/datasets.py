"""`spec.datasets` and `spec.evaluation`: the rows to train and to evaluate on."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule, cel, exactly_one_of, remedy
from tunesmith_api.v1alpha1.data_sources import ClaimSource, ConfigMapSource, HubSource, UriSource, UserFunction

DataFormat = Literal[
    "auto", "text", "messages", "prompt-completion", "instruction", "preference", "unpaired-preference", "prompt"
]
ColumnName = Annotated[str, Field(min_length=1, max_length=128)]
Template = Annotated[str, Field(min_length=1, max_length=8192)]
StoppingStrategy = Literal["first_exhausted", "all_exhausted"]

_ASKS = "(has(self.promptTemplate) || has(self.promptFunction))"
_COMPLETES = "(has(self.completionTemplate) || has(self.completionFunction))"


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
    instruction: Annotated[
        ColumnName | None, Field(description="Column of an instruction. Default: `instruction`.")
    ] = None
    input: Annotated[
        ColumnName | None,
        Field(description="Column of what the instruction is about; may be empty in a row. Default: `input`."),
    ] = None
    output: Annotated[
        ColumnName | None,
        Field(description="Column of the answer to an instruction. Default: `output` or `response`."),
    ] = None
    chosen: Annotated[ColumnName | None, Field(description="Column of the preferred answer. Default: `chosen`.")] = None
    rejected: Annotated[ColumnName | None, Field(description="Column of the other answer. Default: `rejected`.")] = None
    margin: Annotated[
        ColumnName | None,
        Field(
            description="Column of the number by which the preferred answer's reward is to be above the other's at"
            " least, for method `reward`. Absent: none is read."
        ),
    ] = None
    label: Annotated[
        ColumnName | None,
        Field(description="Column that tells good answers (true or 1) from bad ones (false or 0). Default: `label`."),
    ] = None


class Dataset(ApiModel):
    """One source of rows and how they are read."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of(
            "hub",
            "claim",
            "configMap",
            "uri",
            remedy="a dataset of the Hub, a file on a PersistentVolumeClaim, a key of a ConfigMap, or a URL",
        ),
        Rule(
            f"!{_COMPLETES} || {_ASKS}",
            "completionTemplate goes on from a promptTemplate, a function may stand for either: set both or neither",
            ".completionTemplate",
        ),
        Rule(
            "!(has(self.promptTemplate) && has(self.promptFunction))",
            "set promptTemplate or promptFunction, not both: each builds the prompt",
            ".promptFunction",
        ),
        Rule(
            "!(has(self.completionTemplate) && has(self.completionFunction))",
            "set completionTemplate or completionFunction, not both: each builds the completion",
            ".completionFunction",
        ),
        Rule(
            f"!{_ASKS} || !has(self.format) || self.format == 'auto'"
            f" || self.format == ({_COMPLETES} ? 'prompt-completion' : 'prompt')",
            "templates make prompt-completion rows, promptTemplate alone prompt rows: leave format out or set it so",
            ".format",
        ),
        Rule(
            f"!{_ASKS} || !has(self.columns)",
            "templates name their columns themselves, as {column}: remove columns",
            ".columns",
        ),
        Rule(
            "!has(self.split) || has(self.claim) || has(self.hub) || (has(self.uri) && self.uri.url.endsWith('/'))",
            "a split is chosen among the files of a Hub dataset or of a folder: remove split",
            ".split",
        ),
    )

    hub: Annotated[HubSource | None, Field(description="A dataset of the Hugging Face Hub.")] = None
    claim: Annotated[ClaimSource | None, Field(description="A file or folder on a PersistentVolumeClaim.")] = None
    config_map: Annotated[ConfigMapSource | None, Field(description="One key of a ConfigMap, for small data.")] = None
    uri: Annotated[UriSource | None, Field(description="A file on a web server, or in an S3 bucket.")] = None
    split: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=64,
            description="Read only this split of a Hub dataset or folder: the files whose name or subfolder says so"
            " (`test-00000-of-00002.parquet`, `test/a.csv`; `dev`, `val` and `valid` are `validation`), or that the"
            " dataset's card lists. Absent: `train` of a Hub dataset; of a folder all files right in it, which must"
            " then not hold several splits.",
            json_schema_extra=cel(
                Rule("self.matches('^[a-zA-Z0-9_]+([.][a-zA-Z0-9_]+)*$')", "must be the name of a split, such as train")
            ),
        ),
    ] = None
    format: Annotated[
        DataFormat,
        Field(
            description="Shape of a row. `auto` detects it from the columns and reports what it found;"
            " `text`: one text; `messages`: a chat (OpenAI or ShareGPT); `prompt-completion`;"
            " `instruction`: Alpaca's instruction, input, output; `preference`: prompt, chosen, rejected;"
            " `unpaired-preference`: prompt, completion, label, or a chat that ends with the answer, and label;"
            " `prompt`: a prompt alone, text or chat, whose other columns are handed to rewards under their names (but"
            " `prompts`, `completions` and `completion_ids`, which are the rewards' own)."
        ),
    ] = "auto"
    columns: Annotated[
        Columns | None, Field(description="Names of the columns, where they differ from the format's.")
    ] = None
    prompt_template: Annotated[
        Template | None,
        Field(
            description="Builds the prompt of a row; `{column}` is replaced, `{{` and `}}` are braces."
            " Alone, without one for the completion, it makes `prompt` rows."
        ),
    ] = None
    completion_template: Annotated[
        Template | None, Field(description="Builds the completion of a row, like `promptTemplate`.")
    ] = None
    prompt_function: Annotated[
        UserFunction | None, Field(description="Builds the prompt of a row in Python, in place of `promptTemplate`.")
    ] = None
    completion_function: Annotated[
        UserFunction | None,
        Field(description="Builds the completion of a row in Python, in place of `completionTemplate`."),
    ] = None
    weight: Annotated[
        float | None,
        Field(
            gt=0,
            le=1e6,
            description="How often rows of this dataset are drawn, in proportion to the sum of all weights: a share of"
            " rows, not of tokens. Set on every dataset or on none; absent: the datasets follow each other.",
            json_schema_extra=remedy("weight must be above 0 and at most 1000000, such as 0.7: remove a dataset of 0"),
        ),
    ] = None
    max_samples: Annotated[
        int | None,
        Field(ge=1, le=1_000_000_000, description="Read at most this many rows, from the first on. Absent means all."),
    ] = None

    @property
    def functions(self) -> dict[str, UserFunction]:
        """The user's functions by their field."""
        fields = {"promptFunction": self.prompt_function, "completionFunction": self.completion_function}
        return {field: function for field, function in fields.items() if function is not None}


READ_WHOLE = "!has(self.dataProcessing) || !has(self.dataProcessing.streaming) || !self.dataProcessing.streaming"
"""The CEL expression that the rows of a spec are no stream."""


class DataProcessing(ApiModel):
    """How the rows of all datasets are read and drawn."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.shuffleBufferSize) || (has(self.streaming) && self.streaming)",
            "shuffleBufferSize belongs to streaming: true; without it all rows are shuffled anyway",
            ".shuffleBufferSize",
        ),
    )

    streaming: Annotated[
        bool,
        Field(
            description="Read and encode rows while training instead of before it: for data that does not fit into"
            " memory. Needs training.maxSteps. After a restart all rows before that step are read again, and the run"
            " record tells how long it took."
        ),
    ] = False
    shuffle_buffer_size: Annotated[
        int,
        Field(
            ge=1,
            le=10_000_000,
            description="Rows that streaming holds in memory and draws from by `training.seed`; 1 keeps the order of"
            " the files.",
        ),
    ] = 1000
    stopping_strategy: Annotated[
        StoppingStrategy,
        Field(
            description="When a pass over datasets with weights ends: with the first that has no rows left, or with the"
            " last, while the others begin again."
        ),
    ] = "first_exhausted"


class Evaluation(ApiModel):
    """Held-out rows. The loss on them is measured before the first step, at the end, and as asked in between."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of("datasets", "splitRatio", remedy="rows of their own, or a share of the training rows"),
        Rule(
            "!has(self.datasets) || self.datasets.all(d, !has(d.weight))",
            "every row to evaluate on is read once: remove weight",
            ".datasets",
        ),
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
