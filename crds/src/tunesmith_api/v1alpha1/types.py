"""Bounded strings and numbers that several blocks of the API share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from tunesmith_api.base import Rule, cel

_DNS_LABEL = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
_DNS_SUBDOMAIN = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"

_QUALIFIED_NAME = "^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"


def _matching(pattern: str, message: str) -> dict[str, Any]:
    return cel(Rule(f"self.matches('{pattern}')", message))


ObjectName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=253,
        json_schema_extra=_matching(
            _DNS_SUBDOMAIN, "must be the name of a Kubernetes object: lower case letters, digits, '-' and '.'"
        ),
    ),
]
"""The name of an object in the job's namespace."""

VolumeName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=63,
        json_schema_extra=_matching(_DNS_LABEL, "must be a DNS label: lower case letters, digits and '-'"),
    ),
]

RelativePath = Annotated[
    str,
    Field(
        min_length=1,
        max_length=512,
        json_schema_extra=cel(
            Rule(
                "!self.startsWith('/') && !self.split('/').exists(part, part == '..' || part == '.' || part == '')",
                "must be a relative path below the volume's root, without '..', '.' or empty parts:"
                " write 'data/train.jsonl', not '/data/train.jsonl' or '../train.jsonl'",
            )
        ),
    ),
]
"""A path below the root of a volume; it can not leave it."""

Quantity = Annotated[
    str | int,
    Field(
        json_schema_extra={
            "x-kubernetes-int-or-string": True,
            "maxLength": 32,
            **cel(
                Rule(
                    "isQuantity(string(self)) && !quantity(string(self)).isLessThan(quantity('0'))",
                    "must be a quantity that is not negative, such as 500m, 2 or 16Gi",
                )
            ),
        }
    ),
]
"""A Kubernetes resource quantity, such as `500m`, `2` or `16Gi`."""

LabelKey = Annotated[str, Field(min_length=1, max_length=317)]
LabelValue = Annotated[
    str,
    Field(
        max_length=63,
        json_schema_extra=_matching(
            "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$",
            "must be a label value: letters, digits, '-', '_' and '.', letters or digits at both ends",
        ),
    ),
]
ResourceName = Annotated[str, Field(min_length=1, max_length=317)]
"""The name of a compute resource, such as `cpu`, `memory` or `nvidia.com/gpu`."""

QUALIFIED_KEYS = Rule(
    f"self.all(key, key.matches('{_QUALIFIED_NAME}'))",
    "every key must be a name such as team or example.com/team: letters, digits, '-', '_' and '.', at most 63 after the"
    " prefix",
)
"""Of a map whose keys are those of labels, annotations or resources; a CRD can bound only the values of a map."""

RunId = Annotated[
    str,
    Field(
        min_length=1,
        max_length=16,
        json_schema_extra=_matching(
            _DNS_LABEL, "must be a short DNS label: lower case letters, digits and '-', such as 2"
        ),
    ),
]
"""What tells one run of a job from the next."""

FigureName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=63,
        json_schema_extra=_matching(
            "^[A-Za-z0-9_./-]+$",
            "must be the name of a figure of the trainer, such as loss: letters, digits, '_', '.', '/' and '-'",
        ),
    ),
]
"""The name of a figure that a trainer tells, such as `eval_loss`."""

HubName = Annotated[
    str,
    Field(
        min_length=1,
        max_length=193,
        json_schema_extra=cel(
            Rule(
                "self.matches('^([A-Za-z0-9][-A-Za-z0-9_.]{0,95}/)?[A-Za-z0-9][-A-Za-z0-9_.]{0,95}$')"
                " && !self.contains('--') && !self.contains('..')",
                "must be the id of a Hub repository, such as Qwen/Qwen3-0.6B: no URL, no revision",
            )
        ),
    ),
]
"""The id of a repository of the Hugging Face Hub: its owner, a slash, its name."""

Revision = Annotated[
    str,
    Field(
        min_length=1,
        max_length=255,
        json_schema_extra=_matching(
            "^[A-Za-z0-9][-A-Za-z0-9_./]*$", "must be a branch, a tag or a commit, such as main or v1.0"
        ),
    ),
]
"""A version of a Hub repository."""
