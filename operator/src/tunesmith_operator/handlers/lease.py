"""The operator's own Lease: the canary of the watch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tunesmith_operator.handlers.listener import Listener


def on_lease(listener: Listener, lease: dict[str, Any]) -> None:
    """Note that the watch told of the Lease."""
    metadata = lease["metadata"]
    if (metadata.get("namespace"), metadata.get("name")) == listener.lease:
        listener.canary.heard(str(metadata.get("resourceVersion")))
