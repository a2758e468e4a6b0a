"""Processes that measure: each reads commands from its stdin and answers on its stdout, one JSON a line."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

LINE_BYTES: Final = 256 * 1024 * 1024
STOP_SECONDS: Final = 10
NO_PROXY: Final = {"NO_PROXY": "localhost,127.0.0.1", "no_proxy": "localhost,127.0.0.1"}

type Command = Callable[..., Awaitable[object]]


class ChildFailed(Exception):
    """A child ended, or could not do what it was asked."""


class Child:
    """A process under measurement, as the one who measures sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    @asynccontextmanager
    async def start(
        cls, *arguments: str, environment: Mapping[str, str] | None = None
    ) -> AsyncIterator["Child"]:
        """Run `python -m` with these arguments until the block ends."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", *arguments),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env={**os.environ, **NO_PROXY, **(environment or {})},
            limit=LINE_BYTES,
        )
        try:
            yield cls(process)
        finally:
            if process.stdin is not None:
                process.stdin.close()
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()

    async def ask(self, command: str, **arguments: object) -> Any:
        """Send one command and wait for its answer. Raises `ChildFailed`."""
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        self._process.stdin.write(json.dumps([command, arguments]).encode() + b"\n")
        line = await self._process.stdout.readline()
        if not line:
            raise ChildFailed(f"ended with exit code {await self._process.wait()} over {command}")
        return json.loads(line)


async def answer_commands(**commands: Command) -> None:
    """Be a child: answer commands by name until stdin ends."""
    while line := await asyncio.to_thread(sys.stdin.readline):
        name, arguments = json.loads(line)
        answer = await commands[name](**arguments)
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()
