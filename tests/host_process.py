"""Runs the local host as a process: the worker library holds one app per process."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx
import openapi

APPS = Path(__file__).parent / "functions_host" / "apps"
DEADLINE_SECONDS = 30.0
FUNCTION_KEY, MASTER_KEY = "the-function-key", "the-master-key"


def with_leases_of(seconds: float) -> tuple[str, str]:
    """Return a program for `run_host`: the same host, in which a claim ends this soon."""
    source = f"""
import sys
from datetime import timedelta
from contraforce_sentinel.domain import links
from functions_host.__main__ import main

links.LEASE = timedelta(seconds={seconds})
links.CLOCKS_APART = links.LONGEST_EFFECT = links.LEASE / 10
sys.exit(main())
"""
    return "-c", source


def wait_until[T](look: Callable[[], T], *, what: str) -> T:
    """Poll until something truthy is seen, and give it."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while time.monotonic() < deadline:
        if seen := look():
            return seen
        time.sleep(0.02)
    raise AssertionError(f"waited {DEADLINE_SECONDS} s in vain for {what}")


@dataclass(frozen=True, kw_only=True)
class HostProcess:
    """A host under test; its functions write into ``directory``."""

    process: subprocess.Popen[bytes]
    directory: Path

    @property
    def stdout(self) -> str:
        return (self.directory / "stdout").read_text()

    @property
    def stderr(self) -> str:
        return (self.directory / "stderr").read_text()

    @property
    def base_url(self) -> str:
        """Wait for the ready line."""
        marker = "listening on "

        def look() -> str:
            assert self.process.poll() is None, self.stderr
            lines = self.stdout.splitlines()
            return next((line.removeprefix(marker) for line in lines if line.startswith(marker)), "")

        return wait_until(look, what="the ready line")

    def lines(self, name: str) -> list[str]:
        """Read what a function has written under a name."""
        path = self.directory / name
        return path.read_text().splitlines() if path.exists() else []

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(DEADLINE_SECONDS)

    def exit_code(self) -> int:
        return self.process.wait(DEADLINE_SECONDS)


@contextlib.contextmanager
def run_host(
    app: Path,
    directory: Path,
    *,
    settings: dict[str, str] | None = None,
    port: int = 0,
    program: Sequence[str] = ("-m", "functions_host"),
) -> Iterator[HostProcess]:
    """Start ``python -m functions_host``, every warning an error; ends it with the block."""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "SAMPLE_DIRECTORY": str(directory),
        **(settings or {}),
    }
    command = [sys.executable, "-W", "error", *program, "--app", str(app), "--port", str(port)]
    command += ["--key", FUNCTION_KEY, "--master-key", MASTER_KEY]
    with (
        (directory / "stdout").open("wb") as out,
        (directory / "stderr").open("wb") as err,
        subprocess.Popen(command, stdout=out, stderr=err, env=environment) as process,
    ):
        try:
            yield HostProcess(process=process, directory=directory)
        finally:
            if process.poll() is None:
                process.kill()


def client_of_the_app(base_url: str = "") -> httpx.AsyncClient:
    """Return a client with the function key, to which an undocumented answer is an error."""
    return httpx.AsyncClient(
        base_url=base_url,
        headers={"x-functions-key": FUNCTION_KEY},
        timeout=60,
        trust_env=False,
        event_hooks={"response": [openapi.check_response]},
    )


def run_sample(directory: Path, **settings: str) -> contextlib.AbstractContextManager[HostProcess]:
    """Start the host with the sample app."""
    defaults = {"PYTHON_SCRIPT_FILE_NAME": "sample_app.py", "SAMPLE_SCHEDULE": "0 0 0 1 1 *"}
    return run_host(APPS / "sample", directory, settings={**defaults, **settings})


def write_app(directory: Path, source: str, **files: str) -> Path:
    """Write a function app; a file named ``host_json`` becomes host.json."""
    app = directory / "app"
    app.mkdir()
    (app / "function_app.py").write_text(source)
    for name, content in files.items():
        (app / f"{name.replace('_', '.')}").write_text(content)
    return app
