"""The app under test: the real function app in the real worker library, against the sandbox over TLS."""

import json
import os
import subprocess
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openapi
import pytest
import pytest_asyncio
import stamina
import trustme
from loops import loops, mark, marks

from contraforce_sentinel import bootstrap
from contraforce_sentinel.bootstrap import close_app
from functions_host.worker import Worker
from sandbox import Sandbox, SandboxIncident, SandboxWorkspace

pytest_plugins = ["sdk_fixtures", "store_fixtures"]

ROOT = Path(__file__).parent.parent
ALL_TESTS = pytest.StashKey[dict[str, frozenset[str]]]()
"""Every test that was collected, with its marks: those, too, that this run leaves out."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the marks on, before pytest chooses by them."""
    mark(items)
    config.stash[ALL_TESTS] = {item.nodeid: marks(item) for item in items}


@pytest.fixture(autouse=True)
def no_process(request: pytest.FixtureRequest) -> Iterator[None]:
    """A quick test that starts a process is in the wrong loop."""

    def refuse(*_: object, **__: object) -> None:
        pytest.fail("it starts a process: mark it slow")

    with pytest.MonkeyPatch.context() as patch:
        if "QUICK" in loops(marks(request.node)):
            patch.setattr(subprocess.Popen, "__init__", refuse)
        yield


@pytest.fixture(scope="session")
def throwaway_ca() -> trustme.CA:
    return trustme.CA()


@pytest_asyncio.fixture
async def sandbox(throwaway_ca: trustme.CA) -> AsyncIterator[Sandbox]:
    async with Sandbox.start(ca=throwaway_ca) as started:
        yield started


@pytest_asyncio.fixture(scope="session")
async def worker() -> AsyncIterator[Worker]:
    async with await Worker.start(ROOT) as started:
        yield started


@dataclass(frozen=True)
class Answer:
    """An HTTP answer of the app."""

    status: int
    headers: Mapping[str, str]
    json: dict[str, Any]


class App:
    """The function app as its callers see it, one workspace configured; all answers are documented ones."""

    def __init__(self, worker: Worker, sandbox: Sandbox, workspace: SandboxWorkspace) -> None:
        self.worker = worker
        self.sandbox = sandbox
        self.workspace = workspace

    async def post(
        self,
        body: bytes | dict[str, Any] | SandboxIncident,
        *,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Deliver a body to POST /api/incidents; of an incident, its whole trigger body."""
        content = body.trigger_body() if isinstance(body, SandboxIncident) else body
        return await self._ask(
            "link_incident",
            method="POST",
            url="http://localhost/api/incidents",
            headers={"Content-Type": content_type, **(headers or {})},
            body=content if isinstance(content, bytes) else json.dumps(content).encode(),
        )

    async def record(self, incident: str, *, workspace: str | None = None) -> Answer:
        """Ask GET /api/incidents/{incident}/link, by the incident's name or number."""
        return await self._ask(
            "get_link",
            method="GET",
            url="http://localhost/api/incidents/x/link",
            params={"incident": incident},
            query={} if workspace is None else {"workspace": workspace},
        )

    async def reconcile(self) -> None:
        """Let the timer run once."""
        await self.worker.invoke_timer("reconcile")

    async def health(self) -> Answer:
        """Ask GET /api/health."""
        return await self._ask("health", method="GET", url="http://localhost/api/health")

    async def status(self) -> Answer:
        """Ask GET /api/status."""
        return await self._ask("status", method="GET", url="http://localhost/api/status")

    async def _ask(self, function: str, **request: Any) -> Answer:
        answer = await self.worker.invoke_http(function, **request)
        openapi.check(function, answer.status, answer.headers, answer.body)
        return Answer(answer.status, answer.headers, json.loads(answer.body))


class Clock:
    """The app's wall clock, ahead of the real one by as much as a test says: a frozen worker sees it move."""

    def __init__(self) -> None:
        self.ahead = timedelta()

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.ahead

    def forward(self, **by: float) -> None:
        self.ahead += timedelta(**by)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Give the app this clock, before it is built."""
    found = Clock()
    monkeypatch.setattr(bootstrap, "_now", found)
    return found


@pytest_asyncio.fixture
async def app(
    worker: Worker, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[App]:
    workspace = sandbox.add_workspace()
    for name in [name for name in os.environ if name.startswith(("CONTRAFORCE_", "TICKET_URL_", "SSL"))]:
        monkeypatch.delenv(name)
    for name, value in sandbox.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LINK_STORE", f"sqlite:///{tmp_path}/links.db")
    yield App(worker, sandbox, workspace)
    await close_app()


@pytest.fixture
def no_backoff() -> Iterator[None]:
    """In-request retries without the waits between them; a `Retry-After` is not waited for either."""
    with stamina.set_testing(True, attempts=4):
        yield
