"""`spec.podTemplate`: what a user may lay over the trainer pods."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from tunesmith_api.base import ApiModel, Rule, cel, exactly_one_of
from tunesmith_api.v1alpha1.types import (
    QUALIFIED_KEYS,
    LabelKey,
    LabelValue,
    ObjectName,
    Quantity,
    RelativePath,
    VolumeName,
)

RESERVED_ENV = (
    "^(PET_.*|LD_.*|PYTHON.*|TUNESMITH_.*|MASTER_.*|HOME|TMPDIR"
    "|RANK|LOCAL_RANK|GROUP_RANK|NODE_RANK|WORLD_SIZE|LOCAL_WORLD_SIZE)$"
)

_RESERVED_FOLDERS = "^/(bin|boot|dev|etc|home|lib|lib32|lib64|opt|proc|root|run|sbin|sys|tmp|tunesmith|usr|var)(/.*)?$"

_RESERVED_PREFIX = Rule(
    "self.all(key, !key.startsWith('tunesmith.dev/') && !key.startsWith('training.kubeflow.org/'))",
    "keys that start with tunesmith.dev/ or training.kubeflow.org/ belong to the operators: choose another key",
)
_HOST_PATH_REMEDY = Rule(
    "false",
    "hostPath volumes are not allowed: they open the node's file system to the pod;"
    " put the files on a PersistentVolumeClaim and use persistentVolumeClaim",
)

Labels = dict[LabelKey, LabelValue]


class KeySelector(ApiModel):
    """One key of a ConfigMap or Secret of the job's namespace."""

    name: Annotated[ObjectName, Field(description="Name of the object.")]
    key: Annotated[str, Field(min_length=1, max_length=253, description="Key in the object.")]
    optional: Annotated[bool | None, Field(description="Whether the pod starts without it. Default: false.")] = None


class EnvSource(ApiModel):
    """Where the value of an environment variable comes from."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of("secretKeyRef", "configMapKeyRef", remedy="a key of a Secret or of a ConfigMap"),
    )

    secret_key_ref: Annotated[KeySelector | None, Field(description="A key of a Secret.")] = None
    config_map_key_ref: Annotated[KeySelector | None, Field(description="A key of a ConfigMap.")] = None


class EnvVar(ApiModel):
    """An environment variable of the trainer."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("!(has(self.value) && has(self.valueFrom))", "set value or valueFrom, not both", ".value"),
    )

    name: Annotated[
        str,
        Field(
            min_length=1,
            max_length=253,
            description="Name of the variable.",
            json_schema_extra=cel(
                Rule(
                    "self.matches('^[A-Za-z_][A-Za-z0-9_]*$')",
                    "must be a name of letters, digits and '_', such as NCCL_DEBUG",
                ),
                Rule(
                    f"!self.matches('{RESERVED_ENV}')",
                    "is a reserved environment variable: PET_*, RANK, WORLD_SIZE and their like, MASTER_*, LD_*,"
                    " PYTHON*, HOME, TMPDIR and TUNESMITH_* are set by the operator or steer the interpreter;"
                    " remove it",
                ),
            ),
        ),
    ]
    value: Annotated[str | None, Field(max_length=32768, description="The value.")] = None
    value_from: Annotated[EnvSource | None, Field(description="Where the value comes from.")] = None


