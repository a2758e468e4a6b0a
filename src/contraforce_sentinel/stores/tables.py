"""The link store in Azure Tables: for any number of instances.

Its data model: https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
Each workspace has a partition. In it, by row key:

    link-<incident>         the record; one entity per incident, changed by ETag
    due-<time>-<incident>   beside it while a try is to come, so that due links are a range of their own
    dead-<incident>         beside it while it needs a person, so that they can be counted
    watermark               of discovery

A link and its index row change in one entity group transaction. With 100,000 links linked and 10 due, a run
reads 10 index rows and 10 links.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Self
from uuid import uuid4

from azure.core import MatchConditions
from azure.core.exceptions import ResourceNotFoundError
from azure.core.pipeline.transport import AsyncHttpTransport
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient
from pydantic import ValidationError

from contraforce_sentinel.azure.identity import Identity
from contraforce_sentinel.domain.errors import RecordUnreadable, StaleLink
from contraforce_sentinel.domain.incidents import IncidentId, WorkspaceId
from contraforce_sentinel.domain.links import Link, LinkState
from contraforce_sentinel.domain.runs import Backlog, TimerRun
from contraforce_sentinel.stores.entities import (
    behind,
    index_row,
    key,
    link_row,
    partition,
    read_version,
    to_entity,
    to_link,
    to_text,
    to_time,
    version_of,
)
from contraforce_sentinel.stores.link_store import Found
from contraforce_sentinel.stores.table_calls import Refused, TableCalls, reading
from contraforce_sentinel.stores.table_reads import TableReads

type Transport = AsyncHttpTransport[Any, Any]

TABLE_NAME: Final = "contraforcelinks"
_TIMER_PARTITION: Final = "timer"
_LAST_RUN: Final = "last-run"
_WATERMARK: Final = "watermark"
_EXPIRED: Final = " and (state eq 'linked' or state eq 'skipped') and created_at lt @before"
READ_SECONDS: Final = 5.0


class TableLinkStore:
    """`LinkStore` over one table, which is made with the first use."""

    def __init__(self, table: TableClient, *, identity: Identity | None = None) -> None:
        self._table = table
        self._calls = TableCalls(table, identity=identity)
        self._reads = TableReads(table, self._calls)

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
        row = index_row(link)
        index = [("upsert", key(link.incident_id.workspace, row))] if row else []
        return await self._write(link, "create", index)

    async def get(self, incident_id: IncidentId) -> Link | None:
        """See `LinkStore.get`."""
        found = await self._reads.one(partition(incident_id.workspace), link_row(incident_id))
        return None if found is None else to_link(found, incident_id.workspace)

    async def replace(self, link: Link) -> Link:
        """See `LinkStore.replace`."""
        etag, old_row = read_version(link.version)
        new_row = index_row(link)
        index = [
            (operation, key(link.incident_id.workspace, row))
            for operation, row in (("delete", old_row), ("upsert", new_row))
            if row and old_row != new_row
        ]
        stored = await self._write(link, "update", index, mode=UpdateMode.REPLACE, **_unchanged(etag))
        if stored is None:
            raise _stale(link)
        return stored

    async def delete(self, link: Link) -> None:
        """See `LinkStore.delete`."""
        etag, row = read_version(link.version)
        workspace = link.incident_id.workspace
        operations: list[Any] = [("delete", key(workspace, link_row(link.incident_id)), _unchanged(etag))]
        if row:
            operations.append(("delete", key(workspace, row)))
        tries = 0

        async def remove() -> None:
            nonlocal tries
            tries += 1
            await self._table.submit_transaction(operations)

        try:
            await self._calls.run(remove)
        except Refused:
            if tries > 1 and await self.get(link.incident_id) is None:
                return  # by the try whose answer was lost
            raise _stale(link) from None

    async def known(self, incident_ids: Sequence[IncidentId]) -> set[str]:
        """See `LinkStore.known`."""

        async def look(one: IncidentId) -> Any:
            return await self._reads.one(partition(one.workspace), link_row(one), select=["RowKey"])

        found = await self._reads.in_batches(look, incident_ids)
        return {one.key for one, entity in zip(incident_ids, found, strict=True) if entity is not None}

    async def due(self, workspace_id: WorkspaceId, *, now: datetime, limit: int) -> Found:
        """See `LinkStore.due`; an index row without its link is passed over."""
        found = Found()
        first: str | None = "due-"
        while first is not None and len(found.links) < limit:
            rows = await self._reads.range(workspace_id, first, f"due-{to_text(now)}~", limit=limit)
            with reading():
                keys = [row["RowKey"] for row in rows]
            first = behind(keys[-1]) if len(keys) == limit else None
            names = [key.split("-", 2)[-1] for key in keys]
            read = await self._reads.in_batches(
                self._look, [IncidentId(workspace_id, name) for name in names]
            )
            for one in read:
                if isinstance(one, RecordUnreadable):
                    found.unreadable.append(one.incident)
                elif one is not None and one.next_try_at is not None and one.next_try_at <= now:
                    found.links.append(one)
        return Found(found.links[:limit], found.unreadable)

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

    async def backlog(self, workspace_id: WorkspaceId) -> Backlog:
        """See `LinkStore.backlog`."""
        first, dead = await asyncio.gather(
            self._reads.range(workspace_id, "due-", "due.", limit=1),
            self._reads.range(workspace_id, "dead-", "dead.", limit=None),
        )
        with reading():
            oldest = to_time(first[0]["RowKey"].split("-")[1]) if first else None
        return Backlog(oldest_due_at=oldest, dead=len(dead))

    async def watermark(self, workspace_id: WorkspaceId) -> datetime | None:
        """See `LinkStore.watermark`."""
        found = await self._reads.one(partition(workspace_id), _WATERMARK)
        with reading():
            return None if found is None else to_time(found["created_at"])

    async def move_watermark(self, workspace_id: WorkspaceId, to: datetime) -> None:
        """See `LinkStore.move_watermark`."""
        entity = {**key(workspace_id, _WATERMARK), "workspace": workspace_id.key, "created_at": to_text(to)}
        while True:
            found = await self._reads.one(partition(workspace_id), _WATERMARK)
            with reading():
                is_behind = found is None or to_time(found["created_at"]) < to
            try:
                if found is None:
                    await self._calls.run(lambda: self._table.create_entity(entity))
                elif is_behind:
                    change = {"mode": UpdateMode.REPLACE, **_unchanged(found.metadata["etag"])}
                    await self._calls.run(partial(self._table.update_entity, entity, **change))
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

    async def _write(self, link: Link, first: str, index: list[Any], **condition: Any) -> Link | None:
        """Write a record and its index rows; None if it is not the expected one that is there.

        A try whose answer was lost may have been carried out: the next one then finds its own mark.
        """
        mark = uuid4().hex
        entity = {**to_entity(link), "written": mark}
        operations = [(first, entity, condition), *index]
        try:
            done = await self._calls.run(lambda: self._table.submit_transaction(operations))
        except Refused:
            found = await self._reads.one(entity["PartitionKey"], entity["RowKey"])
            is_there = found is not None and found.get("written") == mark
            return to_link(found, link.incident_id.workspace) if is_there else None
        with reading():
            return link.model_copy(update={"version": version_of(str(done[0]["etag"]), index_row(link))})

    async def _look(self, incident_id: IncidentId) -> Link | RecordUnreadable | None:
        try:
            return await self.get(incident_id)
        except RecordUnreadable as error:
            return error

    async def _links(
        self, workspace_id: WorkspaceId, start: str, *, limit: int, more: str, **values: Any
    ) -> Found:
        """Read records from row key `start` on, until `limit` of them were links."""
        found = Found()
        first: str | None = start
        while first is not None and len(found.links) < limit:
            rows = await self._reads.range(workspace_id, first, "link.", limit=limit, more=more, **values)
            with reading():
                first = behind(rows[-1]["RowKey"]) if len(rows) == limit else None
                for row in rows:
                    try:
                        found.links.append(to_link(row, workspace_id))
                    except RecordUnreadable as error:
                        found.unreadable.append(error.incident)
        return Found(found.links[:limit], found.unreadable)


def _stale(link: Link) -> StaleLink:
    return StaleLink(f"the link of {link.incident_id.key} was changed by another worker")


def _unchanged(etag: str) -> dict[str, Any]:
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}
