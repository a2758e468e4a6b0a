"""Calls the app as its callers do, and counts what each call makes it ask of the sandbox."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import uuid4

import httpx

from operators_tool.demo.report import Check, Fact, Observed, Stopwatch
from sandbox import Sandbox, SandboxIncident

TIMER_SECONDS: Final = 30
POLL_SECONDS: Final = 0.05
CALLS: Final[Mapping[str, str]] = {
    "identity.token": "managed-identity token",
    "arm.workspace": "GET workspace",
    "arm.incident": "GET incident",
    "arm.incidents": "GET incidents",
    "arm.comment.get": "GET comment",
    "arm.comment.put": "PUT comment",
    "contraforce.link": "POST tickets/link",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer of the app; `calls` counts, per operation, what the sandbox was asked meanwhile."""

    path: str
    status: int
    content_type: str
    content: dict[str, Any]
    seconds: float
    calls: Counter[str]

    @property
    def said(self) -> str:
        """The answer in two words, e.g. `200 linked`."""
        return f"{self.status} {self.content.get('code') or self.content.get('status') or 'empty'}"

    @property
    def upstream(self) -> str:
        """The calls as a list in words."""
        calls = (
            CALLS.get(name, name) + (f" x{count}" if count > 1 else "") for name, count in self.calls.items()
        )
        return ", ".join(calls) or "no call"

    def observed(self, *checks: Check, facts: tuple[Fact, ...] = (), ticket: str = "") -> Observed:
        """Return this answer, with what was checked of it, as the observation of a step."""
        own = (("answer", f"{self.said}, in {self.seconds * 1000:.0f} ms"), ("upstream", self.upstream))
        return Observed(self.said, [*own, *facts], checks, ticket=ticket, seconds=self.seconds)


class Playbook:
    """Calls the app as the Logic App does, with the function key and the id of a run; runs the timer, too."""

    def __init__(self, http: httpx.AsyncClient, sandbox: Sandbox, *, master_key: str) -> None:
        self.sandbox = sandbox
        self._http = http
        self._master_key = master_key

    async def deliver(self, body: Mapping[str, Any]) -> Answer:
        """POST a body to the app's incident route."""
        return await self._call("POST", "/api/incidents", json=body)

    async def health(self) -> Answer:
        """Ask how the app is."""
        return await self._call("GET", "/api/health")

    async def status(self) -> Answer:
        """Ask everything about how the app is."""
        return await self._call("GET", "/api/status")

    async def record(self, incident: SandboxIncident) -> Answer:
        """Ask for the record of an incident."""
        path = f"/api/incidents/{incident.name}/link"
        return await self._call("GET", path, params={"workspace": incident.workspace.name})

    async def run_timer(self) -> Answer:
        """Have the host run the timer now; gives the status answer after it, with the calls of the run.

        Raises `TimeoutError` if the run does not end; without a run if the app is not healthy.
        """
        before, earlier, watch = len(self.sandbox.log.all), await self.status(), Stopwatch()
        admin = {"x-functions-key": self._master_key}
        accepted = await self._http.post("/admin/functions/reconcile", json={}, headers=admin)
        accepted.raise_for_status()
        async with asyncio.timeout(TIMER_SECONDS):
            now = earlier
            while now.status == 200 and _run(now) == _run(earlier):
                await asyncio.sleep(POLL_SECONDS)
                now = await self.status()
        return replace(now, seconds=watch.seconds, calls=self._calls_since(before))

    async def _call(self, method: str, path: str, **content: Any) -> Answer:
        before, watch = len(self.sandbox.log.all), Stopwatch()
        headers = {"x-ms-workflow-run-id": f"0858{uuid4().int:039}CU42"}
        response = await self._http.request(method, path, headers=headers, **content)
        return Answer(
            path=path,
            status=response.status_code,
            content_type=response.headers.get("Content-Type", "").partition(";")[0],
            content=response.json() if response.content else {},
            seconds=watch.seconds,
            calls=self._calls_since(before),
        )

    def _calls_since(self, before: int) -> Counter[str]:
        return Counter(request.operation for request in self.sandbox.log.all[before:])


def _run(status: Answer) -> Any:
    return status.content.get("lastTimerRun")
