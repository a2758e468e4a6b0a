"""The one way every request of every service goes: match, log, latency, fault, work, answer."""

import asyncio
import logging
import re
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from json import dumps, loads
from typing import Any, Final

from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy

from sandbox.faults import Fault, FaultPlans, Wire
from sandbox.requestlog import LoggedRequest, Operation, RequestLog

MAX_BODY_BYTES: Final = 8 * 1024 * 1024
POLL_SECONDS: Final = 0.02
RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)  # SO_LINGER on, zero seconds: close sends RST instead of FIN

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a service says; `body` goes out as JSON, bytes as they are."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"

    @property
    def content(self) -> bytes:
        """The body as it goes over the wire."""
        if isinstance(self.body, bytes):
            return self.body
        return b"" if self.body is None else dumps(self.body).encode()


class RefusedError(Exception):
    """Raised by a handler to answer with an error; carries the whole answer."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


type Handler = Callable[[LoggedRequest, Mapping[str, str]], Answer]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation: the whole path must match `pattern`, in any case; groups go to the handler."""

    operation: Operation
    method: str
    pattern: str
    handle: Handler

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """Return the named parts of the path, or None when this is another operation."""
        found = re.fullmatch(self.pattern, path, re.IGNORECASE) if method == self.method else None
        return None if found is None else found.groupdict()


class StandIn:
    """A service as plain code. Handlers are synchronous, so that two requests never interleave in one."""

    def __init__(self) -> None:
        self.latency_seconds: float = 0
        self.base_url = ""
        """Scheme, host and port; known once the service listens."""

    def routes(self) -> Sequence[Route]:
        """All operations of the service."""
        return ()

    def unknown(self, request: LoggedRequest) -> Answer:
        """Return the answer for a path that is none of the operations."""
        return Answer(404, {"message": f"No such resource: {request.method} {request.path}"})


class Service:
    """Puts a stand-in on the network, with the log and the fault plans in front of it."""

    def __init__(self, stand_in: StandIn, *, log: RequestLog, faults: FaultPlans) -> None:
        self._stand_in = stand_in
        self._routes = tuple(stand_in.routes())
        self._log = log
        self._faults = faults
        self._closing = False

    def application(self) -> web.Application:
        """Return the aiohttp application that serves every path and method."""
        application = web.Application(client_max_size=MAX_BODY_BYTES)
        application.router.add_route("*", "/{path:.*}", self._respond)
        application.on_shutdown.append(self._shut_down)
        return application

    async def _shut_down(self, _: web.Application) -> None:
        self._closing = True

    async def _respond(self, request: web.Request) -> web.StreamResponse:
        logged, handler, groups = self._read(request, await request.read())
        handle = self._log.begin(logged)
        if self._stand_in.latency_seconds:
            await asyncio.sleep(self._stand_in.latency_seconds)
        fault = self._faults.take(logged) or Fault()
        if fault.delay_seconds:
            await asyncio.sleep(fault.delay_seconds)
        answer = work(handler, logged, groups) if fault.does_work else Answer(200)
        if fault.status is not None:
            answer = Answer(fault.status, fault.body, fault.headers, fault.content_type)
        if fault.wire is not None:
            await self._send(request, fault.wire)
            return web.Response()
        if fault.hang:
            await self._until_client_leaves(request)
        if fault.reset == "mid-body":
            await _send_half(request, answer)
        if fault.reset or fault.hang:
            _abort(request)
            return web.Response()
        self._log.finish(handle, answer.status)
        return web.Response(status=answer.status, body=answer.content, headers=_headers(answer))

    def _read(self, request: web.Request, content: bytes) -> tuple[LoggedRequest, Handler, dict[str, str]]:
        operation, handler, groups = find(self._stand_in, self._routes, request.method, request.path)
        body = read_json(content)
        logged = LoggedRequest(
            operation=operation,
            method=request.method,
            path=request.path,
            query=dict(request.query),
            headers=CIMultiDictProxy(CIMultiDict(request.headers)),
            content=content,
            body=body,
            key=_key(groups, body),
            raw_path=request.raw_path.partition("?")[0],
        )
        return logged, handler, groups

    async def _send(self, request: web.Request, wire: Wire) -> None:
        transport = request.transport
        if transport is None:
            return
        transport.write(wire.first)
        if wire.ends:
            transport.close()  # behind what was written
            return
        while not self._closing and not transport.is_closing():
            if transport.get_write_buffer_size() < MAX_BODY_BYTES:  # a client need not read
                transport.write(wire.again)
            await asyncio.sleep(POLL_SECONDS)
        _abort(request)

    async def _until_client_leaves(self, request: web.Request) -> None:
        # aiohttp does not cancel handlers of lost connections, and must not: the work outlives the client.
        while not self._closing and request.transport is not None:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(POLL_SECONDS)


def find(
    stand_in: StandIn, routes: Sequence[Route], method: str, path: str
) -> tuple[Operation, Handler, dict[str, str]]:
    """Return the operation that a request asks for, what carries it out, and the named parts of the path."""
    for route in routes:
        if (groups := route.match(method, path)) is not None:
            return route.operation, route.handle, groups
    return "unknown", lambda request, _: stand_in.unknown(request), {}


def work(handler: Handler, request: LoggedRequest, groups: Mapping[str, str]) -> Answer:
    """Let a handler do its work; a defect of the sandbox is an answer, too."""
    try:
        return handler(request, groups)
    except RefusedError as refused:
        return refused.answer
    except Exception:
        logger.exception("The sandbox itself failed on %s", request.operation)
        return Answer(500, {"message": "The sandbox itself failed."})


def _headers(answer: Answer) -> dict[str, str]:
    return {"Content-Type": answer.content_type, **answer.headers}


def read_json(content: bytes) -> Any:
    """Return the JSON, None if it is none."""
    try:
        return loads(content)
    except (ValueError, RecursionError):
        return None


def _key(groups: Mapping[str, str], body: Any) -> str | None:
    incident = body.get("incident") if isinstance(body, dict) else None
    of_body = incident.get("id") if isinstance(incident, dict) else None
    key = groups.get("incident") or of_body or groups.get("workspace")
    return key.lower() if isinstance(key, str) else None


async def _send_half(request: web.Request, answer: Answer) -> None:
    response = web.StreamResponse(status=answer.status, headers=_headers(answer))
    response.content_length = max(len(answer.content), 2)
    try:
        await response.prepare(request)
        await response.write(answer.content[: len(answer.content) // 2])
    except ConnectionError:
        return
    await asyncio.sleep(POLL_SECONDS)  # else the reset could overtake the half that was sent


def _abort(request: web.Request) -> None:
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None and connection.fileno() != -1:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    transport.abort()
