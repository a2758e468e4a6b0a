"""Pure: the addresses of the Azure Table service, and which entity one names.

https://learn.microsoft.com/rest/api/storageservices/addressing-table-service-resources
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from sandbox.bodies import JsonObject
from sandbox.table_batches import Operation
from sandbox.table_entities import Key, read_key
from sandbox.table_errors import TableError

ACCOUNT: Final = "stsandboxlinks"
ACCOUNT_PATH: Final = f"(?:/{ACCOUNT})?"
"""The account may be in the host's name, and, as emulators have it, in the path."""
ONE_TABLE: Final = rf"{ACCOUNT_PATH}/Tables\('(?P<table>[^']+)'\)"
TABLE: Final = rf"{ACCOUNT_PATH}/(?P<table>[^/()']+)"
ENTITY: Final = r"\(PartitionKey='(?P<partition>(?:[^']|'')*)',\s*RowKey='(?P<row>(?:[^']|'')*)'\)"
ENTITY_PLACE: Final = re.compile(TABLE + ENTITY, re.IGNORECASE)
TABLE_PLACE: Final = re.compile(TABLE, re.IGNORECASE)


def read_place(operation: Operation) -> tuple[str, Key]:
    """Return table and key that an operation of a transaction is about."""
    if (found := ENTITY_PLACE.fullmatch(operation.path)) is not None:
        return found["table"], key_of(found.groupdict())
    if operation.method != "POST" or (found := TABLE_PLACE.fullmatch(operation.path)) is None:
        raise TableError("InvalidInput")
    body = need_object(operation.body)
    return found["table"], read_key(body.get("PartitionKey"), body.get("RowKey"))


def check_last(places: Sequence[tuple[str, Key]]) -> None:
    """Refuse what leaves the partition, and the second operation on one entity."""
    (first_table, (partition, _)), (table, key) = places[0], places[-1]
    if (table, key[0]) != (first_table, partition):
        raise TableError("CommandsInBatchActOnDifferentPartitions")
    if places.count(places[-1]) > 1:
        message = f"A command with RowKey '{key[1]}' is already present in the batch."
        raise TableError("InvalidDuplicateRow", message)


def key_of(groups: Mapping[str, str]) -> Key:
    """Return the keys that the parts of a path are."""
    return read_key(groups["partition"].replace("''", "'"), groups["row"].replace("''", "'"))


def need_object(body: Any) -> JsonObject:
    """Return a body, if it is a JSON object."""
    if not isinstance(body, dict):
        raise TableError("InvalidInput")
    return body
