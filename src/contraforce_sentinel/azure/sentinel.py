"""The Microsoft Sentinel adapter: list and read incidents, put our comment.

https://learn.microsoft.com/rest/api/securityinsights/incident-comments/create-or-update; vendor models and
exceptions stay inside.
"""

import logging
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from contraforce_sentinel.azure.pacing import Pace
from contraforce_sentinel.azure.resource_manager import ResourceManager
from contraforce_sentinel.domain.comments import is_our_comment
from contraforce_sentinel.domain.errors import (
    Upstream,
    UpstreamConflict,
    UpstreamMalformed,
    UpstreamNotFound,
    UpstreamUnavailable,
    in_our_words,
)
from contraforce_sentinel.domain.incidents import Incident, IncidentId, WorkspaceId, is_incident_name
from contraforce_sentinel.domain.tickets import Ticket
from contraforce_sentinel.telemetry.events import event
from contraforce_sentinel.transport.retries import deadline

if TYPE_CHECKING:
    from azure.mgmt.securityinsight.models import Incident as SdkIncident

PAGE_SIZE: Final = 250
_ADVICE: Final = "grant the app's identity the role Microsoft Sentinel Responder on the workspace"


class Sentinel:
    """Sentinel's incidents and comments over Resource Manager."""

    def __init__(self, resource_manager: ResourceManager, *, pace: Pace) -> None:
        self._resource_manager = resource_manager
        self._pace = pace

    def prepare(self) -> None:
        """Begin what the first comment needs: the SDK takes a while to import."""
        self._resource_manager.prepare()

    async def get_incident(self, incident_id: IncidentId, *, until: float) -> Incident:
        """Read an incident. Raises `UpstreamError`; `UpstreamNotFound` if it is gone."""
        workspace = incident_id.workspace
        incidents = (await self._resource_manager.sentinel(workspace.subscription_id)).incidents

        async def get() -> Incident:
            found = await incidents.get(workspace.resource_group, workspace.name, incident_id.name)
            return _incident(incident_id, found)

        return await self._resource_manager.call(get, upstream=Upstream.SENTINEL, advice=_ADVICE, until=until)

    async def list_incidents(
        self, workspace_id: WorkspaceId, *, since: datetime, until: float
    ) -> AsyncGenerator[list[Incident]]:
        """Yield the incidents created since a moment, oldest first, page by page. Raises `UpstreamError`.

        An incident that cannot be read is left out, with an event: it must not hold back the others.
        """
        client = await self._resource_manager.sentinel(workspace_id.subscription_id)
        # the SDK says that it yields lists of incidents; it yields incidents
        listed: Any = client.incidents.list(
            workspace_id.resource_group,
            workspace_id.name,
            filter=f"properties/createdTimeUtc ge {since.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
            orderby="properties/createdTimeUtc asc",
            top=PAGE_SIZE,
        )
        pages = listed.by_page()

        async def next_page() -> list[Incident] | None:
            try:
                page = await anext(pages)
            except StopAsyncIteration:
                return None
            read = [_listed_incident(workspace_id, found) async for found in page]
            return [incident for incident in read if incident is not None]

        while (
            page := await self._resource_manager.call(
                next_page, upstream=Upstream.SENTINEL, advice=_ADVICE, until=min(until, deadline())
            )
        ) is not None:
            yield page

    async def get_numbered(self, workspace_id: WorkspaceId, number: int, *, until: float) -> Incident | None:
        """Return the incident that people call by this number, None if there is none. Raises `UpstreamError`.

        Microsoft documents `$filter` without its properties; this one is in wide use.
        """
        client = await self._resource_manager.sentinel(workspace_id.subscription_id)
        listed: Any = client.incidents.list(
            workspace_id.resource_group,
            workspace_id.name,
            filter=f"properties/incidentNumber eq {number}",
            top=1,
        )

        async def first() -> Any:
            return await anext(listed, None)

        found = await self._resource_manager.call(
            first, upstream=Upstream.SENTINEL, advice=_ADVICE, until=until
        )
        incident = None if found is None else _listed_incident(workspace_id, found)
        return incident if incident and incident.number == str(number) else None

    async def put_comment(
        self,
        incident_id: IncidentId,
        comment_id: UUID,
        *,
        text: str,
        ticket: Ticket,
        until: float,
        before_each: Callable[[], None],
    ) -> None:
        """Write the comment; a repeat overwrites it, so it is idempotent.

        Whether a second PUT without an etag is 200 or 409 is not documented: after a 409 the comment that
        is there decides. Raises `UpstreamError`; `UpstreamConflict` if it is somebody else's.
        `before_each` is called before each PUT is handed on; what it raises ends the tries.
        """
        workspace = incident_id.workspace
        comments = (await self._resource_manager.sentinel(workspace.subscription_id)).incident_comments
        from azure.mgmt.securityinsight.models import IncidentComment  # noqa: PLC0415 - with the SDK

        address = (workspace.resource_group, workspace.name, incident_id.name, str(comment_id))

        async def put() -> None:
            before_each()
            self._pace.note(workspace.subscription_id)
            stored = await comments.create_or_update(*address, IncidentComment(message=text))
            if not stored.message:  # a success that is not about our comment is none
                raise UpstreamMalformed("a comment without a message", upstream=Upstream.SENTINEL)

        async def get() -> str:
            found = await comments.get(*address)
            if not found.message:
                raise UpstreamMalformed("a comment without a message", upstream=Upstream.SENTINEL)
            return str(found.message)

        try:
            await self._resource_manager.call(put, upstream=Upstream.SENTINEL, advice=_ADVICE, until=until)
        except UpstreamConflict as conflict:
            try:
                message = await self._resource_manager.call(
                    get, upstream=Upstream.SENTINEL, advice=_ADVICE, until=until
                )
            except UpstreamNotFound:
                raise UpstreamUnavailable(
                    "a conflict on a comment that is not there",
                    upstream=Upstream.SENTINEL,
                    status=conflict.status,
                ) from conflict
            if not is_our_comment(message, ticket):
                raise


def _listed_incident(workspace_id: WorkspaceId, found: "SdkIncident") -> Incident | None:
    name: object = found.name
    try:
        if not isinstance(name, str) or not is_incident_name(name):
            raise UpstreamMalformed("an incident without a name", upstream=Upstream.SENTINEL)  # noqa: TRY301
        return _incident(IncidentId(workspace_id, name), found)
    except Exception as error:  # noqa: BLE001 - it is this incident's alone
        event("discovery.unreadable", level=logging.ERROR, error=in_our_words(error))
        return None


def _incident(incident_id: IncidentId, found: "SdkIncident") -> Incident:
    """Keep what the link needs; the SDK types its attributes loosely."""
    number: object = found.incident_number
    if not isinstance(number, int):
        raise UpstreamMalformed("an incident without a number", upstream=Upstream.SENTINEL)
    return Incident(
        id=incident_id,
        number=str(number),
        severity=str(found.severity or ""),
        status=str(found.status or ""),
        labels=frozenset(str(label.label_name) for label in found.labels or ()),
        created_at=found.created_time_utc,
    )
