"""`spec.datasets` and `spec.evaluation`: the rows to train and to evaluate on."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule, cel, exactly_one_of, remedy
from tunesmith_api.v1alpha1.types import HubName, ObjectName, RelativePath, Revision

DataFormat = Literal["auto", "text", "messages", "prompt-completion", "instruction", "preference"]
ColumnName = Annotated[str, Field(min_length=1, max_length=128)]
Template = Annotated[str, Field(min_length=1, max_length=8192)]
# Keys of a Secret.
TOKEN = "token"  # noqa: S105 - the key's name
ACCESS_KEY_ID = "AWS_ACCESS_KEY_ID"
SECRET_ACCESS_KEY = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 - the key's name
SESSION_TOKEN = "AWS_SESSION_TOKEN"  # noqa: S105 - the key's name
StoppingStrategy = Literal["first_exhausted", "all_exhausted"]


class ClaimSource(ApiModel):
    """A file or folder on a PersistentVolumeClaim, mounted read-only."""

    name: Annotated[ObjectName, Field(description="Name of the PersistentVolumeClaim.")]
    path: Annotated[
        RelativePath,
        Field(
            description="A file (`.txt`, `.json`, `.jsonl`, `.csv`, `.tsv`, each also with `.gz` or `.zst` after it;"
            " `.parquet`, `.arrow`), or a folder whose files of these kinds are read in the order of their names, below"
            " the claim's root."
        ),
    ]


class ConfigMapSource(ApiModel):
    """One key of a ConfigMap; its ending (`.txt`, `.json`, `.jsonl`, `.csv`, `.tsv`) tells the file type."""

    name: Annotated[ObjectName, Field(description="Name of the ConfigMap.")]
    key: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            description="Key of the ConfigMap, such as `train.jsonl`.",
            json_schema_extra=cel(
                Rule(
                    "self.matches('^[-._a-zA-Z0-9]+[.](txt|json|jsonl|csv|tsv)$')",
                    "must be a ConfigMap key that ends in .txt, .json, .jsonl, .csv or .tsv, such as train.jsonl",
                )
            ),
        ),
    ]


class HubSource(ApiModel):
    """A dataset of the Hugging Face Hub: its files are fetched once per run, at one commit for all attempts."""

    name: Annotated[HubName, Field(description="Id of the dataset, such as `openai/gsm8k`.")]
    revision: Annotated[Revision, Field(description="Branch, tag or commit.")] = "main"
    config_name: Annotated[
        str | None,
        Field(
            min_length=1,
            max_length=128,
            description="Configuration (subset) of a dataset that has several, such as `en`. Default: the one that the"
            " dataset's card names, or the only one.",
        ),
    ] = None


class SecretKey(NamedTuple):
    """A key of a Secret that a pod is given; without an optional one it starts nevertheless."""

    secret: str
    key: str
    optional: bool = False


class UriSecret(ApiModel):
    """What opens a server, in a Secret of the job's namespace."""

    name: Annotated[
        ObjectName,
        Field(
            description="Name of the Secret. For s3 its keys are `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY` and, if"
            " there is one, `AWS_SESSION_TOKEN`; for https `token`, which is sent as a bearer token."
        ),
    ]


class UriSource(ApiModel):
    """A file on a web server, or a file or folder of an S3 bucket: fetched once per run into the run's folder."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.sha256) || !self.url.endsWith('/')",
            "sha256 is of one file, and the url names a folder: remove it, or name a file",
            ".sha256",
        ),
        Rule(
            "self.url.startsWith('s3://') || !self.url.endsWith('/')",
            "a web server has no folders to list: name a file, such as https://example.com/train.jsonl",
            ".url",
        ),
    )

    url: Annotated[
        str,
        Field(
            min_length=10,
            max_length=2048,
            description="`https://…` or `s3://<bucket>/<key>`; its ending tells the file type. A key that ends in `/`"
            " is a folder. The endpoint of an S3 server other than AWS is set by AWS_ENDPOINT_URL in podTemplate.env,"
            " the region by AWS_REGION.",
            json_schema_extra=cel(
                Rule(
                    "self.matches('^(https://[^/@?#[:space:]]+/[^#[:space:]]+|s3://[a-z0-9][-a-z0-9.]{1,61}[a-z0-9]/.+)$')",
                    "must be https://<host>/<path> or s3://<bucket>/<key>, without user or password",
                )
            ),
        ),
    ]
    sha256: Annotated[
        str | None,
        Field(
            min_length=64,
            max_length=64,
            description="The file must have this SHA-256 digest, in hexadecimal. Absent: whatever the server gives.",
            json_schema_extra=cel(Rule("self.matches('^[0-9a-f]{64}$')", "must be 64 digits 0-9, a-f")),
        ),
    ] = None
    max_bytes: Annotated[
        int,
        Field(
            ge=1,
            le=1 << 50,
            description="Fetch at most this many bytes; more end the job before they fill the volume.",
        ),
    ] = 100 * 2**30
    secret_ref: Annotated[
        UriSecret | None, Field(description="What opens the server. Absent: nothing is shown to it.")
    ] = None

    @property
    def secret_keys(self) -> tuple[SecretKey, ...]:
        """The keys of the Secret that a pod is given."""
        if self.secret_ref is None:
            return ()
        name = self.secret_ref.name
        if self.url.startswith("https://"):
            return (SecretKey(name, TOKEN),)
        keys = ((ACCESS_KEY_ID, False), (SECRET_ACCESS_KEY, False), (SESSION_TOKEN, True))
        return tuple(SecretKey(name, key, optional=optional) for key, optional in keys)


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


class CodeSource(ApiModel):
    """A Python file in a ConfigMap. It may import what the trainer image has."""

    name: Annotated[ObjectName, Field(description="Name of the ConfigMap.")]
    key: Annotated[
        str,
        Field(
            min_length=4,
            max_length=253,
            description="Key of the ConfigMap, such as `alpaca_func.py`.",
            json_schema_extra=cel(
                Rule("self.matches('^[-._a-zA-Z0-9]+[.]py$')", "must be a ConfigMap key that ends in .py, such as a.py")
            ),
        ),
    ]


class UserFunction(ApiModel):
    """A Python function that gets a row as a dict and returns text; runs only where the installation allows it."""

    config_map: Annotated[CodeSource, Field(description="Where its code is.")]
    function: Annotated[
        str,
        Field(
            min_length=1,
            max_length=128,
            description="Name of the function in that file.",
            json_schema_extra=cel(
                Rule("self.matches('^[a-zA-Z_][a-zA-Z0-9_]*$')", "must be the name of a function, such as make_prompt")
            ),
        ),
    ]
    row_timeout_seconds: Annotated[
        float, Field(ge=0.01, le=3600, description="Longest that one call may take, in seconds.")
    ] = 5.0


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
            "(has(self.promptTemplate) || has(self.promptFunction))"
            " == (has(self.completionTemplate) || has(self.completionFunction))",
            "promptTemplate and completionTemplate belong together, a function may stand for either:"
            " set both or neither",
            ".promptTemplate",
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
            "!(has(self.promptTemplate) || has(self.promptFunction)) || !has(self.format)"
            " || self.format in ['auto', 'prompt-completion']",
            "templates make prompt-completion rows: leave format out or set it to prompt-completion",
            ".format",
        ),
        Rule(
            "!(has(self.promptTemplate) || has(self.promptFunction)) || !has(self.columns)",
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