class Toleration(ApiModel):
    """A node taint that the pods tolerate."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.operator) || self.operator != 'Exists' || !has(self.value)",
            "operator Exists tolerates every value: remove value or use operator Equal",
            ".value",
        ),
        Rule(
            "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
            "without a key the operator must be Exists, which tolerates every taint: set key, or operator: Exists",
            ".key",
        ),
        Rule(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "tolerationSeconds needs effect: NoExecute",
            ".tolerationSeconds",
        ),
    )

    key: Annotated[
        str | None, Field(max_length=317, description="Key of the taint. Absent with operator Exists: any.")
    ] = None
    operator: Annotated[
        Literal["Exists", "Equal"] | None, Field(description="How the value is compared. Default: Equal.")
    ] = None
    value: Annotated[str | None, Field(max_length=253, description="Value of the taint.")] = None
    effect: Annotated[
        Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None, Field(description="Effect. Absent: all effects.")
    ] = None
    toleration_seconds: Annotated[
        int | None, Field(ge=0, le=31_536_000, description="Seconds a NoExecute taint is tolerated. Absent: for ever.")
    ] = None


class NodeRequirement(ApiModel):
    """One condition on a node's labels."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(self.operator in ['In', 'NotIn']) || (has(self.values) && size(self.values) > 0)",
            "operators In and NotIn need values: list at least one",
            ".values",
        ),
        Rule(
            "!(self.operator in ['Exists', 'DoesNotExist']) || !has(self.values) || size(self.values) == 0",
            "operators Exists and DoesNotExist compare with nothing: remove values",
            ".values",
        ),
        Rule(
            "!(self.operator in ['Gt', 'Lt']) || (has(self.values) && size(self.values) == 1"
            " && self.values[0].matches('^-?[0-9]+$'))",
            "operators Gt and Lt need one value, a whole number in quotes",
            ".values",
        ),
    )

    key: Annotated[LabelKey, Field(description="Key of the node's label.")]
    operator: Annotated[
        Literal["In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt"], Field(description="How the label is compared.")
    ]
    values: Annotated[tuple[LabelValue, ...] | None, Field(max_length=64, description="Values to compare with.")] = None


class NodeTerm(ApiModel):
    """Conditions that a node must all meet."""

    match_expressions: Annotated[
        tuple[NodeRequirement, ...], Field(min_length=1, max_length=16, description="The conditions; all must hold.")
    ]


class RequiredNodeAffinity(ApiModel):
    """Terms of which a node must meet one."""

    node_selector_terms: Annotated[
        tuple[NodeTerm, ...], Field(min_length=1, max_length=16, description="The terms; one must hold.")
    ]


class NodeAffinity(ApiModel):
    """Which nodes the pods may run on."""

    required_during_scheduling_ignored_during_execution: Annotated[
        RequiredNodeAffinity, Field(description="Nodes that meet none of these terms are not used.")
    ]


class Affinity(ApiModel):
    """Scheduling constraints of the pods."""

    node_affinity: Annotated[NodeAffinity, Field(description="Which nodes the pods may run on.")]


class PersistentVolumeClaimVolume(ApiModel):
    """A PersistentVolumeClaim as a volume."""

    claim_name: Annotated[ObjectName, Field(description="Name of the PersistentVolumeClaim.")]
    read_only: Annotated[bool | None, Field(description="Whether it is mounted read-only. Default: false.")] = None


class ConfigMapVolume(ApiModel):
    """A ConfigMap as a volume."""

    name: Annotated[ObjectName, Field(description="Name of the ConfigMap.")]


class SecretVolume(ApiModel):
    """A Secret as a volume."""

    secret_name: Annotated[ObjectName, Field(description="Name of the Secret.")]


class EmptyDirVolume(ApiModel):
    """A folder that lives as long as the pod."""

    medium: Annotated[
        Literal["Memory"] | None, Field(description="`Memory` for a RAM disk. Absent: the node's disk.")
    ] = None
    size_limit: Annotated[Quantity | None, Field(description="Largest size; the pod is evicted beyond it.")] = None


class HostPathVolume(ApiModel):
    """Declared so that it is refused with a remedy."""

    path: Annotated[str | None, Field(max_length=4096, description="Not allowed.")] = None
    type: Annotated[str | None, Field(max_length=64, description="Not allowed.")] = None


