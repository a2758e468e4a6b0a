"""The size of an answer is limited while it is decoded, whoever sends it; and what never ends is given up."""

import asyncio
import gzip
import json
import tracemalloc
import zlib
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import httpx
import pytest
from conftest import App

from contraforce_sentinel.azure import identity
from contraforce_sentinel.bootstrap import close_app
from contraforce_sentinel.contraforce import client as contraforce
from contraforce_sentinel.domain.inputs import MOST_CONTAINERS
from contraforce_sentinel.transport import retries
from contraforce_sentinel.transport.bodies import STEP_BYTES, read_body
from contraforce_sentinel.transport.connections import Connections
from contraforce_sentinel.transport.network import Network
from contraforce_sentinel.transport.ways import open_client
from sandbox import Operation, Sandbox, faults
from sandbox.faults import Fault

MIB = 2**20
ENDED: dict[Operation, tuple[int, str]] = {
    "contraforce.link": (422, "contraforce-malformed"),
    "arm.workspace": (202, "resource-manager-unavailable"),
    "arm.comment.put": (202, "sentinel-unavailable"),
    "identity.token": (202, "identity-unavailable"),
}
"""How a delivery ends whose answer of an operation cannot be read."""


@pytest.fixture
async def opened(sandbox: Sandbox) -> AsyncIterator[Connections]:
    network, timeout = Network(tls=sandbox.client_context()), httpx.Timeout(5)
    found = Connections(lambda: open_client(network=network, timeout=timeout))
    yield found
    await found.aclose()


@cache
def bomb(layers: int) -> Fault:
    return faults.bomb(32, layers=layers)


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize("operation", ENDED)
@pytest.mark.parametrize("layers", [1, 2])
async def test_a_small_answer_that_stands_for_a_large_one_is_never_unpacked(
    app: App, operation: Operation, layers: int
) -> None:
    """Compressed twice, 2.6 KB were 3 GB, and seconds in which nothing else ran."""
    await app.post(app.workspace.add_incident())  # imports what there is to import
    await close_app()  # and with it the token
    app.sandbox.faults.plan(operation, bomb(layers), times=None)
    answer = await app.post(app.workspace.add_incident())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (answer.status, answer.json["reason"]) == ENDED[operation]
    assert peak < 8 * contraforce.MAX_ANSWER_BYTES


@pytest.mark.parametrize(
    "named",
    [["gzip"], ["GZIP"], ["x-gzip"], ["identity, gzip"], ["gzip", "identity"], [" gzip ,"]],
    ids=str,
)
async def test_one_encoding_is_read(named: list[str]) -> None:
    assert await read_body(response(gzip.compress(b"{}"), named), 10) == b"{}"


@pytest.mark.parametrize(
    "named",
    [["gzip, gzip"], ["gzip", "gzip"], ["deflate"], ["br"], ["zstd"], ["compress"], ["gzip, deflate"], ["a"]],
    ids=str,
)
async def test_any_other_encoding_cannot_be_read(named: list[str]) -> None:
    body = b"{}"
    for _ in range(str(named).count("gzip")):
        body = gzip.compress(body)
    assert await read_body(response(body, named), 1000) is None


@pytest.mark.parametrize(
    "body",
    [
        gzip.compress(b"{}")[:-1],
        gzip.compress(b"{}")[:4],
        gzip.compress(b"{}") + b"x",
        gzip.compress(b"{}") * 2,
        zlib.compress(b"{}"),
        b"{}",
    ],
    ids=["cut off", "cut off in its head", "more behind it", "twice", "of zlib", "not compressed"],
)
async def test_what_is_not_one_whole_gzip_cannot_be_read(body: bytes) -> None:
    assert await read_body(response(body, ["gzip"]), 1000) is None
    in_bytes = response([bytes([byte]) for byte in body], ["gzip"])
    assert await read_body(in_bytes, 1000) is None


