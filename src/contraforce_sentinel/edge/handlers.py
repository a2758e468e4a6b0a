"""Between the triggers and the use case: correlation in, errors of our own to answers, events out."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from contraforce_sentinel.bootstrap import current_app
from contraforce_sentinel.domain.errors import (
    NotAnIncident,
    SettingsError,
    StoreUnavailable,
    TicketLinkError,
    Unforeseen,
    in_our_words,
)
from contraforce_sentinel.domain.incidents import IncidentId, is_incident_name
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.reasons import Code
from contraforce_sentinel.edge import answers
from contraforce_sentinel.edge.answers import Answer, Condition
from contraforce_sentinel.edge.payloads import parse_delivery
from contraforce_sentinel.telemetry.events import about, correlation, event, identify, untraced
from contraforce_sentinel.transport.retries import deadline

# Logic Apps gives up after 120 s; the upstreams have 20 s of this, the rest is the link store's.
_ANSWER_SECONDS: Final = 85.0
_NUMBER: Final = re.compile(r"[0-9]{1,18}")


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

    return await _answer(link, headers)


async def get_link(incident: str, *, workspace: str, headers: Mapping[str, str]) -> Answer:
    """Answer `GET /api/incidents/{incident}/link?workspace={name}`."""
    return await _answer(lambda: _record(incident, workspace), headers)


async def health(*, headers: Mapping[str, str]) -> Answer:
    """Answer `GET /api/health`: for everybody, and little."""

    async def look() -> Answer:
        return (await _condition()).health()

    return await _answer(look, headers)


async def status(*, headers: Mapping[str, str]) -> Answer:
    """Answer `GET /api/status`: everything, for who has a key."""

    async def look() -> Answer:
        return (await _condition()).status(now=datetime.now(UTC))

    return await _answer(look, headers)


async def reconcile() -> None:
    """Run the timer's work once; what fails all of it is told in an event and raised to the host."""
    try:
        await current_app().reconciler.run()
    except TicketLinkError as error:
        event("reconcile.failed", level=logging.ERROR, error=str(error))
        raise
    except Exception as error:  # noqa: BLE001 - the host logs what is raised: our words, not a library's
        event("reconcile.failed", level=logging.ERROR, error=in_our_words(error))
        raise Unforeseen(error) from None


async def _answer(work: Callable[[], Awaitable[Answer]], headers: Mapping[str, str]) -> Answer:
    """Run one request: correlation in, errors to problem details, whatever they are."""
    with about(**correlation(headers)):
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await work()
        except Exception as error:  # noqa: BLE001 - of what nobody foresaw, the type is answered
            answer = answers.for_error(_ours(error))
            event(
                "request.refused",
                level=logging.WARNING,
                status=answer.status.value,
                code=str(answer.content["code"]),
                error=in_our_words(error),
            )
            return answer


def _ours(error: Exception) -> TicketLinkError:
    if isinstance(error, TimeoutError):
        return StoreUnavailable("the link store did not answer in time")
    return error if isinstance(error, TicketLinkError) else Unforeseen(error)


async def _record(incident: str, workspace: str) -> Answer:
    if not workspace or not is_incident_name(incident):
        raise NotAnIncident("ask for /api/incidents/{name or number}/link?workspace={workspace name}")
    app = current_app()
    places = app.workspaces.named(workspace)
    if not places:
        return answers.problem(
            HTTPStatus.NOT_FOUND, "no workspace in WORKSPACES has this name", code=Code.NO_WORKSPACE
        )
    candidates = [IncidentId(place, incident) for place in places]
    found = await _records(candidates)
    if not found and _NUMBER.fullmatch(incident):
        numbered = [
            await app.sentinel.get_numbered(place, int(incident), until=deadline()) for place in places
        ]
        candidates = [one.id for one in numbered if one is not None]
        found = await _records(candidates)
    if len(found) > 1:
        raise NotAnIncident("several workspaces have this name: give the workspace's ARM id instead")
    if found:
        return answers.for_record(found[0], now=datetime.now(UTC))
    if not candidates:
        told = "no incident of this workspace has this number"
        return answers.problem(HTTPStatus.NOT_FOUND, told, code=Code.NO_INCIDENT)
    return answers.problem(HTTPStatus.NOT_FOUND, "no link is recorded for this incident", code=Code.NO_LINK)


async def _records(incidents: Iterable[IncidentId]) -> list[Link]:
    store = current_app().store
    return [link for one in incidents if (link := await store.get(one)) is not None]


async def _condition() -> Condition:
    try:
        app = current_app()
    except SettingsError as error:
        return Condition(error.problems, settings_are_refused=True)
    left_out = app.settings.left_out
    try:
        with untraced():  # probes ask the same every minute
            await app.store.check()
            return Condition(left_out, last_run=await app.store.last_run())
    except StoreUnavailable as error:
        return Condition(left_out, store_problem=str(error))
