"""As much of the Kubernetes API server as the operator can tell from the real one, with faults to order.

Discovery, lists in pages, watches, creation, deletion with preconditions, merge patches of the status and optimistic
locking. What it does not know (validation, admission, garbage collection) is tested on a real cluster.
"""

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

Object = dict[str, Any]
Fault = Callable[[web.Request], web.StreamResponse | None]

RESOURCES = {
    ("", "v1"): {
        "pods": "Pod",
        "configmaps": "ConfigMap",
        "persistentvolumeclaims": "PersistentVolumeClaim",
        "namespaces": "Namespace",
    },
    ("apiextensions.k8s.io", "v1"): {"customresourcedefinitions": "CustomResourceDefinition"},
    ("coordination.k8s.io", "v1"): {"leases": "Lease"},
    ("batch", "v1"): {"jobs": "Job"},
    ("kubeflow.org", "v1"): {"pytorchjobs": "PyTorchJob"},
    ("tunesmith.dev", "v1alpha1"): {"finetunejobs": "FineTuneJob", "alignmentjobs": "AlignmentJob"},
}


class Address:
    """A connection that needs no credentials."""

    def __init__(self, server: str) -> None:
        self.server = server
        self.reloads = 0

    async def reload(self) -> None:
        """Count how often credentials were asked for again."""
        self.reloads += 1


def failure(status: int, reason: str, message: str = "", headers: dict[str, str] | None = None) -> web.Response:
    """Return an answer as the API server gives it when it refuses something."""
    body = {"kind": "Status", "status": "Failure", "reason": reason, "message": message or reason, "code": status}
    return web.json_response(body, status=status, headers=headers)


@dataclass
class _Watcher:
    plural: str
    accepts: Callable[[Object], bool]
    events: asyncio.Queue[Object | None] = field(default_factory=asyncio.Queue)


