"""Records as operators see them: `status` of workspaces, links in a state, the whole of one link."""

import shlex
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

from rich.console import Console

from contraforce_sentinel.bootstrap import App
from contraforce_sentinel.domain.incidents import IncidentState, WorkspaceId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.reasons import Reason, explanation
from contraforce_sentinel.domain.records import LinkState
from contraforce_sentinel.edge import answers
from contraforce_sentinel.stores.link_store import Found
from contraforce_sentinel.telemetry.reports import report_unreadable
from contraforce_sentinel.use_cases.reconcile import DUE_PER_WORKSPACE
from operators_tool.render import literal, moment, show_table

_PAGE: Final = 200


async def links_in_state(app: App, workspace: WorkspaceId, state: LinkState) -> AsyncIterator[Link]:
    """Yield a workspace's links in a state, page by page. Raises `StoreUnavailable`.

    Records that cannot be read are told, and passed over.
    """
    after: str | None = "" if await app.store.exists() else None
    while after is not None:
        page = await app.store.in_state(workspace, state, after=after, limit=_PAGE)
        for incident in page.unreadable:
            report_unreadable(incident)
        for link in page.links:
            yield link
        after = page.links[-1].incident_id.name if len(page.links) == _PAGE else None


async def overview(app: App, workspaces: Iterable[WorkspaceId]) -> dict[str, Any]:
    """Return what is due and what is dead, by workspace, and the timer's last run; reads what is due."""
    exists = await app.store.exists()
    now = datetime.now(UTC)
    rows = []
    for workspace in workspaces:
        backlog = await app.store.backlog(workspace) if exists else None
        found = await app.store.due(workspace, now=now, limit=DUE_PER_WORKSPACE) if exists else Found()
        due = backlog.oldest_due_at if backlog else None
        rows.append(
            {
                "workspace": workspace.arm_id,
                "dead": backlog.dead if backlog else 0,
                "unreadable": len(found.unreadable),
                "nextDueAt": due.isoformat() if due else None,
            }
        )
    run = await app.store.last_run() if exists else None
    return {"workspaces": rows, **answers.timer_content(run, now=now)}


def show_overview(console: Console, found: dict[str, Any]) -> None:
    """Print what `overview` gives."""
    rows = [
        (
            row["workspace"].rsplit("/", 1)[-1],
            str(row["dead"]),
            str(row["unreadable"]),
            moment(datetime.fromisoformat(row["nextDueAt"]) if row["nextDueAt"] else None) or "nothing due",
        )
        for row in found["workspaces"]
    ]
    if rows:
        show_table(console, ("workspace", "dead", "unreadable", "next try"), rows)
    else:
        console.print("There are no customers: WORKSPACES has none. Every delivery is answered with 403.")
    run = found["lastTimerRun"]
    if run is None:
        console.print("The timer has not run yet with this link store.")
        return
    finished = moment(datetime.fromisoformat(run["finishedAt"]))
    console.print(
        f"Timer: last run ended {finished}, tried {run['tried']}, linked {run['linked']},"
        f" discovered {run['discovered']}, left to backfill {run['leftToBackfill']},"
        f" failed workspaces {run['failedWorkspaces']}, unreadable records {found['unreadable']}."
    )


def record_content(link: Link) -> dict[str, Any]:
    """Return a record as JSON: the HTTP answer's body, and the history."""
    steps = [
        {
            "status": step.state,
            "reason": step.reason,
            "code": step.code,
            "at": step.at.isoformat(),
            "lastAt": step.last_at.isoformat(),
            "times": step.times,
        }
        for step in link.history
    ]
    return answers.for_record(link, now=datetime.now(UTC)).content | {"history": steps}


