"""The link store in Azure Tables: for any number of instances.

Its data model: https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
Each workspace has a partition. In it, by row key:

    link-<incident>         the record; one entity per incident, changed by ETag
    due-<time>-<incident>   beside it while a try is to come, so that due links are a range of their own
    dead-<incident>         beside it while it needs a person, so that they can be counted
    feed                    how far the workspace was followed
    watermark               what 0.1.0 kept instead: it is read once, and moved with what is removed

A link and its index row change in one entity group transaction. Whoever finds that one of them is missing
all the same mends it. With 100,000 links linked and 10 due, a run reads 10 index rows and 10 links.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Self

from azure.core.exceptions import ResourceNotFoundError
from azure.core.pipeline.transport import AsyncHttpTransport
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient
from pydantic import ValidationError

from contraforce_sentinel.azure.identity import Identity
from contraforce_sentinel.domain.errors import RecordUnreadable
from contraforce_sentinel.domain.incidents import IncidentId, WorkspaceId
from contraforce_sentinel.domain.links import LONGEST_WAIT, Link
from contraforce_sentinel.domain.records import LinkState
from contraforce_sentinel.domain.runs import Backlog, Feed, TimerRun
from contraforce_sentinel.stores.entities import (
    behind,
    due_at,
    key,
    link_row,
    partition,
    to_link,
    to_text,
    to_time,
    unchanged,
)
from contraforce_sentinel.stores.link_store import Found, Glimpse, read_feed, read_watermark
from contraforce_sentinel.stores.table_calls import Refused, TableCalls, reading
from contraforce_sentinel.stores.table_index import TableIndex
from contraforce_sentinel.stores.table_reads import TableReads
from contraforce_sentinel.stores.table_writes import TableWrites

type Transport = AsyncHttpTransport[Any, Any]

TABLE_NAME: Final = "contraforcelinks"
_TIMER_PARTITION: Final = "timer"
_LAST_RUN: Final = "last-run"
_FEED: Final = "feed"
_WATERMARK: Final = "watermark"
_EXPIRED: Final = " and (state eq 'linked' or state eq 'skipped') and created_at lt @before"
_MOST_WRONG: Final = 3000
_FIRST_ROWS: Final = 20
READ_SECONDS: Final = 5.0


class TableLinkStore:
    """`LinkStore` over one table, which is made with the first use."""

    def __init__(self, table: TableClient, *, identity: Identity | None = None) -> None:
        self._table = table
        self._calls = TableCalls(table, identity=identity)
        self._reads = TableReads(table, self._calls)
        self._writes = TableWrites(table, self._calls, self._reads)
        self._index = TableIndex(table, self._calls, self._reads)

    @classmethod
    def from_endpoint(cls, endpoint: str, identity: Identity, *, transport: Transport) -> Self:
        """Open the tables of a storage account as an identity (role: Storage Table Data Contributor)."""
        table = TableClient(endpoint, TABLE_NAME, credential=identity, transport=transport, retry_total=0)
        return cls(table, identity=identity)

    @classmethod
    def from_connection_string(cls, text: str, *, transport: Transport, table_name: str = TABLE_NAME) -> Self:
        """Open the tables that a storage connection string names."""
        return cls(TableClient.from_connection_string(text, table_name, transport=transport, retry_total=0))

    async def insert(self, link: Link) -> Link | None:
        """See `LinkStore.insert`."""
        return await self._writes.insert(link)

    async def get(self, incident_id: IncidentId) -> Link | None:
        """See `LinkStore.get`."""
        found = await self._reads.one(partition(incident_id.workspace), link_row(incident_id))
        return None if found is None else to_link(found, incident_id.workspace)

    async def replace(self, link: Link) -> Link:
        """See `LinkStore.replace`."""
        return await self._writes.replace(link)

    async def delete(self, link: Link) -> None:
        """See `LinkStore.delete`."""
        await self._writes.delete(link)

    async def glimpse(self, incident_ids: Sequence[IncidentId]) -> dict[str, Glimpse]:
        """See `LinkStore.glimpse`."""

        async def look(one: IncidentId) -> Any:
            return await self._reads.one(partition(one.workspace), link_row(one))

        found = await self._reads.in_batches(look, incident_ids)
        return {
            one.key: _glimpse(entity, one.workspace)
            for one, entity in zip(incident_ids, found, strict=True)
            if entity is not None
        }

    async def due(self, workspace_id: WorkspaceId, *, now: datetime, limit: int) -> Found:
        """See `LinkStore.due`; an index row that its link does not have is removed and passed over.

        After `_MOST_WRONG` of them, those that follow are for the next call.
        """
        soon, far = await asyncio.gather(
            self._due_between(workspace_id, "due-", f"due-{to_text(now)}~", now=now, limit=limit),
            self._due_between(
                workspace_id, f"due-{to_text(now + LONGEST_WAIT)}~", "due.", now=now, limit=limit
            ),
        )
        return Found((soon.links + far.links)[:limit], list(dict.fromkeys(soon.unreadable + far.unreadable)))

    async def _due_between(
        self, workspace_id: WorkspaceId, first: str, last: str, *, now: datetime, limit: int
    ) -> Found:
        links: dict[str, Link] = {}
        unreadable: dict[str, None] = {}
        wrong = 0
        async for rows in self._reads.pages(workspace_id, first, last, size=limit):
            for link in await self._index.links(workspace_id, rows):
                if isinstance(link, RecordUnreadable):
                    unreadable[link.incident] = None
                elif link is not None and link.is_due(now):
                    links[link.incident_id.key] = link
                else:
                    wrong += 1
            if len(links) >= limit or wrong >= _MOST_WRONG:
                break
        in_turn = sorted(links.values(), key=lambda link: link.next_try_at or now)
        return Found(in_turn[:limit], list(unreadable))

    async def expired(self, workspace_id: WorkspaceId, *, before: datetime, limit: int) -> Found:
        """See `LinkStore.expired`; the service looks at every record of the workspace."""
        return await self._links(
            workspace_id, "link-", limit=limit, more=_EXPIRED, before=before.astimezone(UTC)
        )

    async def in_state(self, workspace_id: WorkspaceId, state: LinkState, *, after: str, limit: int) -> Found:
        """See `LinkStore.in_state`; the service looks at every record of the workspace."""
        first = behind(link_row(IncidentId(workspace_id, after))) if after else "link-"
        return await self._links(
            workspace_id, first, limit=limit, more=" and state eq @state", state=state.value
        )

    async def repair(self, workspace_id: WorkspaceId, *, after: str) -> str | None:
        """See `LinkStore.repair`; the service looks at every record of the workspace."""
        return await self._index.repair(workspace_id, after=after)

    async def backlog(self, workspace_id: WorkspaceId) -> Backlog:
        """See `LinkStore.backlog`."""
        oldest, dead = await asyncio.gather(
            self._oldest_due_at(workspace_id),
            self._reads.range(workspace_id, "dead-", "dead.", limit=None),
        )
        return Backlog(oldest_due_at=oldest, dead=len(dead))

    async def feed(self, workspace_id: WorkspaceId) -> Feed | None:
        """See `LinkStore.feed`."""
        found = await self._reads.one(partition(workspace_id), _FEED)
        if found is None:
            return None
        with reading():
            return read_feed(found.get("feed"), version=str(found.metadata["etag"]))

    async def save_feed(self, workspace_id: WorkspaceId, feed: Feed) -> Feed | None:
        """See `LinkStore.save_feed`."""
        text = feed.model_dump_json(exclude={"version"})
        entity = {**key(workspace_id, _FEED), "workspace": workspace_id.key, "feed": text}
        try:
            if feed.version:
                change = {"mode": UpdateMode.MERGE, **unchanged(feed.version)}
                done = await self._calls.change(partial(self._table.update_entity, entity, **change))
            else:
                done = await self._calls.change(lambda: self._table.create_entity(entity))
        except Refused:
            return None
        with reading():
            return feed.model_copy(update={"version": str(done["etag"])})

    async def creation_watermark(self, workspace_id: WorkspaceId) -> datetime | None:
        """See `LinkStore.creation_watermark`."""
        found = await self._reads.one(partition(workspace_id), _WATERMARK)
        return None if found is None else read_watermark(found.get("created_at"), to_time)

    async def move_creation_watermark(self, workspace_id: WorkspaceId, to: datetime) -> None:
        """See `LinkStore.move_creation_watermark`."""
        entity = {**key(workspace_id, _WATERMARK), "workspace": workspace_id.key, "created_at": to_text(to)}
        while True:
            found = await self._reads.one(partition(workspace_id), _WATERMARK)
            try:
                if found is None:
                    await self._calls.change(lambda: self._table.create_entity(entity))
                elif read_watermark(found.get("created_at"), to_time) < to:
                    change = {"mode": UpdateMode.REPLACE, **unchanged(found.metadata["etag"])}
                    await self._calls.change(partial(self._table.update_entity, entity, **change))
            except Refused:
                continue  # another instance has moved it: look again
            return

    async def last_run(self) -> TimerRun | None:
        """See `LinkStore.last_run`."""
        found = await self._reads.one(_TIMER_PARTITION, _LAST_RUN)
        try:
            return None if found is None else TimerRun.model_validate_json(found["run"])
        except (ValidationError, KeyError):  # of another version: the next run writes a new one
            return None

    async def save_run(self, run: TimerRun) -> None:
        """See `LinkStore.save_run`."""
        entity = {"PartitionKey": _TIMER_PARTITION, "RowKey": _LAST_RUN, "run": run.model_dump_json()}
        await self._calls.run(lambda: self._table.upsert_entity(entity, mode=UpdateMode.REPLACE))

    async def exists(self) -> bool:
        """See `LinkStore.exists`."""

        async def look() -> bool:
            try:
                await self._table.get_entity(_TIMER_PARTITION, _LAST_RUN, select=["RowKey"])
            except ResourceNotFoundError as error:
                return getattr(error, "error_code", None) != "TableNotFound"
            return True

        return await self._calls.run(look, makes_table=False)

    async def check(self) -> None:
        """See `LinkStore.check`; writes nothing but, the first time, the table."""
        await self._reads.one(_TIMER_PARTITION, _LAST_RUN)

    async def close(self) -> None:
        """See `LinkStore.close`."""
        await self._table.close()

    async def _oldest_due_at(self, workspace_id: WorkspaceId) -> datetime | None:
        """Return the first moment that an index row has; one that has none costs no more than its place."""
        async for rows in self._reads.pages(workspace_id, "due-", "due.", size=_FIRST_ROWS):
            with reading():
                moments = [moment for row in rows if (moment := due_at(row["RowKey"])) is not None]
            if moments:
                return moments[0]
        return None

    async def _links(
        self, workspace_id: WorkspaceId, start: str, *, limit: int, more: str, **values: Any
    ) -> Found:
        """Read records from row key `start` on, until `limit` of them were links."""
        found = Found()
        async for rows in self._reads.pages(workspace_id, start, "link.", size=limit, more=more, **values):
            for row in rows:
                try:
                    with reading():
                        found.links.append(to_link(row, workspace_id))
                except RecordUnreadable as error:
                    found.unreadable.append(error.incident)
            if len(found.links) >= limit:
                break
        return Found(found.links[:limit], found.unreadable)


def _glimpse(entity: Any, workspace_id: WorkspaceId) -> Glimpse:
    """The whole record was read with its words; it is parsed when somebody asks for it."""

    async def read() -> Link:
        with reading():
            return to_link(entity, workspace_id)

    return Glimpse(entity.get("state"), entity.get("seen") or None, read)
