"""What is delivered: bodies of every kind, each with the statuses that may answer it; the same for a seed."""

import gzip
import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from contraforce_sentinel.edge.payloads import MAX_BODY_BYTES

SEED: Final = 20_000
KINDS: Final = {
    "new": 38,
    "bare": 4,
    "repeated": 26,
    "invalid": 18,
    "unmapped": 9,
    "large": 3,
    "too large": 2,
}
"""How often, of a hundred."""

NEW: Final = frozenset({"new", "bare", "large"})

LINKED: Final = frozenset({200})
SERVED: Final = frozenset({200, 202})
"""Afterwards: a connection that is kept from the hostile minute may be cut; the timer does the rest."""

ACCEPTED: Final = frozenset({200, 202, 422})
"""Of a new incident while the upstreams are hostile; 422 is a dead one."""

type Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Delivery:
    """One request to the app, and the statuses of which one has to answer it."""

    kind: str
    content: bytes
    statuses: frozenset[int]
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})


class Mix:
    """Deliveries of all kinds; `accepted` are the statuses of those that are to be linked."""

    def __init__(self, *, accepted: frozenset[int]) -> None:
        self.accepted = accepted
        self._random = random.Random(SEED)  # noqa: S311 - the same each time
        self._known: list[Body] = []

    def kinds(self, count: int) -> list[str]:
        """Return the kinds of the next deliveries; the very first one is new."""
        found = self._random.choices(list(KINDS), list(KINDS.values()), k=count)
        return found if self._known else ["new", *found[1:]]

    def new_ones(self, kinds: list[str]) -> int:
        """Return how many new incidents they need."""
        return sum(kind in NEW for kind in kinds)

    def deliver(self, kinds: list[str], new: list[Body]) -> list[Delivery]:
        """Return a delivery of each kind."""
        bodies = iter(new)
        return [self._delivery(kind, next(bodies) if kind in NEW else self._known_one()) for kind in kinds]

    def _known_one(self) -> Body:
        return self._random.choice(self._known)

    def _delivery(self, kind: str, body: Body) -> Delivery:
        if kind == "repeated":
            return Delivery(kind, dumped(body), self.accepted)
        if kind == "invalid":
            return self._random.choice(INVALID)(body)
        if kind == "unmapped":
            return Delivery(kind, dumped(body).replace(b"law-", b"stranger-"), frozenset({403}))
        if kind == "too large":
            status, filled = self._random.choice(TOO_LARGE)
            return Delivery(kind, filled(body), frozenset({status}))
        self._known.append(body)
        if kind == "large":
            return Delivery(kind, self._random.choice(LARGE)(body), self.accepted)
        content = {"incidentArmId": body["object"]["id"]} if kind == "bare" else body
        return Delivery(kind, dumped(content), self.accepted)


def dumped(content: object) -> bytes:
    """Return JSON in UTF-8."""
    return json.dumps(content).encode()


