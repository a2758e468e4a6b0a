"""The Microsoft Sentinel adapter: list and read incidents, put our comment.

https://learn.microsoft.com/rest/api/securityinsights/incident-comments/create-or-update; vendor models and
exceptions stay inside.
"""

import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from contraforce_sentinel.azure.incidents import API_VERSION, moment_of, read_incident, read_listed
from contraforce_sentinel.azure.lists import Page, pages
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
from contraforce_sentinel.domain.incidents import MAX_ARM_ID_LENGTH, Incident, IncidentId, WorkspaceId
from contraforce_sentinel.domain.tickets import Ticket
from contraforce_sentinel.telemetry.events import event

PAGE_SIZE: Final = 250
MOST_OF_A_LIST: Final = 1000
"""One list gives no more, and does not say that there are more."""

_MOST_TOLD: Final = 1000

CREATED: Final = "createdTimeUtc"
CHANGED: Final = "lastModifiedTimeUtc"


@dataclass(frozen=True, slots=True)
class Row:
    """An incident of a list; None where it cannot be read. Its `moment` in the list's order is."""

    name: str
    moment: datetime | None
    incident: Incident | None


@dataclass(frozen=True, slots=True)
class Rows:
    """One answer of a list, and whether there is another one."""

    rows: list[Row]
    has_next: bool

    @property
    def incidents(self) -> list[Incident]:
        """Those that can be read."""
        return [row.incident for row in self.rows if row.incident is not None]


class Sentinel:
    """Sentinel's incidents and comments over Resource Manager."""

    def __init__(self, resource_manager: ResourceManager, *, pace: Pace) -> None:
        self._resource_manager = resource_manager
        self._pace = pace
        self._told: set[str] = set()

    def prepare(self) -> None:
        """Begin what the first comment needs: the SDK takes a while to import."""
        self._resource_manager.prepare()

    async def get_incident(self, incident_id: IncidentId, *, until: float) -> Incident:
        """Read an incident. Raises `UpstreamError`; `UpstreamNotFound` if it is not there, or not yet."""
        address = self._resource_manager.address(incident_id.arm_id, {"api-version": API_VERSION})
        document = await self._resource_manager.read(address, upstream=Upstream.SENTINEL, until=until)
        return read_incident(incident_id, document)

    async def list_incidents(
        self, workspace_id: WorkspaceId, *, by: str, since: datetime, until: float
    ) -> AsyncGenerator[Rows]:
        """Yield the incidents that were created, or changed, since a moment, oldest first, answer by answer.

        `by` is `CREATED` or `CHANGED`. Raises `UpstreamError`. An incident that cannot be read is told once a
        process, and holds back no other.
        """
        query = {
            "$filter": f"properties/{by} ge {since.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%fZ}",
            "$orderby": f"properties/{by} asc",
            "$top": str(PAGE_SIZE),
        }
        async with aclosing(self._pages(workspace_id, query, until)) as found:
            async for page in found:
                rows = [self._row(workspace_id, one, by) for one in page.documents]
                page.documents.clear()
                yield Rows(rows, page.has_next)

    async def get_numbered(self, workspace_id: WorkspaceId, number: int, *, until: float) -> Incident | None:
        """Return the incident that people call by this number, None if there is none. Raises `UpstreamError`.

        Microsoft documents `$filter` without its properties; this one is in wide use.
        """
        query = {"$filter": f"properties/incidentNumber eq {number}", "$top": "1"}
        async with aclosing(self._pages(workspace_id, query, until)) as found:
            first = await anext((page.documents[0] async for page in found if page.documents), None)
        incident = None if first is None else self._row(workspace_id, first, CHANGED).incident
        return incident if incident and incident.number == str(number) else None

    def _row(self, workspace_id: WorkspaceId, document: object, by: str) -> Row:
        """Read one incident of a list; one that cannot be read is told once a process."""
        name = document.get("name") if isinstance(document, dict) else None
        incident = None
        try:
            incident = read_listed(workspace_id, document)
        except Exception as error:  # noqa: BLE001 - it is this incident's alone
            self._tell(f"{workspace_id.key} {name}"[:MAX_ARM_ID_LENGTH], error)
        if incident is None:
            return Row(str(name), moment_of(document, by), None)
        return Row(incident.id.name, incident.created_at if by == CREATED else incident.changed_at, incident)

    def _tell(self, place: str, error: Exception) -> None:
        if place not in self._told and len(self._told) < _MOST_TOLD:
            self._told.add(place)
            event("discovery.unreadable", level=logging.ERROR, error=in_our_words(error))

    def _pages(
        self, workspace_id: WorkspaceId, query: Mapping[str, str], until: float
    ) -> AsyncGenerator[Page]:
        return pages(
            self._resource_manager,
            workspace_id,
            "providers/Microsoft.SecurityInsights/incidents",
            query={"api-version": API_VERSION, **query},
            upstream=Upstream.SENTINEL,
            until=until,
        )

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
            await self._resource_manager.call(put, upstream=Upstream.SENTINEL, until=until)
        except UpstreamConflict as conflict:
            try:
                message = await self._resource_manager.call(get, upstream=Upstream.SENTINEL, until=until)
            except UpstreamNotFound:
                raise UpstreamUnavailable(
                    "a conflict on a comment that is not there",
                    upstream=Upstream.SENTINEL,
                    status=conflict.status,
                    code=conflict.code,
                ) from conflict
            if not is_our_comment(message, ticket):
                raise
