"""As a new user would: from the README alone, doctor finds the sandbox's fault, and its fix cures it."""

import asyncio
import re
import shutil
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from cli_process import Done, environment, finish, until
from conftest import ROOT

README = (ROOT / "README.md").read_text()


def shell_blocks() -> list[str]:
    """Return the README's shell lines on trying the tool, `make setup` apart, which made this environment."""
    section = README.split("## Try the operators' tool without Azure")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    return [block.replace("make setup\n", "") for block in blocks]


class Terminal:
    """A user's shell in a folder of its own, in which the repository's tool is at `.venv/bin`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        tool = directory / ".venv" / "bin" / "contraforce-sentinel"
        tool.parent.mkdir(parents=True)
        tool.write_text(f'#!/bin/sh\nexec {sys.executable} -W error -m operators_tool "$@"\n')
        tool.chmod(0o700)
        self.env = environment(None, TMPDIR=str(directory))

    async def start(self, script: str) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            "sh", "-c", f"exec {script}", cwd=self.directory, env=self.env,
            stdin=DEVNULL, stdout=PIPE, stderr=PIPE,
        )  # fmt: skip

    async def run(self, script: str) -> Done:
        process = await asyncio.create_subprocess_exec(
            "sh", "-ec", script, cwd=self.directory, env=self.env, stdin=DEVNULL, stdout=PIPE, stderr=PIPE
        )
        return await finish(process)


@pytest_asyncio.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    yield Terminal(tmp_path)


@pytest.mark.skipif(shutil.which("sh") is None, reason="needs a POSIX shell")
async def test_from_the_readme_alone_the_fix_that_doctor_names_makes_it_green(terminal: Terminal) -> None:
    serve, examine = shell_blocks()
    assert serve.strip().endswith("sandbox --broken")
    sandbox = await terminal.start(serve.strip())
    try:
        await until((terminal.directory / ".data" / "sandbox.env").exists, what="the sandbox's environment")
        before = await terminal.run(examine)
        (fix,) = re.findall(r"^  fix: (.+)$", before.out, re.MULTILINE)
        fixed = await terminal.run(f"{examine.splitlines()[0]}\n{fix}")
        after = await terminal.run(examine)
    finally:
        sandbox.send_signal(signal.SIGINT)
        ended = await finish(sandbox)
    assert (before.code, before.err) == (1, "")
    assert "12 of 15 checks are fine, 1 failed." in before.out
    assert (fixed.code, fixed.err) == (0, "")
    assert (after.code, after.err) == (0, "")
    assert "15 of 15 checks are fine." in after.out
    assert (ended.code, ended.err) == (130, "Interrupted.\n")
    assert "contraforce-sentinel doctor" in ended.out
    assert list((terminal.directory / ".data").iterdir()) == []
    assert {path.name for path in terminal.directory.iterdir()} == {".data", ".venv"}


async def test_the_environment_of_the_sandbox_is_its_owners_alone(terminal: Terminal) -> None:
    sandbox = await terminal.start(".venv/bin/contraforce-sentinel sandbox --env-file here.env")
    file = terminal.directory / "here.env"
    try:
        await until(lambda: file.exists() and file.read_text().endswith('"$PATH"\n'), what="the file")
        assert file.stat().st_mode & 0o777 == 0o600
        done = await terminal.run(". ./here.env; .venv/bin/contraforce-sentinel doctor; az account show")
    finally:
        sandbox.send_signal(signal.SIGTERM)
        ended = await finish(sandbox)
    assert "15 of 15 checks are fine." in done.out
    assert (done.code, ended.code) == (2, 130)
    assert "usage: az" in done.err
