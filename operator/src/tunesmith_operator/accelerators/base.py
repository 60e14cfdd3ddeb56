"""What differs between devices in a trainer pod."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from tunesmith_api.run import FrozenRun

Amounts = dict[str, str | int]
"""Amounts of compute resources by name."""


class Accelerator(Protocol):
    """One device type of torch; a file of its own, found through `accelerators.ACCELERATORS`."""

    def devices(self, run: FrozenRun) -> Amounts:
        """Return the extended resources of one pod; they are requested and limited alike."""
        ...

    def hidden(self) -> dict[str, str]:
        """Return environment variables that keep a pod which asked for no device from finding one."""
        ...

    def environment(self, run: FrozenRun) -> dict[str, str]:
        """Return environment variables of the trainer that a user may override."""
        ...
