"""What the demo shows: three customers' incidents, and what has to be seen of each."""

import json
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from html import unescape
from pathlib import Path
from typing import Final

from contraforce_sentinel.domain.incidents import IncidentId
from contraforce_sentinel.settings import Settings
from contraforce_sentinel.stores.sqlite import SqliteLinkStore
from operators_tool.demo.playbook import Answer, Playbook
from operators_tool.demo.report import Check, Fact, Observed, Step
from sandbox import Sandbox, SandboxIncident, SandboxWorkspace, faults

NEVER: Final = "0 0 0 1 1 *"  # a timer run would mix its calls with those of a step
PROBLEM: Final = "application/problem+json"
TICKET_URLS: Final = {
    "Autotask": "https://ww5.autotask.net/Mvc/ServiceDesk/TicketDetail.mvc?ticketId={id}",
    "ServiceNow": "https://fabrikam.service-now.com/incident.do?sys_id={id}",
    "Jira": "https://northwind.atlassian.net/browse/{number}",
}


class Demo:
    """Three customers, their incidents, and what is shown on them."""

    def __init__(self, sandbox: Sandbox, *, store_file: Path) -> None:
        self._store_file = store_file
        self.contoso = sandbox.add_workspace(name="law-contoso", system="Autotask")
        fabrikam = sandbox.add_workspace(name="law-fabrikam", system="ServiceNow")
        northwind = sandbox.add_workspace(name="law-northwind", system="Jira")
        self.settings = {
            **{name.upper(): "" for name in Settings.model_fields},  # so that no local.settings.json counts
            **sandbox.environment(),
            "TICKET_URL_TEMPLATES": json.dumps(TICKET_URLS),
            "LINK_STORE": f"sqlite:///{store_file}",
            "RECONCILE_SCHEDULE": NEVER,
        }
        unknown = sandbox.add_workspace(name="law-tailspin")  # exists in Azure, but not in the settings
        self.sign_ins = _incident(self.contoso, 3177, "Multiple failed sign-ins followed by success")
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
            on(self.waiting, "ContraForce comes back", partial(_finish_by_timer, self._store_file)),
            Step("A rule that never fired", partial(_find_by_timer, playbook, self.contoso)),
        ]


def _incident(workspace: SandboxWorkspace, number: int, title: str) -> SandboxIncident:
    return workspace.add_incident(number=number, title=title, ticket_title=title, severity="High")


def _described(incident: SandboxIncident) -> Fact:
    text = f"{incident.title} (#{incident.number}, {incident.severity}, {incident.workspace.name})"
    return "incident", text


async def _health(playbook: Playbook) -> Observed:
    answer = await playbook.health()
    return answer.observed(
        Check("healthy", "200 ok", answer.said),
        Check("settings accepted", "ok", answer.content.get("settings")),
        Check("link store usable", "ok", answer.content.get("store")),
    )


async def _link(playbook: Playbook, incident: SandboxIncident, *, link_calls: int = 1) -> Observed:
    answer = await playbook.deliver(incident.trigger_body())
    return answer.observed(
        Check("200 linked", "200 linked", answer.said),
        *_ticket_checks(incident, answer),
        Check(f"tickets/link called {link_calls}x", link_calls, answer.calls["contraforce.link"]),
        facts=_ticket_facts(incident),
        ticket=_number(incident),
    )


def _number(incident: SandboxIncident) -> str:
    return incident.ticket.number if incident.ticket else "none at ContraForce"


def _ticket_checks(incident: SandboxIncident, answer: Answer) -> list[Check]:
    number, comments = _number(incident), [comment.message for comment in incident.comments]
    return [
        Check("its ticket in the answer", number, (answer.content.get("ticket") or {}).get("number")),
        Check("exactly one comment", 1, len(comments)),
        Check("the number in it", [True], [number in unescape(text) for text in comments]),
    ]


def _ticket_facts(incident: SandboxIncident) -> tuple[Fact, ...]:
    shown = (re.sub(r'(?=<a |<br>)|(?<=">)', "\n", comment.message) for comment in incident.comments)
    ticket = f"{incident.workspace.system} {_number(incident)}"
    return (("ticket", ticket), *(("comment", text) for text in shown))


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
    record = await playbook.record(incident)
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
            ("record", f"{record.said}, from GET {record.path}"),
        ),
    )


def _seconds_until(moment: str) -> float:
    """Return 0 for what is not a moment."""
    try:
        return (datetime.fromisoformat(moment) - datetime.now(UTC)).total_seconds()
    except (TypeError, ValueError):
        return 0.0


async def _finish_by_timer(store_file: Path, playbook: Playbook, incident: SandboxIncident) -> Observed:
    playbook.sandbox.faults.clear("contraforce.link")
    skipped = await _make_due(store_file, incident)
    timer = await playbook.run_timer()
    waited = f"the {skipped:.0f} s until its next try; for that, the demo sets it to now in the link store"
    return await _timer_observed(playbook, incident, timer, discovered=0, facts=[("skipped", waited)])


async def _make_due(store_file: Path, incident: SandboxIncident) -> float:
    """Set the next try of an incident's link to now, past the app; gives the seconds that this saves."""
    store = SqliteLinkStore(store_file)
    try:
        link = await store.get(IncidentId.parse(incident.arm_id))
        if link is None or link.next_try_at is None:
            raise LookupError("nothing is due for this incident")
        now = datetime.now(UTC)
        await store.replace(link.model_copy(update={"next_try_at": now, "not_before": None}))
        return (link.next_try_at - now).total_seconds()
    finally:
        await store.close()


async def _find_by_timer(playbook: Playbook, workspace: SandboxWorkspace) -> Observed:
    incident = _incident(workspace, 3179, "Audit log was cleared")
    timer = await playbook.run_timer()
    facts = [_described(incident), ("delivered", "never")]
    return await _timer_observed(playbook, incident, timer, discovered=1, facts=facts)


async def _timer_observed(
    playbook: Playbook, incident: SandboxIncident, timer: Answer, *, discovered: int, facts: list[Fact]
) -> Observed:
    """Compare what the timer did with what one incident needed: one link, one comment, no more."""
    record = await playbook.record(incident)
    run = timer.content.get("lastTimerRun") or {}
    counted = {name: run.get(name) for name in ("tried", "linked", "discovered", "failedWorkspaces")}
    expected = {"tried": 1, "linked": 1, "discovered": discovered, "failedWorkspaces": 0}
    backlog = {name: timer.content.get(name) for name in ("oldestDueSeconds", "dead")}
    called = tuple(timer.calls[name] for name in ("arm.incidents", "contraforce.link", "arm.comment.put"))
    checks = [
        Check("200 linked", "200 linked", record.said),
        *_ticket_checks(incident, record),
        Check("one list per workspace, one tickets/link, one PUT", (3, 1, 1), called),
        Check("the timer counts the same", expected, counted),
        Check("nothing due, nothing dead", {"oldestDueSeconds": None, "dead": 0}, backlog),
    ]
    shown = [
        *facts,
        ("timer", f"POST /admin/functions/reconcile, finished in {timer.seconds * 1000:.0f} ms"),
        ("upstream", timer.upstream),
        ("record", f"{record.said}, from GET {record.path}"),
        *_ticket_facts(incident),
        ("status", json.dumps({"lastTimerRun": counted, **backlog})),
    ]
    return Observed(record.said, shown, checks, ticket=_number(incident), seconds=timer.seconds)
