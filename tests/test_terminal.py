"""Terminals that cannot show everything, Ctrl-C at any time, systems that lack what Unix has, defects."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from cli_process import Done, environment, run, running, until

from sandbox import PLANTED_SECRET, Sandbox, SandboxIncident

pytestmark = pytest.mark.slow

TITLE = "Anmeldung \N{LATIN SMALL LETTER U WITH DIAERESIS}ber \u6771\u4eac \U0001f6a8 \N{HORIZONTAL ELLIPSIS}"
ENCODINGS = {
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "latin-1": {"PYTHONIOENCODING": "latin-1:strict"},
    "LANG=C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


class Desk:
    """A customer with one incident that is linked, and the environment of an operator."""

    def __init__(self, sandbox: Sandbox, directory: Path) -> None:
        self.sandbox = sandbox
        self.workspace = sandbox.add_workspace(name="law-contoso", system="Jira")
        self.incident: SandboxIncident = self.workspace.add_incident(number=3177, ticket_title=TITLE)
        self.env = environment(sandbox, LINK_STORE=f"sqlite:///{directory}/links.db")


@pytest_asyncio.fixture
async def desk(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Desk]:
    found = Desk(sandbox, tmp_path)
    assert (await run("link", found.incident.arm_id, env=found.env, warm=True)).code == 0
    yield found


COMMANDS = {
    "show": ["show", "3177", "--workspace", "law-contoso"],
    "status": ["status", "--state", "linked"],
    "doctor": ["doctor"],
    "backfill": ["backfill", "--workspace", "law-contoso", "--since", "1d", "--dry-run"],
    "a wrong option": ["status", f"--{TITLE}"],
}


@pytest.mark.parametrize("encoding", ENCODINGS)
async def test_what_an_output_cannot_show_is_replaced_and_stops_nothing(desk: Desk, encoding: str) -> None:
    told = []
    for arguments, code in ((COMMANDS["show"], 0), (COMMANDS["doctor"], 0), (COMMANDS["a wrong option"], 2)):
        done = await run(*arguments, env={**desk.env, **ENCODINGS[encoding]})
        assert (done.code, "Traceback" in done.err) == (code, False), done.err
        told.append(done)
    assert "Anmeldung" in told[0].out
    assert "?" in told[0].out


IMPORTED = ["typer", "rich.text", "operators_tool.commands", "operators_tool.actions", "azure.core", "httpx"]
INTERRUPTED_AT = """
import os, signal, sys

class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting())
from operators_tool import main
sys.exit(main())
"""


@pytest.mark.parametrize("module", IMPORTED)
async def test_ctrl_c_while_modules_are_imported_exits_with_130_and_no_traceback(
    desk: Desk, module: str
) -> None:
    source = INTERRUPTED_AT.format(module=module)

    done = await run("status", env=desk.env, source=source)

    assert done == Done(130, "", "Interrupted.\n")


# What Windows lacks is taken away before anything of ours is imported, also in processes that are started.
WITHOUT_UNIX = """
import asyncio, os, signal, sys

for name in ("SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGCHLD", "pthread_sigmask"):
    if hasattr(signal, name):
        delattr(signal, name)
for name in ("getuid", "geteuid", "getgid", "getegid", "fork", "setsid", "getpgid"):
    delattr(os, name)
for name in ("fcntl", "pwd", "grp", "resource", "termios"):
    sys.modules[name] = None

def refuse(*_):
    raise NotImplementedError

asyncio.SelectorEventLoop.add_signal_handler = refuse
asyncio.SelectorEventLoop.remove_signal_handler = refuse
"""


@pytest.fixture
def windows(desk: Desk, tmp_path: Path) -> dict[str, str]:
    """Return the environment of a process without what Windows lacks."""
    place = tmp_path / "windows"
    place.mkdir()
    (place / "sitecustomize.py").write_text(WITHOUT_UNIX)
    return {**desk.env, "PYTHONPATH": f"{place}:{desk.env['PYTHONPATH']}"}


@pytest.mark.parametrize("arguments", [COMMANDS["show"], COMMANDS["doctor"], COMMANDS["status"]])
async def test_the_tool_runs_where_signals_and_modules_of_unix_are_missing(
    windows: dict[str, str], arguments: list[str]
) -> None:
    done = await run(*arguments, env=windows)

    assert (done.code, done.err) == (0, "")


async def test_ctrl_c_ends_a_command_there_too(windows: dict[str, str], desk: Desk) -> None:
    async with running("sandbox", "--env-file", f"{windows['LINK_STORE'][10:]}.env", env=windows) as process:
        written = Path(f"{windows['LINK_STORE'][10:]}.env")
        await until(written.exists, what="the sandbox")
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
    assert (process.returncode, err) == (130, b"Interrupted.\n"), out


async def test_the_demo_runs_there_too(windows: dict[str, str]) -> None:
    done = await run("demo", env=windows)

    assert (done.code, done.err) == (0, "")
    assert "All 11 steps went as expected" in done.out


DEFECT = """
import sys
from contraforce_sentinel.stores.sqlite import SqliteLinkStore

async def exists(self):
    try:
        raise ValueError({secret!r})
    except ValueError as error:
        raise KeyError({secret!r}) from error

SqliteLinkStore.exists = exists
from operators_tool import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    "arguments", [COMMANDS["show"], COMMANDS["status"], COMMANDS["doctor"], COMMANDS["backfill"]]
)
async def test_a_defect_is_told_by_type_and_place_and_without_the_words_of_any_library(
    desk: Desk, arguments: list[str]
) -> None:
    """A traceback shows the texts of all causes, and those may quote an answer."""
    done = await run(*arguments, env=desk.env, source=DEFECT.format(secret=PLANTED_SECRET))

    assert done.code == 1
    assert PLANTED_SECRET not in done.out + done.err
    assert "Traceback" not in done.err
    assert "unexpected KeyError" in done.err
