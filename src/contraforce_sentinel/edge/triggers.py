"""The Azure Functions triggers: request in, handler, answer out.

The only module that knows `azure.functions`. The host waits for this module before it serves anything, so it
imports next to nothing else; the handlers come with the first call.
"""

from typing import TYPE_CHECKING

import azure.functions as func

from contraforce_sentinel.telemetry.events import quieten_libraries

if TYPE_CHECKING:
    from contraforce_sentinel.edge.answers import Answer

quieten_libraries()  # before the first call: exporters have an identity of their own

blueprint = func.Blueprint()  # type: ignore[no-untyped-call] # the library leaves it untyped


@blueprint.function_name("link_incident")
@blueprint.route("incidents", methods=["POST"], auth_level=func.AuthLevel.FUNCTION)
async def link_incident(req: func.HttpRequest) -> func.HttpResponse:
    """Link the incident of a trigger's body, whole or trimmed, or of `{"incidentArmId": "…"}`."""
    from contraforce_sentinel.edge import handlers

    return _response(await handlers.link_incident(req.get_body(), headers=req.headers))


@blueprint.function_name("get_link")
@blueprint.route("incidents/{incident}/link", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
async def get_link(req: func.HttpRequest) -> func.HttpResponse:
    """Return the record of an incident, asked for by its name or number, and its workspace's name."""
    from contraforce_sentinel.edge import records

    incident, workspace = req.route_params.get("incident", ""), req.params.get("workspace", "")
    return _response(await records.get_link(incident, workspace=workspace, headers=req.headers))


@blueprint.function_name("health")
@blueprint.route("health", methods=["GET", "HEAD"], auth_level=func.AuthLevel.ANONYMOUS)
async def health(req: func.HttpRequest) -> func.HttpResponse:
    """Say whether the app can do its work, and which part is wrong."""
    from contraforce_sentinel.edge import handlers

    return _response(await handlers.health(headers=req.headers))


@blueprint.function_name("status")
@blueprint.route("status", methods=["GET"], auth_level=func.AuthLevel.FUNCTION)
async def status(req: func.HttpRequest) -> func.HttpResponse:
    """Say everything about how the app is: refused settings, the link store, the timer, the backlog."""
    from contraforce_sentinel.edge import handlers

    return _response(await handlers.status(headers=req.headers))


@blueprint.function_name("reconcile")
@blueprint.timer_trigger("timer", schedule="%RECONCILE_SCHEDULE%")
async def reconcile(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the host passes it
    """Finish what is due, and find the incidents that no delivery told of."""
    from contraforce_sentinel.edge import handlers

    await handlers.reconcile()


def _response(answer: "Answer") -> func.HttpResponse:
    return func.HttpResponse(
        answer.body, status_code=answer.status.value, headers=answer.headers, mimetype=answer.content_type
    )
