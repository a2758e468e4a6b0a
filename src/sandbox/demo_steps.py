"""What the demo shows: the playbook's calls, three customers' incidents, and what has to be seen of each."""

import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from html import unescape
from typing import Any, Final
from uuid import uuid4

import httpx

from contraforce_sentinel.settings import Settings
from sandbox import Sandbox, SandboxIncident, SandboxWorkspace, faults
from sandbox.demo_report import Check, Fact, Observed, Step, Stopwatch

NEVER: Final = "0 0 0 1 1 *"  # a timer run would mix its calls with those of a step
PROBLEM: Final = "application/problem+json"
TICKET_URLS: Final = {
    "Autotask": "https://ww5.autotask.net/Mvc/ServiceDesk/TicketDetail.mvc?ticketId={id}",
    "ServiceNow": "https://fabrikam.service-now.com/incident.do?sys_id={id}",
    "Jira": "https://northwind.atlassian.net/browse/{number}",
}
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

    status: int
    content_type: str
    content: dict[str, Any]
    seconds: float
    calls: Counter[str]

    @property
    def said(self) -> str:
        """The answer in two words, e.g. `200 linked`."""
        return f"{self.status} {self.content.get('code') or self.content.get('status') or 'empty'}"

    def observed(self, *checks: Check, facts: tuple[Fact, ...] = (), ticket: str = "") -> Observed:
        """Return this answer, with what was checked of it, as the observation of a step."""
        calls = ", ".join(
            CALLS.get(name, name) + (f" x{count}" if count > 1 else "") for name, count in self.calls.items()
        )
        own = (("answer", f"{self.said}, in {self.seconds * 1000:.0f} ms"), ("upstream", calls or "no call"))
        return Observed(self.said, [*own, *facts], checks, ticket=ticket, seconds=self.seconds)


