"""The record of an incident, asked for by the incident's name or by its number."""

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from contraforce_sentinel.bootstrap import current_app
from contraforce_sentinel.domain.errors import NotAnIncident
from contraforce_sentinel.domain.incidents import IncidentId, is_incident_name
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.reasons import Code
from contraforce_sentinel.edge import answers
from contraforce_sentinel.edge.answers import Answer
from contraforce_sentinel.edge.handlers import answer
from contraforce_sentinel.transport.retries import deadline

_NUMBER: Final = re.compile(r"[0-9]{1,18}")


async def get_link(incident: str, *, workspace: str, headers: Mapping[str, str]) -> Answer:
    """Answer `GET /api/incidents/{incident}/link?workspace={name}`."""
    return await answer(lambda: _record(incident, workspace), headers)


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
