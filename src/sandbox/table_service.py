"""Stand-in of the Azure Table service: one storage account, in memory.

https://learn.microsoft.com/rest/api/storageservices/table-service-rest-api
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from sandbox.bodies import JsonObject, utc_now
from sandbox.identity import ManagedIdentity
from sandbox.requestlog import LoggedRequest
from sandbox.service import Answer, Handler, Route, StandIn
from sandbox.table_authorization import Admission
from sandbox.table_batches import MAX_OPERATIONS, Done, Operation, failed, read_batch, succeeded
from sandbox.table_data import Table
from sandbox.table_entities import TICKS, Entity, Key, metadata_of, read_key, read_properties, to_json
from sandbox.table_errors import VERSION, TableError
from sandbox.table_filters import read_filter
from sandbox.table_pages import read_start, to_headers
from sandbox.table_places import (
    ACCOUNT,
    ACCOUNT_PATH,
    ENTITY,
    TABLE,
    check_last,
    key_of,
    need_object,
    read_place,
)

NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9]{2,62}")
LARGEST_PAGE: Final = 1000

type Groups = Mapping[str, str]


class TableService(StandIn):
    """The tables of an account, open to tests.

    `entities_per_page` is what the service sends at most in one answer, `looks_per_page` how many entities it
    looks at for one. `being_deleted` are names, in lower case, of removed tables that are not free yet.
    `clock` is what timestamps and ETags are made of. `watch` is told of every change that lasts.
    """

    def __init__(self, identity: ManagedIdentity, *, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__()
        self.clock = clock
        self.entities_per_page = LARGEST_PAGE
        self.looks_per_page: int | None = None
        self.watch: Callable[[Key, Entity | None], None] = lambda _key, _entity: None
        self.tables: dict[str, Table] = {}
        self.being_deleted: set[str] = set()
        self.admission = Admission(ACCOUNT, identity)
        self._ticks = 0

    @property
    def endpoint(self) -> str:
        """The address of the account's tables.

        By number: the SDK takes `localhost` for the Cosmos emulator, and speaks another dialect to it.
        https://github.com/Azure/azure-sdk-for-python/blob/main/sdk/tables/azure-data-tables/azure/data/tables/_common_conversion.py
        """
        return f"{self.base_url.replace('//localhost:', '//127.0.0.1:')}/{ACCOUNT}"

    @property
    def connection_string(self) -> str:
        """What LINK_STORE is set to."""
        return (
            f"DefaultEndpointsProtocol=https;AccountName={ACCOUNT};AccountKey={self.admission.key};"
            f"TableEndpoint={self.endpoint};"
        )

    def routes(self) -> Sequence[Route]:
        """Return the operations that the SDK's `TableClient` has, but for access policies."""
        entity = TABLE + ENTITY
        return (
            Route("tables.create", "POST", f"{ACCOUNT_PATH}/Tables", self._of(self._create)),
            Route(
                "tables.drop", "DELETE", rf"{ACCOUNT_PATH}/Tables\('(?P<table>[^']+)'\)", self._of(self._drop)
            ),
            Route("tables.batch", "POST", rf"{ACCOUNT_PATH}/\$batch", self._of(self._batch)),
            Route("tables.get", "GET", entity, self._of(self._get)),
            Route("tables.update", "PUT", entity, self._of(self._change)),
            Route("tables.merge", "PATCH", entity, self._of(self._change)),
            Route("tables.merge", "MERGE", entity, self._of(self._change)),
            Route("tables.delete", "DELETE", entity, self._of(self._change)),
            Route("tables.query", "GET", rf"{TABLE}(?:\(\))?", self._of(self._query)),
            Route("tables.insert", "POST", rf"{TABLE}(?:\(\))?", self._of(self._insert)),
        )

    def unknown(self, _: LoggedRequest) -> Answer:
        """Return the service's answer to an address that is none."""
        return TableError("ResourceNotFound").answer

    def _of(self, work: Handler) -> Handler:
        return partial(self._admitted, work)

    def _admitted(self, work: Handler, request: LoggedRequest, groups: Groups) -> Answer:
        self.admission.check(request)
        return work(request, groups)

    def _create(self, request: LoggedRequest, _: Groups) -> Answer:
        self.admission.check_making(request)
        name = request.body.get("TableName") if isinstance(request.body, dict) else None
        if not isinstance(name, str) or NAME.fullmatch(name) is None:
            raise TableError("InvalidResourceName")
        if name.lower() in self.tables:
            raise TableError("TableAlreadyExists")
        if name.lower() in self.being_deleted:
            raise TableError("TableBeingDeleted")
        table = Table(self._tick)
        table.watch = self._changed
        self.tables[name.lower()] = table
        return self._created(request, {"TableName": name}, f"{self.endpoint}/$metadata#Tables/@Element", {})

    def _drop(self, _: LoggedRequest, groups: Groups) -> Answer:
        if self.tables.pop(groups["table"].lower(), None) is None:
            raise TableError("ResourceNotFound")
        return Answer(204, headers={"x-ms-version": VERSION})

    def _get(self, request: LoggedRequest, groups: Groups) -> Answer:
        entity = self._table(groups["table"]).get(key_of(groups))
        body = self._metadata(request, f"{groups['table']}/@Element") | self._shown(request, groups, entity)
        return _json(request, body, {"ETag": entity.etag})

    def _query(self, request: LoggedRequest, groups: Groups) -> Answer:
        table, query = self._table(groups["table"]), request.query
        top = query.get("$top", str(LARGEST_PAGE))
        if not top.isdecimal() or not 1 <= int(top) <= LARGEST_PAGE:
            raise TableError("InvalidInput")
        found, following = table.page(
            read_filter(query.get("$filter")),
            start=read_start(query),
            size=min(int(top), self.entities_per_page),
            looks=self.looks_per_page,
        )
        body = self._metadata(request, groups["table"])
        body["value"] = [self._shown(request, groups, entity) for entity in found]
        return _json(request, body, {} if following is None else to_headers(following))

    def _insert(self, request: LoggedRequest, groups: Groups) -> Answer:
        table, body = self._table(groups["table"]), need_object(request.body)
        properties = read_properties(body, len(request.content))
        with table.changing():
            entity = table.insert(read_key(body.get("PartitionKey"), body.get("RowKey")), properties)
        shown = self._shown(request, groups, entity)
        metadata = f"{self.endpoint}/$metadata#{groups['table']}/@Element"
        return self._created(request, shown, metadata, {"ETag": entity.etag})

    def _change(self, request: LoggedRequest, groups: Groups) -> Answer:
        table, key = self._table(groups["table"]), key_of(groups)
        operation = Operation(
            request.method, request.path, request.headers.get("If-Match"), request.body, len(request.content)
        )
        with table.changing():
            done = _carry_out(table, key, operation)
        headers = {"x-ms-version": VERSION} | ({} if done.etag is None else {"ETag": done.etag})
        return Answer(done.status, headers=headers)

    def _batch(self, request: LoggedRequest, _: Groups) -> Answer:
        operations = read_batch(request.headers.get("Content-Type", ""), request.content)
        if len(operations) > MAX_OPERATIONS:
            message = "The batch request operation exceeds the maximum 100 changes per change set."
            return failed(MAX_OPERATIONS - 1, TableError("InvalidInput", message))
        done: list[Done] = []
        try:
            table = self._table(read_place(operations[0])[0])
            with table.changing():
                places: list[tuple[str, Key]] = []
                for operation in operations:
                    places.append(read_place(operation))
                    check_last(places)
                    done.append(_carry_out(table, places[-1][1], operation))
        except TableError as error:
            return failed(len(done), error)
        return succeeded(done)

    def _table(self, name: str) -> Table:
        table = self.tables.get(name.lower())
        if table is None:
            raise TableError("TableNotFound")
        return table

    def _changed(self, key: Key, entity: Entity | None) -> None:
        self.watch(key, entity)

    def _tick(self) -> int:
        """Return the moment of a write: the clock's, and later than every one before."""
        now = self.clock()
        self._ticks = max(int(now.timestamp()) * TICKS + now.microsecond * 10, self._ticks + 1)
        return self._ticks

    def _shown(self, request: LoggedRequest, groups: Groups, entity: Entity) -> JsonObject:
        select = frozenset(filter(None, request.query.get("$select", "").replace(" ", "").split(",")))
        metadata = metadata_of(request.headers.get("Accept", ""))
        table_url = f"{self.endpoint}/{groups['table']}"
        return to_json(entity, select=select, metadata=metadata, table_url=table_url)

    def _metadata(self, request: LoggedRequest, of: str) -> JsonObject:
        if metadata_of(request.headers.get("Accept", "")) == "none":
            return {}
        return {"odata.metadata": f"{self.endpoint}/$metadata#{of}"}

    def _created(
        self, request: LoggedRequest, body: JsonObject, metadata: str, headers: Mapping[str, str]
    ) -> Answer:
        """Answer with what was made, unless the caller would rather not have it."""
        prefer = request.headers.get("Prefer", "return-content")
        told = {"Preference-Applied": prefer, "x-ms-version": VERSION, **headers}
        if prefer == "return-no-content":
            return Answer(204, headers=told)
        return _json(request, {"odata.metadata": metadata, **body}, told, status=201)


def _json(
    request: LoggedRequest, body: JsonObject, headers: Mapping[str, str], *, status: int = 200
) -> Answer:
    level = metadata_of(request.headers.get("Accept", ""))
    kind = f"application/json;odata={level.replace('none', 'no')}metadata;streaming=true;charset=utf-8"
    return Answer(status, body, {"x-ms-version": VERSION, **headers}, kind)


def _carry_out(table: Table, key: Key, operation: Operation) -> Done:
    if operation.method == "DELETE":
        table.delete(key, operation.if_match)
        return Done(204)
    properties = read_properties(operation.body, operation.size)
    if operation.method == "POST":
        return Done(201, table.insert(key, properties).etag)
    if operation.method == "PUT":
        return Done(204, table.replace(key, properties, operation.if_match).etag)
    if operation.method in {"PATCH", "MERGE"}:
        return Done(204, table.merge(key, properties, operation.if_match).etag)
    raise TableError("InvalidInput")
