"""The way between an instance and the remote services: an in-memory network beneath httpx.

What is on top of it is real: httpx, the app's transport for Azure, azure-core's pipeline, the Sentinel SDK,
azure-identity.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Final, Protocol

import httpx
from faultplan import Fate, Fault, FaultPlan
from freezes import Freezes
from referee import LinkCall, Referee
from remote import Call, Remote
from truth import Process, World

from sandbox.service import Answer


class Mortal(Process, Protocol):
    """A process that may die between two steps; `step` does not return then."""

    async def step(self, what: str) -> None: ...


_SLOW_SECONDS: Final = 1.0
_REPEATED: Final = frozenset({408, 429, 503})


class Unreachable(Exception):
    """No connection."""


class NoAnswer(Exception):
    """None within the read timeout."""


class BrokenOff(Exception):
    """The answer ended in its middle."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Wire:
    """One instance's way to all services."""

    def __init__(
        self,
        process: Mortal,
        *,
        world: World,
        remote: Remote,
        faults: FaultPlan,
        freezes: Freezes,
        referee: Referee,
    ) -> None:
        self._process = process
        self._world = world
        self._remote = remote
        self._faults = faults
        self._freezes = freezes
        self._referee = referee

    async def exchange(
        self, method: str, url: str, headers: Mapping[str, str], content: bytes, *, read_seconds: float
    ) -> Answer:
        """Send a request and wait for its answer. Raises `Unreachable`, `NoAnswer` or `BrokenOff`."""
        call = self._remote.read(method, url, headers, content)
        label = f"{self._process.name} {call.operation} {call.case.label if call.case else ''}"
        await self._process.step(f"before {label}")
        fate = self._faults.fate(call.operation, call.workspace, self._world.now)
        self._world.note(f"{label} sent {fate.fault}")
        if fate.fault is not Fault.NONE or fate.there + fate.back > _SLOW_SECONDS:
            self._world.went_wrong()
        link_call = self._referee.request_sent(self._process, call.operation, call.case, call.request.body)
        try:
            answer = await self._answer(call, fate, read_seconds)
            await self._process.step(f"after {label}")
        except BaseException as error:
            _end(link_call, "lost")
            self._world.note(f"{label} ended {type(error).__name__}")
            if isinstance(error, Unreachable):
                await self._freezes.perhaps(self._process, call.case, f"after {label}")
            raise
        self._world.note(f"{label} answered {answer.status}")
        self._tell(call, fate, answer, link_call)
        if answer.status in _REPEATED:
            await self._freezes.perhaps(self._process, call.case, f"after {label}")
        return answer

    async def _answer(self, call: Call, fate: Fate, read_seconds: float) -> Answer:
        loop = self._world.loop
        if fate.fault is Fault.UNREACHABLE:
            await asyncio.sleep(fate.there)
            raise Unreachable
        reply: asyncio.Future[Answer] = loop.create_future()

        def arrive() -> None:  # it arrives although its sender may be dead or tired of waiting by now
            answer = self._remote.work(call, fate, self._process)
            if fate.fault is not Fault.UNANSWERED:
                loop.call_outside(fate.back, deliver, answer)

        def deliver(answer: Answer) -> None:  # and it is there although its reader may stand still
            if not reply.done():
                reply.set_result(answer)

        if fate.fault is not Fault.LOST:
            loop.call_outside(fate.there, arrive)
        try:
            async with asyncio.timeout(read_seconds):
                answer = await reply
        except TimeoutError:
            raise NoAnswer from None
        if fate.fault is Fault.RESET:
            raise BrokenOff(answer)
        return answer

    def _tell(self, call: Call, fate: Fate, answer: Answer, link_call: LinkCall | None) -> None:
        wait = answer.headers.get("Retry-After")
        self._referee.answered(self._process, call.operation, call.case, answer.status, wait)
        if link_call is None or call.case is None:
            return
        file = self._referee.file(call.case)
        if answer.status == 404:
            file.unknown_at.append(self._world.now)
        if fate.fault in {Fault.GARBAGE, Fault.WRONG_SHAPE, Fault.REJECTED}:
            file.killers.add(fate.fault)
        has_ticket = fate.fault is Fault.NONE and answer.status == 200 and answer.body["data"]["isTicketSet"]
        _end(link_call, "ticket" if has_ticket else "no ticket")


def _end(call: LinkCall | None, outcome: str) -> None:
    if call is not None and not call.outcome:
        call.outcome = outcome


def _headers(answer: Answer) -> dict[str, str]:
    return {"Content-Type": answer.content_type, **answer.headers}


class _Half(httpx.AsyncByteStream):
    def __init__(self, content: bytes) -> None:
        self._content = content

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._content[: len(self._content) // 2]
        raise httpx.ReadError("connection reset")


class Network(httpx.AsyncBaseTransport):
    """Beneath every httpx client of an instance."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        read_seconds = request.extensions["timeout"]["read"]
        content = await request.aread()
        try:
            answer = await self._wire.exchange(
                request.method, str(request.url), request.headers, content, read_seconds=read_seconds
            )
        except Unreachable:
            raise httpx.ConnectError("connection refused", request=request) from None
        except NoAnswer:
            raise httpx.ReadTimeout("no answer", request=request) from None
        except BrokenOff as broken:
            answer = broken.answer
            return httpx.Response(answer.status, headers=_headers(answer), stream=_Half(answer.content))
        return httpx.Response(
            answer.status, headers=_headers(answer), stream=httpx.ByteStream(answer.content)
        )
