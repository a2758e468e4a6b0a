"""Index rows that are not as the records say: whoever meets one mends it.

They change with their records in one transaction. But a backup may be restored, a person may remove rows, and
an older version may have left some.
"""

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from azure.data.tables.aio import TableClient

from contraforce_sentinel.domain.errors import RecordUnreadable, StoreUnavailable
from contraforce_sentinel.domain.incidents import IncidentId, WorkspaceId, is_incident_name
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.stores.entities import (
    incident_name,
    index_row,
    key,
    link_row,
    partition,
    to_link,
    unchanged,
)
from contraforce_sentinel.stores.table_calls import Refused, TableCalls, reading
from contraforce_sentinel.stores.table_reads import TableReads

_INDEXED: Final = " and (RowKey lt 'link-' or state eq 'pending' or state eq 'ticketed' or state eq 'dead')"


class TableIndex:
    """The index rows of each workspace, over `TableReads`."""

    def __init__(self, table: TableClient, calls: TableCalls, reads: TableReads) -> None:
        self._table = table
        self._calls = calls
        self._reads = reads

    async def links(
        self, workspace_id: WorkspaceId, rows: Sequence[Any]
    ) -> list[Link | RecordUnreadable | None]:
        """Return the links beside index rows, and remove the rows that their links do not have.

        A row is read before its link, and removed as the one that was read: a worker that has put it there
        anew meanwhile, with its link, keeps it. The row of a record that cannot be read stays.
        """
        with reading():
            names = [incident_name(row["RowKey"]) for row in rows]
        links = await self._reads.in_batches(partial(self._look, workspace_id), names)
        wrong = [
            row
            for row, link in zip(rows, links, strict=True)
            if link is None or (isinstance(link, Link) and index_row(link) != row["RowKey"])
        ]
        await self._reads.in_batches(self._remove, wrong)
        return links

    async def repair(self, workspace_id: WorkspaceId, *, after: str) -> str | None:
        """See `LinkStore.repair`; the service looks at every record of the workspace."""
        rows, following = await self._reads.answer(workspace_id, "dead-", "link.", after=after, more=_INDEXED)
        with reading():
            index = {row["RowKey"]: row for row in rows if row["RowKey"].startswith(("dead-", "due-"))}
            expected = _index_rows([row for row in rows if row["RowKey"].startswith("link-")], workspace_id)
        await self.links(workspace_id, [row for name, row in index.items() if name not in expected])
        await self._put_missing(workspace_id, [name for name in expected if name not in index])
        return following

    async def _put_missing(self, workspace_id: WorkspaceId, names: Sequence[str]) -> None:
        """Put those index rows that are not there."""
        look = partial(self._reads.one, partition(workspace_id))
        found = await self._reads.in_batches(look, names)
        missing = [name for name, row in zip(names, found, strict=True) if row is None]
        await self._reads.in_batches(partial(self._put, workspace_id), missing)
        # who has changed such a link meanwhile knew of no row that was to be removed
        put = await self._reads.in_batches(look, missing)
        await self.links(workspace_id, [row for row in put if row is not None])

    async def _put(self, workspace_id: WorkspaceId, row: str) -> None:
        with suppress(Refused):  # another worker has put it there
            await self._change("create", key(workspace_id, row))

    async def _remove(self, row: Any) -> None:
        """Remove a row as it was read; where that fails, it stays for the next one who meets it."""
        with reading():
            condition = unchanged(row.metadata["etag"])
        with suppress(Refused, StoreUnavailable):
            await self._change("delete", row, **condition)

    async def _change(self, what: str, row: Any, **condition: Any) -> None:
        """Change one row: in a transaction, because outside one the SDK signs some keys wrongly."""
        await self._calls.change(lambda: self._table.submit_transaction([(what, row, condition)]))

    async def _look(self, workspace_id: WorkspaceId, name: str) -> Link | RecordUnreadable | None:
        if not is_incident_name(name):
            return None
        row = link_row(IncidentId(workspace_id, name))
        found = await self._reads.one(partition(workspace_id), row)
        try:
            return None if found is None else to_link(found, workspace_id)
        except RecordUnreadable as error:
            return error


def _index_rows(records: Sequence[Any], workspace_id: WorkspaceId) -> dict[str, None]:
    """Return the index rows that records have, in their order; what cannot be read has none."""
    found: dict[str, None] = {}
    for record in records:
        with suppress(RecordUnreadable):
            row = index_row(to_link(record, workspace_id))
            if row is not None:
                found[row] = None
    return found