async def test_an_empty_answer_may_say_that_it_is_compressed() -> None:
    assert await read_body(response(b"", ["gzip"]), 10) == b""


@pytest.mark.parametrize("size", [0, 1, STEP_BYTES - 1, STEP_BYTES, STEP_BYTES + 1, 3 * STEP_BYTES])
async def test_a_body_of_any_size_is_read_whole_up_to_the_limit(size: int) -> None:
    body = b" " * size
    for packed, named in ((body, ["identity"]), (gzip.compress(body), ["gzip"])):
        assert await read_body(response(packed, named), size) == body
        if size:
            assert await read_body(response(packed, named), size - 1) is None


@pytest.mark.parametrize("bracket", [b"[", b"{"])
async def test_an_answer_of_too_many_objects_and_lists_cannot_be_read(bracket: bytes) -> None:
    """Nobody takes it for JSON afterwards: a MiB of brackets would be thirty of memory."""
    for body in (bracket * MOST_CONTAINERS, bracket * (MOST_CONTAINERS + 1)):
        expected = body if len(body) <= MOST_CONTAINERS else None
        assert await read_body(response(body, []), MIB) == expected
        assert await read_body(response(gzip.compress(body), ["gzip"]), MIB) == expected


@pytest.mark.usefixtures("no_backoff")
async def test_an_answer_of_azure_that_a_delivery_waits_for_is_read_up_to_1_mib(app: App) -> None:
    """A hundred deliveries may wait at once."""
    answer = json.dumps(app.workspace.to_rest()).encode()
    incident = app.workspace.add_incident()
    for size, status in ((MIB + 1, 202), (MIB, 200)):
        app.sandbox.faults.clear()
        app.sandbox.faults.plan("arm.workspace", Fault(status=200, body=answer.ljust(size)), times=None)
        assert (await app.post(incident)).status == status


async def test_others_run_between_the_steps_of_a_large_answer() -> None:
    """32 MiB are 32 KB on the wire: one chunk."""
    packed = gzip.compress(b" " * 32 * MIB)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    other = asyncio.create_task(count())
    assert len(await read_body(response(packed, ["gzip"]), 32 * MIB) or b"") == 32 * MIB
    other.cancel()
    assert turns >= 32 * MIB / STEP_BYTES


async def test_requests_ask_for_the_encoding_that_is_read(sandbox: Sandbox, opened: Connections) -> None:
    await opened.send("GET", sandbox.arm.base_url, most_bytes=1000)
    assert sandbox.log.all[0].headers["Accept-Encoding"] == "gzip"


async def test_headers_without_an_end_are_not_collected(sandbox: Sandbox, opened: Connections) -> None:
    sandbox.faults.plan("unknown", faults.endless("headers"))
    with pytest.raises(httpx.RemoteProtocolError):
        await opened.send("GET", sandbox.arm.base_url, most_bytes=1000)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("operation", "what"),
    [
        ("identity.token", "headers"),
        ("arm.workspace", "hints"),
        ("contraforce.link", "body"),
        ("arm.comment.put", "body"),
    ],
)
async def test_an_answer_without_an_end_takes_no_longer_than_one_that_does_not_come(
    app: App, operation: Operation, what: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each byte comes in time, so no read times out: the delivery's time ends it."""
    monkeypatch.setattr(retries, "DEADLINE_SECONDS", 0.5)
    monkeypatch.setattr(identity, "_TOKEN_SECONDS", 0.3)
    app.sandbox.faults.plan(operation, faults.endless(what), times=None)
    async with asyncio.timeout(10):
        assert (await app.post(app.workspace.add_incident())).status == 202


def response(body: bytes | list[bytes], encodings: list[str]) -> httpx.Response:
    """Return an answer that was not read yet."""

    async def chunks() -> AsyncIterator[bytes]:
        for chunk in [body] if isinstance(body, bytes) else body:
            yield chunk

    headers = [("Content-Encoding", one) for one in encodings]
    return httpx.Response(200, headers=headers, content=chunks())
