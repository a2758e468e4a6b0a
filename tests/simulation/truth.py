"""What is really so in a simulated world: its incidents, when things happen to them, and its trace."""

import hashlib
from dataclasses import dataclass, field
from datetime import timedelta
from math import inf
from typing import Final, Protocol

from virtual_time import VirtualTimeLoop, seconds_of, wall

from contraforce_sentinel.domain.links import Link
from sandbox import SandboxIncident, SandboxWorkspace
from sandbox.contraforce import ContraForce
from sandbox.identity import ManagedIdentity
from sandbox.resource_manager import ResourceManager
from sandbox.table_service import TableService

ARM_URL: Final = "https://arm.test"
CONTRAFORCE_URL: Final = "https://contraforce.test"
TABLES_URL: Final = "https://stsandboxlinks.table.core.windows.net"
IDENTITY_URL: Final = "http://localhost"
NO_DATES: Final = ("0001-01-01T00:00:00", "9999-12-31T23:59:59", "yesterday", None, 7)
"""What stands in the place of a date and is none."""

PLANTED_TITLE: Final = "planted-title-7f31"
"""Part of every incident's title; must be in no log record."""


@dataclass(slots=True, eq=False)
class Case:
    """One incident and what is true of it. Times are the loop's; `label` names it in traces and messages.

    `dated` is what Sentinel calls its creation, which may lie ahead of when it was `created`. `is_spoilt`:
    its record cannot be read. `asked_tickets` are the ids that bodies asked for. Until `there_at` Sentinel
    has not what its lists show.

    `changed_at` is when somebody last changed it, our comment not among it, or when it came; `closed_since`
    since when it is closed or merged away, `unwanted_since` since when it is that or not severe enough.
    """

    label: str
    facts: SandboxIncident
    created: float
    dated: float
    listed_at: float
    ingested_at: float
    ticket_at: float
    rule_fires: bool
    there_at: float = 0.0
    deleted_at: float | None = None
    is_spoilt: bool = False
    may_be_skipped: bool = False
    may_be_linked: bool = False
    accepted: list[float] = field(default_factory=list)
    asked_tickets: set[str] = field(default_factory=set)
    changed_at: float = 0.0
    closed_since: float | None = None
    unwanted_since: float | None = None
    merges: int = 0

    @property
    def is_merged(self) -> bool:
        """Whether it was merged away."""
        return any(label.lower() == "redirected" for label in self.facts.labels)

    @property
    def state(self) -> str:
        """What a record should say of it."""
        if self.is_merged:
            return "merged"
        return "closed" if self.facts.status == "Closed" else "open"

    @property
    def is_wanted(self) -> bool:
        """Whether it is open and severe enough."""
        return self.state == "open" and self.facts.severity != "Informational"

    @property
    def counts_as_created(self) -> float:
        """When the app has to take it for created: where Sentinel says no time, when it was last changed."""
        is_odd = self.facts.odd.get("createdTimeUtc", "") in NO_DATES
        return seconds_of(self.facts.changed) if is_odd else self.dated

    def became(self, now: float) -> None:
        """Note since when it is what it is now."""
        self.changed_at = now
        self.may_be_linked |= self.is_wanted
        self.may_be_skipped |= not self.is_wanted
        self.unwanted_since = None if self.is_wanted else _first(self.unwanted_since, now)
        self.closed_since = None if self.state == "open" else _first(self.closed_since, now)

    @property
    def is_late(self) -> bool:
        """Whether Sentinel announces it before it has it."""
        return self.there_at > 0

    @property
    def is_ahead(self) -> bool:
        """Whether its date was still to come when it was created."""
        return self.dated > self.created

    @property
    def key(self) -> str:
        """The key of its record."""
        return self.facts.arm_id.lower()

    @property
    def workspace(self) -> SandboxWorkspace:
        return self.facts.workspace


def _first(since: float | None, now: float) -> float:
    return now if since is None else since


@dataclass(frozen=True, slots=True)
class Violation:
    """A promise that did not hold; `promise` is its letter or a word."""

    promise: str
    text: str

    def __str__(self) -> str:
        return f"({self.promise}) {self.text}"


class Process(Protocol):
    """An instance of the app; its clock is `offset` seconds ahead of the world's.

    `workspaces` are the keys of those that it serves; `shortest_retention` is what any instance ever had.
    """

    name: str
    offset: float
    retention: timedelta
    shortest_retention: timedelta
    workspaces: frozenset[str]


class World:
    """Services, incidents, and what the store holds; everything a simulation shares."""

    def __init__(self, loop: VirtualTimeLoop, *, seed: int) -> None:
        self.loop = loop
        self.seed = seed
        self.identity = ManagedIdentity()
        self.identity.base_url = IDENTITY_URL
        self.identity.lifetime_seconds = 10 * 365 * 86_400
        self.arm = ResourceManager(self.identity)
        self.arm.base_url = ARM_URL
        self.arm.audiences = {ARM_URL}
        self.contraforce = ContraForce()
        self.contraforce.base_url = CONTRAFORCE_URL
        self.tables = TableService(self.identity, clock=lambda: wall(self.now))
        self.tables.base_url = TABLES_URL
        self.workspaces: list[SandboxWorkspace] = []
        self.cases: dict[str, Case] = {}
        self.second_ticket = False
        self.clocks_were_wrong = False
        self.page_size = 2
        self.stored: dict[str, Link] = {}
        self.disturbed_at = 0.0
        self.last_fault_at = -inf
        self.violations: list[Violation] = []
        self.trace: list[str] = []

    @property
    def now(self) -> float:
        return self.loop.now

    def note(self, text: str) -> None:
        """Add a line to the trace."""
        self.trace.append(f"{self.loop.now:.6f} {text}")

    def went_wrong(self) -> None:
        """Remember that something has: from now on a failure may be told."""
        self.last_fault_at = self.now

    def violate(self, promise: str, text: str) -> None:
        """Record that a promise did not hold."""
        self.note(f"VIOLATION ({promise}) {text}")
        self.violations.append(Violation(promise, f"at {self.loop.now:.1f} s: {text}"))

    def case_of(self, contraforce_id: str, incident_name: str) -> Case | None:
        """Return the incident that ContraForce is told of."""
        for case in self.cases.values():
            if (case.workspace.contraforce_id, case.facts.name.lower()) == (contraforce_id, incident_name):
                return case
        return None

    def digest(self) -> str:
        """Return a hash of everything that happened."""
        return hashlib.sha256("\n".join(self.trace).encode()).hexdigest()
