"""What `Retry-After` means, and how often and how long an upstream is asked again within one request."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import format_datetime

import pytest
import stamina
from hypothesis import given, settings
from hypothesis import strategies as st

from contraforce_sentinel.domain.errors import (
    OutOfReach,
    Upstream,
    UpstreamError,
    UpstreamRejected,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from contraforce_sentinel.transport.retries import (
    DEADLINE_SECONDS,
    call_with_retries,
    deadline,
    parse_retry_after,
)

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
DAY = 86_400.0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        ("0", 0.0),
        ("00", 0.0),
        (" 7 ", 7.0),
        ("\t7", 7.0),
        ("0.5", 0.5),
        ("1.25", 1.25),
        ("86400", DAY),
        ("86401", DAY),
        ("999999999999999999", DAY),
        ("9" * 5_000, None),
        ("-1", None),
        ("-0", None),
        ("+5", None),
        ("1e3", None),
        ("1_000", None),
        ("1,000", None),
        ("0x10", None),
        (".5", None),
        ("5.", None),
        ("5s", None),
        ("5 seconds", None),
        ("120, 60", None),
        ("\u0661\u0662\u0660", None),
        ("\uff11", None),
        ("\u00b2", None),
        ("inf", None),
        ("Infinity", None),
        ("nan", None),
        ("", None),
        ("   ", None),
        (None, None),
        ("junk", None),
        ("\x00", None),
        ("1\n2", None),
        ("null", None),
        ("PT1M", None),
        ("Mon, 23 Nov 2026 12:01:00 GMT", 60.0),
        ("Monday, 23-Nov-26 12:01:00 GMT", 60.0),
        ("Mon Nov 23 12:01:00 2026", 60.0),
        ("mon, 23 nov 2026 12:01:00 gmt", 60.0),
        ("Mon, 23 Nov 2026 12:01:00 +0000", 60.0),
        ("Mon, 23 Nov 2026 12:01:00 -0000", 60.0),
        ("Mon, 23 Nov 2026 14:01:00 +0200", 60.0),
        ("Mon, 23 Nov 2026 12:01:00", 60.0),
        ("Mon, 23 Nov 2026 12:00:00 GMT", 0.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 0.0),
        ("Tue, 24 Nov 2026 12:00:01 GMT", DAY),
        ("Fri, 31 Dec 9999 23:59:59 GMT", DAY),
        ("Fri, 31 Dec 9999 23:59:59 -2359", DAY),
        ("Mon, 32 Nov 2026 12:01:00 GMT", None),
        ("Mon, 23 Nov 2026 25:01:00 GMT", None),
        ("Mon, 23 Nov 2026 12:01:00 +9999", None),
        ("2026-11-23T12:01:00Z", None),
    ],
)
def test_retry_after(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now=NOW) == seconds


@given(
    st.none()
    | st.text()
    | st.from_regex(r"[A-Z][a-z]{2}, \d{1,3} [A-Z][a-z]{2} \d{1,6} \d{1,3}:\d{1,3}:\d{1,3} [+-]\d{1,30}")
)
@settings(deadline=None, max_examples=500)
def test_any_header_says_0_to_86400_seconds_or_nothing(value: str | None) -> None:
    seconds = parse_retry_after(value, now=NOW)

    assert seconds is None or 0.0 <= seconds <= DAY


def test_a_time_zone_out_of_all_bounds_says_nothing() -> None:
    """A header is an upstream's text: whatever it says must not end the request with another error."""
    assert parse_retry_after(f"Mon, 23 Nov 2026 12:01:00 +{'9' * 20}", now=NOW) is None


@given(st.integers(0, 86_400))
def test_seconds_and_the_date_they_lead_to_mean_the_same(seconds: int) -> None:
    date = datetime.fromtimestamp(NOW.timestamp() + seconds, UTC)

    assert parse_retry_after(str(seconds), now=NOW) == float(seconds)
    assert parse_retry_after(format_datetime(date, usegmt=True), now=NOW) == float(seconds)


# Calls


class Service:
    """A remote service that answers each call with the next planned error, then with `done`."""

    def __init__(self, *planned: Exception) -> None:
        self._planned = list(planned)
        self.called_at: list[float] = []

    @property
    def calls(self) -> int:
        return len(self.called_at)

    async def __call__(self) -> str:
        self.called_at.append(asyncio.get_running_loop().time())
        if self._planned:
            raise self._planned.pop(0)
        return "done"


def unavailable(*, retry_after: float | None = None, ambiguous: bool = False) -> UpstreamUnavailable:
    return UpstreamUnavailable(
        "503",
        upstream=Upstream.CONTRAFORCE,
        status=503,
        retry_after_seconds=retry_after,
        ambiguous=ambiguous,
    )


def in_seconds(seconds: float) -> float:
    return asyncio.get_running_loop().time() + seconds


async def call(service: Service, *, until: float | None = None, idempotent: bool = True) -> str:
    return await call_with_retries(
        service,
        upstream=Upstream.CONTRAFORCE,
        until=in_seconds(10) if until is None else until,
        idempotent=idempotent,
    )


@pytest.fixture
def no_backoff() -> Iterator[None]:
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


async def test_a_first_answer_is_the_answer() -> None:
    service = Service()

    assert await call(service) == "done"
    assert service.calls == 1


@pytest.mark.usefixtures("no_backoff")
async def test_an_unavailable_upstream_is_asked_again() -> None:
    service = Service(unavailable(), unavailable(), unavailable())

    assert await call(service) == "done"
    assert service.calls == 4


