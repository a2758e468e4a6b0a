"""Pure: where the next page of a query starts, as the Azure Table service says it and is told it again.

https://learn.microsoft.com/rest/api/storageservices/query-timeout-and-pagination
"""

from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Final

from sandbox.table_entities import Key
from sandbox.table_errors import TableError

HEADERS: Final = ("x-ms-continuation-NextPartitionKey", "x-ms-continuation-NextRowKey")


def to_headers(key: Key) -> dict[str, str]:
    """Return the headers that name the first entity of the next page."""
    return {name: _to_token(part) for name, part in zip(HEADERS, key, strict=True)}


def read_start(query: Mapping[str, str]) -> Key | None:
    """Return the first entity of the page that is asked for; None for the first page."""
    if "NextPartitionKey" not in query:
        return None
    return _read_token(query["NextPartitionKey"]), _read_token(query.get("NextRowKey", ""))


def _to_token(part: str) -> str:
    encoded = b64encode(part.encode()).decode().replace("=", "-")
    return f"1!{len(encoded)}!{encoded}"


def _read_token(token: str) -> str:
    try:
        return b64decode(token.rpartition("!")[2].replace("-", "=")).decode()
    except ValueError:
        raise TableError("InvalidInput") from None
