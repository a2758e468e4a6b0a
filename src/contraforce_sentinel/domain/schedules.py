"""Retry schedules: when a link is tried again after a failure, and when that ends. One table, `next_step`."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from contraforce_sentinel.domain.errors import (
    Failure,
    NoTicketYet,
    Unforeseen,
    Upstream,
    UpstreamConflict,
    UpstreamMalformed,
    UpstreamNotFound,
    UpstreamRejected,
    UpstreamUnauthorized,
)

UNEXPECTED: Final = "unexpected"


@dataclass(frozen=True, slots=True)
class Schedule:
    """Waits from `first`, doubled up to `longest`; dead after `give_up_after` of the same failure."""

    first: timedelta
    longest: timedelta
    give_up_after: timedelta | None


_BACKOFF: Final = Schedule(timedelta(minutes=1), timedelta(hours=1), timedelta(hours=24))
_INGESTION: Final = Schedule(timedelta(minutes=1), timedelta(minutes=1), timedelta(minutes=30))
_NO_TICKET: Final = Schedule(timedelta(minutes=5), timedelta(hours=1), timedelta(hours=24))
_GRANT: Final = Schedule(timedelta(minutes=15), timedelta(minutes=15), None)
_AT_ONCE: Final = Schedule(timedelta(0), timedelta(0), timedelta(0))


def next_step(error: Failure) -> tuple[str, Schedule]:  # noqa: C901, PLR0911 - a table
    """Return the reason to record for a failure, and the schedule of the tries that follow it."""
    match error:
        case Unforeseen(ticket_at_risk=True):  # repeating could make a second ticket
            return UNEXPECTED, _AT_ONCE
        case Unforeseen():
            return UNEXPECTED, _BACKOFF
        case UpstreamUnauthorized():
            return f"{error.upstream}-unauthorized", _GRANT
        case NoTicketYet():
            return "no-ticket-yet", _NO_TICKET
        case UpstreamNotFound(upstream=Upstream.CONTRAFORCE):
            return "not-ingested-yet", _INGESTION
        case UpstreamNotFound(upstream=Upstream.SENTINEL):
            return "incident-gone", _AT_ONCE
        case UpstreamNotFound():
            return "workspace-not-found", _GRANT
        case UpstreamConflict():
            return "comment-conflict", _AT_ONCE
        case UpstreamRejected():
            return f"{error.upstream}-rejected", _AT_ONCE
        case UpstreamMalformed(upstream=Upstream.CONTRAFORCE):
            return "contraforce-malformed", _AT_ONCE
        case _:
            return f"{error.upstream}-unavailable", _BACKOFF
