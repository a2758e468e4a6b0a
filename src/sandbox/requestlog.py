"""What came over the wire: every request the sandbox received, in order of arrival."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

Operation = Literal[
    "contraforce.link",
    "contraforce.incident",
    "arm.workspace",
    "arm.permissions",
    "arm.role",
    "arm.incident",
    "arm.incidents",
    "arm.comment.get",
    "arm.comments",
    "arm.comment.put",
    "identity.token",
    "ingestion.track",
    "ingestion.live",
    "tables.create",
    "tables.drop",
    "tables.batch",
    "tables.get",
    "tables.query",
    "tables.insert",
    "tables.update",
    "tables.merge",
    "tables.delete",
    "unknown",
]
OPERATIONS: frozenset[str] = frozenset(get_args(Operation))


@dataclass(frozen=True, slots=True)
class LoggedRequest:
    """One request as received.

    `headers` compares names without case and includes Authorization. `body` is the parsed JSON, None when
    there was none or it was not JSON. `at` is `time.monotonic()` at arrival. `status` is None while no answer
    was sent: under way, reset, or left hanging. `key` is the incident's name in lower case, else the
    workspace's. `raw_path` is the path as it was sent, with its escapes.
    """

    operation: Operation
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False, default=b"")
    body: Any = None
    at: float = field(default_factory=time.monotonic)
    status: int | None = None
    key: str | None = None
    raw_path: str = ""


class RequestLog:
    """The requests of all services. A request is there from its arrival on, before it is answered."""

    def __init__(self) -> None:
        self._entries: dict[int, LoggedRequest] = {}
        self._next = 0

    @property
    def all(self) -> list[LoggedRequest]:
        """A copy, oldest first."""
        return list(self._entries.values())

    def of(self, operation: Operation, *, under: str = "") -> list[LoggedRequest]:
        """Return the requests of one operation, oldest first; `under`: of one workspace's ARM id alone."""
        place = under.lower() + "/"
        return [
            entry
            for entry in self._entries.values()
            if entry.operation == operation and f"{entry.path}/".lower().startswith(place)
        ]

    def count(self, operation: Operation, *, under: str = "") -> int:
        """How many requests of one operation have arrived; `under`: of one workspace's ARM id alone."""
        return len(self.of(operation, under=under))

    def clear(self) -> None:
        """Forget everything; a request under way stays forgotten when it ends."""
        self._entries.clear()

    def begin(self, request: LoggedRequest) -> int:
        """Record an arrival; the answer is the handle for `finish`."""
        self._next += 1
        self._entries[self._next] = request
        return self._next

    def finish(self, handle: int, status: int) -> None:
        """Record the status that is about to be sent."""
        if handle in self._entries:
            self._entries[handle] = replace(self._entries[handle], status=status)
