"""Pure: entities of the Azure Table service, as they come in, as they are kept, and as they go out.

https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
https://learn.microsoft.com/rest/api/storageservices/payload-format-for-table-service-operations
"""

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Literal
from urllib.parse import quote
from uuid import UUID

from sandbox.bodies import JsonObject
from sandbox.table_errors import TableError

type Key = tuple[str, str]
"""Partition key and row key: the order of all entities of a table."""

type Metadata = Literal["none", "minimal", "full"]

TYPE: Final = "@odata.type"
ANNOTATED: Final = frozenset({"Edm.Binary", "Edm.DateTime", "Edm.Guid", "Edm.Int64"})
"""What JSON has no type of its own for goes out with an annotation, beside a double that is no number."""
KEPT: Final = ("PartitionKey", "RowKey", "Timestamp")
MAX_PROPERTIES: Final = 252
MAX_NAME: Final = 255
MAX_KEY: Final = 1024
MAX_VALUE_BYTES: Final = 64 * 1024
MAX_ENTITY_BYTES: Final = 1024 * 1024
FORBIDDEN_IN_KEYS: Final = re.compile(r"[/\\#?\x00-\x1f\x7f-\x9f]")
TICKS: Final = 10_000_000
"""Per second: the service counts in 100 ns."""


@dataclass(frozen=True, slots=True)
class Entity:
    """What is kept. `properties` are JSON with their annotations, without keys and time."""

    key: Key
    properties: Mapping[str, Any]
    timestamp: str
    etag: str

    @classmethod
    def of(cls, key: Key, properties: Mapping[str, Any], ticks: int) -> "Entity":
        """Make an entity that was written at a moment, `ticks` since 1970."""
        seconds, fraction = divmod(ticks, TICKS)
        timestamp = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{fraction:07}Z"
        return cls(key, properties, timestamp, f"W/\"datetime'{quote(timestamp)}'\"")


def read_key(partition: Any, row: Any) -> Key:
    """Return both keys, if they are keys."""
    if not isinstance(partition, str) or not isinstance(row, str):
        raise TableError("PropertiesNeedValue")
    for key in (partition, row):
        if len(key) > MAX_KEY or FORBIDDEN_IN_KEYS.search(key):
            raise TableError("OutOfRangeInput")
    return partition, row


def read_properties(body: Any, size: int) -> JsonObject:
    """Return what is to be kept of a body of `size` bytes; properties that are null are not."""
    if not isinstance(body, dict):
        raise TableError("InvalidInput")
    if size > MAX_ENTITY_BYTES:
        raise TableError("EntityTooLarge")
    kept: JsonObject = {}
    for name, value in body.items():
        if value is None or name in KEPT or name.startswith("odata.") or name.endswith(TYPE):
            continue
        kind = body.get(name + TYPE)
        _check(name, value, kind)
        if kind in ANNOTATED or (kind == "Edm.Double" and isinstance(value, str)):
            kept[name + TYPE] = kind
        kept[name] = value
    if sum(not name.endswith(TYPE) for name in kept) > MAX_PROPERTIES:
        raise TableError("TooManyProperties")
    return kept


def merged(properties: Mapping[str, Any], changes: Mapping[str, Any]) -> JsonObject:
    """Return the properties with changes, types included."""
    left = {name: value for name, value in properties.items() if name.removesuffix(TYPE) not in changes}
    return {**left, **changes}


def metadata_of(accept: str) -> Metadata:
    """Return how much an Accept header asks for; JSON alone is minimal metadata."""
    wanted = accept.replace(" ", "").lower()
    if "odata=nometadata" in wanted:
        return "none"
    return "full" if "odata=fullmetadata" in wanted else "minimal"


def to_json(entity: Entity, *, select: frozenset[str], metadata: Metadata, table_url: str) -> JsonObject:
    """Return an entity as it goes out; an empty `select` is every property."""
    shown: JsonObject = {} if metadata == "none" else {"odata.etag": entity.etag}
    if metadata == "full":
        name = table_url.rpartition("/")[2]
        place = "{}(PartitionKey='{}',RowKey='{}')".format(name, *map(_in_quotes, entity.key))
        account_url = table_url.removesuffix(name)
        kind = f"{account_url.rstrip('/').rpartition('/')[2].partition('.')[0]}.{name}"
        shown |= {"odata.type": kind, "odata.id": account_url + place, "odata.editLink": place}
        shown["Timestamp" + TYPE] = "Edm.DateTime"
    everything = {
        **dict(zip(("PartitionKey", "RowKey"), entity.key, strict=True)),
        "Timestamp": entity.timestamp,
        **entity.properties,
    }
    for name, value in everything.items():
        if metadata == "none" and name.endswith(TYPE):
            continue
        if not select or name.removesuffix(TYPE) in select:
            shown[name] = value
    return shown


def _in_quotes(key: str) -> str:
    return quote(key.replace("'", "''"))


def _check(name: str, value: Any, kind: Any) -> None:
    """Raise what the service says of a value that its type does not have, or that is too long."""
    if len(name) > MAX_NAME:
        raise TableError("PropertyNameTooLong")
    if not isinstance(value, str | int | float):
        raise TableError("InvalidInput")
    if isinstance(value, str):
        size = len(value) * 3 // 4 if kind == "Edm.Binary" else len(value.encode("utf-16-le"))
        if size > MAX_VALUE_BYTES:
            raise TableError("PropertyValueTooLarge")
    try:
        _READ.get(str(kind), str)(value)
    except (ValueError, TypeError, OverflowError):
        raise TableError("InvalidInput") from None


def _int32(value: Any) -> int:
    return int.from_bytes(int(value).to_bytes(4, signed=True), signed=True)


def _int64(value: Any) -> int:
    return int.from_bytes(int(value).to_bytes(8, signed=True), signed=True)


_READ: Final[Mapping[str, Callable[[Any], object]]] = {
    "Edm.Binary": b64decode,
    "Edm.DateTime": datetime.fromisoformat,
    "Edm.Guid": UUID,
    "Edm.Int32": _int32,
    "Edm.Int64": _int64,
    "Edm.Double": float,
}
