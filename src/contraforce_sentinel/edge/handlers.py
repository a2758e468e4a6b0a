"""Between the triggers and the use case: correlation in, errors of our own to answers, events out."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from contraforce_sentinel import VERSION
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
from contraforce_sentinel.domain.reasons import Code
from contraforce_sentinel.edge import answers
from contraforce_sentinel.edge.answers import Answer
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

    return await _answer(link, headers)


async def get_link(incident_name: str, *, workspace: str, headers: Mapping[str, str]) -> Answer:
    """Answer `GET /api/incidents/{incidentName}/link?workspace={name}`."""
    return await _answer(lambda: _record(incident_name, workspace), headers)


async def health(*, headers: Mapping[str, str]) -> Answer:
    """Answer `GET /api/health`."""
    return await _answer(_health, headers)


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


async def _record(incident_name: str, workspace: str) -> Answer:
    if not workspace or not is_incident_name(incident_name):
        raise NotAnIncident("ask for /api/incidents/{incidentName}/link?workspace={workspace name}")
    app = current_app()
    candidates = [IncidentId(found, incident_name) for found in app.workspaces.named(workspace)]
    if not candidates:
        return answers.problem(
            HTTPStatus.NOT_FOUND, "no workspace in WORKSPACES has this name", code=Code.NO_WORKSPACE
        )
    found = [link for candidate in candidates if (link := await app.store.get(candidate)) is not None]
    if len(found) > 1:
        raise NotAnIncident("several workspaces have this name: give the workspace's ARM id instead")
    if not found:
        return answers.problem(
            HTTPStatus.NOT_FOUND, "no link is recorded for this incident", code=Code.NO_LINK
        )
    return answers.for_record(found[0], now=datetime.now(UTC))


async def _health() -> Answer:
    content: dict[str, object] = {"version": VERSION, "settings": "ok", "store": "ok", "storeProblem": None}
    status, run = HTTPStatus.OK, None
    try:
        app = current_app()
        if problems := app.network_problems():
            status, content["settings"] = HTTPStatus.SERVICE_UNAVAILABLE, problems
        store = app.store
        with untraced():  # probes ask the same every minute
            await store.check()
            run = await store.last_run()
    except SettingsError as error:
        status, content["settings"], content["store"] = (
            HTTPStatus.SERVICE_UNAVAILABLE,
            error.problems,
            "unknown",
        )
    except StoreUnavailable as error:
        status, content["store"] = HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"
        content["storeProblem"] = str(error)
    content |= answers.timer_content(run, now=datetime.now(UTC))
    return Answer(status, {"status": "ok" if status is HTTPStatus.OK else "unavailable", **content})
