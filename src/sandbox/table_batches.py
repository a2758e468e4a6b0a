"""Pure: entity group transactions as they go over the wire.

https://learn.microsoft.com/rest/api/storageservices/performing-entity-group-transactions
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from json import dumps, loads
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from sandbox.bodies import JsonObject
from sandbox.service import Answer
from sandbox.table_errors import ERROR_TYPE, VERSION, TableError, error_body

MAX_OPERATIONS: Final = 100
MAX_BYTES: Final = 4 * 1024 * 1024
BATCH: Final = "batchresponse_1b5e7a55-0000-4000-8000-000000000001"
BOUNDARY: Final = re.compile(r'boundary="?([^";]+)')
CHANGES: Final = "changesetresponse_1b5e7a55-0000-4000-8000-000000000002"


@dataclass(frozen=True, slots=True)
class Operation:
    """One request of a transaction. `size` is that of its body in bytes."""

    method: str
    path: str
    if_match: str | None
    body: Any
    size: int


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one operation."""

    status: int
    etag: str | None = None
    body: JsonObject | None = None


def read_batch(content_type: str, content: bytes) -> list[Operation]:
    """Return the operations of the one change set that a batch may have."""
    if len(content) > MAX_BYTES:
        raise TableError("RequestBodyTooLarge")
    parts = _parts(content_type, content)
    if len(parts) != 1:
        raise TableError("InvalidInput")
    headers, changes = _head(parts[0])
    operations = [_operation(part) for part in _parts(headers.get("content-type", ""), changes)]
    if not operations:
        raise TableError("InvalidInput")
    return operations


def succeeded(done: Sequence[Done]) -> Answer:
    """Answer a transaction that was carried out."""
    return _answer([_part(each, number) for number, each in enumerate(done, 1)])


def failed(index: int, error: TableError) -> Answer:
    """Answer a transaction that was not; the message begins with the number of the operation at fault."""
    body = error_body(error.code, f"{index}:{error.message}")
    return _answer([_part(Done(error.status, body=body), index + 1)])


def _answer(parts: list[str]) -> Answer:
    changes = "".join(f"--{CHANGES}\r\n{part}\r\n" for part in parts)
    text = (
        f"--{BATCH}\r\nContent-Type: multipart/mixed; boundary={CHANGES}\r\n\r\n"
        f"{changes}--{CHANGES}--\r\n--{BATCH}--\r\n"
    )
    headers = {"x-ms-version": VERSION}
    return Answer(202, text.encode(), headers, f"multipart/mixed; boundary={BATCH}")


def _part(done: Done, number: int) -> str:
    lines = [
        "Content-Type: application/http",
        "Content-Transfer-Encoding: binary",
        "",
        f"HTTP/1.1 {done.status} {HTTPStatus(done.status).phrase}",
        f"Content-ID: {number}",
        "DataServiceVersion: 3.0;",
    ]
    if done.etag is not None:
        lines.append(f"ETag: {done.etag}")
    if done.body is not None:
        lines.append(f"Content-Type: {ERROR_TYPE}")
    return "\r\n".join([*lines, "", dumps(done.body) if done.body is not None else ""])


def _parts(content_type: str, content: bytes) -> list[bytes]:
    found = BOUNDARY.search(content_type)
    if found is None:
        raise TableError("InvalidInput")
    parts = content.split(b"--" + found[1].encode())[1:-1]
    return [part.removeprefix(b"\r\n") for part in parts]


def _head(part: bytes) -> tuple[dict[str, str], bytes]:
    head, _, rest = part.partition(b"\r\n\r\n")
    lines = (line.partition(":") for line in head.decode().split("\r\n"))
    return {name.strip().lower(): value.strip() for name, _, value in lines}, rest


def _operation(part: bytes) -> Operation:
    _, request = _head(part)
    line, _, rest = request.partition(b"\r\n")
    headers, content = _head(rest)
    content = content.removesuffix(b"\r\n")
    try:
        method, url, _ = line.decode().split(" ")
        body = loads(content) if content.strip() else None
    except ValueError:
        raise TableError("InvalidInput") from None
    return Operation(method, unquote(urlsplit(url).path), headers.get("if-match"), body, len(content))
