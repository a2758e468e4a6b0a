"""`contraforce-sentinel demo`: incidents of three customers get their tickets; every claim is checked.

Starts the sandbox here and the product in a process of its own, and calls it over HTTP as the playbook does.
Exits with 0 if every observation was as expected, with 1 if not or if the product does not start, with 130
after Ctrl-C.
"""

import asyncio
import os
import secrets
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple

import httpx
from rich.console import Console

from operators_tool.demo.playbook import Playbook
from operators_tool.demo.report import Stopwatch, open_console, run_steps, show_failure, show_summary
from operators_tool.demo.steps import Demo
from operators_tool.terminal import interrupt_at_signals
from sandbox import Sandbox

_PACKAGED: Final = Path(__file__).parent / "app"
ROOT: Final = _PACKAGED if _PACKAGED.exists() else Path(__file__).resolve().parents[3]
"""Where function_app.py is: in an installed package beside this module, else at the top of the repository."""

READY: Final = "listening on "
START_SECONDS: Final = 60
STOP_SECONDS: Final = 5
ANSWER_SECONDS: Final = 90  # what the product promises its callers
INHERITED: Final = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH")
HEADER: Final = """\
Sentinel incidents of three customers come in; each gets one comment that names its service-desk ticket.
Real: the app, Azure's Python worker and SDKs, HTTP, TLS. Stood in for: Azure, its host, ContraForce."""


class AppDidNotStart(Exception):
    """The product's process ended, or was silent for too long, before it listened."""


class Keys(NamedTuple):
    """The keys of the host: for its functions, and for its admin endpoint."""

    function: str
    master: str


def main() -> int:
    """Run the demo on this terminal; gives the exit code."""
    console = open_console()
    interrupt_at_signals()  # so that nothing is left behind
    try:
        return asyncio.run(run_demo(console))
    except KeyboardInterrupt:
        console.print("\nInterrupted; the app is stopped.")
        return 130


async def run_demo(console: Console, *, directory: Path = ROOT) -> int:
    """Show every step on the app in `directory`; gives the exit code."""
    watch = Stopwatch()
    console.print(HEADER)
    async with AsyncExitStack() as stack:
        files = Path(stack.enter_context(TemporaryDirectory(prefix="contraforce-demo-")))
        sandbox = await stack.enter_async_context(Sandbox.start())
        demo = Demo(sandbox, store_file=files / "links.db")
        log, keys = files / "host.log", Keys(secrets.token_hex(24), secrets.token_hex(24))
        try:
            with console.status("starting the app"):
                url, process_id = await stack.enter_async_context(
                    _run_app(directory, keys, demo.settings, log)
                )
        except AppDidNotStart as error:
            show_failure(console, f"The app did not start: {error}.", log)
            return 1
        http = httpx.AsyncClient(
            base_url=url, headers={"x-functions-key": keys.function}, timeout=ANSWER_SECONDS, trust_env=False
        )
        playbook = Playbook(await stack.enter_async_context(http), sandbox, master_key=keys.master)
        console.print(f"The app is at {url} (process {process_id}). Comments: as stored, line breaks added.")
        results = await run_steps(demo.steps(playbook), console)
        if failed := show_summary(results, console, seconds=watch.seconds):
            show_failure(console, f"{failed} of {len(results)} steps failed.", log)
    return 1 if failed else 0


@asynccontextmanager
async def _run_app(
    directory: Path, keys: Keys, settings: Mapping[str, str], log: Path
) -> AsyncIterator[tuple[str, int]]:
    """Serve the app until the block ends; gives its URL and process id. Raises `AppDidNotStart`."""
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    command = [sys.executable, "-m", "functions_host", "--app", str(directory), "--port", "0"]
    command += ["--key", keys.function, "--master-key", keys.master]
    with log.open("wb") as stderr:
        # In a session of its own, so that Ctrl-C comes to us alone and the app is stopped in order.
        process = await asyncio.create_subprocess_exec(
            *command, env={**environment, **settings}, stdout=PIPE, stderr=stderr, start_new_session=True
        )
    try:
        yield await _ready_url(process), process.pid
    finally:
        await _stop(process)


async def _ready_url(process: Process) -> str:
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    try:
        async with asyncio.timeout(START_SECONDS):
            async for line in process.stdout:
                if (text := line.decode(errors="replace").strip()).startswith(READY):
                    return text.removeprefix(READY)
            raise AppDidNotStart(f"its process ended with exit code {await process.wait()}")
    except TimeoutError:
        raise AppDidNotStart(f"it did not listen within {START_SECONDS} s") from None


async def _stop(process: Process) -> None:
    """End the process, by force if it does not end by itself or if we are interrupted once more."""
    try:
        with suppress(ProcessLookupError, TimeoutError):
            process.terminate()
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
