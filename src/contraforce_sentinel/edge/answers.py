"""What the HTTP handlers answer: outcomes as JSON, errors as problem details (RFC 9457), both pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Final, NewType
from uuid import UUID

from contraforce_sentinel import VERSION
from contraforce_sentinel.domain.comments import comment_id
from contraforce_sentinel.domain.errors import (
    BodyTooLarge,
    NotJson,
    RecordUnreadable,
    SettingsError,
    StoreUnavailable,
    TicketConflict,
    TicketLinkError,
    Unforeseen,
    UpstreamError,
    WorkspaceNotConfigured,
)
from contraforce_sentinel.domain.links import Link, Outcome
from contraforce_sentinel.domain.reasons import Code, Reason
from contraforce_sentinel.domain.records import LinkState
from contraforce_sentinel.domain.runs import TimerRun
from contraforce_sentinel.domain.tickets import Ticket

_RETRY_AFTER_SECONDS: Final = "30"

RecordsOwn = NewType("RecordsOwn", str)
"""A code as a record has it: a service's word, the type of an exception, or the record's reason or state."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer; `content` becomes its JSON body."""

    status: HTTPStatus
    content: dict[str, object]
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def body(self) -> str:
        """The JSON text."""
        return json.dumps(self.content)


def link_content(link: Link, *, already_linked: bool, now: datetime) -> dict[str, object]:
    """Return the body of a 200 or 202, as `docs/openapi.yaml` documents it."""
    waiting = link.state in {LinkState.PENDING, LinkState.TICKETED}
    return {
        "status": LinkState.PENDING if waiting else link.state,
        "incident": {
            "armId": link.incident_id.arm_id,
            "number": int(number) if (number := link.incident_number or "").isdecimal() else None,
        },
        "ticket": _ticket_content(link.ticket) if link.ticket else None,
        "commentId": str(comment_id(link.incident_id)) if link.state is LinkState.LINKED else None,
        "alreadyLinked": already_linked,
        "reason": Reason.IN_PROGRESS if waiting and link.is_busy(now) else link.reason,
        "retryAt": _time(link.next_try_at),
        "contraforceRequestId": link.request_id,
    }


def _ticket_content(ticket: Ticket) -> dict[str, object]:
    """Return a ticket without what only a later version knows of it."""
    return ticket.model_dump(mode="json", include=set(Ticket.model_fields))


def for_outcome(outcome: Outcome, *, now: datetime) -> Answer:
    """Answer a delivery that was accepted."""
    link = outcome.link
    if link.state is LinkState.DEAD:
        reason = f"{link.reason}{f' ({link.code})' if link.code else ''}"
        return problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"this incident will not be linked: {reason}",
            code=RecordsOwn(link.code or link.reason or link.state),
            reason=link.reason,
            requestId=link.request_id,
            fields=list(link.fields),
        )
    done = link.state in {LinkState.LINKED, LinkState.SKIPPED}
    content = link_content(link, already_linked=outcome.already_linked, now=now)
    return Answer(HTTPStatus.OK if done else HTTPStatus.ACCEPTED, content)


def for_record(link: Link, *, now: datetime) -> Answer:
    """Answer a question for a record: the same body, and what the record alone knows."""
    content = link_content(link, already_linked=link.state is LinkState.LINKED, now=now) | {
        "status": link.state,
        "code": link.code,
        "requestedTicketId": link.requested_ticket_id,
        **_followed_content(link),
        "attempts": link.attempts,
        "createdAt": link.created_at.isoformat(),
        "updatedAt": link.updated_at.isoformat(),
    }
    return Answer(HTTPStatus.OK, content)


def _followed_content(link: Link) -> dict[str, object]:
    """Return what a record says of its incident, and of its tickets, over time."""
    seen, dead = link.seen, link.was_dead
    return {
        "requestedWorkspaceId": _text(link.requested_workspace_id),
        "ticketWorkspaceId": _text(link.ticket_workspace_id),
        "earlierTickets": [_ticket_content(ticket) for ticket in link.earlier_tickets],
        "mayHaveTicket": link.answer_lost and link.ticket is None,
        "wasDead": {"reason": dead.reason, "code": dead.code, "fields": list(dead.fields)} if dead else None,
        "incidentState": seen.state,
        "incidentStateSince": _time(seen.since),
        "incidentCreatedAt": _time(seen.created_at),
        "providerIncidentId": seen.provider_incident_id or None,
        "firstSeenAt": _time(link.first_seen_at),
        "firstSeenBy": link.first_seen_by,
        "linkedAt": _time(link.linked_at),
    }


def _text(value: UUID | None) -> str | None:
    return None if value is None else str(value)


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.isoformat()


