"""Between the triggers and the use case: correlation in, errors of our own to answers, events out."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from contraforce_sentinel.bootstrap import current_app
from contraforce_sentinel.domain.errors import (
    SettingsError,
    StoreUnavailable,
    TicketLinkError,
    Unforeseen,
    alone,
    in_our_words,
)
from contraforce_sentinel.edge import answers
from contraforce_sentinel.edge.answers import Answer, Condition
from contraforce_sentinel.edge.memory import give_back_soon
from contraforce_sentinel.edge.payloads import parse_delivery
from contraforce_sentinel.telemetry.events import about, correlation, event, identify, untraced

# Logic Apps gives up after 120 s; the upstreams have 20 s of this, the rest is the link store's.
_ANSWER_SECONDS: Final = 85.0


async def link_incident(body: bytes, *, headers: Mapping[str, str]) -> Answer:
    """Answer `POST /api/incidents`."""

    async def link() -> Answer:
        delivery = parse_delivery(body, content_type=headers.get("Content-Type"))
        identify(
            incident=delivery.incident_id.key,
            incident_number=delivery.incident.number if delivery.incident else None,
            workspace=delivery.incident_id.workspace.key,
        )
        outcome = await current_app().linking.link(delivery, trigger="http")
        return answers.for_outcome(outcome, now=datetime.now(UTC))

    return await answer(link, headers)


async def health(*, headers: Mapping[str, str]) -> Answer:
    """Answer `GET /api/health`: for everybody, and little."""

    async def look() -> Answer:
        return (await _condition()).health()

    return await answer(look, headers)


async def status(*, headers: Mapping[str, str]) -> Answer:
    """Answer `GET /api/status`: everything, for who has a key."""

    async def look() -> Answer:
        return (await _condition()).status(now=datetime.now(UTC))

    return await answer(look, headers)


async def reconcile() -> None:
    """Run the timer's work once; what fails all of it is told in an event, and raised to the host alone."""
    failure = None
    try:
        await current_app().reconciler.run()
    except Exception as error:  # noqa: BLE001 - the host logs what is raised: our words, not a library's
        event("reconcile.failed", level=logging.ERROR, error=in_our_words(error))
        failure = alone(error)
    give_back_soon()
    if failure is not None:  # raised out here: in there, the caught one would be its context
        raise failure


async def answer(work: Callable[[], Awaitable[Answer]], headers: Mapping[str, str]) -> Answer:
    """Run one request: correlation in, errors to problem details, whatever they are."""
    with about(**correlation(headers)):
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await work()
        except Exception as error:  # noqa: BLE001 - of what nobody foresaw, the type is answered
            refusal = answers.for_error(_ours(error))
            event(
                "request.refused",
                level=logging.WARNING,
                status=refusal.status.value,
                code=str(refusal.content["code"]),
                error=in_our_words(error),
            )
            return refusal
        finally:
            give_back_soon()


def _ours(error: Exception) -> TicketLinkError:
    if isinstance(error, TimeoutError):
        return StoreUnavailable("the link store did not answer in time")
    return error if isinstance(error, TicketLinkError) else Unforeseen(error)


async def _condition() -> Condition:
    try:
        app = current_app()
        store, network_problems = app.store, app.network_problems()
    except SettingsError as error:
        return Condition(error.problems, settings_are_refused=True)
    found = Condition(
        app.settings.left_out, network_problems=network_problems, customers=len(app.settings.workspaces)
    )
    try:
        with untraced():  # probes ask the same every minute
            await store.check()
            return replace(found, last_run=await store.last_run())
    except StoreUnavailable as error:
        return replace(found, store_problem=str(error))
