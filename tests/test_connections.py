"""Connections: one client each, kept only after a request that ended well, whatever cut the others off."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import httpx
import pytest
from anyio.streams.tls import TLSStream
from deployed import snapshot

from contraforce_sentinel.transport import connections
from contraforce_sentinel.transport.connections import Connections
from contraforce_sentinel.transport.network import Network
from contraforce_sentinel.transport.ways import open_client
from sandbox import Sandbox, faults
from sandbox.faults import Fault


class Opener:
    """Opens clients, and remembers them, their sockets, and every step that httpcore names."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.clients: list[httpx.AsyncClient] = []
        self.sockets: list[Any] = []
        self.steps: list[str] = []
        self.cut_at = ""
        self._network = Network(tls=sandbox.client_context())

    def __call__(self) -> httpx.AsyncClient:
        client = open_client(network=self._network, timeout=httpx.Timeout(5))
        build = client.build_request

        def build_request(*args: Any, extensions: Any, **options: Any) -> httpx.Request:
            inner = extensions["trace"]

            async def trace(name: str, info: Mapping[str, Any]) -> None:
                await inner(name, info)
                self._see(name, info)

            return build(*args, extensions={"trace": trace}, **options)

        client.build_request = build_request  # type: ignore[method-assign, assignment]
        self.clients.append(client)
        return client

    def _see(self, name: str, info: Mapping[str, Any]) -> None:
        self.steps.append(name)
        if name.endswith("connect_tcp.complete"):
            self.sockets.append(info["return_value"].get_extra_info("socket"))
        if name == self.cut_at:
            self.cut_at = ""
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

    def all_are_closed(self) -> bool:
        return all(client.is_closed for client in self.clients) and self.sockets_are_closed()

    def sockets_are_closed(self) -> bool:
        return all(socket.fileno() == -1 for socket in self.sockets)


@pytest.fixture
async def opener(sandbox: Sandbox) -> Opener:
    return Opener(sandbox)


@pytest.fixture
async def opened(opener: Opener) -> AsyncIterator[Connections]:
    found = Connections(opener)
    yield found
    await found.aclose()
    assert opener.all_are_closed()


async def ask(opened: Connections, url: str, *, most_bytes: int = 10_000) -> int:
    answer = await opened.send("GET", url, most_bytes=most_bytes)
    return answer.status


async def test_requests_in_turn_share_one_connection(
    sandbox: Sandbox, opener: Opener, opened: Connections
) -> None:
    for _ in range(3):
        assert await ask(opened, sandbox.arm.base_url) == 404
    assert (len(opener.clients), len(opener.sockets)) == (1, 1)


async def test_requests_at_once_have_a_connection_each_and_some_are_kept(
    sandbox: Sandbox, opener: Opener, opened: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_KEPT", 3)
    sandbox.arm.latency_seconds = 0.05
    assert await asyncio.gather(*(ask(opened, sandbox.arm.base_url) for _ in range(12))) == [404] * 12
    assert len(opener.clients) == 12
    assert sum(not client.is_closed for client in opener.clients) == 3


async def test_when_no_burst_comes_again_most_of_its_connections_are_let_go(
    sandbox: Sandbox, opener: Opener, opened: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_IDLE", 2)
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.2)
    sandbox.arm.latency_seconds = 0.05

    def open_ones() -> int:
        return sum(not client.is_closed for client in opener.clients)

    for _ in range(2):  # a burst that comes at once finds them all
        await asyncio.gather(*(ask(opened, sandbox.arm.base_url) for _ in range(12)))
    assert (len(opener.clients), open_ones()) == (12, 12)
    await asyncio.sleep(1)
    assert open_ones() == 2
    await ask(opened, sandbox.arm.base_url)
    assert len(opener.clients) == 12


def test_as_many_are_kept_as_the_host_lets_deliveries_run_at_once() -> None:
    app = snapshot("defaults").one("Microsoft.Web/sites").properties["functionAppConfig"]
    assert app["scaleAndConcurrency"]["triggers"]["http"]["perInstanceConcurrency"] == connections.MOST_KEPT


async def test_promise_h_a_request_that_is_cut_at_any_step_leaves_nothing_that_is_used_again(
    sandbox: Sandbox, opener: Opener, opened: Connections
) -> None:
    """As a deadline does; httpcore itself would never use nor close what was cut in a handshake."""
    await ask(opened, sandbox.arm.base_url)
    *steps, end = dict.fromkeys(opener.steps)
    assert {"connection.start_tls.complete", "http11.receive_response_headers.complete"} < {*steps}
    assert end == "http11.response_closed.complete"  # after it, nothing can be cut any more
    for step in steps:
        once = Connections(opener)
        opener.cut_at = step
        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(ask(once, sandbox.arm.base_url))
        assert once._kept == [], step
        cut = opener.clients[-1]
        assert cut.is_closed, step
        async with asyncio.timeout(10):
            assert await ask(once, sandbox.arm.base_url) == 404, step
        assert opener.clients[-1] is not cut
        await once.aclose()
        assert all(socket.fileno() == -1 for socket in opener.sockets[1:]), step


async def test_who_gives_up_twice_leaves_no_socket_either(
    sandbox: Sandbox, opener: Opener, opened: Connections
) -> None:
    opener.cut_at = "connection.start_tls.started"
    task = asyncio.create_task(ask(opened, sandbox.arm.base_url))
    while opener.cut_at or not opener.sockets:  # noqa: ASYNC110 - httpcore's steps have no event
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.05)
    assert opener.all_are_closed()


