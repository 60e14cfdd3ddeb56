"""What the installation lets jobs do beyond training with what the trainer image brings."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tunesmith_api.base import ApiModel


class Permissions(ApiModel):
    """The installation's policy: what is not allowed here is refused before anything of a job exists."""

    remote_code: Annotated[
        bool, Field(description="Whether models may bring Python code along (model.trustRemoteCode).")
    ] = False
    user_code: Annotated[
        bool,
        Field(
            description="Whether jobs may run Python functions of their own from ConfigMaps in trainer pods"
            " (promptFunction, completionFunction, the function of a reward)."
        ),
    ] = False