@pytest.mark.usefixtures("no_backoff")
async def test_four_tries_are_all_and_the_last_error_counts() -> None:
    errors = [unavailable() for _ in range(6)]
    service = Service(*errors)

    with pytest.raises(UpstreamUnavailable) as caught:
        await call(service)
    assert caught.value is errors[3]
    assert service.calls == 4


@pytest.mark.parametrize("seconds", [0.05, 0.1])
async def test_a_retry_after_that_fits_is_waited_for_exactly(seconds: float) -> None:
    """The wait is the header's, not the half second or more of our own backoff."""
    service = Service(unavailable(retry_after=seconds), unavailable(retry_after=seconds))

    assert await call(service) == "done"
    first, second, third = service.called_at
    for waited in (second - first, third - second):
        assert seconds - 0.01 <= waited < seconds + 0.3


async def test_a_retry_after_of_zero_asks_again_at_once() -> None:
    service = Service(*(unavailable(retry_after=0.0) for _ in range(3)))

    assert await call(service) == "done"
    assert service.called_at[-1] - service.called_at[0] < 0.3


async def test_a_retry_after_that_does_not_fit_ends_the_tries_at_once() -> None:
    error = unavailable(retry_after=11.0)
    service = Service(error)
    before = in_seconds(0)

    with pytest.raises(UpstreamUnavailable) as caught:
        await call(service, until=in_seconds(10))
    assert caught.value is error
    assert service.calls == 1
    assert in_seconds(0) - before < 1


@pytest.mark.usefixtures("no_backoff")
async def test_what_may_have_been_carried_out_is_not_repeated() -> None:
    error = unavailable(ambiguous=True)
    service = Service(error)

    with pytest.raises(UpstreamUnavailable) as caught:
        await call(service, idempotent=False)
    assert caught.value is error
    assert service.calls == 1


@pytest.mark.usefixtures("no_backoff")
async def test_what_may_have_been_carried_out_is_repeated_if_that_does_no_harm() -> None:
    service = Service(unavailable(ambiguous=True))

    assert await call(service, idempotent=True) == "done"
    assert service.calls == 2


@pytest.mark.usefixtures("no_backoff")
async def test_what_this_machine_keeps_from_being_asked_is_not_asked_again() -> None:
    service = Service(OutOfReach("HTTPS_PROXY", upstream=Upstream.CONTRAFORCE))

    with pytest.raises(OutOfReach):
        await call(service)
    assert service.calls == 1


async def test_what_was_surely_not_carried_out_is_repeated_in_any_case() -> None:
    service = Service(unavailable(ambiguous=False))

    assert await call(service, idempotent=False) == "done"
    assert service.calls == 2


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize(
    "error",
    [
        UpstreamRejected("no", upstream=Upstream.CONTRAFORCE, status=400),
        UpstreamUnauthorized("no", upstream=Upstream.CONTRAFORCE, status=401, retry_after_seconds=0.0),
        ValueError("a bug"),
    ],
)
async def test_another_error_ends_the_tries_at_once(error: Exception) -> None:
    service = Service(error)

    with pytest.raises(type(error)) as caught:
        await call(service)
    assert caught.value is error
    assert service.calls == 1


@pytest.mark.usefixtures("no_backoff")
async def test_another_error_after_an_unavailable_one_is_the_one_that_counts() -> None:
    error = UpstreamRejected("no", upstream=Upstream.CONTRAFORCE)
    service = Service(unavailable(), error)

    with pytest.raises(UpstreamRejected) as caught:
        await call(service)
    assert caught.value is error
    assert service.calls == 2


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize("failures_before", [0, 1])
@pytest.mark.parametrize("idempotent", [True, False])
async def test_time_that_ends_while_a_call_hangs_leaves_open_what_happened(
    failures_before: int, *, idempotent: bool
) -> None:
    calls = 0

    async def hang() -> str:
        nonlocal calls
        calls += 1
        if calls <= failures_before:
            raise unavailable()
        await asyncio.Event().wait()
        return "never"

    with pytest.raises(UpstreamUnavailable) as caught:
        await call_with_retries(
            hang, upstream=Upstream.SENTINEL, until=in_seconds(0.05), idempotent=idempotent
        )
    assert caught.value.ambiguous
    assert caught.value.upstream is Upstream.SENTINEL
    assert calls == failures_before + 1


async def test_time_that_ends_between_two_tries_ends_with_the_last_error() -> None:
    """Half a second of backoff does not fit into a twentieth."""
    error = unavailable()
    service = Service(error)
    until = in_seconds(0.05)

    with pytest.raises(UpstreamError) as caught:
        await call(service, until=until)
    assert caught.value is error
    assert not error.ambiguous
    assert service.calls == 1
    assert 0 <= in_seconds(0) - until < 0.3


async def test_nothing_is_called_once_the_time_is_over() -> None:
    """A request that was never sent cannot have been carried out."""
    service = Service()

    with pytest.raises(UpstreamUnavailable) as caught:
        await call(service, until=in_seconds(-1))
    assert service.calls == 0
    assert not caught.value.ambiguous


async def test_a_cancelled_delivery_is_cancelled_and_not_repeated() -> None:
    started = asyncio.Event()

    async def hang() -> str:
        started.set()
        await asyncio.Event().wait()
        return "never"

    task = asyncio.create_task(
        call_with_retries(hang, upstream=Upstream.SENTINEL, until=in_seconds(10), idempotent=True)
    )
    await started.wait()
    task.cancel()

    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_delivery_has_20_seconds() -> None:
    assert DEADLINE_SECONDS == 20.0
    assert 19.9 < deadline() - in_seconds(0) <= 20.0
