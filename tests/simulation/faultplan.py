"""What goes wrong in one world, and when: drawn from the seed, request by request, plus outages that last."""

from dataclasses import dataclass, replace
from enum import StrEnum
from random import Random
from typing import Final

from codes import Codes

from sandbox.refusals import REFUSALS

HOUR: Final = 3600.0


class Fault(StrEnum):
    """What may happen to a request on its way and at its goal."""

    NONE = "none"
    UNREACHABLE = "unreachable"  # no connection
    LOST = "lost"  # never arrives, never answered
    UNANSWERED = "unanswered"  # carried out, never answered
    RESET = "reset"  # carried out, the answer breaks off in its middle
    STATUS = "status"  # refused with `status`
    FAILED_AFTER = "failed-after"  # carried out, and answered with `status` all the same
    GARBAGE = "garbage"  # a gateway's page with status 200
    WRONG_SHAPE = "wrong-shape"  # status 200, JSON that is not documented
    REJECTED = "rejected"  # 400 with a validation code
    CODE = "code"  # refused by Resource Manager, with `code`


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of one request: delays in seconds on the way there and back."""

    fault: Fault = Fault.NONE
    status: int = 200
    retry_after: int | None = None
    there: float = 0.05
    back: float = 0.05
    code: str = ""


@dataclass(frozen=True, slots=True)
class Outage:
    """Every request to one service (of one workspace) meets the same fault for a while."""

    service: str
    workspace: str | None
    start: float
    end: float
    fault: Fault
    status: int
    retry_after: int | None


_SERVICES: Final = (
    "contraforce.link",
    "arm.comment",
    "arm.incidents",
    "arm.incident",
    "arm.workspace",
    "identity",
    "arm",
)
_STATUSES: Final = (500, 502, 503, 503, 504, 429, 429, 401, 403, 408)
_COMMON: Final = (
    *(Fault.STATUS,) * 5,
    *(Fault.UNREACHABLE, Fault.UNANSWERED, Fault.RESET) * 2,
    *(Fault.LOST, Fault.FAILED_AFTER),
)
_KILLERS: Final = (Fault.GARBAGE, Fault.WRONG_SHAPE, Fault.REJECTED)
_LASTING: Final = (Fault.UNREACHABLE, Fault.LOST, Fault.UNANSWERED, *(Fault.STATUS,) * 5)
_NEVER_FOR_CONTRAFORCE: Final = frozenset({Fault.GARBAGE, Fault.WRONG_SHAPE})
_OF_TABLES: Final = (
    *(Fault.STATUS,) * 3,
    *(Fault.UNANSWERED, Fault.RESET, Fault.FAILED_AFTER) * 2,
    *(Fault.UNREACHABLE, Fault.LOST),
)
_STATUSES_OF_TABLES: Final = (500, 503, 503)


class TableFaults:
    """What goes wrong on the way to the table service, which now and then is away for minutes.

    Its dice are its own: a world over SQLite is the same without it.
    """

    def __init__(self, seed: int, *, until: float) -> None:
        self._rng = rng = Random(f"tables {seed}")  # noqa: S311
        self._until = until
        self.rate = rng.choice((0.0, 0.0, 0.01, 0.05, 0.2))
        self._slow_rate = rng.choice((0.0, 0.0, 0.02, 0.1))
        self._away = rng.uniform(0, until)
        self._back = self._away + rng.choice((0.0, 0.0, 0.0, rng.uniform(5, 600)))
        self._away_how = rng.choice((Fault.STATUS, Fault.STATUS, Fault.UNREACHABLE, Fault.UNANSWERED))

    def fate(self, now: float) -> Fate:
        """Draw what becomes of a request that is sent now."""
        rng = self._rng
        there, back = rng.uniform(0.001, 0.02), rng.uniform(0.001, 0.02)
        if now >= self._until:
            return Fate(there=there, back=back)
        if self._away <= now < self._back:
            return Fate(self._away_how, 503, None, there, back)
        if rng.random() < self._slow_rate:
            there, back = rng.uniform(0, 8), rng.uniform(0, 8)
        fault = rng.choice(_OF_TABLES) if rng.random() < self.rate else Fault.NONE
        return Fate(fault, rng.choice(_STATUSES_OF_TABLES), None, there, back)


class FaultPlan:
    """The faults of one world; after `until` there are none any more, and nobody dies.

    A world that is not `deadly` never answers tickets/link with something that kills the link for good.
    """

    def __init__(self, rng: Random, *, seed: int, until: float, workspaces: list[str]) -> None:
        self._rng = rng
        self._seed = seed
        self._tables = TableFaults(seed, until=until)
        self._codes = Codes(seed, until=until, workspaces=workspaces)
        self.until = self.harsh_until = until
        self.deadly = rng.random() < 0.2
        self.kills_links = self.deadly and Random(f"killers {seed}").random() < 0.5  # noqa: S311
        self._rate = rng.choice((0.0, 0.05, 0.15, 0.3, 0.5))
        self._store_rate = rng.choice((0.0, 0.0, 0.02, 0.08))
        self._death_rate = rng.choice((0.0, 0.005, 0.02, 0.05))
        self._deaths_left = rng.randint(1, 6)
        self._slow_rate = rng.choice((0.0, 0.0, 0.05, 0.2))
        self.outages = [self._outage(workspaces) for _ in range(rng.choice((0, 0, 1, 1, 2, 3)))]

    def stretch(self) -> None:
        """Make it a plan for more than a day: rare faults, and outages that outlast every patience."""
        self._rate, self._slow_rate = min(self._rate, 0.05), min(self._slow_rate, 0.05)
        self._tables.rate = min(self._tables.rate, 0.05)
        self.outages = [
            replace(outage, start=min(outage.start, 0.5 * HOUR), end=self.until) for outage in self.outages
        ]

    def go_on(self, *, until: float) -> None:
        """Let faults come for longer, but only rare ones; until `harsh_until` they come as before."""
        if until > self.until:
            self.until, self._rate = until, min(self._rate, 0.02)
            self._store_rate, self._slow_rate = min(self._store_rate, 0.02), min(self._slow_rate, 0.02)

    def outlast(self) -> None:
        """Let one service be away nearly all the time, and hardly anything else: patience has to last."""
        rng = Random(f"outlast {self._seed}")  # noqa: S311
        self._rate = min(self._rate, 0.02)
        self._codes.calm()
        outage = Outage(
            service=rng.choice(("contraforce.link", "contraforce.link", "arm.comment")),
            workspace=None,
            start=rng.uniform(0, 0.1) * self.until,
            end=self.until,
            fault=rng.choice((Fault.UNREACHABLE, Fault.LOST, Fault.STATUS)),
            status=rng.choice((500, 502, 503)),
            retry_after=None,
        )
        self.outages = [outage]

    def fate(self, operation: str, workspace: str | None, now: float) -> Fate:
        """Draw what becomes of a request that is sent now."""
        if operation.startswith("tables."):
            return self._tables.fate(now)
        rng = self._rng
        there, back = rng.uniform(0.01, 0.2), rng.uniform(0.01, 0.2)
        if now >= self.until:
            return Fate(there=there, back=back)
        code = self._codes.draw(operation, workspace, now) if operation.startswith("arm.") else None
        if code is not None:
            return Fate(Fault.CODE, REFUSALS[code].status, None, there, back, code)
        for outage in self.outages:
            if (
                outage.start <= now < outage.end
                and operation.startswith(outage.service)
                and (outage.workspace in {None, workspace})
            ):
                return Fate(outage.fault, outage.status, outage.retry_after, there, back)
        if rng.random() < self._slow_rate:
            there, back = rng.uniform(0, 15), rng.uniform(0, 15)
        is_killed = self.kills_links and operation == "contraforce.link" and rng.random() < 0.4
        if not is_killed and rng.random() >= self._rate:
            return Fate(there=there, back=back)
        fault = rng.choice(_KILLERS) if is_killed else self._fault(operation)
        status = 500 if fault is Fault.FAILED_AFTER else self._status(operation)
        return Fate(fault, status, self._retry_after(status), there, back)

    def of_store(self, now: float) -> tuple[str, float, float]:
        """Draw what becomes of a store operation: "before" or "after" its effect it fails, or "" never."""
        rng = self._rng
        if now >= self.until:
            return "", 0.0, 0.0
        slow = rng.random() < self._slow_rate / 4
        waits = (rng.uniform(0, 1.5), rng.uniform(0, 1.5)) if slow else (rng.choice((0.0, 0.0, 0.01)), 0.0)
        fails = rng.random() < self._store_rate
        return (rng.choice(("before", "after")) if fails else ""), *waits

    def kills(self, now: float) -> bool:
        """Whether the process dies here."""
        if now >= self.until or self._deaths_left == 0 or self._rng.random() >= self._death_rate:
            return False
        self._deaths_left -= 1
        return True

    def _fault(self, operation: str) -> Fault:
        rng = self._rng
        if operation != "contraforce.link":
            return rng.choice((*_COMMON, Fault.GARBAGE, Fault.WRONG_SHAPE))
        if self.deadly and rng.random() < 0.2:
            return rng.choice(_KILLERS)
        return rng.choice(_COMMON)

    def _status(self, operation: str) -> int:
        # the endpoint of the identity answers its own way: no 403 without a reason
        return self._rng.choice(_STATUSES if operation != "identity.token" else (500, 503, 429))

    def _retry_after(self, status: int) -> int | None:
        if status not in {429, 503} or self._rng.random() < 0.4:
            return None
        return self._rng.choice((0, 1, 3, 8, 15, 60, 300, 900, 2400))

    def _outage(self, workspaces: list[str]) -> Outage:
        rng = self._rng
        start = rng.uniform(-0.2, 0.8) * self.until
        service = rng.choice(_SERVICES)
        status = self._status("identity.token" if service == "identity" else service)
        return Outage(
            service=service,
            workspace=rng.choice((None, *workspaces)) if service != "identity" else None,
            start=start,
            end=start + rng.uniform(0.1, 1.0) * self.until,
            fault=rng.choice(_LASTING),
            status=status,
            retry_after=self._retry_after(status),
        )