def _keyed_by(field: str) -> dict[str, Any]:
    """Return what makes the API server refuse two entries of one key, and merge lists of several authors by it."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [field]}


class Volume(ApiModel):
    """A volume of the trainer pods."""

    rules: ClassVar[tuple[Rule, ...]] = (
        exactly_one_of(
            "persistentVolumeClaim",
            "configMap",
            "secret",
            "emptyDir",
            "hostPath",
            remedy="a volume has one source; hostPath is refused",
        ),
    )

    name: Annotated[
        VolumeName,
        Field(description="Name of the volume."),
    ]
    persistent_volume_claim: Annotated[
        PersistentVolumeClaimVolume | None, Field(description="A PersistentVolumeClaim.")
    ] = None
    config_map: Annotated[ConfigMapVolume | None, Field(description="A ConfigMap.")] = None
    secret: Annotated[SecretVolume | None, Field(description="A Secret.")] = None
    empty_dir: Annotated[EmptyDirVolume | None, Field(description="A folder that lives as long as the pod.")] = None
    host_path: Annotated[
        HostPathVolume | None,
        Field(description="Not allowed: use persistentVolumeClaim.", json_schema_extra=cel(_HOST_PATH_REMEDY)),
    ] = None


class VolumeMount(ApiModel):
    """Where a volume is seen in the trainer container."""

    name: Annotated[VolumeName, Field(description="Name of a volume in `volumes`.")]
    mount_path: Annotated[
        str,
        Field(
            min_length=2,
            max_length=512,
            description="Absolute path in the container.",
            json_schema_extra=cel(
                Rule(
                    "self.matches('^(/[^/:]+)+$') && !self.split('/').exists(part, part == '..' || part == '.')",
                    "must be an absolute path without '..', '.', ':' or empty parts, such as /data",
                ),
                Rule(
                    f"!self.matches('{_RESERVED_FOLDERS}')",
                    "is a folder that the trainer or its image needs: mount below another one, such as /data",
                ),
            ),
        ),
    ]
    sub_path: Annotated[RelativePath | None, Field(description="Folder or file below the volume's root.")] = None
    read_only: Annotated[bool | None, Field(description="Whether the container may not write. Default: false.")] = None


class PodTemplate(ApiModel):
    """A typed overlay on the trainer pods; what is not here can not be changed."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!has(self.volumeMounts) || self.volumeMounts.all(mount, has(self.volumes) &&"
            " self.volumes.exists(volume, volume.name == mount.name))",
            "every volumeMount needs a volume of the same name in podTemplate.volumes",
            ".volumeMounts",
        ),
    )

    labels: Annotated[
        Labels | None,
        Field(
            max_length=32, description="Labels of the pods.", json_schema_extra=cel(_RESERVED_PREFIX, QUALIFIED_KEYS)
        ),
    ] = None
    annotations: Annotated[
        dict[LabelKey, Annotated[str, Field(max_length=4096)]] | None,
        Field(
            max_length=32,
            description="Annotations of the pods.",
            json_schema_extra=cel(_RESERVED_PREFIX, QUALIFIED_KEYS),
        ),
    ] = None
    node_selector: Annotated[
        Labels | None,
        Field(
            max_length=32,
            description="Labels a node must have, beside those of the accelerator profile.",
            json_schema_extra=cel(QUALIFIED_KEYS),
        ),
    ] = None
    tolerations: Annotated[
        tuple[Toleration, ...] | None,
        Field(max_length=32, description="Taints to tolerate, beside those of the profile."),
    ] = None
    affinity: Annotated[Affinity | None, Field(description="Scheduling constraints.")] = None
    priority_class_name: Annotated[ObjectName | None, Field(description="Name of a PriorityClass.")] = None
    scheduler_name: Annotated[
        ObjectName | None, Field(description="Name of the scheduler. Absent: the cluster's default.")
    ] = None
    env: Annotated[
        tuple[EnvVar, ...] | None,
        Field(max_length=64, description="Environment variables of the trainer.", json_schema_extra=_keyed_by("name")),
    ] = None
    volumes: Annotated[
        tuple[Volume, ...] | None,
        Field(max_length=16, description="Further volumes.", json_schema_extra=_keyed_by("name")),
    ] = None
    volume_mounts: Annotated[
        tuple[VolumeMount, ...] | None,
        Field(max_length=32, description="Where those volumes are seen.", json_schema_extra=_keyed_by("mountPath")),
    ] = None