class Playbook:
    """Calls the app as the Logic App does: with the function key and the id of a run."""

    def __init__(self, http: httpx.AsyncClient, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self._http = http

    async def deliver(self, body: Mapping[str, Any]) -> Answer:
        """POST a body to the incident entrance."""
        return await self._call("POST", "/api/incidents", json=body)

    async def get(self, path: str, **query: str) -> Answer:
        """GET an answer to a question."""
        return await self._call("GET", path, params=query)

    async def _call(self, method: str, path: str, **content: Any) -> Answer:
        before, watch = len(self.sandbox.log.all), Stopwatch()
        headers = {"x-ms-workflow-run-id": f"0858{uuid4().int:039}CU42"}
        response = await self._http.request(method, path, headers=headers, **content)
        return Answer(
            status=response.status_code,
            content_type=response.headers.get("Content-Type", "").partition(";")[0],
            content=response.json() if response.content else {},
            seconds=watch.seconds,
            calls=Counter(request.operation for request in self.sandbox.log.all[before:]),
        )


class Demo:
    """Three customers, their incidents, and what is shown on them."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        contoso = sandbox.add_workspace(name="law-contoso", system="Autotask")
        fabrikam = sandbox.add_workspace(name="law-fabrikam", system="ServiceNow")
        northwind = sandbox.add_workspace(name="law-northwind", system="Jira")
        self.settings = {
            **{name.upper(): "" for name in Settings.model_fields},  # so that no local.settings.json counts
            **sandbox.environment(),
            "TICKET_URL_TEMPLATES": json.dumps(TICKET_URLS),
            "RECONCILE_SCHEDULE": NEVER,
        }
        unknown = sandbox.add_workspace(name="law-tailspin")  # exists in Azure, but not in the settings
        self.sign_ins = _incident(contoso, 3177, "Multiple failed sign-ins followed by success")
        self.script = _incident(fabrikam, 812, "Mail with <script>alert(1)</script> as its subject")
        self.download = _incident(northwind, 15044, "[red team] Mass download from SharePoint")
        self.foreign = _incident(unknown, 7, "Inbox rule forwards to an external address")
        self.retried = _incident(fabrikam, 813, "Rare process on a domain controller")
        self.waiting = _incident(northwind, 15045, "Impossible travel of an administrator")

    def steps(self, playbook: Playbook) -> list[Step]:
        """Return what is shown, in order; a step may build on those before it."""

        def on(
            incident: SandboxIncident,
            title: str,
            observe: Callable[[Playbook, SandboxIncident], Awaitable[Observed]],
        ) -> Step:
            return Step(title, partial(observe, playbook, incident), before=[_described(incident)])

        return [
            Step("The app is up", partial(_health, playbook)),
            on(self.sign_ins, "An incident gets its Autotask ticket", _link),
            on(self.script, "An incident gets its ServiceNow ticket", _link),
            on(self.download, "An incident gets its Jira ticket", _link),
            on(self.sign_ins, "The first incident is delivered again", _link_again),
            on(self.foreign, "A workspace that is not in WORKSPACES", _refuse_workspace),
            Step("A body without the incident's id", partial(_refuse_body, playbook)),
            on(self.retried, "ContraForce fails twice, then answers", _link_despite_failures),
            on(self.waiting, "ContraForce is down", _keep_for_later),
        ]


def _incident(workspace: SandboxWorkspace, number: int, title: str) -> SandboxIncident:
    return workspace.add_incident(number=number, title=title, ticket_title=title, severity="High")


def _described(incident: SandboxIncident) -> Fact:
    text = f"{incident.title} (#{incident.number}, {incident.severity}, {incident.workspace.name})"
    return "incident", text


async def _health(playbook: Playbook) -> Observed:
    answer = await playbook.get("/api/health")
    return answer.observed(
        Check("healthy", "200 ok", answer.said),
        Check("settings accepted", "ok", answer.content.get("settings")),
        Check("link store usable", "ok", answer.content.get("store")),
    )


async def _link(playbook: Playbook, incident: SandboxIncident, *, link_calls: int = 1) -> Observed:
    answer = await playbook.deliver(incident.trigger_body())
    comments = [comment.message for comment in incident.comments]
    number = incident.ticket.number if incident.ticket else "none at ContraForce"
    named = (answer.content.get("ticket") or {}).get("number")
    shown = (re.sub(r'(?=<a |<br>)|(?<=">)', "\n", text) for text in comments)
    return answer.observed(
        Check("200 linked", "200 linked", answer.said),
        Check("its ticket in the answer", number, named),
        Check("exactly one comment", 1, len(comments)),
        Check("the number in it", [True], [number in unescape(text) for text in comments]),
        Check(f"tickets/link called {link_calls}x", link_calls, answer.calls["contraforce.link"]),
        facts=(("ticket", f"{incident.workspace.system} {number}"), *(("comment", text) for text in shown)),
        ticket=number,
    )


async def _link_again(playbook: Playbook, incident: SandboxIncident) -> Observed:
    answer = await playbook.deliver(incident.trigger_body())
    return answer.observed(
        Check("200 linked", "200 linked", answer.said),
        Check("alreadyLinked: true", "true", json.dumps(answer.content.get("alreadyLinked"))),
        Check("no upstream call", 0, answer.calls.total()),
        Check("still exactly one comment", 1, len(incident.comments)),
        ticket=incident.ticket.number if incident.ticket else "",
    )


async def _refuse_workspace(playbook: Playbook, incident: SandboxIncident) -> Observed:
    answer = await playbook.deliver(incident.trigger_body())
    return answer.observed(
        Check("403", "403 workspace-not-configured", answer.said),
        Check("problem+json", PROBLEM, answer.content_type),
        Check("no upstream call", 0, answer.calls.total()),
        Check("no comment", 0, len(incident.comments)),
        facts=(("detail", str(answer.content.get("detail"))),),
    )


async def _refuse_body(playbook: Playbook) -> Observed:
    body = {"object": {"properties": {"incidentNumber": 3178, "severity": "High", "status": "New"}}}
    answer = await playbook.deliver(body)
    detail, field = str(answer.content.get("detail")), "object.id"
    return answer.observed(
        Check("400", "400 not-an-incident", answer.said),
        Check("problem+json", PROBLEM, answer.content_type),
        Check("the detail names the field to fix", field, field if field in detail else detail),
        Check("no upstream call", 0, answer.calls.total()),
        facts=(("sent", json.dumps(body)), ("detail", detail)),
    )


async def _link_despite_failures(playbook: Playbook, incident: SandboxIncident) -> Observed:
    playbook.sandbox.faults.plan("contraforce.link", faults.status(503), times=2)
    return await _link(playbook, incident, link_calls=3)


async def _keep_for_later(playbook: Playbook, incident: SandboxIncident) -> Observed:
    """ContraForce stays down after this step; clearing the plan is the next one's."""
    playbook.sandbox.faults.plan("contraforce.link", faults.status(503), times=None)
    answer = await playbook.deliver(incident.trigger_body())
    path = f"/api/incidents/{incident.name}/link"
    record = await playbook.get(path, workspace=incident.workspace.name)
    reason, retry_at = str(answer.content.get("reason")), str(answer.content.get("retryAt"))
    wait = _seconds_until(retry_at)
    return answer.observed(
        Check("202 pending", "202 pending", answer.said),
        Check("with the reason", "contraforce-unavailable", reason),
        Check("the next try is due within minutes", "in time", "in time" if 0 < wait < 600 else retry_at),
        Check("its record agrees", ("200 pending", retry_at), (record.said, record.content.get("retryAt"))),
        Check("no comment", 0, len(incident.comments)),
        facts=(
            ("reason", reason),
            ("next try", f"{retry_at} (in {wait:.0f} s)"),
            ("record", f"{record.said}, from GET {path}"),
        ),
    )


def _seconds_until(moment: str) -> float:
    """Return 0 for what is not a moment."""
    try:
        return (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return 0.0
