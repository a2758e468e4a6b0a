"""`make demo` as a user runs it, piped; and that it fails when what it claims is not so."""

import os
import re
import signal
import subprocess
import sys
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from operators_tool.demo.main import run_demo
from operators_tool.demo.report import Check, Observed, Step, run_steps, show_summary
from operators_tool.demo.steps import Demo
from sandbox import Sandbox

TERMINAL_VARIABLES = {"FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR", "COLUMNS"}
PIPE_ENVIRONMENT = {name: value for name, value in os.environ.items() if name not in TERMINAL_VARIABLES}
COMMAND = [sys.executable, "-W", "error", "-m", "operators_tool", "demo"]


def app_process_of(output: str) -> int:
    found = re.search(r"process (\d+)", output)
    assert found, output
    return int(found[1])


def is_running(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    return True


def plain_console() -> Console:
    return Console(file=StringIO(), width=110, markup=False, emoji=False, highlight=False)


def printed(console: Console) -> str:
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


@pytest.mark.slow
def test_piped_it_shows_every_observation_in_plain_text_and_leaves_nothing(tmp_path: Path) -> None:
    hostile = {
        "MINIMUM_SEVERITY": "no such",
        "CONTRAFORCE_API_URL": "no such",
        "HTTPS_PROXY": "http://localhost:1",
    }
    done = subprocess.run(
        COMMAND,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**PIPE_ENVIRONMENT, **hostile, "TMPDIR": str(tmp_path)},
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 110
    for seen in ("T20261123.0042", "INC0010023", "SEC-421", "alreadyLinked: true", "403", "400", "object.id"):
        assert seen in done.stdout
    for seen in (
        "202 pending",
        "next try",
        "POST tickets/link x3",
        "ContraForce comes back",
        "A rule that never fired",
    ):
        assert seen in done.stdout
    assert "skipped   the " in done.stdout
    assert "All 11 steps went as expected" in done.stdout
    assert '"discovered": 1' in done.stdout
    assert "[red team] Mass download from SharePoint" in done.stdout
    assert "✗" not in done.stdout
    assert not is_running(app_process_of(done.stdout))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_exits_with_130_and_leaves_nothing(number: signal.Signals, tmp_path: Path) -> None:
    environment = {**PIPE_ENVIRONMENT, "TMPDIR": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        COMMAND, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as demo:
        assert demo.stdout is not None
        output = ""
        while "ContraForce is down" not in output:
            line = demo.stdout.readline()
            assert line, output
            output += line
        process_id = app_process_of(output)
        assert is_running(process_id)
        demo.send_signal(number)
        rest, _ = demo.communicate(timeout=20)
    assert demo.returncode == 130
    assert "Traceback" not in rest
    assert not is_running(process_id)
    assert list(tmp_path.iterdir()) == []


async def test_an_observation_that_differs_fails_its_step_and_the_rest_still_runs() -> None:
    async def differs() -> Observed:
        checks = (Check("the status", "200 linked", "202 pending"), Check("one comment", 1, 1))
        return Observed("202 pending", [("comment", "[bold]literally[/bold] \x1b[31m")], checks)

    async def breaks() -> Observed:
        raise ConnectionError("nobody there")

    async def holds() -> Observed:
        return Observed("200 ok", (), (Check("healthy", "ok", "ok"),))

    console = plain_console()
    steps = [Step("It differs", differs), Step("It breaks", breaks), Step("It holds", holds)]
    results = await run_steps(steps, console)
    failed = show_summary(results, console, seconds=1)

    assert failed == 2
    text = printed(console)
    assert "✗ the status: expected 200 linked, seen 202 pending" in text
    assert "✗ the step broke off: ConnectionError: nobody there" in text
    assert "✓ one comment" in text
    assert "✓ healthy" in text
    assert [line[0] for line in text.splitlines()[-4:-1]] == ["✗", "✗", "✓"]
    assert "[bold]literally[/bold] \N{REPLACEMENT CHARACTER}[31m" in text


@pytest.mark.slow
async def test_an_app_that_does_not_start_is_exit_code_1_with_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "function_app.py").write_text("raise RuntimeError('half a deployment')\n")
    console = plain_console()
    assert await run_demo(console, directory=tmp_path) == 1
    assert "The app did not start: its process ended with exit code 1." in printed(console)
    assert "half a deployment" in printed(console)


@pytest.mark.slow
async def test_claims_that_are_not_so_are_exit_code_1_with_the_steps_and_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Wrong(Demo):
        def __init__(self, sandbox: Sandbox, *, store_file: Path) -> None:
            super().__init__(sandbox, store_file=store_file)
            self.settings = {**self.settings, "MINIMUM_SEVERITY": "Lowest"}

    monkeypatch.setattr("operators_tool.demo.main.Demo", Wrong)
    console = plain_console()
    assert await run_demo(console) == 1
    text = printed(console)
    assert "✗ healthy: expected 200 ok, seen 503 unavailable" in text
    assert "✗ 200 linked: expected 200 linked, seen 503 settings-refused" in text
    assert re.search(r"\b[1-9]\d? of 11 steps failed\.", text)
    assert "lines of the app's log:" in text
    assert not is_running(app_process_of(text))
