"""Clients of httpx: the way of a request, directly or through a proxy, is chosen by its URL."""

import ssl
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, Final

import httpcore
import httpx

from contraforce_sentinel.transport.bodies import ACCEPTED
from contraforce_sentinel.transport.failures import NetworkRefused
from contraforce_sentinel.transport.network import Network
from contraforce_sentinel.transport.proxies import Proxy

_ONE: Final = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=60.0)


class Ways(httpx.AsyncBaseTransport):
    """The ways to a URL, directly or through the proxy that is meant for it: of each way one connection."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._ways: dict[str, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request on its way."""
        try:
            way = self._way(str(request.url))
        except NetworkRefused as error:
            raise httpx.ConnectError(str(error)) from error
        except OSError as error:  # of the certificates of the package certifi
            raise httpx.ConnectError(type(error).__name__) from error
        except ValueError:  # of a port that is none, which httpx lets pass
            raise httpx.UnsupportedProtocol("not a URL") from None
        return await way.handle_async_request(request)

    def _way(self, url: str) -> httpx.AsyncHTTPTransport:
        proxy, tls = self._network.proxy_for(url), self._network.tls
        key = proxy.url if proxy else ""
        if key not in self._ways:
            way = httpx.AsyncHTTPTransport(
                verify=tls,
                trust_env=False,
                limits=_ONE,
                proxy=None if proxy is None else _understood(proxy, tls),
            )
            pool: Any = _Wordless(way._pool)  # noqa: SLF001 - a test holds the names
            way._pool = pool  # noqa: SLF001
            self._ways[key] = way
        return self._ways[key]

    def connections(self) -> list[Any]:
        """Return httpcore's connections that are open."""
        pools = [way._pool for way in self._ways.values()]  # noqa: SLF001 - a test holds the names
        return [one for pool in pools for one in pool.connections if not one.is_closed()]

    async def aclose(self) -> None:
        """Close all; idempotent."""
        for way in self._ways.values():
            await way.aclose()


class _Wordless:
    """A pool of httpcore whose errors quote nothing that was sent or answered.

    They would quote a header that is none, and a request's span shows the texts of errors. It ends within
    httpx's transport, so later is too late.
    """

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    @property
    def connections(self) -> list[Any]:
        """Return httpcore's connections."""
        found: list[Any] = self._pool.connections
        return found

    async def handle_async_request(self, request: Any) -> Any:
        """Send a request."""
        try:
            return await self._pool.handle_async_request(request)
        except (httpcore.ProtocolError, httpcore.ProxyError) as error:
            raise type(error)(type(error).__name__) from None

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.aclose()


def _understood(proxy: Proxy, tls: ssl.SSLContext) -> httpx.Proxy:
    """Raises `NetworkRefused`."""
    try:
        found = httpx.Proxy(proxy.url)
    except (httpx.InvalidURL, ValueError):
        raise proxy.refused() from None
    found.ssl_context = tls if found.url.scheme == "https" else None
    return found


def open_client(
    *, network: Network, timeout: httpx.Timeout, auth: httpx.Auth | None = None
) -> httpx.AsyncClient:
    """Return a client of one connection, which follows no redirect and keeps no cookie."""
    no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))
    headers = {"Accept-Encoding": ACCEPTED}
    ways = Ways(network)
    return httpx.AsyncClient(transport=ways, auth=auth, timeout=timeout, headers=headers, cookies=no_cookies)
