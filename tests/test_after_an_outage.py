"""Promise (h): after any outage, a delivery is served at once.

In the outage every time limit is a tenth of the real one, or a little more: 2 s for a delivery's calls. Each
upstream stalls new connections in their handshakes until about the moment at which deliveries give up: some
get their connection just before it, some just after, some never.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import pytest
from conftest import App
from stalling_proxy import StallingProxy

from contraforce_sentinel.azure import identity
from contraforce_sentinel.bootstrap import current_app
from contraforce_sentinel.stores import table_calls
from contraforce_sentinel.transport import retries
from contraforce_sentinel.transport.connections import Connections
from contraforce_sentinel.transport.ways import Ways

pytestmark = pytest.mark.slow

UPSTREAMS = ["contraforce", "arm", "identity", "tables"]
DELIVERIES = 60
SLOW_DISK_SECONDS = 8.0
"""Less than a hanging token (10 s) or delivery (20 s) would cost."""
DEADLINES_SECONDS = (2.0, 5.0, 12.0)


@pytest.fixture(params=UPSTREAMS)
async def proxy(
    request: pytest.FixtureRequest, app: App, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[StallingProxy]:
    """Put a proxy between the app and one upstream; the links are in tables where that is the upstream."""
    async with in_front_of(request.param, app, monkeypatch) as started:
        started.upstream = request.param
        yield started


def scale_time(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let the upstreams of a delivery have so many seconds, and the rest in proportion."""
    monkeypatch.setattr(retries, "DEADLINE_SECONDS", seconds)
    monkeypatch.setattr(identity, "_TOKEN_SECONDS", seconds / 2)
    monkeypatch.setattr(table_calls, "_OPERATION_SECONDS", seconds * 3 / 4)


@asynccontextmanager
async def in_front_of(
    upstream: str, app: App, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[StallingProxy]:
    sandbox = app.sandbox
    stand_in: Any = getattr(sandbox, upstream)
    port = urlsplit(stand_in.base_url).port
    assert port is not None
    async with StallingProxy.start(port) as started:
        setting = {
            "contraforce": ("CONTRAFORCE_API_URL", sandbox.contraforce.api_url),
            "arm": ("ARM_ENDPOINT", sandbox.arm.base_url),
            "identity": ("IDENTITY_ENDPOINT", sandbox.identity.endpoint),
            "tables": ("LINK_STORE", sandbox.tables.connection_string),
        }[upstream]
        monkeypatch.setenv(setting[0], setting[1].replace(f":{port}", f":{started.port}"))
        sandbox.arm.audiences |= {f"https://localhost:{started.port}"}
        yield started


def releases_around(seconds: float) -> Callable[[], float]:
    """From 0.975 to 1.025 of the deadline, as 19.5 to 20.5 s of 20."""
    numbers, began = count(), asyncio.get_running_loop().time()
    return lambda: began + seconds * (0.975 + 0.05 * (next(numbers) % DELIVERIES) / DELIVERIES)


async def deliver(app: App, number: int) -> list[str]:
    incidents = [app.workspace.add_incident() for _ in range(number)]
    answers = await asyncio.gather(*(app.post(incident) for incident in incidents))
    return [answer.json["status" if answer.status < 400 else "code"] for answer in answers]


async def test_promise_h_after_an_outage_deliveries_are_linked_at_once_in_the_same_process(
    app: App, proxy: StallingProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    if proxy.upstream != "identity":  # a token that is there would not be asked for
        assert await deliver(app, 2) == ["linked"] * 2
    for seconds in DEADLINES_SECONDS:  # the shortest in which this machine comes as far as the upstream
        scale_time(monkeypatch, seconds)
        proxy.release_at = releases_around(seconds)
        stalled = await deliver(app, DELIVERIES)
        if proxy.stalled:
            break
    assert proxy.stalled
    assert set(stalled) <= {"pending", "store-unavailable", "linked"}
    proxy.release_at = None
    scale_time(monkeypatch, 20.0)  # as it really is: a busy machine takes its time for 60 at once
    bursts = [await seconds_of(app, DELIVERIES) for _ in range(3)]
    assert max(bursts[:2]) < 5 * bursts[2] + SLOW_DISK_SECONDS
    singles = [await seconds_of(app, 1) for _ in range(20)]
    assert max(singles) < 5 * median(singles) + SLOW_DISK_SECONDS
    kept = [client for opened in connections_of(app) for client, _ in opened._kept]
    assert kept
    assert all(has_ended_well(client) for client in kept)


async def test_promise_h_a_delivery_is_served_while_others_still_hang(app: App, proxy: StallingProxy) -> None:
    """What began in the outage may hang to its end; what comes after it waits for none of it."""
    proxy.release_at = lambda: asyncio.get_running_loop().time() + 60
    hanging = asyncio.create_task(deliver(app, 10))
    while not proxy.stalled:  # noqa: ASYNC110 - a socket has no event
        await asyncio.sleep(0.01)
    proxy.release_at = None
    first, later = await seconds_of(app, 10), await seconds_of(app, 10)
    assert first < 5 * later + SLOW_DISK_SECONDS
    assert not hanging.done()
    hanging.cancel()
    await asyncio.wait([hanging])


async def seconds_of(app: App, number: int) -> float:
    """Deliver so many at once, and say how long that takes: each is linked, none is left to the timer."""
    started = time.monotonic()
    assert await deliver(app, number) == ["linked"] * number
    return time.monotonic() - started


def connections_of(app: App) -> list[Connections]:
    running: Any = current_app()
    found = [running.contraforce._connections, running.resource_manager._transport._connections]
    if hasattr(running.store, "_table"):
        found.append(running.store._table._client._client._pipeline._transport._connections)
    return found


def has_ended_well(client: Any) -> bool:
    """Whether a client's only connection waits for its next request, or is closed."""
    ways = client._transport
    assert isinstance(ways, Ways)
    return all(one.is_idle() or one.is_closed() for one in ways.connections())
