"""Where rows, and the code that builds them, come from."""

from __future__ import annotations

from typing import Annotated, ClassVar, NamedTuple

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule, cel
from tunesmith_api.v1alpha1.types import HubName, ObjectName, RelativePath, Revision

# Keys of a Secret.
TOKEN = "token"  # noqa: S105 - the key's name
ACCESS_KEY_ID = "AWS_ACCESS_KEY_ID"
SECRET_ACCESS_KEY = "AWS_SECRET_ACCESS_KEY"  # noqa: S105 - the key's name
SESSION_TOKEN = "AWS_SESSION_TOKEN"  # noqa: S105 - the key's name


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


class Function(ApiModel):
    """A Python function of the user's."""

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


class UserFunction(Function):
    """A Python function that gets a row as a dict and returns text; runs only where the installation allows it."""

    row_timeout_seconds: Annotated[
        float, Field(ge=0.01, le=3600, description="Longest that one call may take, in seconds.")
    ] = 5.0


class BatchFunction(Function):
    """A Python function that scores completions; runs only where the installation allows it.

    Its signature is TRL's: it is called with the keyword arguments `prompts`, `completions`, `completion_ids` and each
    further column of the rows, all of them lists of one length, and returns a list of as many numbers; None for a
    completion that it does not score. Completions are texts, or of chats lists of messages. It runs in a process of its
    own.
    """

    timeout_seconds: Annotated[
        float,
        Field(
            ge=0.1,
            le=3600,
            description="Longest that one call may take, in seconds; a call scores a whole batch. What takes longer, or"
            " raises, leaves the batch without this reward and is counted (`rewards/<name>/failures`).",
        ),
    ] = 30.0
