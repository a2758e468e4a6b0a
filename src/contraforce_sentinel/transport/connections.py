"""Connections to one remote service: each carries one request at a time, and is kept if that one ended well.

What was cut off half-way is thrown away with its socket. httpcore cannot use such a connection again, never
takes it for idle or expired, and does not close one that was cut in its handshake (1.0.9, `http11.py`: the
states NEW and ACTIVE). So each connection has a client of its own: closing one costs no other request.
How many there are at once is the host's to say (`perInstanceConcurrency` in `infra/app.bicep`): nobody waits
here, because a queue would outlast the outage that made it.
"""

import asyncio
import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final

import httpx

MOST_KEPT: Final = 100
"""As many as deliveries run at once (`perInstanceConcurrency`): a burst finds what the last one left."""

_ONE: Final = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=60.0)
_CONNECTED: Final = "connect_tcp.complete"


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


def open_client(
    *, tls: ssl.SSLContext, timeout: httpx.Timeout, auth: httpx.Auth | None = None
) -> httpx.AsyncClient:
    """Return a client of one connection, which follows no redirect and keeps no cookie."""
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return httpx.AsyncClient(auth=auth, verify=tls, timeout=timeout, limits=_ONE, cookies=no_cookies)


class Connections:
    """Sends requests; `open_client` returns a client of one connection that nobody else uses."""

    def __init__(self, open_client: Callable[[], httpx.AsyncClient]) -> None:
        self._open_client = open_client
        self._kept: list[httpx.AsyncClient] = []
        self._is_closed = False

    async def send(self, method: str, url: str, *, most_bytes: int, **options: Any) -> Answer:
        """Send a request, as `httpx.AsyncClient.request` does, and read its answer.

        Of the kept connections the one that was used last is taken first. Raises `httpx.TransportError`.
        """
        client = self._kept.pop() if self._kept else self._open_client()
        sockets: list[Any] = []

        async def trace(name: str, info: Mapping[str, Any]) -> None:
            if name.endswith(_CONNECTED):
                sockets.append(info["return_value"])

        ended_well = False
        try:
            async with client.stream(method, url, extensions={"trace": trace}, **options) as response:
                body = await _read(response, most_bytes)
            ended_well = body is not None and not _has_more(client)
        except OSError as error:  # TLS on an open connection: httpcore translates it in handshakes only
            raise httpx.ReadError(type(error).__name__) from error
        finally:
            if ended_well and len(self._kept) < MOST_KEPT and not self._is_closed:
                self._kept.append(client)
            else:  # shielded: who gives up a second time must not leave a socket behind
                await asyncio.shield(asyncio.ensure_future(_throw_away(client, sockets)))
        return Answer(response.status_code, response.reason_phrase, response.headers, body)

    async def aclose(self) -> None:
        """Close what is kept, and from now on whatever ends; idempotent."""
        self._is_closed = True
        kept, self._kept = self._kept, []
        await asyncio.gather(*(client.aclose() for client in kept))


def _has_more(client: httpx.AsyncClient) -> bool:
    """Whether bytes, or an end, follow the answer that was read: the next request would take them for its.

    httpcore does not look (1.0.9); it keeps what h11 has read in a buffer that no public name leads to.
    """
    ways: list[Any] = [client._transport, *client._mounts.values()]  # noqa: SLF001 - a test holds the names
    pools = [way._pool for way in ways if hasattr(way, "_pool")]  # noqa: SLF001
    for found in [one for pool in pools for one in pool.connections if not one.is_closed()]:
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


async def _read(response: httpx.Response, most_bytes: int) -> bytes | None:
    body = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > most_bytes:
                return None
    except httpx.DecodingError:
        return None
    return bytes(body)
