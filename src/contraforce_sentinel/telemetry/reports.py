"""What is told of a link, of a failed try and of a run of the timer: events and metrics, in one place."""

import logging
from collections.abc import Mapping
from typing import Any

from contraforce_sentinel.domain.errors import (
    Failure,
    RecordUnreadable,
    Unforeseen,
    Upstream,
    UpstreamError,
    UpstreamUnauthorized,
    UpstreamUnavailable,
    in_our_words,
)
from contraforce_sentinel.domain.incidents import IncidentId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.records import LinkState
from contraforce_sentinel.domain.runs import TimerRun
from contraforce_sentinel.telemetry.events import event, measure


def report_link(link: Link, *, trigger: str, seconds: float, claimed: bool) -> None:
    """Tell where a link stands after a delivery, a try of the timer, or discovery."""
    event(
        f"link.{link.state}",
        level=logging.ERROR if link.state is LinkState.DEAD else logging.INFO,
        trigger=trigger,
        claimed="yes" if claimed else "no",
        duration_ms=round(seconds * 1000, 1),
        may_have_linked=_may_have_linked(link),
        **_standing(link),
    )
    measure("link.outcomes", 1, outcome=link.state, trigger=trigger)
    measure("link.duration", seconds * 1000, outcome=link.state, trigger=trigger)


def report_merged(link: Link, *, trigger: str) -> None:
    """Tell that the incident of a link with a ticket was merged away: its comment stays behind."""
    event("link.merged", level=logging.WARNING, trigger=trigger, **_standing(link))


def report_revived(link: Link, *, was: str | None, trigger: str) -> None:
    """Tell that a link is not skipped any more; `was` is the reason for which it was."""
    may_have_linked = _may_have_linked(link)
    event("link.revived", trigger=trigger, was=was, may_have_linked=may_have_linked, **_standing(link))


def _may_have_linked(link: Link) -> str | None:
    """Whether a ticket may exist that the record does not have."""
    return "yes" if link.answer_lost and link.ticket is None else None


def _standing(link: Link) -> dict[str, Any]:
    return {
        "incident": link.incident_id.key,
        "incident_number": link.incident_number,
        "workspace": link.incident_id.workspace.key,
        "outcome": link.state,
        "reason": link.reason,
        "code": link.code,
        "attempt": link.attempts,
        "ticket_system": link.ticket.system if link.ticket else None,
        "ticket_number": link.ticket.number if link.ticket else None,
        "contraforce_request_id": link.request_id,
        "next_try_at": link.next_try_at.isoformat() if link.next_try_at else None,
    }


def report_failure(link: Link, error: Failure) -> None:
    """Tell why a try of an incident failed, and what a person has to grant or look at."""
    if isinstance(error, Unforeseen):
        event(
            "link.unexpected",
            level=logging.ERROR,
            incident=link.incident_id.key,
            incident_number=link.incident_number,
            workspace=link.incident_id.workspace.key,
            error=error.code,
            where=error.where,
        )
        return
    match error:
        case UpstreamUnauthorized():
            name = "upstream.unauthorized"
        case UpstreamUnavailable():
            name = "upstream.unavailable"
        case _:
            name = "upstream.failed"
    event(
        name,
        level=logging.ERROR if isinstance(error, UpstreamUnauthorized) else logging.WARNING,
        incident=link.incident_id.key,
        incident_number=link.incident_number,
        workspace=link.incident_id.workspace.key,
        upstream=error.upstream,
        error=str(error),
        status=error.status,
        code=error.code,
        contraforce_request_id=error.request_id,
        retry_after_seconds=error.retry_after_seconds,
        advice=error.advice,
        # a repeat may create a second ticket: somebody may have to look
        may_have_linked="yes" if error.ambiguous and error.upstream is Upstream.CONTRAFORCE else None,
    )


def report_link_failure(incident_id: IncidentId, error: Exception) -> None:
    """Tell that a try could not even be recorded, or a record not be made or removed."""
    event("reconcile.link-failed", level=logging.ERROR, incident=incident_id.key, error=in_our_words(error))


def report_unreadable(incident: str) -> None:
    """Tell that the record of the incident of this key cannot be read."""
    event("record.unreadable", level=logging.ERROR, incident=incident, error=str(RecordUnreadable(incident)))


def report_workspace_failure(error: Exception) -> None:
    """Tell that a step of a workspace's work failed."""
    advice = error.advice if isinstance(error, UpstreamError) else None
    event("reconcile.workspace-failed", level=logging.ERROR, error=in_our_words(error), advice=advice)


def report_left_out(problems: Mapping[str, str]) -> None:
    """Tell what is wrong with settings that only decorate, and are left out."""
    for setting, problem in sorted(problems.items()):
        event("setting.left-out", level=logging.WARNING, setting=setting, error=problem)


def report_run(done: TimerRun) -> None:
    """Tell what a run of the timer did, and the backlog that it left."""
    due, dead = done.backlog.oldest_due_at, done.backlog.dead
    waiting_seconds = max(0.0, (done.finished_at - due).total_seconds()) if due else 0.0
    event(
        "reconcile.run",
        tried=done.tried,
        linked=done.linked,
        discovered=done.discovered,
        removed=done.removed,
        failed_workspaces=done.failed_workspaces,
        unreadable=done.unreadable,
        left_to_backfill=done.left_to_backfill,
        dead=dead,
        oldest_due_at=due.isoformat() if due else None,
        oldest_due_seconds=round(waiting_seconds),
        duration_ms=round((done.finished_at - done.started_at).total_seconds() * 1000, 1),
    )
    measure("backlog.oldest_due_age", waiting_seconds)
    measure("backlog.dead", dead)
