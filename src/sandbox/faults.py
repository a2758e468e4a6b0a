"""What goes wrong, when: fault plans, and short names for the usual faults.

`sandbox.faults.plan("contraforce.link", faults.status(503, retry_after="2"), faults.reset("after"))`
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, repeat
from json import dumps
from typing import Any, Literal

from sandbox.bodies import PROBLEM_JSON, arm_error_body, older_contraforce_error, problem_details
from sandbox.requestlog import OPERATIONS, LoggedRequest, Operation

type Where = Callable[[LoggedRequest], bool]


@dataclass(frozen=True, slots=True)
class Wire:
    """What goes over the wire in place of an answer: `first`, then `again` and again, or nothing more.

    `ends` closes the connection behind `first`; else it stays open until the client leaves.
    """

    first: bytes
    again: bytes = b""
    ends: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong with one request. Fields combine: first the delay, then the rest.

    `status` (with `headers`, `body`, `content_type`) answers in place of the service, which then does no work
    unless `after_work` is set. `reset` closes the connection with a TCP reset: "before" any work, "after" the
    work and without an answer, or "mid-body", after the work and half of the answer. `hang` does the work and
    never answers. `wire` does it, and sends bytes that need not be an answer. `delay_seconds` alone is a slow
    request that ends well.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/json"
    delay_seconds: float = 0
    reset: Literal["", "before", "after", "mid-body"] = ""
    hang: bool = False
    wire: Wire | None = None
    after_work: bool = False

    @property
    def does_work(self) -> bool:
        """Whether the service does what it was asked, whatever the client gets to see of it."""
        if self.reset:
            return self.reset != "before"
        return self.status is None or self.hang or self.wire is not None or self.after_work

    def but(self, **changes: Any) -> "Fault":
        """Return the same fault with some fields changed, e.g. `garbage().but(delay_seconds=0.1)`."""
        return replace(self, **changes)


class _Plan:
    def __init__(self, faults: Sequence[Fault], times: int | None, where: Where | None) -> None:
        endless = cycle(faults)
        self.left = None if times is None else times * len(faults)
        self._faults = endless
        self._where = where

    def take(self, request: LoggedRequest) -> Fault | None:
        if self.left == 0 or (self._where is not None and not self._where(request)):
            return None
        if self.left is not None:
            self.left -= 1
        return next(self._faults)


class FaultPlans:
    """Per operation a queue of plans. A request takes a fault from the first plan that has one for it."""

    def __init__(self) -> None:
        self._plans: dict[str, list[_Plan]] = {}

    def plan(
        self, operation: Operation, *faults: Fault, times: int | None = 1, where: Where | None = None
    ) -> None:
        """Give the next requests of `operation` these faults, one each, in this order.

        `times` repeats the whole sequence, None for ever (until `clear`). Requests that `where` does not hold
        for are left alone and use nothing up. Unknown operation or no fault: ValueError.
        """
        if operation not in OPERATIONS or not faults:
            raise ValueError(f"a plan needs a known operation and a fault, not {operation!r} and {faults}")
        self._plans.setdefault(operation, []).append(_Plan(faults, times, where))

    def clear(self, operation: Operation | None = None) -> None:
        """Drop the plans of one operation, or all."""
        if operation is None:
            self._plans.clear()
        else:
            self._plans.pop(operation, None)

    def left(self, operation: Operation) -> int:
        """How many planned faults were not taken yet; endless plans do not count."""
        return sum(plan.left or 0 for plan in self._plans.get(operation, []))

    def take(self, request: LoggedRequest) -> Fault | None:
        """Return the fault for this request, used up by this call."""
        taken = map(_Plan.take, self._plans.get(request.operation, []), repeat(request))
        return next((fault for fault in taken if fault is not None), None)


def status(code: int, *, retry_after: str | None = None, body: bytes = b"") -> Fault:
    """Return an answer without JSON, perhaps with a Retry-After of any spelling."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return Fault(status=code, headers=headers, body=body, content_type="text/plain")


def json(code: int, payload: Any, *, headers: Mapping[str, str] | None = None) -> Fault:
    """Return an answer with this JSON, e.g. a 200 of the wrong shape."""
    return Fault(status=code, headers=headers or {}, body=dumps(payload).encode())


def html(code: int = 502) -> Fault:
    """Return the HTML page of a gateway in front of the service."""
    page = b"<html><head><title>Bad Gateway</title></head><body><center>nginx</center></body></html>"
    return Fault(status=code, body=page, content_type="text/html; charset=utf-8")


def not_json(code: int = 200) -> Fault:
    """Say JSON, send half of it."""
    return Fault(status=code, body=b'{"data": {"id": "7", "prop')


def garbage(code: int = 200) -> Fault:
    """Say JSON, send what is not even UTF-8."""
    return Fault(status=code, body=b'{"data": \xff\xfe\x00 <<<')


def problem(
    code: int,
    *,
    problem_code: str | None = None,
    detail: str = "Planned by a test.",
    target: str | None = None,
    errors: Mapping[str, Sequence[str]] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Fault:
    """Return a ContraForce error as it is documented today."""
    body = problem_details(code, code=problem_code, detail=detail, target=target, errors=errors)
    return json(code, body, headers=headers).but(content_type=PROBLEM_JSON)


def older_error(code: int, error_code: str, message: str = "Planned by a test.") -> Fault:
    """Return a ContraForce error in its older form."""
    return json(code, older_contraforce_error(error_code, message))


def arm_error(
    code: int, error_code: str, message: str = "Planned by a test.", *, retry_after: str | None = None
) -> Fault:
    """Return an error of Azure Resource Manager or Sentinel."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return json(code, arm_error_body(error_code, message), headers=headers)


def reset(when: Literal["before", "after", "mid-body"] = "before") -> Fault:
    """Return a TCP reset; see `Fault` for the three moments."""
    return Fault(reset=when)


def slow(seconds: float) -> Fault:
    """Delay a request by this long; it ends well."""
    return Fault(delay_seconds=seconds)


def bomb(mebibytes: int, *, layers: int = 1, code: int = 200) -> Fault:
    """Return an answer of so many MiB of JSON's blanks, compressed once, or several times over."""
    body = b"".join(_gzip(b" " * 2**20 for _ in range(mebibytes)))
    for _ in range(layers - 1):
        body = b"".join(_gzip([body]))
    return Fault(status=code, headers={"Content-Encoding": ", ".join(["gzip"] * layers)}, body=body)


def _gzip(pieces: Iterable[bytes]) -> Iterator[bytes]:
    packed = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    yield from map(packed.compress, pieces)
    yield packed.flush()


def endless(what: Literal["headers", "hints", "body"]) -> Fault:
    """Return an answer without an end: more headers, more 1xx answers, or a body of a byte at a time."""
    return Fault(wire=_ENDLESS[what])


_ENDLESS: Mapping[str, Wire] = {
    "headers": Wire(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n" * 1000),
    "hints": Wire(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
    "body": Wire(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
}


def hang() -> Fault:
    """Do the work and never answer."""
    return Fault(hang=True)