def show_links(console: Console, links: Iterable[Link]) -> None:
    """Print one line per link."""
    rows = (
        (
            link.incident_number or "",
            link.incident_id.workspace.name,
            link.state,
            link.ticket.number if link.ticket else "",
            _why(link),
            moment(link.next_try_at),
            moment(link.updated_at),
            link.incident_id.name,
        )
        for link in links
    )
    headers = ("incident", "workspace", "state", "ticket", "reason", "next try", "changed", "name")
    show_table(console, headers, rows)


def show_record(console: Console, link: Link) -> None:
    """Print everything that is known of a link, its history last."""
    facts = (
        ("incident", f"{link.incident_number or '?'} in {link.incident_id.workspace.name}"),
        ("arm id", link.incident_id.arm_id),
        *_incident_facts(link),
        ("state", link.state),
        ("reason", _why(link)),
        ("fields", ", ".join(link.fields)),
        *_ticket_facts(link),
        ("attempts", str(link.attempts)),
        ("next try", moment(link.next_try_at)),
        ("request id", link.request_id or ""),
        ("first seen", _joined(moment(link.first_seen_at), "by", link.first_seen_by)),
        ("recorded", moment(link.created_at)),
        ("linked", moment(link.linked_at)),
        ("changed", moment(link.updated_at)),
        *_explained(link),
    )
    for name, text in facts:
        if text:
            console.print(literal(f"{name:<11}", style="cyan"), literal(text), sep="", soft_wrap=True)
    if link.history:
        console.print()
        rows = (
            (
                moment(step.at),
                moment(step.last_at) if step.times > 1 else "",
                str(step.times),
                step.state,
                f"{step.reason or ''}{f' ({step.code})' if step.code else ''}",
            )
            for step in link.history
        )
        show_table(console, ("from", "until", "times", "state", "reason"), rows)


def _incident_facts(link: Link) -> Iterable[tuple[str, str]]:
    """Say what the incident was when last looked at."""
    seen = link.seen
    number = seen.provider_incident_id or ""
    yield "provider's", number if number != link.incident_number else ""
    yield "created", moment(seen.created_at)
    yield "was last", _joined(seen.state or "", "since", moment(seen.since))
    if link.ticket is not None and seen.state == IncidentState.MERGED:
        yield "look at", "the incident was merged into another one; ticket and comment stayed behind"


def _ticket_facts(link: Link) -> Iterable[tuple[str, str]]:
    """Say which ticket it is, and which others there are or may be."""
    ticket, dead = link.ticket, link.was_dead
    if ticket is not None:
        yield "ticket", f"{ticket.system} {ticket.number}"
        yield "title", ticket.title or ""
        yield "given by", _of_workspace(link.ticket_workspace_id)
    yield (
        "asked for",
        _joined(link.requested_ticket_id or "", "of", _of_workspace(link.requested_workspace_id)),
    )
    yield "earlier", ", ".join(f"{one.system} {one.number}" for one in link.earlier_tickets)
    if link.answer_lost and ticket is None:
        yield "look at", "an answer of ContraForce was lost: there may be a ticket that nobody knows"
    if dead is not None:
        yield "was dead", f"{dead.reason or ''}{f' ({dead.code})' if dead.code else ''}"


def _of_workspace(workspace_id: UUID | None) -> str:
    return f"ContraForce workspace {workspace_id}" if workspace_id else ""


def _joined(text: str, word: str, more: str | None) -> str:
    return f"{text} {word} {more}" if text and more else text


def _explained(link: Link) -> Iterable[tuple[str, str]]:
    """Say what the reason means, who acts and what to run next; nothing of a reason that is not known."""
    found = explanation(Reason.IN_PROGRESS if link.is_busy(datetime.now(UTC)) else link.reason)
    if found is not None:
        yield "meaning", found.meaning
        yield "who acts", found.who
        yield "next", (found.command or "").replace("INCIDENT", shlex.quote(link.incident_id.arm_id))


def _why(link: Link) -> str:
    if link.is_busy(datetime.now(UTC)):
        return "a worker is at it"
    return f"{link.reason or ''}{f' ({link.code})' if link.code else ''}"
