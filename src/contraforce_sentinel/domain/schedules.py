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
    UpstreamBlocked,
    UpstreamConflict,
    UpstreamError,
    UpstreamMalformed,
    UpstreamNotFound,
    UpstreamOutOfSight,
    UpstreamRejected,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from contraforce_sentinel.domain.reasons import Reason


@dataclass(frozen=True, slots=True)
class Schedule:
    """Waits from `first`, doubled up to `longest`; for `slow` from `slow_after` of the same failure on.

    Dead (where it `skips`: skipped) after `give_up_after` of the same failure, but not before so many
    `tries` of it: a clock that was wrong once kills nothing.
    """

    first: timedelta
    longest: timedelta
    give_up_after: timedelta | None
    tries: int = 6
    slow_after: timedelta | None = None
    slow: timedelta = timedelta(hours=1)
    skips: bool = False

    def wait(self, failures: int, failing: timedelta, *, jitter: float) -> timedelta:
        """How long to wait after so many in a row for so long; `jitter` in [0, 1): 80 to 120 % of it."""
        wait: timedelta = min(self.longest, self.first * 2 ** min(failures - 1, 16))
        if self.slow_after is not None and failing >= self.slow_after:
            wait = self.slow
        return wait * (0.8 + 0.4 * jitter)

    def is_over(self, failures: int, failing: timedelta) -> bool:
        """Whether a failure that came so often in a row, for so long, is given up."""
        return self.give_up_after is not None and failing >= self.give_up_after and failures >= self.tries


_BACKOFF: Final = Schedule(timedelta(minutes=1), timedelta(hours=1), timedelta(hours=24))
_INGESTION: Final = Schedule(
    timedelta(minutes=1), timedelta(minutes=1), timedelta(hours=24), slow_after=timedelta(minutes=30)
)
_LATE: Final = Schedule(timedelta(minutes=1), timedelta(minutes=1), timedelta(minutes=30), skips=True)
"""Sentinel may answer for minutes that it has not what it has just announced.

After it, the link is skipped if the workspace is in sight; else it is as for a missing role.
"""

_NO_TICKET: Final = Schedule(timedelta(minutes=5), timedelta(hours=1), timedelta(hours=24))
_GRANT: Final = Schedule(timedelta(minutes=15), timedelta(minutes=15), None)
_AT_ONCE: Final = Schedule(timedelta(0), timedelta(0), timedelta(0), tries=1)

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
    (UpstreamNotFound, Upstream.SENTINEL): (Reason.INCIDENT_GONE, _LATE),
    (UpstreamOutOfSight, Upstream.SENTINEL): (Reason.WORKSPACE_NOT_FOUND, _GRANT),
    (UpstreamOutOfSight, Upstream.RESOURCE_MANAGER): (Reason.WORKSPACE_NOT_FOUND, _GRANT),
    (UpstreamBlocked, Upstream.SENTINEL): (Reason.WORKSPACE_BLOCKED, _GRANT),
    (UpstreamBlocked, Upstream.RESOURCE_MANAGER): (Reason.WORKSPACE_BLOCKED, _GRANT),
    (NoTicketYet, Upstream.CONTRAFORCE): (Reason.NO_TICKET_YET, _NO_TICKET),
    (UpstreamConflict, Upstream.SENTINEL): (Reason.COMMENT_CONFLICT, _AT_ONCE),
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
