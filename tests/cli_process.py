"""Runs the operators' tool as its users do: a process, output piped, against a sandbox of this process.

`run` starts Python anew for it. `warm=True` is the same in a twentieth of the time (see `warm_start.py`), for
the many tests that are not about how the tool starts.
"""

import asyncio
import atexit
import json
import os
import signal
import socket
import subprocess
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Protocol

from host_process import DEADLINE_SECONDS
from warm_start import NUMBER

from sandbox import Sandbox

PROGRAM = ("-m", "operators_tool")
_TERMINAL = {"FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR", "COLUMNS"}
_OURS = ("CONTRAFORCE_", "LINK_", "TICKET_URL_", "WORKSPACES", "IDENTITY_", "SSL_", "AZURE_", "ARM_")


class Command(Protocol):
    """A process of the tool."""

    @property
    def returncode(self) -> int | None: ...
    def send_signal(self, signal: int, /) -> None: ...
    def kill(self) -> None: ...
    async def wait(self) -> int: ...
    async def communicate(self) -> tuple[bytes, bytes]: ...


@dataclass(frozen=True)
class Done:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def environment(sandbox: Sandbox | None, **more: str) -> dict[str, str]:
    """Return the environment of an operator's shell, without this process's own settings."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in _TERMINAL and not name.startswith(_OURS)
    }
    found = sandbox.environment() if sandbox else {}
    path = os.pathsep.join(part for part in sys.path if part)
    return {**inherited, "PYTHONPATH": path, **found, **more}


@cache
def _warm() -> socket.socket:
    """Start what runs warm commands, once for this process; it ends with it."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(
        [sys.executable, "-W", "error", Path(__file__).with_name("warm_start.py"), str(theirs.fileno())],
        env=environment(None),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        pass_fds=[theirs.fileno()],
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait(DEADLINE_SECONDS)

    atexit.register(end)
    return ours


class WarmCommand:
    """A process of the tool that imports nothing."""

    def __init__(
        self, streams: Sequence[asyncio.StreamReader], closing: Sequence[asyncio.BaseTransport]
    ) -> None:
        self._out, self._err, self._told = streams
        self._closing = closing
        self._process = 0
        self.returncode: int | None = None

    @classmethod
    async def start(cls, *arguments: str, env: Mapping[str, str], source: str | None = None) -> "WarmCommand":
        order = {"arguments": arguments, "environment": dict(env), "source": source}
        content = json.dumps(order).encode()
        pairs = [os.pipe(), os.pipe(), os.pipe()]
        theirs = [write for _, write in pairs]
        socket.send_fds(_warm(), [NUMBER.pack(len(content))], theirs)
        _warm().sendall(content)
        for number in theirs:
            os.close(number)
        streams, closing = [], []
        for read, _ in pairs:
            stream = asyncio.StreamReader()
            protocol = partial(asyncio.StreamReaderProtocol, stream)
            transport, _ = await asyncio.get_running_loop().connect_read_pipe(protocol, os.fdopen(read, "rb"))
            streams.append(stream)
            closing.append(transport)
        started = cls(streams, closing)
        started._process = await started._read_number()
        return started

    async def _read_number(self) -> int:
        found: int = NUMBER.unpack(await self._told.readexactly(NUMBER.size))[0]
        return found

    def send_signal(self, signal: int, /) -> None:
        os.kill(self._process, signal)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        if self.returncode is None:
            self.returncode = await self._read_number()
            for transport in self._closing:
                transport.close()
        return self.returncode

    async def communicate(self) -> tuple[bytes, bytes]:
        out, err = await asyncio.gather(self._out.read(), self._err.read())
        await self.wait()
        return out, err


@asynccontextmanager
async def running(
    *arguments: str, env: Mapping[str, str], source: str | None = None, warm: bool = False
) -> AsyncIterator[Command]:
    """Start the tool, every warning an error; ends it with the block.

    A source is a program that runs the tool in its own way.
    """
    process: Command
    if warm and sys.platform == "linux":  # elsewhere, what is imported may not survive a fork
        process = await WarmCommand.start(*arguments, env=env, source=source)
    else:
        program = PROGRAM if source is None else ("-c", source)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-W", "error", *program, *arguments,
            env=env, stdin=DEVNULL, stdout=PIPE, stderr=PIPE,
        )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def finish(process: Command) -> Done:
    """Wait for a process's end and read what is left of its output."""
    async with asyncio.timeout(DEADLINE_SECONDS * 20):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


async def run(*arguments: str, env: Mapping[str, str], source: str | None = None, warm: bool = False) -> Done:
    """Run the tool to its end."""
    async with running(*arguments, env=env, source=source, warm=warm) as process:
        return await finish(process)


async def interrupt(process: Command, number: signal.Signals = signal.SIGINT) -> Done:
    """Send a signal, and wait for the end."""
    process.send_signal(number)
    return await finish(process)


async def until(look: Any, *, what: str) -> None:
    """Wait, on this loop, until something is so."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS * 10):
            while not look():  # noqa: ASYNC110 - files and logs have no event
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"waited in vain for {what}") from None
