"""Connections to one remote service: each carries one request at a time, and is kept if that one ended well.

What was cut off half-way is thrown away with its socket. httpcore cannot use such a connection again, never
takes it for idle or expired, and does not close one that was cut in its handshake (1.0.9, `http11.py`: the
states NEW and ACTIVE). So each connection has a client of its own: closing one costs no other request.
How many there are at once is the host's to say (`perInstanceConcurrency` in `infra/app.bicep`): nobody waits
here, because a queue would outlast the outage that made it.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import httpx

from contraforce_sentinel.transport.bodies import read_body
from contraforce_sentinel.transport.ways import Ways

MOST_KEPT: Final = 100
"""As many as deliveries run at once (`perInstanceConcurrency`): a burst finds what the last one left."""

MOST_IDLE: Final = 16
IDLE_SECONDS: Final = 5.0
"""When no burst has come again, most of it is let go: a connection takes some 80 KB."""

_CONNECTING: Final = "connect_tcp.started"
_CONNECTED: Final = "connect_tcp.complete"
_SENDING: Final = "send_request_headers.started"
_OF_CONNECTING: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer, decoded; `body` is None where it is too long or its encoding is broken."""

    status: int
    reason: str
    headers: httpx.Headers
    body: bytes | None

    @property
    def is_success(self) -> bool:
        """Whether the status is a 2xx."""
        return httpx.codes.is_success(self.status)


@dataclass(slots=True)
class Steps:
    """How far a request got, as httpcore tells it; of a transport that tells nothing, nothing is known."""

    is_connecting: bool = False
    """Whether nothing of it can have been sent: a proxy is being asked, or TLS spoken, at the most."""

    sockets: list[Any] = field(default_factory=list)

    async def see(self, name: str, info: Mapping[str, Any]) -> None:
        """Take a step, https://www.encode.io/httpcore/extensions/#trace."""
        if name.endswith(_CONNECTING):
            self.is_connecting = True
        elif name.endswith(_CONNECTED):
            self.sockets.append(info["return_value"])
        elif name.endswith(_SENDING) and info["request"].method != b"CONNECT":
            self.is_connecting = False

    def failure(self, error: httpx.TransportError | OSError) -> httpx.TransportError:
        """Return what a failure is: of connecting as long as nothing can have been sent."""
        name = type(error).__name__
        if self.is_connecting and not isinstance(error, _OF_CONNECTING):
            is_timeout = isinstance(error, httpx.TimeoutException)
            return httpx.ConnectTimeout(name) if is_timeout else httpx.ConnectError(name)
        return error if isinstance(error, httpx.TransportError) else httpx.ReadError(name)


class Connections:
    """Sends requests; `open_client` returns a client of one connection that nobody else uses."""

    def __init__(self, open_client: Callable[[], httpx.AsyncClient]) -> None:
        self._open_client = open_client
        self._kept: list[tuple[httpx.AsyncClient, float]] = []
        self._closing: set[asyncio.Task[None]] = set()
        self._tidying: asyncio.TimerHandle | None = None
        self._is_closed = False

    async def send(
        self, method: str, url: str, *, most_bytes: int, steps: Steps | None = None, **options: Any
    ) -> Answer:
        """Send a request, as `httpx.AsyncClient.request` does, and read its answer.

        Of the kept connections the one that was used last is taken first. Raises `httpx.TransportError`:
        `ConnectError`, `ConnectTimeout` or `ProxyError` if nothing was sent, which `steps` tell who gives up.
        """
        client = self._kept.pop()[0] if self._kept else self._open_client()
        steps = steps or Steps()
        steps.sockets.clear()
        ended_well = False
        try:
            async with client.stream(method, url, extensions={"trace": steps.see}, **options) as response:
                body = await read_body(response, most_bytes)
            ended_well = body is not None and not _has_more(client)
        except httpx.InvalidURL:
            raise httpx.UnsupportedProtocol("not a URL") from None
        except (httpx.TransportError, OSError) as error:  # of TLS, httpcore translates those of handshakes
            failure = steps.failure(error)
            if failure is error:
                raise
            raise failure from error
        finally:
            if ended_well and len(self._kept) < MOST_KEPT and not self._is_closed:
                self._keep(client)
            else:  # shielded: who gives up a second time must not leave a socket behind
                await asyncio.shield(asyncio.ensure_future(_throw_away(client, steps.sockets)))
        return Answer(response.status_code, response.reason_phrase, response.headers, body)

    async def aclose(self) -> None:
        """Close what is kept, and from now on whatever ends; idempotent."""
        self._is_closed = True
        kept, self._kept = self._kept, []
        if self._tidying is not None:
            self._tidying.cancel()
        await asyncio.gather(*(client.aclose() for client, _ in kept), *self._closing)

    def _keep(self, client: httpx.AsyncClient) -> None:
        loop = asyncio.get_running_loop()
        self._kept.append((client, loop.time()))
        if len(self._kept) > MOST_IDLE and self._tidying is None:
            self._tidying = loop.call_later(IDLE_SECONDS, self._let_go)

    def _let_go(self) -> None:
        """Close the connections of a burst that nobody has used again; they were kept in their order."""
        loop = asyncio.get_running_loop()
        while len(self._kept) > MOST_IDLE and self._kept[0][1] <= loop.time() - IDLE_SECONDS:
            closing = loop.create_task(self._kept.pop(0)[0].aclose())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        is_more = len(self._kept) > MOST_IDLE
        self._tidying = loop.call_later(IDLE_SECONDS, self._let_go) if is_more else None


def _has_more(client: httpx.AsyncClient) -> bool:
    """Whether bytes, or an end, follow the answer that was read: the next request would take them for its.

    httpcore does not look (1.0.9); it keeps what h11 has read in a buffer that no public name leads to.
    """
    ways: Any = client._transport  # noqa: SLF001 - a test holds the names
    for found in ways.connections() if isinstance(ways, Ways) else []:
        connection = found
        while not hasattr(connection, "_h11_state"):
            connection = connection._connection  # noqa: SLF001
        if connection._h11_state.trailing_data != (b"", False):  # noqa: SLF001
            return True
    return False


async def _throw_away(client: httpx.AsyncClient, sockets: list[Any]) -> None:
    """Close a client, and the sockets of a handshake that it lost sight of."""
    await asyncio.gather(*(socket.aclose() for socket in sockets), return_exceptions=True)
    await client.aclose()
