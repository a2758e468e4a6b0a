"""The link record: what each failure leads to, who may work on it and when, and what always holds."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from contraforce_sentinel.domain.errors import (
    NoTicketYet,
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
from contraforce_sentinel.domain.incidents import IncidentId
from contraforce_sentinel.domain.links import LEASE, MAX_STEPS, Link
from contraforce_sentinel.domain.reasons import Reason
from contraforce_sentinel.domain.records import Lease, LinkState
from contraforce_sentinel.domain.tickets import Ticket

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(hours=24)
INCIDENT_ID = IncidentId.parse(
    "/subscriptions/11111111-2222-4333-8444-555555555555/resourceGroups/rg-secops-prod"
    "/providers/Microsoft.OperationalInsights/workspaces/law-sentinel-prod"
    "/providers/Microsoft.SecurityInsights/Incidents/3f1d9a52-7c0e-4b1b-9d5f-6a2f0e8c7b11"
)
DESK = UUID(int=7)
TICKET = Ticket(system="Jira", number="SEC-421", id="10432", title="Sign-ins", status="To Do")

LATEST = 0.999_999
"""The largest jitter, the one that makes every wait the longest."""


def link(**changes: Any) -> Link:
    return Link(incident_id=INCIDENT_ID, incident_number="3177", created_at=NOW, updated_at=NOW, **changes)


def claimed(**changes: Any) -> Link:
    return link(**changes).claimed(owner="one", now=NOW)


def waits(error: UpstreamError, *, times: int, jitter: float = 0.5) -> list[timedelta | None]:
    """Fail so often, each try at the moment it is due, and return the waits; None where it died."""
    found: list[timedelta | None] = []
    now, record = NOW, claimed()
    for _ in range(times):
        record = record.failed(error, now=now, jitter=jitter)
        found.append(record.next_try_at - now if record.next_try_at else None)
        if record.next_try_at is None:
            break
        now = record.next_try_at
    return found


def dies_after(error: UpstreamError, *, within: timedelta) -> timedelta | None:
    """Fail at every try that is due, and return after how long the link dies; None if it never does."""
    now, record = NOW, claimed()
    while now - NOW <= within:
        record = record.failed(error, now=now, jitter=0.5)
        if record.state is LinkState.DEAD:
            return now - NOW
        assert record.next_try_at is not None
        now = record.next_try_at
    return None


# What a failure leads to. The waits are those of jitter 0.5, which adds and takes nothing.

AT_ONCE = timedelta(0)
TRIES = 6
TABLE = {
    **{
        f"{upstream} unavailable": (
            UpstreamUnavailable("503", upstream=upstream, status=503),
            f"{upstream}-unavailable",
            [1 * MINUTE, 2 * MINUTE, 4 * MINUTE, 8 * MINUTE, 16 * MINUTE, 32 * MINUTE, HOUR, HOUR, HOUR],
            DAY,
        )
        for upstream in Upstream
    },
    **{
        f"{upstream} unauthorized": (
            UpstreamUnauthorized("403", upstream=upstream, status=403),
            f"{upstream}-unauthorized",
            [15 * MINUTE] * 9,
            None,
        )
        for upstream in Upstream
    },
    "ContraForce has not ingested it": (
        UpstreamNotFound("404", upstream=Upstream.CONTRAFORCE, status=404),
        "not-ingested-yet",
        [MINUTE] * 9,
        DAY,
    ),
    "no ticket yet": (
        NoTicketYet("200", upstream=Upstream.CONTRAFORCE, status=200),
        "no-ticket-yet",
        [5 * MINUTE, 10 * MINUTE, 20 * MINUTE, 40 * MINUTE, HOUR, HOUR, HOUR],
        DAY,
    ),
    "incident is not there yet, or not any more": (
        UpstreamNotFound("404", upstream=Upstream.SENTINEL, status=404),
        "incident-gone",
        [MINUTE] * 9,
        30 * MINUTE,
    ),
    **{
        f"{upstream} does not show the workspace": (
            UpstreamOutOfSight("404", upstream=upstream, status=404),
            "workspace-not-found",
            [15 * MINUTE] * 5,
            None,
        )
        for upstream in (Upstream.SENTINEL, Upstream.RESOURCE_MANAGER)
    },
    **{
        f"{upstream} finds the workspace locked": (
            UpstreamBlocked("409", upstream=upstream, status=409),
            "workspace-blocked",
            [15 * MINUTE] * 5,
            None,
        )
        for upstream in (Upstream.SENTINEL, Upstream.RESOURCE_MANAGER)
    },
    "another comment under our id": (
        UpstreamConflict("409", upstream=Upstream.SENTINEL, status=409),
        "comment-conflict",
        [None],
        AT_ONCE,
    ),
    "ContraForce rejects it": (
        UpstreamRejected("400", upstream=Upstream.CONTRAFORCE, status=400),
        "contraforce-rejected",
        [None],
        AT_ONCE,
    ),
    "Sentinel rejects it": (
        UpstreamRejected("400", upstream=Upstream.SENTINEL, status=400),
        "sentinel-rejected",
        [None],
        AT_ONCE,
    ),
    "ContraForce answers in another shape": (
        UpstreamMalformed("200", upstream=Upstream.CONTRAFORCE, status=200),
        "contraforce-malformed",
        [None],
        AT_ONCE,
    ),
    "Sentinel answers in another shape": (
        UpstreamMalformed("200", upstream=Upstream.SENTINEL, status=200),
        "sentinel-unavailable",
        [1 * MINUTE, 2 * MINUTE],
        DAY,
    ),
}
EVERY_FAILURE = pytest.mark.parametrize(
    ("error", "reason", "expected", "gives_up"), TABLE.values(), ids=TABLE.keys()
)


@EVERY_FAILURE
def test_a_failure_leads_to_its_state_reason_and_next_try(
    error: UpstreamError, reason: str, expected: list[timedelta | None], gives_up: timedelta | None
) -> None:
    failed = claimed().failed(error, now=NOW, jitter=0.5)

    at_once = gives_up == AT_ONCE
    assert failed.state is (LinkState.DEAD if at_once else LinkState.PENDING)
    assert failed.reason == reason
    assert failed.lease is None
    assert failed.not_before is None
    assert (failed.failures, failed.failing_since, failed.updated_at) == (1, NOW, NOW)
    assert waits(error, times=len(expected)) == expected


@EVERY_FAILURE
def test_jitter_spreads_a_wait_over_80_to_120_percent_of_it(
    error: UpstreamError, reason: str, expected: list[timedelta | None], gives_up: timedelta | None
) -> None:
    earliest, latest = (waits(error, times=len(expected), jitter=jitter) for jitter in (0.0, LATEST))

    for early, middle, late in zip(earliest, expected, latest, strict=True):
        if early is None or middle is None or late is None:
            assert early is middle is late is None
        else:
            assert early == middle * 0.8
            assert middle * 1.19 < late <= middle * 1.2


@EVERY_FAILURE
def test_a_link_gives_up_after_its_time_and_not_before(
    error: UpstreamError, reason: str, expected: list[timedelta | None], gives_up: timedelta | None
) -> None:
    died = dies_after(error, within=timedelta(days=30))

    if gives_up is None or died is None:
        assert died is gives_up
    else:
        assert gives_up <= died <= gives_up + HOUR


@EVERY_FAILURE
def test_the_moment_to_give_up_is_exact(
    error: UpstreamError, reason: str, expected: list[timedelta | None], gives_up: timedelta | None
) -> None:
    if not gives_up:
        return
    failing = claimed()
    for _ in range(TRIES - 1):
        failing = failing.failed(error, now=NOW, jitter=0.5)

    just_before = NOW + gives_up - timedelta(microseconds=1)
    assert failing.failed(error, now=just_before, jitter=0.5).state is LinkState.PENDING
    assert failing.failed(error, now=NOW + gives_up, jitter=0.5).state is LinkState.DEAD


def test_what_contraforce_does_not_know_is_asked_for_every_minute_for_half_an_hour_then_every_hour() -> None:
    """An hour in which ContraForce takes nothing in kills nothing that came in it."""
    error = UpstreamNotFound("404", upstream=Upstream.CONTRAFORCE, status=404)
    assert waits(error, times=54) == [*[MINUTE] * 30, *[HOUR] * 24]
    assert waits(error, times=55)[-1] is None


@EVERY_FAILURE
def test_nothing_is_given_up_before_six_tries_however_long_ago_the_first_was(
    error: UpstreamError, reason: str, expected: list[timedelta | None], gives_up: timedelta | None
) -> None:
    """As of a failure that began on a clock that was a year behind."""
    if not gives_up:
        return
    record = claimed(reason=reason, failures=1, failing_since=NOW - timedelta(days=365))
    states = []
    for _ in range(TRIES - 1):
        record = record.failed(error, now=NOW, jitter=0.5)
        states.append(record.state)
    assert states == [*[LinkState.PENDING] * (TRIES - 2), LinkState.DEAD]


@EVERY_FAILURE
def test_a_failure_that_began_ahead_of_now_began_now(
    error: UpstreamError, reason: str, expected: list[timedelta | None], gives_up: timedelta | None
) -> None:
    """As on a clock that was a year ahead: it is given up after its time, and not after a year more."""
    if not gives_up:
        return
    ahead = claimed(reason=reason, failures=1, failing_since=NOW + timedelta(days=365))
    record = ahead.failed(error, now=NOW, jitter=0.5)
    assert record.failing_since == NOW
    assert record.next_try_at is not None
    assert record.next_try_at <= NOW + HOUR
    for _ in range(TRIES):
        record = record.failed(error, now=NOW + gives_up, jitter=0.5)
    assert record.state is LinkState.DEAD


@EVERY_FAILURE
def test_a_ticket_survives_every_failure(
    error: UpstreamError, reason: str, expected: list[timedelta | None], gives_up: timedelta | None
) -> None:
    ticketed = claimed().ticketed(TICKET, of=DESK, request_id="r-1", now=NOW)

    failed = ticketed.failed(error, now=NOW, jitter=0.5)

    assert failed.state is (LinkState.DEAD if gives_up == AT_ONCE else LinkState.TICKETED)
    assert failed.ticket == TICKET


def test_a_failure_keeps_what_support_asks_for() -> None:
    error = UpstreamRejected(
        "no",
        upstream=Upstream.CONTRAFORCE,
        code="VALIDATION_ERROR",
        request_id="r-7",
        fields=("incident.number", ""),
    )

    failed = claimed().failed(error, now=NOW, jitter=0.5)

    assert (failed.code, failed.request_id) == ("VALIDATION_ERROR", "r-7")
    assert failed.fields == ("incident.number", "")


def test_a_failure_without_a_request_id_keeps_the_last_one() -> None:
    ticketed = claimed().ticketed(TICKET, of=DESK, request_id="r-1", now=NOW)

    failed = ticketed.failed(unavailable(), now=NOW, jitter=0.5)

    assert failed.request_id == "r-1"


def unavailable(*, retry_after: float | None = None) -> UpstreamUnavailable:
    return UpstreamUnavailable(
        "503", upstream=Upstream.CONTRAFORCE, status=503, retry_after_seconds=retry_after
    )


@pytest.mark.parametrize(
    ("retry_after", "next_try"), [(7_200.0, timedelta(hours=2)), (5.0, MINUTE), (0.0, MINUTE)]
)
def test_retry_after_moves_the_next_try_and_nobody_may_try_before(
    retry_after: float, next_try: timedelta
) -> None:
    failed = claimed().failed(unavailable(retry_after=retry_after), now=NOW, jitter=0.5)
    asked = NOW + timedelta(seconds=retry_after)

    assert failed.next_try_at == NOW + next_try
    assert failed.not_before == asked
    assert failed.is_claimable(asked)
    assert not failed.is_claimable(asked - timedelta(microseconds=1))


def test_without_retry_after_a_delivery_may_try_at_once() -> None:
    failed = claimed().failed(unavailable(), now=NOW, jitter=0.5)

    assert failed.is_claimable(NOW)


def test_a_later_failure_without_retry_after_forgets_the_earlier_one() -> None:
    asked = claimed().failed(unavailable(retry_after=600), now=NOW, jitter=0.5)

    assert asked.failed(unavailable(), now=NOW + HOUR, jitter=0.5).not_before is None


def test_a_dead_link_waits_for_no_retry_after() -> None:
    error = UpstreamRejected("no", upstream=Upstream.CONTRAFORCE, retry_after_seconds=600)

    dead = claimed().failed(error, now=NOW, jitter=0.5)

    assert (dead.state, dead.next_try_at, dead.not_before) == (LinkState.DEAD, None, None)


def test_a_failure_of_another_kind_starts_the_schedule_and_its_clock_anew() -> None:
    """23 hours of one failure say nothing about the next one."""
    record, now = claimed(), NOW
    for _ in range(8):
        record = record.failed(unavailable(), now=now, jitter=0.5)
        now += timedelta(hours=3)
    no_ticket = NoTicketYet("none", upstream=Upstream.CONTRAFORCE)

    changed = record.failed(no_ticket, now=now, jitter=0.5)
    assert (changed.failures, changed.failing_since) == (1, now)
    assert changed.next_try_at == now + 5 * MINUTE

    back = changed.failed(unavailable(), now=now + MINUTE, jitter=0.5)
    assert (back.state, back.failures, back.failing_since) == (LinkState.PENDING, 1, now + MINUTE)


def test_a_ticket_ends_the_failures_before_it() -> None:
    failed = claimed().failed(unavailable(retry_after=60), now=NOW, jitter=0.5)

    ticketed = failed.claimed(owner="two", now=NOW + HOUR).ticketed(
        TICKET, of=DESK, request_id="r-2", now=NOW + HOUR
    )

    assert ticketed.state is LinkState.TICKETED
    assert (ticketed.reason, ticketed.failures, ticketed.failing_since, ticketed.not_before) == (
        None,
        0,
        None,
        None,
    )
    assert (ticketed.request_id, ticketed.lease is not None) == ("r-2", True)


def test_a_hundred_failures_do_not_overflow_the_wait() -> None:
    record = claimed(failures=10**9, reason="contraforce-unavailable", failing_since=NOW)

    assert record.failed(unavailable(), now=NOW, jitter=0.5).next_try_at == NOW + HOUR


# Leases


def test_a_claim_makes_the_link_busy_until_its_lease_ends() -> None:
    record = claimed()

    assert record.lease == Lease(owner="one", until=NOW + LEASE)
    assert record.next_try_at == NOW + LEASE
    assert record.attempts == 1
    for moment, busy in [
        (NOW, True),
        (NOW + LEASE - timedelta(microseconds=1), True),
        (NOW + LEASE, False),
        (NOW + DAY, False),
    ]:
        assert record.is_busy(moment) is busy
        assert record.is_claimable(moment) is not busy


def test_a_lease_is_longer_than_a_request_and_no_longer_than_a_few_minutes() -> None:
    assert timedelta(seconds=120) < LEASE <= timedelta(minutes=5)


def test_an_expired_lease_is_anybodys() -> None:
    second = claimed().claimed(owner="two", now=NOW + LEASE)

    assert second.lease == Lease(owner="two", until=NOW + 2 * LEASE)
    assert second.attempts == 2


@pytest.mark.parametrize("state", [LinkState.LINKED, LinkState.DEAD])
def test_a_finished_link_cannot_be_claimed(state: LinkState) -> None:
    assert not link(state=state).is_claimable(NOW + DAY)


@pytest.mark.parametrize("state", [LinkState.PENDING, LinkState.TICKETED, LinkState.SKIPPED])
def test_an_unfinished_or_skipped_link_can_be_claimed(state: LinkState) -> None:
    assert link(state=state).is_claimable(NOW)


def test_a_claim_of_a_skipped_link_brings_it_back() -> None:
    skipped = claimed().skipped(Reason.CLOSED, now=NOW)

    again = skipped.claimed(owner="two", now=NOW + HOUR)

    assert again.state is LinkState.PENDING
    assert again.next_try_at == NOW + HOUR + LEASE


def test_a_claim_of_a_link_with_a_ticket_owes_only_the_comment() -> None:
    ticketed = claimed().ticketed(TICKET, of=DESK, request_id=None, now=NOW)

    assert ticketed.claimed(owner="two", now=NOW + HOUR).state is LinkState.TICKETED


FINISHERS: dict[str, Callable[[Link], Link]] = {
    "linked": lambda record: record.linked(now=NOW),
    "skipped": lambda record: record.skipped(Reason.REDIRECTED, now=NOW + HOUR),
    "dead": lambda record: record.failed(
        UpstreamRejected("no", upstream=Upstream.CONTRAFORCE), now=NOW, jitter=0.5
    ),
}


@pytest.mark.parametrize("state", FINISHERS)
def test_a_finished_link_has_no_lease_and_no_next_try(state: str) -> None:
    before = claimed().failed(unavailable(retry_after=60), now=NOW, jitter=0.5)

    finished = FINISHERS[state](before.claimed(owner="two", now=NOW + HOUR))

    assert finished.state == state
    assert (finished.lease, finished.next_try_at, finished.not_before) == (None, None, None)


def test_a_skipped_link_says_why() -> None:
    assert claimed().skipped(Reason.REDIRECTED, now=NOW).reason == "redirected"


# The record as stored

TICKETS = st.builds(
    Ticket,
    system=st.text(min_size=1, max_size=39).map(lambda text: f"{text}1"),
    number=st.text(min_size=1, max_size=99).map(lambda text: f"{text}1"),
    id=st.none() | st.text(max_size=130),
    title=st.none() | st.text(max_size=600),
    status=st.none() | st.text(max_size=120),
)
TIMES = st.datetimes(datetime(2020, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
SHORT = st.none() | st.text(max_size=40)
LINKS = st.builds(
    Link,
    incident_id=st.just(INCIDENT_ID),
    incident_number=SHORT,
    state=st.sampled_from(LinkState),
    ticket=st.none() | TICKETS,
    requested_ticket_id=SHORT,
    reason=SHORT,
    code=SHORT,
    fields=st.lists(st.text(max_size=20), max_size=3).map(tuple),
    request_id=SHORT,
    attempts=st.integers(0, 10**9),
    failures=st.integers(0, 10**9),
    failing_since=st.none() | TIMES,
    next_try_at=st.none() | TIMES,
    not_before=st.none() | TIMES,
    lease=st.none() | st.builds(Lease, owner=st.text(max_size=20), until=TIMES),
    created_at=TIMES,
    updated_at=TIMES,
    version=st.text(max_size=10),
)


@given(LINKS)
@settings(deadline=None, max_examples=200)
def test_every_record_survives_its_way_through_json(record: Link) -> None:
    assert Link.model_validate_json(record.model_dump_json()) == record


def test_a_record_of_a_later_version_with_more_fields_can_be_read() -> None:
    text = link().model_dump_json().replace("{", '{"future": [1], ', 1)

    read = Link.model_validate_json(text)
    assert read.model_extra == {"future": [1]}
    assert read.model_dump(exclude={"future"}) == link().model_dump()


def test_times_of_another_zone_are_stored_in_utc() -> None:
    """They are compared as text by a store."""
    east = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))

    stored = link(next_try_at=east).next_try_at

    assert stored == NOW
    assert stored.utcoffset() == timedelta(0)


@pytest.mark.parametrize("ticket_id", ["10432", "SEC-421"])
def test_a_ticket_is_called_by_its_id_or_its_number(ticket_id: str) -> None:
    assert TICKET.is_called(ticket_id)


@pytest.mark.parametrize("ticket_id", ["", "SEC-42", "None", "104"])
def test_a_ticket_is_not_called_anything_else(ticket_id: str) -> None:
    assert not TICKET.is_called(ticket_id)
    assert not Ticket(system="Jira", number="SEC-421").is_called("10432")


# Whatever happens in whatever order


class LinkLife(RuleBasedStateMachine):
    """A link in the hands of workers that crash, come late, fail and succeed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.link = claimed()

    def is_held(self) -> bool:
        return self.link.lease is not None

    def has_ticket(self) -> bool:
        return self.link.ticket is not None

    @rule(seconds=st.sampled_from([0.0, 0.5, 20, 60, 180, 900, 3_600, 90_000]))
    def time_passes(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @precondition(lambda self: self.link.is_claimable(self.now))
    @rule(owner=st.sampled_from(["one", "two"]))
    def claim(self, owner: str) -> None:
        before = self.link
        self.link = before.claimed(owner=owner, now=self.now)
        assert self.link.attempts == before.attempts + 1
        assert self.link.is_busy(self.now)

    @precondition(lambda self: self.is_held() and not self.has_ticket())
    @rule(number=st.integers(1, 9))
    def get_ticket(self, number: int) -> None:
        self.link = self.link.ticketed(
            Ticket(system="Jira", number=f"SEC-{number}"),
            of=DESK,
            request_id="r",
            now=self.now,
        )
        assert self.link.ticket is not None

    @precondition(lambda self: self.is_held() and self.has_ticket())
    @rule()
    def comment(self) -> None:
        self.link = self.link.linked(now=self.now)

    @precondition(lambda self: self.is_held())
    @rule()
    def skip(self) -> None:
        self.keeps_ticket(self.link.skipped(Reason.CLOSED, now=self.now))

    @precondition(lambda self: self.is_held())
    @rule(
        error=st.sampled_from([error for error, *_ in TABLE.values()] + [unavailable(retry_after=7_200)]),
        jitter=st.floats(0, LATEST),
    )
    def fail(self, error: UpstreamError, jitter: float) -> None:
        self.keeps_ticket(self.link.failed(error, now=self.now, jitter=jitter))

    def keeps_ticket(self, changed: Link) -> None:
        assert changed.ticket == self.link.ticket
        assert changed.lease is None
        self.link = changed

    @invariant()
    def what_is_owed_has_a_next_try_and_what_is_not_has_none(self) -> None:
        owed = self.link.state in {LinkState.PENDING, LinkState.TICKETED}
        assert (self.link.next_try_at is not None) is owed
        assert owed or self.link.lease is None

    @invariant()
    def nobody_has_to_wait_longer_than_what_was_asked_or_72_minutes(self) -> None:
        if self.link.next_try_at is not None:
            latest = max(self.link.updated_at + 72 * MINUTE, self.link.not_before or NOW)
            assert self.link.next_try_at <= latest

    @invariant()
    def a_ticketed_link_has_a_ticket_and_a_pending_one_has_none(self) -> None:
        if self.link.state in {LinkState.TICKETED, LinkState.LINKED}:
            assert self.link.ticket is not None
        if self.link.state is LinkState.PENDING:
            assert self.link.ticket is None

    @invariant()
    def a_busy_link_is_never_claimable(self) -> None:
        assert not (self.link.is_busy(self.now) and self.link.is_claimable(self.now))

    @invariant()
    def it_can_be_stored(self) -> None:
        assert Link.model_validate_json(self.link.model_dump_json()) == self.link


TestLinkLife = LinkLife.TestCase
TestLinkLife.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_a_history_tells_every_end_of_an_attempt_and_counts_repeats() -> None:
    record = claimed()
    for minutes in (0, 1, 3):
        error = NoTicketYet("none", upstream=Upstream.CONTRAFORCE, code="LATER")
        record = record.failed(error, now=NOW + minutes * MINUTE, jitter=0)
    record = record.claimed(owner="two", now=NOW + HOUR).ticketed(
        TICKET, of=DESK, request_id=None, now=NOW + HOUR
    )
    record = record.linked(now=NOW + HOUR + MINUTE)
    told = [(step.state, step.reason, step.code, step.times) for step in record.history]
    assert told == [
        (LinkState.PENDING, "no-ticket-yet", "LATER", 3),
        (LinkState.TICKETED, None, None, 1),
        (LinkState.LINKED, None, None, 1),
    ]
    first = record.history[0]
    assert (first.at, first.last_at) == (NOW, NOW + 3 * MINUTE)


def test_a_history_keeps_the_last_steps_and_fits_a_property_of_azure_tables() -> None:
    record = claimed()
    for turn in range(3 * MAX_STEPS):
        error = UpstreamUnavailable("x", upstream=list(Upstream)[turn % 2], code="c" * 100)
        record = record.failed(error, now=NOW + turn * MINUTE, jitter=0)
    assert len(record.history) == MAX_STEPS
    assert record.history[-1].at == record.updated_at
    assert len(record.model_dump_json().encode("utf-16")) < 32 * 1024


def test_a_dead_link_that_is_brought_back_is_due_at_once_and_keeps_its_ticket() -> None:
    dead = claimed().failed(UpstreamRejected("400", upstream=Upstream.CONTRAFORCE), now=NOW, jitter=0)
    back = dead.revived(now=NOW + HOUR)
    assert (back.state, back.next_try_at, back.failures) == (LinkState.PENDING, NOW + HOUR, 0)
    assert back.is_claimable(NOW + HOUR)
    assert [step.reason for step in back.history] == ["contraforce-rejected", "replayed"]
    owed = claimed().ticketed(TICKET, of=DESK, request_id="r", now=NOW)
    refused = owed.failed(UpstreamRejected("400", upstream=Upstream.SENTINEL), now=NOW, jitter=0)
    assert refused.state is LinkState.DEAD
    assert refused.revived(now=NOW).state is LinkState.TICKETED
    assert refused.revived(now=NOW).ticket == TICKET


def test_a_retry_after_outlasts_a_skip_whoever_brings_the_link_back() -> None:
    waiting = claimed().failed(unavailable(retry_after=3600), now=NOW, jitter=0.5)
    skipped = waiting.skipped(Reason.CLOSED, now=NOW + MINUTE)
    assert not skipped.is_claimable(NOW + MINUTE)
    back = skipped.brought_back(now=NOW + 2 * MINUTE)
    assert back.next_try_at == back.not_before == waiting.not_before
