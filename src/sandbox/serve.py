"""`contraforce-sentinel sandbox`: a set-up to try the operators' commands on, with its environment in a file.

Two customers, some incidents, and a stand-in of `az` that can carry out the command doctor names for a
missing role. Everything listens on loopback, and is gone with the process.
"""

import asyncio
import shlex
import sys
from pathlib import Path
from stat import S_IRWXU
from tempfile import TemporaryDirectory
from typing import Final

from rich.console import Console

from sandbox import Sandbox

INCIDENTS: Final = 3
READY: Final = "The sandbox is up"


async def serve(console: Console, *, env_file: Path, broken: bool) -> None:
    """Serve until cancelled. `env_file` is written once all is up, and removed in the end."""
    with TemporaryDirectory(prefix="contraforce-sandbox-") as directory:
        async with Sandbox.start() as sandbox:
            fill(sandbox, broken=broken)
            _write_az(Path(directory, "az"))
            _write_environment(env_file, sandbox, Path(directory))
            quoted = shlex.quote(str(env_file))
            console.print(f"{READY}. In another terminal:", f"    . {quoted}", sep="\n")
            console.print("    contraforce-sentinel doctor", "Ctrl-C ends it.", sep="\n")
            try:
                await asyncio.Event().wait()
            finally:
                _remove(env_file)


def _remove(env_file: Path) -> None:
    env_file.unlink(missing_ok=True)


def fill(sandbox: Sandbox, *, broken: bool) -> None:
    """Make two customers with incidents; `broken` takes the role on the second away."""
    workspaces = [
        sandbox.add_workspace(name="law-contoso", system="Autotask"),
        sandbox.add_workspace(name="law-fabrikam", system="ServiceNow"),
    ]
    for workspace in workspaces:
        for _ in range(INCIDENTS):
            workspace.add_incident()
    if broken:
        sandbox.arm.forbidden.add(workspaces[1].name)


def _write_az(script: Path) -> None:
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m sandbox.az "$@"\n')
    script.chmod(S_IRWXU)


def _write_environment(env_file: Path, sandbox: Sandbox, directory: Path) -> None:
    """Write what a shell reads with `.`; only its owner may read the file, as one with real secrets.

    `directory` holds the stand-in of `az`, and will hold the link store.
    """
    settings = {**sandbox.environment(), "LINK_STORE": f"sqlite:///{directory / 'links.db'}"}
    lines = [f"export {name}={shlex.quote(value)}\n" for name, value in settings.items()]
    lines.append(f'export PATH={shlex.quote(str(directory))}:"$PATH"\n')
    env_file.parent.mkdir(parents=True, exist_ok=True)
    env_file.unlink(missing_ok=True)
    env_file.touch(mode=0o600)
    env_file.write_text("".join(lines))
