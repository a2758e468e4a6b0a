"""A way to a service on which new connections stall in their handshakes, each until its moment."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager


class StallingProxy:
    """Passes bytes on; the service's wait until the connection's `release_at()`, on the loop's clock."""

    def __init__(self, target: int) -> None:
        self.release_at: Callable[[], float] | None = None
        self.stalled = 0
        self.upstream = ""
        self.port = 0
        self._target = target

    @classmethod
    @asynccontextmanager
    async def start(cls, target: int) -> AsyncIterator["StallingProxy"]:
        """Listen on a free port of 127.0.0.1, in front of the port `target`, until the block ends."""
        proxy = cls(target)
        async with listening(proxy._serve) as proxy.port:
            yield proxy

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        release_at = self.release_at() if self.release_at is not None else None
        self.stalled += release_at is not None
        service_reader, service_writer = await asyncio.open_connection("127.0.0.1", self._target)
        there = asyncio.ensure_future(pass_on(reader, service_writer))
        try:
            if release_at is not None:
                await asyncio.sleep(release_at - asyncio.get_running_loop().time())
            await pass_on(service_reader, writer)
        finally:
            there.cancel()
            writer.close()
            service_writer.close()


@asynccontextmanager
async def listening(
    serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
    *,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[int]:
    """Serve each connection to a free port of 127.0.0.1, which is given, until the block ends."""
    tasks: set[asyncio.Future[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(serve(reader, writer))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, backlog=512, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy what is read until one side ends."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except ConnectionError:
        return  # one side has hung up
