"""`python -m sandbox.demo`: incidents of three customers get their tickets, and every claim made is checked.

Starts the sandbox here and the product in a process of its own, and calls it over HTTP as the playbook does.
Exits with 0 if every observation was as expected, with 1 if not or if the product does not start, with 130
after Ctrl-C.
"""

import asyncio
import json
import os
import secrets
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from html import unescape
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from uuid import uuid4

import httpx
from rich.console import Console

from contraforce_sentinel.settings import Settings
from sandbox import Sandbox, SandboxIncident, SandboxWorkspace, Ticket, faults
from sandbox.demo_report import Answer, Check, Fact, Observed, Step, open_console, run_steps, show_log, show_summary

ROOT: Final = Path(__file__).resolve().parents[2]
READY: Final = "listening on "
START_SECONDS: Final = 60
STOP_SECONDS: Final = 5
ANSWER_SECONDS: Final = 90  # what the product promises its callers
INHERITED: Final = ("PATH", "HOME", "TMPDIR", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONPATH")
NEVER: Final = "0 0 0 1 1 *"  # a timer run would mix its calls with those of a step
PROBLEM: Final = "application/problem+json"
TICKET_URLS: Final = {
    "Autotask": "https://ww5.autotask.net/Mvc/ServiceDesk/TicketDetail.mvc?ticketId={id}",
    "ServiceNow": "https://fabrikam.service-now.com/incident.do?sys_id={id}",
    "Jira": "https://northwind.atlassian.net/browse/{number}",
}
HEADER: Final = (
    "Sentinel incidents of three customers come in; each gets one comment that names its service-desk ticket.\n"
    "Real: the app in Azure's Python worker, its SDKs, HTTP, TLS. Stood in for: Azure, ContraForce, the Logic App."
)


class AppDidNotStart(Exception):
    """The product's process ended, or was silent for too long, before it listened."""


def main() -> int:
    """Run the demo on this terminal; gives the exit code."""
    return asyncio.run(_until_stopped(open_console()))


async def run_demo(console: Console, *, directory: Path = ROOT) -> int:
    """Show every step on the product in `directory`; gives the exit code."""
    console.print(HEADER)
    async with AsyncExitStack() as stack:
        sandbox = await stack.enter_async_context(Sandbox.start())
        demo = Demo(sandbox)
        files = Path(stack.enter_context(TemporaryDirectory(prefix="contraforce-demo-")))
        log, key = files / "host.log", secrets.token_urlsafe(24)
        settings = {**demo.settings, "LINK_STORE": f"sqlite:///{files}/links.db"}
        try:
            with console.status("starting the app"):
                app = await stack.enter_async_context(_run_app(directory, key=key, settings=settings, log=log))
        except AppDidNotStart as error:
            show_log(console, log, f"The app did not start: {error}.")
            return 1
        headers = {"x-functions-key": key}
        http = httpx.AsyncClient(base_url=app.url, headers=headers, timeout=ANSWER_SECONDS, trust_env=False)
        playbook = Playbook(await stack.enter_async_context(http), sandbox)
        results = await run_steps(demo.steps(playbook, app), console)
    ...


class Playbook:
    """Calls the product as the Logic App does: with the function key and the id of its run."""

    def __init__(self, http: httpx.AsyncClient, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._http = http

    async def deliver(self, body: Mapping[str, Any]) -> Answer:
        """POST a body to the incident entrance."""
        return await self._call("POST", "/api/incidents", json=body)

    async def get(self, path: str, **query: str) -> Answer:
        """GET an answer to a question."""
        return await self._call("GET", path, params=query)