class ApiServer:
    """Objects in memory behind HTTP."""

    def __init__(self) -> None:
        self.url = ""
        self.objects: dict[tuple[str, str, str], Object] = {}
        self.requests: list[tuple[str, str]] = []
        """Method and path with query, in their order; watches are left out."""
        self.faults: list[Fault] = []
        """Each is asked first; the first answer that is not None is given."""
        self.lost_replies: list[Callable[[web.Request], bool]] = []
        """A request that the first one is true of is carried out, and its connection ends without a reply."""
        self.absent: set[str] = set()
        """Plurals that are not served."""
        self.deaf = False
        """Whether watches are told nothing any more."""
        self._version = 100
        self._history: list[tuple[int, str, str, Object]] = []
        self._watchers: list[_Watcher] = []

    def writes(self) -> list[tuple[str, str]]:
        """Return the writes so far, those of the Lease left out."""
        return [entry for entry in self.requests if entry[0] != "GET" and "/leases" not in entry[1]]

    def put(self, plural: str, obj: Object) -> Object:
        """Store an object and tell the watches."""
        metadata = obj.setdefault("metadata", {})
        metadata.setdefault("namespace", "default")
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", "2026-01-31T12:00:00Z")
        key = (plural, metadata["namespace"], metadata["name"])
        event = "MODIFIED" if key in self.objects else "ADDED"
        self._version += 1
        metadata["resourceVersion"] = str(self._version)
        self.objects[key] = obj
        self._tell(plural, event, obj)
        return obj

    def remove(self, plural: str, namespace: str, name: str) -> None:
        """Remove an object and tell the watches."""
        self._version += 1
        obj = self.objects.pop((plural, namespace, name))
        obj["metadata"]["resourceVersion"] = str(self._version)
        self._tell(plural, "DELETED", obj)

    def end_watches(self, last: Object | None = None) -> None:
        """End all watches, after a last event if there is one."""
        for watcher in self._watchers:
            if last is not None:
                watcher.events.put_nowait(last)
            watcher.events.put_nowait(None)

    def _tell(self, plural: str, event: str, obj: Object) -> None:
        copy = json.loads(json.dumps(obj))
        self._history.append((self._version, plural, event, copy))
        if self.deaf:
            return
        for watcher in self._watchers:
            if watcher.plural == plural and watcher.accepts(copy):
                watcher.events.put_nowait({"type": event, "object": copy})

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer any request."""
        if "watch" not in request.query:
            self.requests.append((request.method, request.path_qs))
        for fault in self.faults:
            if (answer := fault(request)) is not None:
                return answer
        parts = request.path.strip("/").split("/")
        answer = self._groups(parts[0]) if len(parts) == 1 else await self._route(request, parts)
        if self.lost_replies and self.lost_replies[0](request):
            self.lost_replies.pop(0)
            assert request.transport is not None
            request.transport.abort()
        return answer

    async def _route(self, request: web.Request, parts: list[str]) -> web.StreamResponse:
        group, version, rest = ("", parts[1], parts[2:]) if parts[0] == "api" else (parts[1], parts[2], parts[3:])
        if not rest:
            return self._discovery(group, version)
        namespace = None
        if rest[0] == "namespaces":
            namespace, rest = rest[1], rest[2:]
        kind = RESOURCES.get((group, version), {}).get(rest[0])
        if kind is None or rest[0] in self.absent:
            return failure(404, "NotFound", "the server could not find the requested resource")
        if len(rest) == 1:
            return await self._collection(request, rest[0], kind, namespace)
        return await self._item(request, (rest[0], namespace or "default", rest[1]), rest[2:])

    def _groups(self, root: str) -> web.Response:
        if root == "api":
            return web.json_response({"versions": ["v1"]})
        groups = [
            {"name": group, "versions": [{"version": version}], "preferredVersion": {"version": version}}
            for group, version in RESOURCES
            if group
        ]
        return web.json_response({"groups": groups})

    def _discovery(self, group: str, version: str) -> web.Response:
        served = {
            plural: kind for plural, kind in RESOURCES.get((group, version), {}).items() if plural not in self.absent
        }
        if not served:
            return failure(404, "NotFound")
        verbs = ["get", "list", "watch", "create", "patch", "update", "delete"]
        resources = [
            {"name": plural, "kind": kind, "singularName": kind.lower(), "namespaced": True, "verbs": verbs}
            for plural, kind in served.items()
        ]
        return web.json_response({"resources": resources})

    async def _collection(
        self, request: web.Request, plural: str, kind: str, namespace: str | None
    ) -> web.StreamResponse:
        if request.method == "POST":
            obj = await request.json()
            obj["metadata"]["namespace"] = namespace
            if (plural, namespace, obj["metadata"]["name"]) in self.objects:
                return failure(409, "AlreadyExists", f"{plural} {obj['metadata']['name']} already exists")
            obj["metadata"].setdefault("generation", 1)
            return web.json_response(self.put(plural, obj), status=201)
        accepts = _selector(request.query, namespace)
        if "watch" in request.query:
            return await self._watch(request, plural, accepts)
        found = [obj for (stored, _, _), obj in sorted(self.objects.items()) if stored == plural and accepts(obj)]
        begin, limit = int(request.query.get("continue") or 0), int(request.query.get("limit") or 10**6)
        token = str(begin + limit) if begin + limit < len(found) else ""
        metadata = {"resourceVersion": str(self._version), "continue": token}
        return web.json_response({"kind": f"{kind}List", "metadata": metadata, "items": found[begin : begin + limit]})

    async def _watch(self, request: web.Request, plural: str, accepts: Callable[[Object], bool]) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        watcher = _Watcher(plural, accepts)
        since = int(request.query.get("resourceVersion") or 0)
        for version, stored, event, obj in [] if self.deaf else self._history:
            if version > since and stored == plural and accepts(obj):
                watcher.events.put_nowait({"type": event, "object": obj})
        self._watchers.append(watcher)
        try:
            while (item := await watcher.events.get()) is not None:
                await response.write(json.dumps(item).encode() + b"\n")
        except ConnectionError:
            pass
        finally:
            self._watchers.remove(watcher)
        return response

    async def _item(self, request: web.Request, key: tuple[str, str, str], subresource: list[str]) -> web.Response:
        obj = self.objects.get(key)
        if obj is None:
            return failure(404, "NotFound", f"{key[0]} {key[2]} not found")
        if request.method == "GET":
            return web.json_response(obj)
        body = await request.json()
        uid = body.get("preconditions", {}).get("uid")
        if uid not in {None, obj["metadata"]["uid"]}:
            return failure(409, "Conflict", "the UID in the precondition does not match")
        if request.method == "DELETE":
            self.remove(*key)
            return web.json_response({"kind": "Status", "status": "Success"})
        return self._write(request.method, key, obj, body)

    def _write(self, method: str, key: tuple[str, str, str], obj: Object, body: Object) -> web.Response:
        expected = body.get("metadata", {}).get("resourceVersion")
        if expected not in {None, obj["metadata"]["resourceVersion"]}:
            return failure(409, "Conflict", "the object has been modified")
        if method == "PUT":
            return web.json_response(self.put(key[0], body))
        return web.json_response(self.put(key[0], {**obj, "status": _merge(obj.get("status") or {}, body["status"])}))


def _merge(old: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return patch
    merged = dict(old) if isinstance(old, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = _merge(merged.get(name), value)
    return merged


def _selector(query: Any, namespace: str | None) -> Callable[[Object], bool]:
    labels = [part.partition("=") for part in (query.get("labelSelector") or "").split(",") if part]
    fields = [part.partition("=") for part in (query.get("fieldSelector") or "").split(",") if part]

    def accepts(obj: Object) -> bool:
        metadata = obj["metadata"]
        own = metadata.get("labels") or {}
        return (
            namespace in {None, metadata["namespace"]}
            and all(own.get(name) == value if sign else name in own for name, sign, value in labels)
            and all(metadata["name"] == value for name, _, value in fields if name == "metadata.name")
        )

    return accepts


@asynccontextmanager
async def serving() -> AsyncIterator[ApiServer]:
    """Run an API server on a free port."""
    server = ApiServer()
    app = web.Application(client_max_size=2**22)
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        server.end_watches()
        await runner.cleanup()
