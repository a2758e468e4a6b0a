"""The Azure Functions entrances: request in, use case, answer out.

The only module that knows `azure.functions`.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from http import HTTPStatus

import azure.functions as func

from contraforce_sentinel import VERSION, answers
from contraforce_sentinel.answers import Answer
from contraforce_sentinel.bootstrap import current_app
from contraforce_sentinel.errors import NotAnIncident, SettingsError, StoreUnavailable, TicketLinkError
from contraforce_sentinel.incidents import IncidentId, is_incident_name
from contraforce_sentinel.payloads import parse_delivery
from contraforce_sentinel.telemetry import Correlation, correlated, event

# Logic Apps gives up after 120 s; the upstreams have 20 s of this, the rest is the link store's.
_ANSWER_SECONDS = 85.0

blueprint = func.Blueprint()  # type: ignore[no-untyped-call] # the library leaves it untyped


@blueprint.function_name("link_incident")
@blueprint.route("incidents", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
async def link_incident(req: func.HttpRequest) -> func.HttpResponse:
    """Link the incident of a trigger's body, whole or trimmed, or of `{"incidentArmId": "…"}`."""

    async def link() -> Answer:
        delivery = parse_delivery(req.get_body(), content_type=req.headers.get("Content-Type"))
        outcome = await current_app().linking.link(delivery, trigger="http")
        return answers.for_outcome(outcome, now=datetime.now(UTC))

    return await _respond(req, link)


@blueprint.function_name("get_link")
@blueprint.route("incidents/{incidentName}/link", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
async def get_link(req: func.HttpRequest) -> func.HttpResponse:
    """Return the record of an incident, asked for by its name and its workspace's."""

    async def get() -> Answer:
        return await _record(req.route_params.get("incidentName", ""), req.params.get("workspace", ""))

    return await _respond(req, get)


@blueprint.function_name("health")
@blueprint.route("health", methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def health(req: func.HttpRequest) -> func.HttpResponse:
    """Say whether the app can do its work, and nothing secret."""
    return await _respond(req, _health)


@blueprint.function_name("reconcile")
@blueprint.timer_trigger("timer", schedule="%RECONCILE_SCHEDULE%")
async def reconcile(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the host passes it
    """Finish what is due, and find the incidents that no delivery told of."""
    try:
        await current_app().reconciler.run()
    except TicketLinkError as error:
        event("reconcile.failed", level=logging.ERROR, error=str(error))
        raise


async def _respond(request: func.HttpRequest, work: Callable[[], Awaitable[Answer]]) -> func.HttpResponse:
    """Run one request: correlation in, errors of our own to problem details, everything else to the host."""
    with correlated(Correlation.from_headers(request.headers)):
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                answer = await work()
        except (TicketLinkError, TimeoutError) as error:
            if isinstance(error, TimeoutError):
                error = StoreUnavailable("the link store did not answer in time")
            answer = answers.for_error(error)
            event("request.refused", level=logging.WARNING, status=answer.status.value, error=str(error))
    return func.HttpResponse(
        answer.body, status_code=answer.status.value, headers=answer.headers, mimetype=answer.content_type
    )


async def _record(incident_name: str, workspace: str) -> Answer:
    if not workspace or not is_incident_name(incident_name):
        raise NotAnIncident("ask for /api/incidents/{incidentName}/link?workspace={workspace name}")
    app = current_app()
    candidates = [IncidentId(found, incident_name) for found in app.workspaces.named(workspace)]
    if not candidates:
        return answers.problem(
            HTTPStatus.NOT_FOUND, "no workspace in WORKSPACES has this name", code="no-workspace"
        )
    found = [link for candidate in candidates if (link := await app.store.get(candidate)) is not None]
    if len(found) > 1:
        raise NotAnIncident("several workspaces have this name: give the workspace's ARM id instead")
    if not found:
        return answers.problem(HTTPStatus.NOT_FOUND, "no link is recorded for this incident", code="no-link")
    return answers.for_record(found[0], now=datetime.now(UTC))


async def _health() -> Answer:
    content: dict[str, object] = {"version": VERSION, "settings": "ok", "store": "ok"}
    status, run = HTTPStatus.OK, None
    try:
        store = current_app().store
        await store.check()
        run = await store.last_run()
    except SettingsError as error:
        status, content["settings"], content["store"] = (
            HTTPStatus.SERVICE_UNAVAILABLE,
            error.problems,
            "unknown",
        )
    except StoreUnavailable:
        status, content["store"] = HTTPStatus.SERVICE_UNAVAILABLE, "unavailable"
    content |= answers.timer_content(run, now=datetime.now(UTC))
    return Answer(status, {"status": "ok" if status is HTTPStatus.OK else "unavailable", **content})