@dataclass(frozen=True, slots=True)
class Condition:
    """How the app is: what is wrong, by the names of settings and variables, and the timer's last run.

    Settings that are refused stop everything; others are left out. `network_problems` are of the way to the
    services: certificates and proxies. How many customers there are is not known while settings are refused.
    """

    setting_problems: Mapping[str, str]
    settings_are_refused: bool = False
    network_problems: Mapping[str, str] = field(default_factory=dict)
    store_problem: str | None = None
    last_run: TimerRun | None = None
    customers: int | None = None

    @property
    def _settings(self) -> str:
        if self.settings_are_refused:
            return "refused"
        return "warning" if self.setting_problems else "ok"

    @property
    def _network(self) -> str:
        if self.settings_are_refused:
            return "unknown"
        return "unusable" if self.network_problems else "ok"

    @property
    def _store(self) -> str:
        if self.settings_are_refused:
            return "unknown"
        return "unavailable" if self.store_problem else "ok"

    def health(self) -> Answer:
        """What everybody may know: which part is wrong."""
        is_well = not (self.settings_are_refused or self.network_problems or self.store_problem)
        content: dict[str, object] = {
            "status": "ok" if is_well else "unavailable",
            "version": VERSION,
            "settings": self._settings,
            "network": self._network,
            "store": self._store,
        }
        return Answer(HTTPStatus.OK if is_well else HTTPStatus.SERVICE_UNAVAILABLE, content)

    def status(self, *, now: datetime) -> Answer:
        """Everything."""
        health = self.health()
        content = {
            **health.content,
            "settingProblems": {**self.setting_problems, **self.network_problems},
            "storeProblem": self.store_problem,
            "customers": None if self.customers is None else {"total": self.customers},
            **timer_content(self.last_run, now=now),
        }
        return Answer(health.status, content)


def timer_content(run: TimerRun | None, *, now: datetime) -> dict[str, object]:
    """Return what the status answer says of the timer's last run and of the backlog it left."""
    if run is None:
        return {"lastTimerRun": None, "oldestDueSeconds": None, "dead": None, "unreadable": None}
    oldest = run.backlog.oldest_due_at
    return {
        "lastTimerRun": {
            "finishedAt": run.finished_at.isoformat(),
            "tried": run.tried,
            "linked": run.linked,
            "discovered": run.discovered,
            "leftToBackfill": run.left_to_backfill,
            "failedWorkspaces": run.failed_workspaces,
        },
        "oldestDueSeconds": None if oldest is None else max(0, round((now - oldest).total_seconds())),
        "dead": run.backlog.dead,
        "unreadable": run.unreadable,
    }


def for_error(error: TicketLinkError) -> Answer:  # noqa: PLR0911 - a table
    """Answer a delivery that was not accepted; the error's message says what to change."""
    match error:
        case BodyTooLarge():
            return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, str(error), code=Code.BODY_TOO_LARGE)
        case NotJson():
            return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, str(error), code=Code.NOT_JSON)
        case WorkspaceNotConfigured():
            return problem(HTTPStatus.FORBIDDEN, str(error), code=Code.WORKSPACE_NOT_CONFIGURED)
        case TicketConflict():
            return problem(
                HTTPStatus.CONFLICT, str(error), code=Code.TICKET_CONFLICT, ticketId=error.ticket_id
            )
        case StoreUnavailable() | SettingsError():
            code = Code.STORE_UNAVAILABLE if isinstance(error, StoreUnavailable) else Code.SETTINGS_REFUSED
            answer = problem(HTTPStatus.SERVICE_UNAVAILABLE, str(error), code=code)
            answer.headers["Retry-After"] = _RETRY_AFTER_SECONDS
            return answer
        case RecordUnreadable():
            return problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), code=Code.RECORD_UNREADABLE)
        case UpstreamError():
            told = f"{error}; {error.advice}" if error.advice else str(error)
            return problem(HTTPStatus.BAD_GATEWAY, told, code=Code.UPSTREAM_FAILED)
        case Unforeseen():
            return problem(HTTPStatus.INTERNAL_SERVER_ERROR, str(error), code=Code.UNEXPECTED)
        case _:
            return problem(HTTPStatus.BAD_REQUEST, str(error), code=Code.NOT_AN_INCIDENT)


def problem(status: HTTPStatus, detail: str, *, code: Code | RecordsOwn, **extensions: object) -> Answer:
    """Return problem details; `code` is the word to switch on, `detail` is prose."""
    content: dict[str, object] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": detail,
        "code": code,
        **extensions,
    }
    return Answer(status, content, content_type="application/problem+json")
