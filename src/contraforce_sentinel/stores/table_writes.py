"""Writes of one record and its index row, in one transaction, by compare-and-set.

The index row that stood beside the record may be gone: a restored backup, a person's hand. Then the service
refuses to remove it, and with it the record's change; so the change is made without removing it.
"""

from typing import Any
from uuid import uuid4

from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient

from contraforce_sentinel.domain.errors import StaleLink
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.stores.entities import (
    index_row,
    key,
    link_row,
    partition,
    read_version,
    to_entity,
    to_link,
    unchanged,
    version_of,
)
from contraforce_sentinel.stores.table_calls import Refused, TableCalls, reading
from contraforce_sentinel.stores.table_reads import TableReads

type Operations = list[tuple[str, Any, dict[str, Any]]]


class TableWrites:
    """Writes over `TableCalls`; a try whose answer was lost is known again by the next one."""

    def __init__(self, table: TableClient, calls: TableCalls, reads: TableReads) -> None:
        self._table = table
        self._calls = calls
        self._reads = reads

    async def insert(self, link: Link) -> Link | None:
        """See `LinkStore.insert`."""
        return await self._write(link, "create", etag=None, old_row=None)

    async def replace(self, link: Link) -> Link:
        """See `LinkStore.replace`."""
        etag, old_row = read_version(link.version)
        stored = await self._write(link, "update", etag=etag, old_row=old_row)
        if stored is None:
            raise _stale(link)
        return stored

    async def delete(self, link: Link) -> None:
        """See `LinkStore.delete`."""
        etag, row = read_version(link.version)
        workspace, tries = link.incident_id.workspace, 0
        operations: Operations = [("delete", key(workspace, link_row(link.incident_id)), unchanged(etag))]
        if row:
            operations.append(("delete", key(workspace, row), {}))

        async def remove() -> None:
            nonlocal tries
            tries += 1
            await self._table.submit_transaction(operations)

        while True:
            try:
                return await self._calls.change(remove)
            except Refused:
                found = await self._read(link)
            if found is None and tries > 1:
                return None  # by the try whose answer was lost
            if len(operations) == 1 or not _is_still(found, etag):
                raise _stale(link)
            del operations[1]  # that row is gone

    async def _write(self, link: Link, first: str, *, etag: str | None, old_row: str | None) -> Link | None:
        """Write a record and its index row; None if it is not the expected one that is there."""
        mark, workspace, new_row = uuid4().hex, link.incident_id.workspace, index_row(link)
        entity = {**to_entity(link), "written": mark}
        condition = {} if etag is None else {"mode": UpdateMode.MERGE, **unchanged(etag)}
        operations: Operations = [(first, entity, condition)]
        if new_row and new_row != old_row:
            operations.append(("upsert", key(workspace, new_row), {}))
        if old_row and new_row != old_row:
            operations.append(("delete", key(workspace, old_row), {}))
        while True:
            try:
                done = await self._calls.change(lambda: self._table.submit_transaction(operations))
            except Refused:
                found = await self._read(link)
            else:
                with reading():
                    version = version_of(str(done[0]["etag"]), new_row)
                    return link.model_copy(update={"version": version})
            if found is not None and found.get("written") == mark:
                return to_link(found, workspace)
            if operations[-1][0] != "delete" or not _is_still(found, etag):
                return None
            del operations[-1]  # that row is gone

    async def _read(self, link: Link) -> Any:
        return await self._reads.one(partition(link.incident_id.workspace), link_row(link.incident_id))


def _is_still(found: Any, etag: str | None) -> bool:
    """Whether a record is there as it was read, so that only its index row can have been refused."""
    with reading():
        return found is not None and found.metadata["etag"] == etag


def _stale(link: Link) -> StaleLink:
    return StaleLink(f"the link of {link.incident_id.key} was changed by another worker")
