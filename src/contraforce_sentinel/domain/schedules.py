"""When a link is tried again after a failure, and when that ends: every retry schedule of a link, as tables.

Not here: the tries within one request (`transport.retries`), and the lease of a claim, at whose end the link
of a worker that died is due (`links.LEASE`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from contraforce_sentinel.domain.errors import (
    Failure,
    NoTicketYet,
    Unforeseen,
    Upstream,
    UpstreamConflict,
    UpstreamError,
    UpstreamMalformed,
    UpstreamNotFound,
    UpstreamRejected,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from contraforce_sentinel.domain.reasons import Reason


@dataclass(frozen=True, slots=True)
class Schedule:
    """Waits from `first`, doubled up to `longest`; dead after `give_up_after` of the same failure."""

    first: timedelta
    longest: timedelta
    give_up_after: timedelta | None

    def wait(self, failures: int, *, jitter: float) -> timedelta:
        """How long to wait after so many in a row; `jitter` in [0, 1) spreads it over 80 to 120 %."""
        doubled: timedelta = self.first * 2 ** min(failures - 1, 16)
        return min(self.longest, doubled) * (0.8 + 0.4 * jitter)

    def is_over(self, failing: timedelta) -> bool:
        """Whether a failure that lasts so long already is given up."""
        return self.give_up_after is not None and failing >= self.give_up_after


_BACKOFF: Final = Schedule(timedelta(minutes=1), timedelta(hours=1), timedelta(hours=24))
_INGESTION: Final = Schedule(timedelta(minutes=1), timedelta(minutes=1), timedelta(minutes=30))
_NO_TICKET: Final = Schedule(timedelta(minutes=5), timedelta(hours=1), timedelta(hours=24))
_GRANT: Final = Schedule(timedelta(minutes=15), timedelta(minutes=15), None)
_AT_ONCE: Final = Schedule(timedelta(0), timedelta(0), timedelta(0))

_STEPS: Final[Mapping[tuple[type[UpstreamError], Upstream], tuple[Reason, Schedule]]] = {
    (UpstreamUnavailable, Upstream.CONTRAFORCE): (Reason.CONTRAFORCE_UNAVAILABLE, _BACKOFF),
    (UpstreamUnavailable, Upstream.SENTINEL): (Reason.SENTINEL_UNAVAILABLE, _BACKOFF),
    (UpstreamUnavailable, Upstream.RESOURCE_MANAGER): (Reason.RESOURCE_MANAGER_UNAVAILABLE, _BACKOFF),
    (UpstreamUnavailable, Upstream.IDENTITY): (Reason.IDENTITY_UNAVAILABLE, _BACKOFF),
    (UpstreamUnauthorized, Upstream.CONTRAFORCE): (Reason.CONTRAFORCE_UNAUTHORIZED, _GRANT),
    (UpstreamUnauthorized, Upstream.SENTINEL): (Reason.SENTINEL_UNAUTHORIZED, _GRANT),
    (UpstreamUnauthorized, Upstream.RESOURCE_MANAGER): (Reason.RESOURCE_MANAGER_UNAUTHORIZED, _GRANT),
    (UpstreamUnauthorized, Upstream.IDENTITY): (Reason.IDENTITY_UNAUTHORIZED, _GRANT),
    (UpstreamNotFound, Upstream.CONTRAFORCE): (Reason.NOT_INGESTED_YET, _INGESTION),
    (UpstreamNotFound, Upstream.SENTINEL): (Reason.INCIDENT_GONE, _AT_ONCE),
    (UpstreamNotFound, Upstream.RESOURCE_MANAGER): (Reason.WORKSPACE_NOT_FOUND, _GRANT),
    (NoTicketYet, Upstream.CONTRAFORCE): (Reason.NO_TICKET_YET, _NO_TICKET),
    (UpstreamConflict, Upstream.SENTINEL): (Reason.COMMENT_CONFLICT, _AT_ONCE),
    (UpstreamConflict, Upstream.RESOURCE_MANAGER): (Reason.COMMENT_CONFLICT, _AT_ONCE),
    (UpstreamRejected, Upstream.CONTRAFORCE): (Reason.CONTRAFORCE_REJECTED, _AT_ONCE),
    (UpstreamRejected, Upstream.SENTINEL): (Reason.SENTINEL_REJECTED, _AT_ONCE),
    (UpstreamRejected, Upstream.RESOURCE_MANAGER): (Reason.RESOURCE_MANAGER_REJECTED, _AT_ONCE),
    (UpstreamMalformed, Upstream.CONTRAFORCE): (Reason.CONTRAFORCE_MALFORMED, _AT_ONCE),
}
"""What an upstream's failure leads to; one that is not here, to what the upstream's outage leads to."""

_UNFORESEEN: Final = (Reason.UNEXPECTED, _BACKOFF)
_TICKET_AT_RISK: Final = (Reason.UNEXPECTED, _AT_ONCE)
"""Repeating could make a second ticket."""


def next_step(error: Failure) -> tuple[Reason, Schedule]:
    """Return the reason to record for a failure, and the schedule of the tries that follow it."""
    if isinstance(error, Unforeseen):
        return _TICKET_AT_RISK if error.ticket_at_risk else _UNFORESEEN
    found = _STEPS.get((type(error), error.upstream))
    return found or _STEPS[UpstreamUnavailable, error.upstream]


def every_step() -> Iterator[tuple[Reason, Schedule]]:
    """Yield all that `next_step` may return."""
    yield from _STEPS.values()
    yield from (_UNFORESEEN, _TICKET_AT_RISK)
