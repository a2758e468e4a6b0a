"""Runs the operators' tool as its users do: a process, output piped, against a sandbox of this process."""

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from host_process import DEADLINE_SECONDS

from sandbox import Sandbox

PROGRAM = ("-m", "contraforce_sentinel.cli")
_TERMINAL = {"FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR", "COLUMNS"}
_OURS = ("CONTRAFORCE_", "LINK_", "TICKET_URL_", "WORKSPACES", "IDENTITY_", "SSL_", "AZURE_", "ARM_")


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


@asynccontextmanager
async def running(
    *arguments: str, env: Mapping[str, str], program: Sequence[str] = PROGRAM
) -> AsyncIterator[Process]:
    """Start the tool, every warning an error; ends it with the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-W", "error", *program, *arguments, env=env, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def finish(process: Process) -> Done:
    """Wait for a process's end and read what is left of its output."""
    async with asyncio.timeout(DEADLINE_SECONDS * 20):
        out, err = await process.communicate()
    assert process.returncode is not None
    return Done(process.returncode, out.decode(), err.decode())


async def run(*arguments: str, env: Mapping[str, str], program: Sequence[str] = PROGRAM) -> Done:
    """Run the tool to its end."""
    async with running(*arguments, env=env, program=program) as process:
        return await finish(process)


async def interrupt(process: Process, number: signal.Signals = signal.SIGINT) -> Done:
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
