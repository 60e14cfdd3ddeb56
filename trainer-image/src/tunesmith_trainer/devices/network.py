"""Which network interface the processes of a run talk over."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path

LOOPBACK = "lo"
_ROUTES = Path("/proc/net/route")
_EVERYWHERE = "00000000"


def gloo_interface(nodes: int, routes: Path = _ROUTES) -> str | None:
    """Return the interface gloo is to be told, None when it finds the right one itself.

    Gloo binds to the address of the host's own name. Some pods can not resolve that name, or resolve it to the
    loopback, where no other pod is.

    Args:
        nodes: Number of pods of the run.
        routes: The kernel's table of IPv4 routes.
    """
    if nodes == 1:
        return LOOPBACK
    try:
        address = ipaddress.ip_address(socket.gethostbyname(socket.gethostname()))
    except (OSError, ValueError):
        return default_interface(routes)
    return default_interface(routes) if address.is_loopback else None


def default_interface(routes: Path = _ROUTES) -> str | None:
    """Return the interface of the default route, None when there is no such route."""
    try:
        lines = routes.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return None
    for line in lines:
        columns = line.split()
        if len(columns) > 1 and columns[1] == _EVERYWHERE:
            return columns[0]
    return None
