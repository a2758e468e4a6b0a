"""What measurements share: the sandbox's process, the two clients, a folder, and a line on what goes on."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.children import Child

type Say = Callable[[str], None]


class Lab:
    """A place to measure; every process ends with the block."""

    def __init__(self, *, upstream: Child, folder: Path, stack: AsyncExitStack, say: Say) -> None:
        self.upstream = upstream
        self.folder = folder
        self.say = say
        self._stack = stack
        self._clients: dict[str, tuple[Child, Child]] = {}

    @classmethod
    @asynccontextmanager
    async def open(cls, *, say: Say) -> AsyncIterator["Lab"]:
        """Start the sandbox in a process of its own."""
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="bench-")))
            upstream = await stack.enter_async_context(Child.start("bench.upstream"))
            yield cls(upstream=upstream, folder=folder, stack=stack, say=say)

    async def environment(self, *, store: str) -> dict[str, str]:
        """Return the app's settings; `store` is a connection string, or a name for a SQLite file."""
        settings: dict[str, str] = await self.upstream.ask("environment")
        return {**settings, "LINK_STORE": store if "=" in store else f"sqlite:///{self.folder}/{store}.db"}

    async def clients(self, store: str) -> tuple[Child, Child]:
        """Return the app and the floor as processes that are warm: always the same for a store."""
        if store not in self._clients:
            environment = await self.environment(store=store)
            app = await self._stack.enter_async_context(
                Child.start("bench.subjects", "app", environment=environment)
            )
            floor = await self._stack.enter_async_context(
                Child.start("bench.subjects", "floor", environment=environment)
            )
            self._clients[store] = (app, floor)
            await self.upstream.ask("latency", seconds=0)
            for client in (app, floor):
                await client.ask("deliver", bodies=await self.bodies(20), at_once=False)
        return self._clients[store]

    async def bodies(self, count: int) -> list[Any]:
        """Return the bodies of so many new incidents; those before are forgotten."""
        await self.upstream.ask("forget")
        found: list[Any] = await self.upstream.ask("incidents", count=count)
        return found
