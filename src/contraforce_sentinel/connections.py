"""Keep-alive connections to one remote service, for httpx: cheap, however many there are.

httpcore's own pool looks at every connection for every connection, with each request (`connection_pool.py`,
`_assign_requests_to_connections`): with 100 of them a request costs more than a TLS handshake. So each
connection has a client of its own here, and the one that was used last is used first.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final

import httpx

MAX_CONNECTIONS: Final = 100
_ONE: Final = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=60.0)
POOL_SECONDS: Final = 15.0
"""How long a request waits for a connection; less than the time that a delivery has for its calls."""


def open_client(
    *, tls: ssl.SSLContext, timeout: httpx.Timeout, auth: httpx.Auth | None = None
) -> httpx.AsyncClient:
    """Return a client of one connection, which follows no redirect and keeps no cookie."""
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    return httpx.AsyncClient(auth=auth, verify=tls, timeout=timeout, limits=_ONE, cookies=no_cookies)


class Connections:
    """At most `MAX_CONNECTIONS` clients, each opened when no other is free.

    `open_client` returns a client that nobody else uses. Create it in a running event loop.
    """

    def __init__(self, open_client: Callable[[], httpx.AsyncClient]) -> None:
        self._open_client = open_client
        self._places = asyncio.Semaphore(MAX_CONNECTIONS)
        self._free: list[httpx.AsyncClient] = []
        self._all: list[httpx.AsyncClient] = []

    @asynccontextmanager
    async def stream(self, method: str, url: str, **options: Any) -> AsyncIterator[httpx.Response]:
        """Send a request as `httpx.AsyncClient.stream` does. Raises `httpx.PoolTimeout` if none is free."""
        try:
            async with asyncio.timeout(POOL_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise httpx.PoolTimeout("every connection is in use") from None
        client: httpx.AsyncClient | None = None
        try:
            client = self._free.pop() if self._free else self._opened()
            async with client.stream(method, url, **options) as response:
                yield response
        finally:
            if client is not None:
                self._free.append(client)
            self._places.release()

    async def aclose(self) -> None:
        """Close every connection; idempotent."""
        await asyncio.gather(*(client.aclose() for client in self._all))

    def _opened(self) -> httpx.AsyncClient:
        client = self._open_client()
        self._all.append(client)
        return client
