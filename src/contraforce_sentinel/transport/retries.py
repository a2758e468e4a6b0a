"""In-request retries: the one retry layer of every upstream, and what `Retry-After` means to it."""

import asyncio
import logging
import math
import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

import stamina

from contraforce_sentinel.domain.errors import OutOfReach, Upstream, UpstreamError, UpstreamUnavailable
from contraforce_sentinel.telemetry.events import event, measure

DEADLINE_SECONDS: Final = 20.0
"""All upstream calls of one delivery together; what takes longer is the timer's."""

_ATTEMPTS: Final = 4
_LONGEST_RETRY_AFTER_SECONDS: Final = 24 * 3600.0
_SECONDS: Final = re.compile(r"[0-9]{1,18}(?:\.[0-9]{1,9})?")


def deadline() -> float:
    """Return the moment, on the running loop's clock, at which a delivery that starts now stops calling."""
    return asyncio.get_running_loop().time() + DEADLINE_SECONDS


def parse_retry_after(value: str | None, *, now: datetime) -> float | None:
    """Return the seconds to wait, 0 to 86,400; None if the header is absent or says nothing.

    Seconds or an HTTP date: https://www.rfc-editor.org/rfc/rfc9110#field.retry-after. Fractions of a
    second, which some gateways send, are taken; a date in the past means now.
    """
    text = (value or "").strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    elif (date := parse_date(text)) is not None:
        seconds = (date - now).total_seconds()
    else:
        return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER_SECONDS) if math.isfinite(seconds) else None


def parse_date(text: str | None) -> datetime | None:
    """Read the date of an HTTP header, UTC where it says no zone; None for anything else."""
    try:
        date = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    return date.replace(tzinfo=date.tzinfo or UTC)


async def call_with_retries[T](
    call: Callable[[], Awaitable[T]], *, upstream: Upstream, until: float, idempotent: bool
) -> T:
    """Await `call` again while its upstream is unavailable: at most 4 times, never past `until`.

    A request that may have been carried out is repeated only if it is `idempotent`. A `Retry-After` that
    fits is waited for exactly; one that does not fit ends the tries. Raises the last `UpstreamError`, or
    an ambiguous `UpstreamUnavailable` when `until` comes while a request is under way.
    """
    loop = asyncio.get_running_loop()
    last: UpstreamError | None = None
    sent = False

    def backoff(error: Exception) -> bool | float:
        if not isinstance(error, UpstreamUnavailable) or isinstance(error, OutOfReach):
            return False
        if error.ambiguous and not idempotent:
            return False
        wait = error.retry_after_seconds
        return True if wait is None else wait if loop.time() + wait < until else False

    try:
        async with asyncio.timeout_at(until):
            async for attempt in stamina.retry_context(
                on=backoff, attempts=_ATTEMPTS, timeout=None, wait_initial=0.5, wait_max=4.0, wait_jitter=0.5
            ):
                with attempt:
                    if loop.time() >= until:
                        raise TimeoutError  # noqa: TRY301 - ends as every other time-out does
                    last, sent = None, True
                    try:
                        return await _measured(call, upstream)
                    except UpstreamError as error:
                        last = error
                        raise
    except TimeoutError as error:
        if last is not None:  # the time ran out between two tries
            raise last from error
        raise UpstreamUnavailable(
            "no answer within the time of this request", upstream=upstream, ambiguous=sent
        ) from error
    raise AssertionError("stamina ends with a result or an exception")


async def _measured[T](call: Callable[[], Awaitable[T]], upstream: Upstream) -> T:
    """Await one request; tell how long it took and how it ended, and that it was throttled."""
    loop = asyncio.get_running_loop()
    started, ended = loop.time(), "none"
    try:
        result = await call()
        ended = "ok"
    except UpstreamError as error:
        upstream, ended = error.upstream, str(error.status or "none")
        if error.status == HTTPStatus.TOO_MANY_REQUESTS:
            event(
                "upstream.throttled",
                level=logging.WARNING,
                upstream=upstream,
                status=error.status,
                retry_after_seconds=error.retry_after_seconds,
            )
        raise
    finally:
        measure("upstream.duration", (loop.time() - started) * 1000, upstream=upstream, status=ended)
    return result
