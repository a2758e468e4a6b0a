"""The link record and its state machine: pure values, no clock, no I/O.

    pending ──▶ ticketed ──▶ linked
       │           │
       ├───────────┼──▶ skipped (a later delivery, or the incident's next change, may bring it back)
       └───────────┴──▶ dead (needs a person, who may bring it back)

Every transition returns a new record. What a failure leads to is a table, in `schedules`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Final, Self
from uuid import UUID

from pydantic import BeforeValidator, PlainSerializer

from contraforce_sentinel.domain.errors import (
    Failure,
    Unforeseen,
    Upstream,
    UpstreamError,
    UpstreamMalformed,
)
from contraforce_sentinel.domain.incidents import Incident, IncidentId
from contraforce_sentinel.domain.reasons import Reason
from contraforce_sentinel.domain.records import Cause, Lease, LinkState, Record, Sighting, Step, UtcTime
from contraforce_sentinel.domain.schedules import next_step
from contraforce_sentinel.domain.tickets import Ticket

LEASE: Final = timedelta(minutes=3)
"""How long a claim holds: a request's 20 s, the store's waits, and a minute of difference between clocks."""

CLOCKS_APART: Final = timedelta(minutes=1)
"""How far the clocks of two workers may differ without any promise being broken."""

LONGEST_EFFECT: Final = timedelta(seconds=20)
"""How long a request that was handed on may take to have its effect: all requests of a delivery have that."""

LONGEST_RETRY_AFTER: Final = timedelta(hours=24)

LONGEST_WAIT: Final = timedelta(minutes=72)
"""How far ahead a next try may lie that no `Retry-After` has put there: an hour, and its jitter."""

MAX_STEPS: Final = 20
"""How much of its history a record keeps: 4 KB of the 64 KB that a property of Azure Tables may have."""

type Clock = Callable[[], datetime]


type _ArmId = Annotated[
    IncidentId,
    BeforeValidator(lambda value: IncidentId.parse(value) if isinstance(value, str) else value),
    PlainSerializer(lambda value: value.arm_id),
]


class Link(Record):
    """The record of one incident's link, as stored.

    `attempts` counts every claim; `failures` those in a row that ended with the present `reason`, which
    lasts since `failing_since`. A link is due when `next_try_at` has come; before `not_before`, which only
    an upstream's `Retry-After` sets, nobody may try. `history` is where attempts left the link, oldest
    first, no more than `MAX_STEPS`. `version` is the store's, for compare-and-set.

    `seen` is the incident as it was when last looked at; `first_seen_by` is the trigger that brought it
    first, `first_seen_at` when: `created_at` moves on where retention keeps a record longer.

    `ticket` came from the ContraForce workspace `ticket_workspace_id`; `requested_ticket_id`, which a caller
    asked for, was meant for `requested_workspace_id`. `earlier_tickets` are those that it had before,
    `answer_lost` that tickets/link may have made one that nobody knows. `was_dead` is why a skipped link was
    dead before.

    `reason` is a `Reason`; read from a store, it may be one that only a later version knows.
    """

    incident_id: _ArmId
    incident_number: str | None = None
    seen: Sighting = Sighting()
    first_seen_at: UtcTime | None = None
    first_seen_by: str | None = None
    state: LinkState = LinkState.PENDING
    ticket: Ticket | None = None
    ticket_workspace_id: UUID | None = None
    earlier_tickets: tuple[Ticket, ...] = ()
    requested_ticket_id: str | None = None
    requested_workspace_id: UUID | None = None
    answer_lost: bool = False
    linked_at: UtcTime | None = None
    was_dead: Cause | None = None
    reason: str | None = None
    code: str | None = None
    fields: tuple[str, ...] = ()
    request_id: str | None = None
    attempts: int = 0
    failures: int = 0
    failing_since: UtcTime | None = None
    next_try_at: UtcTime | None = None
    not_before: UtcTime | None = None
    lease: Lease | None = None
    history: tuple[Step, ...] = ()
    created_at: UtcTime
    updated_at: UtcTime
    version: str = ""

    def _after(self, now: datetime, **changes: object) -> Self:
        return self.model_copy(update={"updated_at": now, **changes})

    def noted(self) -> Self:
        """Add where the link stands now to its history."""
        now = Step(
            state=self.state, reason=self.reason, code=self.code, at=self.updated_at, last_at=self.updated_at
        )
        *before, last = self.history or (now,)
        if self.history and (last.state, last.reason, last.code) == (now.state, now.reason, now.code):
            now = last.model_copy(update={"last_at": now.at, "times": last.times + 1})
        elif self.history:
            before.append(last)
        return self.model_copy(update={"history": (*before, now)[-MAX_STEPS:]})

    def is_busy(self, now: datetime) -> bool:
        """Whether a worker holds the link; a lease longer than any was written by a clock that was wrong."""
        return self.lease is not None and now < self.lease.until <= now + LEASE + CLOCKS_APART

    def may_act(self, now: datetime) -> bool:
        """Whether the holder may hand on a request: it has its effect before anybody else takes over."""
        return self.is_busy(now + LONGEST_EFFECT + CLOCKS_APART)

    def is_due(self, now: datetime) -> bool:
        """Whether its next try has come; one further ahead than any wait was set by a wrong clock."""
        if self.next_try_at is None:
            return False
        longest = LONGEST_WAIT if self.not_before is None else LONGEST_RETRY_AFTER
        return not now < self.next_try_at <= now + longest

    def is_claimable(self, now: datetime) -> bool:
        """Whether a worker may take the link now."""
        if self.state in {LinkState.LINKED, LinkState.DEAD} or self.is_busy(now):
            return False
        return self.not_before is None or not now < self.not_before <= now + LONGEST_RETRY_AFTER

    def requesting(self, ticket_id: str | None, *, of: UUID, now: datetime) -> Self:
        """A caller asks for a certain ticket of a ContraForce workspace.

        That is kept while no worker is at it and no ticket is known.

        Where that was refused, any other request, or none, brings the link back; of a closed incident, later.
        """
        if ticket_id == self.requested_ticket_id or self.is_busy(now) or self.ticket:
            return self
        if self.state is LinkState.DEAD:
            is_refused = self.reason == Reason.TICKET_REFUSED
            return self.revived(now=now).requesting(ticket_id, of=of, now=now) if is_refused else self
        was_refused = self.was_dead is not None and self.was_dead.reason == Reason.TICKET_REFUSED
        if ticket_id is None and not was_refused:
            return self
        changes: dict[str, object] = {"was_dead": None} if was_refused else {}
        place = of if ticket_id else None
        return self._after(now, requested_ticket_id=ticket_id, requested_workspace_id=place, **changes)

    def claimed(self, *, owner: str, now: datetime) -> Self:
        """One worker works on it; if that worker dies, the link is due when its lease ends.

        A skipped one begins anew, as if nobody had looked at its incident yet.
        """
        until = now + LEASE
        forgotten = {"state": None, "since": None, "changed_at": None}
        is_skipped = self.state is LinkState.SKIPPED
        return self._after(
            now,
            seen=self.seen.model_copy(update=forgotten) if is_skipped else self.seen,
            state=LinkState.TICKETED if self.ticket else LinkState.PENDING,
            lease=Lease(owner=owner, until=until),
            attempts=self.attempts + 1,
            next_try_at=until,
        )

    def ticketed(self, ticket: Ticket, *, of: UUID, request_id: str | None, now: datetime) -> Self:
        """The ticket of a ContraForce workspace is known: tickets/link is never called again.

        The lease goes on.
        """
        return self._after(
            now,
            state=LinkState.TICKETED,
            ticket=ticket,
            ticket_workspace_id=of,
            request_id=request_id,
            **_NO_FAILURE,
        ).noted()

    def linked(self, *, now: datetime) -> Self:
        """The comment is in place."""
        changes = {**_NO_FAILURE, "linked_at": now, "lease": None, "next_try_at": None}
        return self._after(now, state=LinkState.LINKED, **changes).noted()

    def saw(self, incident: Incident, *, is_confirmed: bool, now: datetime) -> Self:
        """Keep what the incident is; the record itself where that is nothing new."""
        seen = self.seen.updated(incident, is_confirmed=is_confirmed, now=now)
        number = incident.number
        if (seen, number) == (self.seen, self.incident_number):
            return self
        return self._after(now, seen=seen, incident_number=number)

    def skipped(self, reason: Reason, *, now: datetime) -> Self:
        """The incident gets no link, for a reason that lies in the incident."""
        is_dead = self.state is LinkState.DEAD
        cause = Cause(reason=self.reason, code=self.code, fields=self.fields) if is_dead else None
        changes = {**_NO_FAILURE, "reason": reason, "was_dead": cause, "lease": None, "next_try_at": None}
        if self.not_before and self.not_before > now:  # whoever brings it back asks the same upstream
            changes["not_before"] = self.not_before
        return self._after(now, state=LinkState.SKIPPED, **changes).noted()

    def brought_back(self, *, now: datetime) -> Self:
        """The incident of a skipped link is to be linked: as the link was before, due at once or dead."""
        if self.was_dead is not None:
            cause = self.was_dead
            causes = {"reason": cause.reason, "code": cause.code, "fields": cause.fields, "was_dead": None}
            return self._after(now, state=LinkState.DEAD, **causes).noted()
        state, due = LinkState.TICKETED if self.ticket else LinkState.PENDING, self.not_before or now
        changes = {**_NO_FAILURE, "not_before": self.not_before, "next_try_at": max(now, due)}
        return self._after(now, state=state, **changes).noted()

    def revived(self, *, now: datetime) -> Self:
        """A person has brought a dead link back: it is due at once, its history goes on.

        A ticket that ContraForce refused is not asked for again.
        """
        state = LinkState.TICKETED if self.ticket else LinkState.PENDING
        changes = {**_NO_FAILURE, "reason": Reason.REPLAYED}
        if self.reason == Reason.TICKET_REFUSED:
            changes["requested_ticket_id"] = None
        return self._after(now, state=state, lease=None, next_try_at=now, **changes).noted()

    def failed(self, error: Failure, *, now: datetime, jitter: float) -> Self:
        """Record a failure: due again later, or dead.

        `jitter` in [0, 1) spreads the wait. A failure of another kind than the last starts the schedule, and
        the time after which it gives up, anew.
        """
        reason, schedule = next_step(error)
        again = reason == self.reason
        failures = self.failures + 1 if again else 1
        since = min(self.failing_since, now) if again and self.failing_since else now
        dead = schedule.is_over(failures, now - since)
        if dead and self.requested_ticket_id and _is_about_request(error):
            reason = Reason.TICKET_REFUSED
        wait = schedule.wait(failures, now - since, jitter=jitter)
        asked = error.retry_after_seconds
        not_before = None if asked is None or dead else now + timedelta(seconds=asked)
        return self._after(
            now,
            state=LinkState.DEAD if dead else self.state,
            lease=None,
            answer_lost=self.answer_lost or _may_have_linked(error),
            reason=reason,
            code=error.code,
            fields=error.fields,
            request_id=error.request_id or self.request_id,
            failures=failures,
            failing_since=since,
            not_before=not_before,
            next_try_at=None if dead else max(now + wait, not_before or now),
        ).noted()


def _is_about_request(error: Failure) -> bool:
    """Whether ContraForce may have refused the ticket that was asked for: how it does is not documented."""
    refusals = {HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND}
    return isinstance(error, UpstreamError) and (
        error.upstream is Upstream.CONTRAFORCE and error.status in refusals
    )


def _may_have_linked(error: Failure) -> bool:
    """Whether there may be a ticket that nobody knows."""
    if isinstance(error, Unforeseen):
        return error.ticket_at_risk
    is_malformed = isinstance(error, UpstreamMalformed)
    return error.upstream is Upstream.CONTRAFORCE and (error.ambiguous or is_malformed)


_NO_FAILURE: Final[dict[str, object]] = {
    "reason": None,
    "code": None,
    "fields": (),
    "failures": 0,
    "failing_since": None,
    "not_before": None,
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where the incident's link stands after a delivery."""

    link: Link
    already_linked: bool
