"""Accelerator profiles: what an installation says about its kinds of nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from tunesmith_api.base import ApiModel
from tunesmith_api.quantity import QuantityError, parse_bytes
from tunesmith_api.v1alpha1.pod_template import Toleration

if TYPE_CHECKING:
    from typing_extensions import Self

TrainingDType = Literal["float32", "bfloat16", "float16"]


class AcceleratorProfile(ApiModel):
    """One kind of node: its device, the trainer image for it, and how pods get there.

    Configured by the installation (the chart's `accelerators`), frozen into every run that uses it.
    """

    name: Annotated[str, Field(min_length=1, max_length=63, description="Name that `spec.accelerator` refers to.")]
    device: Annotated[Literal["cpu", "cuda"], Field(description="Device type of torch.")]
    image: Annotated[str, Field(min_length=1, max_length=1024, description="Trainer image, best with a digest.")]
    image_pull_policy: Annotated[
        Literal["Always", "IfNotPresent", "Never"], Field(description="When the image is pulled.")
    ] = "IfNotPresent"
    image_pull_secrets: Annotated[
        tuple[str, ...], Field(description="Secrets of the job's namespace that open the image's registry.")
    ] = ()
    resource_name: Annotated[
        str | None, Field(description="Extended resource of one device, such as nvidia.com/gpu. Absent on CPU.")
    ] = None
    device_memory: Annotated[
        str | int | None,
        Field(
            description="Memory of one device, a quantity such as 80Gi; on CPU of one process. The preparation refuses"
            " what can not fit into it. Absent: not checked."
        ),
    ] = None
    dtypes: Annotated[
        tuple[TrainingDType, ...],
        Field(min_length=1, description="Precisions that may be trained in; the first is the default."),
    ] = ("float32",)
    backend: Annotated[Literal["gloo", "nccl"], Field(description="Backend of torch.distributed.")] = "gloo"
    shared_memory: Annotated[str, Field(description="Size of /dev/shm, a quantity.")] = "1Gi"
    node_selector: Annotated[dict[str, str], Field(description="Labels a node must have.")] = {}
    tolerations: Annotated[tuple[Toleration, ...], Field(description="Taints to tolerate.")] = ()
    runtime_class_name: Annotated[str | None, Field(description="RuntimeClass of the pods.")] = None
    env: Annotated[dict[str, str], Field(description="Environment variables of the trainer.")] = {}
    security_context: Annotated[
        dict[str, Any], Field(description="Fields laid over the pods' security context, such as runAsUser or fsGroup.")
    ] = {}

    @field_validator("device_memory")
    @classmethod
    def _is_an_amount(cls, value: str | int | None) -> str | int | None:
        try:
            if value is not None and parse_bytes(value) <= 0:
                raise ValueError(f"{value} is no memory: write a quantity such as 80Gi, or leave it out")
        except QuantityError as error:
            raise ValueError(str(error)) from error
        return value

    @model_validator(mode="after")
    def _devices_are_countable(self) -> Self:
        if self.device != "cpu" and not self.resource_name:
            raise ValueError(f"profile {self.name}: device {self.device} needs resourceName, such as nvidia.com/gpu")
        return self
