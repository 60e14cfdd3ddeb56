"""How the operator reaches the API server: address, trust and credentials, as the official client reads them."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from pathlib import Path
from typing import Final

import aiohttp
from kubernetes.aio import config as kube_config
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.client.rest import RESTClientObject

from tunesmith_operator import __version__

logger = logging.getLogger(__name__)

_SERVICE_HOST: Final = "KUBERNETES_SERVICE_HOST"
_RELOAD_SECONDS: Final = 10.0
_CONNECT_SECONDS: Final = 10.0


class ConnectionSettingsError(Exception):
    """There is no usable way to the API server; the message says what was tried."""


class Connection:
    """Address and credentials of one API server. Sessions made from it always send the newest token."""

    def __init__(self, configuration: Configuration, kubeconfig: Path | None) -> None:
        self._configuration = configuration
        self._kubeconfig = kubeconfig
        self._loaded = time.monotonic()
        self._lock = asyncio.Lock()

    @classmethod
    async def open(cls, kubeconfig: Path | None = None) -> Connection:
        """Find the API server: the given kubeconfig, `KUBECONFIG`, the pod's service account, or ~/.kube/config.

        Raises:
            ConnectionSettingsError: None of them is usable.
        """
        path = kubeconfig or _kubeconfig_path()
        return cls(await _load(path), path)

    @property
    def server(self) -> str:
        """The URL of the API server, without a slash at its end."""
        return str(self._configuration.host).rstrip("/")

    async def headers(self) -> dict[str, str]:
        """Return the headers that authenticate a request; a rotated token is read again at most a minute later."""
        token = await self._configuration.get_api_key_with_prefix("BearerToken", alias="authorization")
        if token:
            return {"Authorization": token}
        if self._configuration.username:
            return {"Authorization": str(self._configuration.get_basic_auth_token())}
        return {}

    async def reload(self) -> None:
        """Read the credentials again, after the API server did not accept them. At most once in ten seconds."""
        async with self._lock:
            if time.monotonic() - self._loaded < _RELOAD_SECONDS:
                return
            self._loaded = time.monotonic()
            try:
                self._configuration = await _load(self._kubeconfig)
            except ConnectionSettingsError as error:
                logger.warning("credentials can not be read again, the old ones stay in use: %s", error)

    def session(self) -> aiohttp.ClientSession:
        """Return a new pool of connections; whoever asks for it closes it."""
        # Only for the TLS context, which the official client knows how to make of every kind of kubeconfig.
        context = RESTClientObject(self._configuration).ssl_context
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=0, keepalive_timeout=60),
            headers={"User-Agent": f"tunesmith-operator/{__version__}"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS),
            proxy=self._configuration.proxy or None,
            # Looking at the environment costs a file access per request: only where a proxy is named there.
            trust_env=any(os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy")),
            middlewares=(self._authenticate,),
        )

    async def _authenticate(
        self, request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
    ) -> aiohttp.ClientResponse:
        request.headers.update(await self.headers())
        return await handler(request)


def _kubeconfig_path() -> Path | None:
    if named := os.environ.get("KUBECONFIG"):
        return Path(named)
    return None if os.environ.get(_SERVICE_HOST) else Path("~/.kube/config").expanduser()


async def _load(kubeconfig: Path | None) -> Configuration:
    configuration = Configuration()
    try:
        if kubeconfig is None:
            kube_config.load_incluster_config(client_configuration=configuration)  # type: ignore[no-untyped-call]  # the client's config is not annotated
        else:
            await kube_config.load_kube_config(  # type: ignore[no-untyped-call]  # the client's config is not annotated
                config_file=str(kubeconfig), client_configuration=configuration, persist_config=False
            )
    except (kube_config.ConfigException, OSError, ValueError) as error:
        source = f"kubeconfig {kubeconfig}" if kubeconfig else "service account of the pod"
        raise ConnectionSettingsError(
            f"{source}: {error}; name a kubeconfig with --kubeconfig or KUBECONFIG"
        ) from error
    return configuration