async def test_promise_h_a_request_that_failed_or_was_given_up_is_not_followed_on_its_connection(
    sandbox: Sandbox, opener: Opener, opened: Connections
) -> None:
    sandbox.faults.plan("unknown", faults.reset("before"), faults.reset("mid-body"), faults.hang())
    for _ in range(2):
        with pytest.raises(httpx.TransportError):
            await ask(opened, sandbox.arm.base_url)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await ask(opened, sandbox.arm.base_url)
    assert opener.all_are_closed()
    assert await ask(opened, sandbox.arm.base_url) == 404
    assert len(opener.clients) == 4


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=200, body=b"x" * 10_001),
        Fault(status=200, body=b"no gzip", headers={"Content-Encoding": "gzip"}),
    ],
    ids=["too long", "broken encoding"],
)
async def test_an_answer_that_is_not_read_to_its_end_has_no_body_and_its_connection_is_thrown_away(
    sandbox: Sandbox, opener: Opener, opened: Connections, fault: Fault
) -> None:
    sandbox.faults.plan("unknown", fault)
    answer = await opened.send("GET", sandbox.arm.base_url, most_bytes=10_000)
    assert (answer.status, answer.body) == (200, None)
    assert opener.all_are_closed()


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@pytest.mark.parametrize(
    "first",
    [OK + OK, b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\n{}", OK + b"\r\n\r\n"],
    ids=["a second answer", "a body where none belongs", "empty lines"],
)
async def test_promise_f_what_follows_an_answer_is_never_taken_for_the_next_ones_answer(
    sandbox: Sandbox, opener: Opener, opened: Connections, first: bytes
) -> None:
    """Else one customer's incident would get the ticket that was meant for another's."""
    context, served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), 0
    sandbox.ca.issue_cert("localhost").configure_cert(context)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            served += 1
            writer.write(first if served == 1 else OK)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    url = f"https://localhost:{server.sockets[0].getsockname()[1]}"
    for _ in range(3):
        assert await ask(opened, url) in {200, 204}
    assert (served, len(opener.sockets)) == (3, 2)
    assert opener.clients[0].is_closed
    await opened.aclose()
    server.close()


async def test_a_broken_record_of_tls_is_an_answer_that_did_not_come(
    sandbox: Sandbox, opener: Opener, opened: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Httpcore translates errors of TLS in handshakes only."""

    async def broken(*_: Any, **__: Any) -> bytes:
        raise ssl.SSLError(1, "DECRYPTION_FAILED_OR_BAD_RECORD_MAC")

    monkeypatch.setattr(TLSStream, "receive", broken)
    with pytest.raises(httpx.ReadError):
        await ask(opened, sandbox.arm.base_url)
    assert opener.all_are_closed()


async def test_no_connection_is_kept_where_there_is_nobody(opener: Opener, opened: Connections) -> None:
    with pytest.raises(httpx.ConnectError):
        await ask(opened, "https://localhost:1")
    assert opener.all_are_closed()


async def test_what_is_under_way_when_all_is_closed_ends_and_is_closed_then(
    sandbox: Sandbox, opener: Opener, opened: Connections
) -> None:
    sandbox.arm.latency_seconds = 0.05
    task = asyncio.create_task(ask(opened, sandbox.arm.base_url))
    await asyncio.sleep(0.02)
    await opened.aclose()
    assert await task == 404
    assert opener.all_are_closed()


async def test_no_cookie_is_kept_and_no_redirect_followed(sandbox: Sandbox, opened: Connections) -> None:
    headers = {"Set-Cookie": "affinity=x; Path=/", "Location": f"{sandbox.arm.base_url}/elsewhere"}
    sandbox.faults.plan("unknown", Fault(status=307, headers=headers), times=2)
    assert [await ask(opened, sandbox.arm.base_url) for _ in range(2)] == [307, 307]
    assert ["Cookie" in request.headers for request in sandbox.log.all] == [False, False]
