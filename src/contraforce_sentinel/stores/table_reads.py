"""Reads of one table: an entity, a range of row keys, many in batches."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from itertools import batched
from json import dumps, loads
from typing import Any, Final

from azure.core.async_paging import AsyncItemPaged
from azure.core.exceptions import ResourceNotFoundError
from azure.data.tables.aio import TableClient

from contraforce_sentinel.domain.incidents import WorkspaceId
from contraforce_sentinel.stores.entities import behind
from contraforce_sentinel.stores.entities import partition as partition_of
from contraforce_sentinel.stores.table_calls import TableCalls, reading

_BATCH: Final = 32
_BATCHES_AT_ONCE: Final = 2
_MOST_AT_ONCE: Final = 300
"""Of whole records: an answer of Azure is read up to 32 MiB, and a record may have 64 KiB."""


class TableReads:
    """Reads over `TableCalls`; batches of all callers share two places."""

    def __init__(self, table: TableClient, calls: TableCalls) -> None:
        self._table = table
        self._calls = calls
        self._places = asyncio.Semaphore(_BATCHES_AT_ONCE)

    async def one(self, partition: str, row: str, *, select: list[str] | None = None) -> Any:
        """Return an entity, None if there is none. Raises `StoreUnavailable`."""

        async def get() -> Any:
            try:
                found: Any = await self._table.get_entity(partition, row, select=select)
            except ResourceNotFoundError as error:
                if getattr(error, "error_code", None) == "TableNotFound":
                    raise
                return None
            # whatever passed for a record here would make a new incident a known one
            if found["RowKey"] != row:
                raise ValueError("not the entity that was asked for")
            return found

        return await self._calls.run(get)

    async def range(
        self,
        workspace_id: WorkspaceId,
        first: str,
        last: str,
        *,
        limit: int | None,
        more: str = "",
        **values: Any,
    ) -> list[Any]:
        """Return the entities from row key `first` up to, not with, `last`, in order."""

        async def read() -> list[Any]:
            found = self._query(workspace_id, first, last, size=limit, more=more, **values)
            entities: list[Any] = []
            async for entity in found:
                entities.append(entity)
                if len(entities) == limit:
                    break
            return entities

        return await self._calls.run(read, is_listing=True)

    async def pages(
        self, workspace_id: WorkspaceId, first: str, last: str, *, size: int, more: str = "", **values: Any
    ) -> AsyncIterator[list[Any]]:
        """Yield what `range` returns in pages of a size, the last one shorter."""
        start: str | None = first
        while start is not None:
            rows = await self.range(workspace_id, start, last, limit=size, more=more, **values)
            with reading():
                start = behind(rows[-1]["RowKey"]) if len(rows) == size else None
            yield rows

    async def answer(
        self, workspace_id: WorkspaceId, first: str, last: str, *, after: str, more: str
    ) -> tuple[list[Any], str | None]:
        """Return one answer to a query, however little the service has found by then.

        With it comes what the next one is asked for `after`, None where there is none.
        """

        async def read() -> tuple[list[Any], str | None]:
            found = self._query(workspace_id, first, last, size=_MOST_AT_ONCE, more=more)
            answers: Any = found.by_page(loads(after) if after else None)
            entities = [entity async for entity in await anext(answers)]
            following = answers.continuation_token
            return entities, dumps(following) if following else None

        return await self._calls.run(read, is_listing=True)

    def _query(
        self, workspace_id: WorkspaceId, first: str, last: str, *, size: int | None, more: str, **values: Any
    ) -> AsyncItemPaged[Any]:
        query = f"PartitionKey eq @partition and RowKey ge @first and RowKey lt @last{more}"
        parameters = {"partition": partition_of(workspace_id), "first": first, "last": last, **values}
        return self._table.query_entities(query, parameters=parameters, results_per_page=size)

    async def in_batches[A, T](self, read: Callable[[A], Awaitable[T]], what: Sequence[A]) -> list[T]:
        """Read many in order, not too many at once over all callers."""
        results: list[T] = []
        for batch in batched(what, _BATCH, strict=False):
            async with self._places:
                results += await asyncio.gather(*map(read, batch))
        return results