def _filled(body: Body, piece: bytes, size: int, *, begin: bytes = b"[", end: bytes = b"]") -> bytes:
    """Return a body of this size: what is over is in a field that nobody reads, as many pieces as fit."""
    first = dumped(body)[:-1] + b', "alerts": ' + begin
    room = size - len(first) - len(end) - 1
    pieces = piece * (room // len(piece))
    middle = pieces.removesuffix(b",")
    return first + middle + end + b" " * (room - len(middle)) + b"}"


LARGE: Final[list[Callable[[Body], bytes]]] = [
    lambda body: dumped(body).ljust(MAX_BODY_BYTES),
    lambda body: _filled(body, b"a", MAX_BODY_BYTES - 1, begin=b'"', end=b'"'),
    lambda body: _filled(body, b'{"a":"b and so on, as alerts are, in forty bytes"},', MAX_BODY_BYTES),
    lambda body: _filled(body, b"999,", MAX_BODY_BYTES),
]
"""Bodies of the limit, or just below."""

TOO_LARGE: Final[list[tuple[int, Callable[[Body], bytes]]]] = [
    (400, lambda body: _filled(body, b"999,", MAX_BODY_BYTES)[:-1]),
    (413, lambda body: _filled(body, b"[],", MAX_BODY_BYTES)),
    (413, lambda body: _filled(body, b'{"a":0.1},', MAX_BODY_BYTES)),
    (413, lambda body: dumped(body).ljust(MAX_BODY_BYTES + 1)),
    (413, lambda body: dumped(body).ljust(2 * MAX_BODY_BYTES)),
]
"""Bodies of about the limit that are refused, and with what."""


def _invalid(
    change: Callable[[Body], bytes], *, status: int = 400, headers: dict[str, str] | None = None
) -> Callable[[Body], Delivery]:
    sent = {"Content-Type": "application/json"} | (headers or {})
    return lambda body: Delivery("invalid", change(body), frozenset({status}), sent)


def _with(body: Body, **fields: object) -> bytes:
    return dumped({**body, **fields})


def _of_object(body: Body, **fields: object) -> bytes:
    return _with(body, object={**body["object"], **fields})


INVALID: Final[list[Callable[[Body], Delivery]]] = [
    _invalid(lambda _: b""),
    _invalid(lambda _: b"null"),
    _invalid(lambda _: b"[]"),
    _invalid(lambda _: b"{}"),
    _invalid(lambda _: b"{'object': 1}"),
    _invalid(lambda _: b'"' + b"a" * 10_000 + b'"'),
    _invalid(lambda body: dumped(body)[:-7]),
    _invalid(lambda body: dumped(body) + b"}"),
    _invalid(lambda body: json.dumps(body).encode("utf-16")),
    _invalid(lambda body: json.dumps(body).encode("utf-32")),
    _invalid(lambda body: b"\xef\xbb\xbf\xef\xbb\xbf" + dumped(body)),
    _invalid(lambda body: dumped(body).replace(b"law-", b"law\xff-")),
    _invalid(lambda body: dumped(body) + b"\x00"),
    _invalid(lambda _: b"[" * 100_000),
    _invalid(lambda _: b'{"object":' * 20_000 + b"1" + b"}" * 20_000),
    _invalid(lambda _: b'{"incidentArmId": 1' + b"0" * 100_000 + b"}"),
    _invalid(lambda body: _of_object(body, id="")),
    _invalid(lambda body: _of_object(body, id="/subscriptions/../resourceGroups/x")),
    _invalid(lambda body: _of_object(body, id=body["object"]["id"] + "/comments/1")),
    _invalid(lambda body: _of_object(body, id="/" * 50_000)),
    _invalid(lambda body: _of_object(body, id=body["object"]["id"].replace("law-", "law\ud800"))),
    _invalid(lambda body: _of_object(body, name="11111111-2222-4333-8444-555555555555")),
    _invalid(lambda body: _of_object(body, properties={"incidentNumber": -1})),
    _invalid(lambda body: _of_object(body, properties={"labels": [1] * 1000})),
    _invalid(lambda body: _with(body, workspaceInfo={"WorkspaceName": "another"})),
    _invalid(lambda body: _with(body, incidentArmId=body["object"]["id"] + "0")),
    _invalid(lambda body: _with(body, OBJECT={"id": "another"})),
    _invalid(lambda body: _with(body, ticketId="a\nb")),
    _invalid(lambda body: _with(body, ticketId="a" * 100_000)),
    _invalid(dumped, status=415, headers={"Content-Type": "text/plain"}),
    _invalid(dumped, status=415, headers={"Content-Type": "application/xml+json+" + "a" * 1000}),
    _invalid(lambda body: gzip.compress(dumped(body), mtime=0), headers={"Content-Encoding": "gzip"}),
    _invalid(
        lambda _: gzip.compress(b" " * MAX_BODY_BYTES, mtime=0), headers={"Content-Encoding": "gzip, gzip"}
    ),
]
"""What is no incident, each in its own way."""
