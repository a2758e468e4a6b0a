"""The app as a process of its own, in the local host, and what it holds of memory."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.children import NO_PROXY, ChildFailed
from bench.size import MEGABYTE

ROOT: Final = Path(__file__).resolve().parents[3]
FUNCTION_KEY, MASTER_KEY = "flood-function-key", "flood-master-key"
STOP_SECONDS: Final = 40
_READY: Final = "listening on "


@dataclass(frozen=True, slots=True)
class AppProcess:
    """A host that serves the app."""

    process: asyncio.subprocess.Process
    base_url: str

    @property
    def is_running(self) -> bool:
        """Whether the process is there."""
        return self.process.returncode is None

    def memory(self) -> tuple[float, float]:
        """Return the memory in MB, now and at its highest. Raises `ChildFailed` if the process has ended."""
        if not self.is_running:
            raise ChildFailed(f"the app ended with exit code {self.process.returncode}")
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        fields = dict(line.split(":", 1) for line in lines)
        now, peak = (int(fields[name].split()[0]) * 1024 / MEGABYTE for name in ("VmRSS", "VmHWM"))
        return now, peak


@asynccontextmanager
async def serve_app(folder: Path, settings: Mapping[str, str]) -> AsyncIterator[AppProcess]:
    """Run the local host until the block ends; its log goes to `folder`."""
    keys = ("--key", FUNCTION_KEY, "--master-key", MASTER_KEY)
    command = (sys.executable, "-m", "functions_host", "--app", str(ROOT), "--port", "0", *keys)
    with (folder / "app.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, env={**os.environ, **NO_PROXY, **settings}, stdout=asyncio.subprocess.PIPE, stderr=log
        )
        try:
            yield AppProcess(process, await _address(process))
        finally:
            if process.returncode is None:
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()


async def _address(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None  # noqa: S101 - it is a pipe
    async for line in process.stdout:
        if line.decode().startswith(_READY):
            return line.decode().removeprefix(_READY).strip()
    raise ChildFailed(f"the app ended with exit code {await process.wait()} before it listened")
