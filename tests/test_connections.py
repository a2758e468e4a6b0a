"""Connections: one client each, the one that was used last first, never more than the limit."""

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import httpx
import pytest

from contraforce_sentinel import connections
from contraforce_sentinel.connections import Connections, open_client
from sandbox import Sandbox, faults
from sandbox.faults import Fault


class Counted:
    """Opens clients and counts them."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.clients: list[httpx.AsyncClient] = []
        self._open = partial(open_client, tls=sandbox.client_context(), timeout=httpx.Timeout(5))

    def __call__(self) -> httpx.AsyncClient:
        self.clients.append(self._open())
        return self.clients[-1]


@pytest.fixture
async def counted(sandbox: Sandbox) -> Counted:
    return Counted(sandbox)


@pytest.fixture
async def opened(counted: Counted) -> AsyncIterator[Connections]:
    found = Connections(counted)
    yield found
    await found.aclose()
    assert all(client.is_closed for client in counted.clients)


async def ask(opened: Connections, url: str) -> int:
    async with opened.stream("GET", url) as response:
        await response.aread()
        return response.status_code


async def test_requests_in_turn_share_one_connection(
    sandbox: Sandbox, counted: Counted, opened: Connections
) -> None:
    for _ in range(3):
        assert await ask(opened, sandbox.arm.base_url) == 404
    assert len(counted.clients) == 1


async def test_requests_at_once_have_a_connection_each_up_to_the_limit(
    sandbox: Sandbox, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 3)
    sandbox.arm.latency_seconds = 0.02
    opened = Connections(counted)
    assert await asyncio.gather(*(ask(opened, sandbox.arm.base_url) for _ in range(12))) == [404] * 12
    assert len(counted.clients) == 3
    await opened.aclose()


async def test_a_failed_request_gives_its_connection_back(
    sandbox: Sandbox, counted: Counted, opened: Connections
) -> None:
    sandbox.faults.plan("unknown", faults.reset("before"), times=2)
    for _ in range(2):
        with pytest.raises(httpx.ReadError):
            await ask(opened, sandbox.arm.base_url)
    assert await ask(opened, sandbox.arm.base_url) == 404
    assert len(counted.clients) == 1


async def test_a_request_that_is_given_up_gives_its_connection_back(
    sandbox: Sandbox, counted: Counted, opened: Connections
) -> None:
    sandbox.faults.plan("unknown", faults.hang())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await ask(opened, sandbox.arm.base_url)
    assert await ask(opened, sandbox.arm.base_url) == 404
    assert len(counted.clients) == 1


async def test_a_request_for_which_no_connection_becomes_free_was_surely_not_sent(
    sandbox: Sandbox, counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 1)
    monkeypatch.setattr(connections, "POOL_SECONDS", 0.1)
    sandbox.faults.plan("unknown", faults.hang())
    opened = Connections(counted)
    waiting = asyncio.create_task(ask(opened, sandbox.arm.base_url))
    while not sandbox.log.all:  # noqa: ASYNC110 - the sandbox offers no event
        await asyncio.sleep(0.01)
    with pytest.raises(httpx.PoolTimeout):
        await ask(opened, sandbox.arm.base_url)
    assert len(sandbox.log.all) == 1
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await opened.aclose()


async def test_no_cookie_is_kept_and_no_redirect_followed(sandbox: Sandbox, opened: Connections) -> None:
    headers = {"Set-Cookie": "affinity=x; Path=/", "Location": f"{sandbox.arm.base_url}/elsewhere"}
    sandbox.faults.plan("unknown", Fault(status=307, headers=headers), times=2)
    assert [await ask(opened, sandbox.arm.base_url) for _ in range(2)] == [307, 307]
    assert ["Cookie" in request.headers for request in sandbox.log.all] == [False, False]
