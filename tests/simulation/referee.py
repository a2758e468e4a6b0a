"""Watches every request and every write to the store, and says which promise is broken.

The letters are those of the promises: (a) no link call once a ticket is recorded, (b) one comment, (c) every
incident ends, (d) one call at a time and none without need, (e) no content in logs, (f) no foreign workspace,
(g) incidents are followed as they change (`follow_watch.py`). Of (a): nothing that the timer does links an
incident again whose record was removed.
"""

import re
from dataclasses import dataclass, field
from html import unescape
from math import inf
from typing import Any, Final

from follow_watch import FollowWatch
from truth import Case, Process, World
from virtual_time import WORK, seconds_of

from contraforce_sentinel.domain.incidents import WorkspaceId
from contraforce_sentinel.domain.links import LEASE, Link
from contraforce_sentinel.domain.runs import Feed
from contraforce_sentinel.domain.tickets import Ticket

_TAG: Final = re.compile(r"<[^>]*>")
LIST_LAG_SECONDS: Final = 600.0
"""A watermark may pass what a list did not show yet: the overlap is for that."""


@dataclass(slots=True, eq=False)
class LinkCall:
    """One tickets/link call; `outcome` is "" while it is under way."""

    process: Process
    sent_at: float
    outcome: str = ""


@dataclass(slots=True)
class Wait:
    """Nobody may ask this upstream for this incident before `until`, which `process` was told."""

    process: Process
    until: float
    is_recorded: bool = False


@dataclass(slots=True)
class File:
    """What the referee knows of one incident."""

    calls: list[LinkCall] = field(default_factory=list)
    recorded: Ticket | None = None
    recorded_at: float = 0.0
    issued: set[str] = field(default_factory=set)
    comment: tuple[str, str] | None = None
    waits: dict[str, Wait] = field(default_factory=dict)
    killers: set[str] = field(default_factory=set)
    unknown_at: list[float] = field(default_factory=list)


class Referee:
    """One per world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._files: dict[str, File] = {}
        self._watermarks: set[str] = set()
        self.following = FollowWatch(world)

    def file(self, case: Case) -> File:
        """Return what is known of an incident."""
        return self._files.setdefault(case.key, File())

    def request_sent(self, process: Process, operation: str, case: Case | None, body: Any) -> LinkCall | None:
        """A request leaves the app: check that it may be made now."""
        if case is None:
            if operation == "contraforce.link":
                self._world.violate(
                    "f", "tickets/link for an incident that this ContraForce workspace has not"
                )
            return None
        self._refuse_before_retry_after(process, operation, case)
        if case.workspace.arm_id.lower() not in process.workspaces:
            self._world.violate("f", f"{case.label}: {operation} for a customer who is not there any more")
        if operation != "contraforce.link":
            return None
        file, world = self.file(case), self._world
        may_not_know = world.clocks_were_wrong and world.now < file.recorded_at + LEASE.total_seconds()
        if file.recorded is not None and not may_not_know:
            world.violate("a", f"{case.label}: tickets/link although {file.recorded.number} is recorded")
        if any(not call.outcome for call in file.calls) and not world.clocks_were_wrong:
            world.violate("d", f"{case.label}: two tickets/link calls at the same time")
        if any(call.outcome == "ticket" for call in file.calls) and not world.clocks_were_wrong:
            world.violate(
                "d", f"{case.label}: tickets/link although an earlier call was answered with a ticket"
            )
        self._refuse_unwanted(case)
        if body["incident"]["number"] != str(case.facts.number):
            world.violate("f", f"{case.label}: tickets/link with another incident's number")
        if body["ticketId"] not in {None, *case.asked_tickets}:
            world.violate("f", f"{case.label}: tickets/link with the ticket of a body that was refused")
        call = LinkCall(process, world.now)
        file.calls.append(call)
        return call

    def answered(
        self, process: Process, operation: str, case: Case | None, status: int, retry_after: str | None
    ) -> None:
        """A whole answer has reached the app."""
        if case is not None and retry_after is not None and status in {429, 503}:
            until = self._world.now + float(retry_after)
            self.file(case).waits[_upstream(operation)] = Wait(process, until)

    def comment_arrives(self, case: Case, name: str, body: Any) -> None:
        """Sentinel is about to store a comment."""
        file, world = self.file(case), self._world
        message = str(body["properties"]["message"])
        text = unescape(_TAG.sub("\n", message))
        ticket = file.recorded
        if ticket is None or f"{ticket.system} ticket {ticket.number}" not in text.split("\n"):
            world.violate("b", f"{case.label}: a comment about a ticket that is not the one recorded")
        if file.comment is not None and file.comment != (name.lower(), message):
            world.violate("b", f"{case.label}: a second comment, or another text in it")
        file.comment = (name.lower(), message)

    def ticket_issued(self, case: Case, number: str) -> None:
        """ContraForce has linked a ticket, whether its answer arrives or not."""
        self.file(case).issued.add(number)

    def stored(self, process: Process, link: Link) -> None:
        """A record was written."""
        world = self._world
        case = world.cases.get(link.incident_id.key)
        if case is None:
            world.violate("f", f"a record for an incident that is not there: {link.incident_id.key}")
            return
        if self.following.stored(process, case, link):
            self._files.pop(case.key, None)  # a delivery has begun it anew
        file = self.file(case)
        if file.recorded is not None and link.ticket != file.recorded:
            world.violate("a", f"{case.label}: the recorded ticket {file.recorded.number} was forgotten")
        if link.ticket is not None and link.ticket.number not in file.issued:
            world.violate("f", f"{case.label}: the ticket {link.ticket.number} is another incident's")
        if file.recorded is None:
            file.recorded, file.recorded_at = link.ticket, world.now
        for wait in file.waits.values():
            wait.is_recorded |= wait.process is process and link.lease is None

    def removed(self, process: Process, key: str) -> None:
        """A record was removed; what is known of its incident stays known: the timer never links it again."""
        case = self._world.cases.get(key)
        if case is not None:
            self.following.removed(process, case)

    def not_stored(self, process: Process, link: Link) -> None:
        """The store refused a write, so what it held is lost."""
        case = self._world.cases.get(link.incident_id.key)
        if case is not None:
            self._forget(process, case)
            self.following.lost(process, case)

    def not_read(self, process: Process, key: str) -> None:
        """The store did not answer: what became of an incident, the process cannot tell."""
        case = self._world.cases.get(key)
        if case is not None:
            self.following.lost(process, case)

    def stands_still(self, process: Process, case: Case) -> None:
        """A process does not go on with an incident for a while: another may take it up, knowing nothing."""
        self._forget(process, case)

    def died(self, process: Process) -> None:
        """A process is gone, and with it what it had not stored."""
        for case in self._world.cases.values():
            self._forget(process, case)
            self.following.lost(process, case)

    def has_seen_all_watermarks(self) -> bool:
        """Whether the timer has had its first look at every workspace."""
        return self._watermarks >= {one.arm_id.lower() for one in self._world.workspaces}

    def feed_moved(self, process: Process, workspace_id: WorkspaceId, feed: Feed) -> None:
        """All that a list could show up to its watermark has to be in the store; nothing ahead can be."""
        before = self.following.feed_moved(process, workspace_id.key, feed)
        to = feed.watermark
        if to is None or seconds_of(to) == before:
            return  # another has moved it, whose clock is ahead of this one's: this write only carries it on
        world = self._world
        if seconds_of(to) > world.now + (0.0 if world.clocks_were_wrong else process.offset) + 0.001:
            if not world.clocks_were_wrong:
                world.violate("watermark", f"{process.name} has moved it ahead of its clock")
            return  # a wrong clock has: what it has passed is asked for in the end
        self._watermarks.add(workspace_id.key)
        if world.clocks_were_wrong:
            return
        for case in world.cases.values():
            if case.is_spoilt or case.workspace.arm_id.lower() != workspace_id.key:
                continue
            is_seen = case.listed_at + LIST_LAG_SECONDS <= world.now and case.deleted_at is None
            passed = seconds_of(case.facts.changed) < seconds_of(to)
            if passed and is_seen and self.following.follows(case) and case.key not in world.stored:
                world.violate("watermark", f"{case.label}: the watermark has passed it, the store has it not")
            is_new = is_seen and before < seconds_of(case.facts.changed)
            if passed and is_new and not self.following.has_been_seen(case):
                world.violate("watermark", f"{case.label}: the watermark has passed it, unseen")

    def _refuse_unwanted(self, case: Case) -> None:
        """A run links nothing that was closed or merged away before it began."""
        work = WORK.get()
        if work is not None and work.is_timer and (case.closed_since or inf) < work.since:
            self._world.violate("skip", f"{case.label}: tickets/link for an incident that is {case.state}")
        if not case.may_be_linked:
            self._world.violate(
                "skip", f"{case.label}: tickets/link for an incident that was always to be skipped"
            )

    def _forget(self, process: Process, case: Case) -> None:
        file = self.file(case)
        for call in file.calls:
            if call.process is process and call.outcome in {"", "ticket"}:
                call.outcome = "lost"
        for upstream, wait in list(file.waits.items()):
            if wait.process is process and not wait.is_recorded:
                del file.waits[upstream]

    def _refuse_before_retry_after(self, process: Process, operation: str, case: Case) -> None:
        wait = self.file(case).waits.get(_upstream(operation))
        if wait is None or self._world.clocks_were_wrong:
            return
        ahead = max(0.0, process.offset - wait.process.offset)
        if self._world.now < wait.until - ahead - 0.001:
            early = wait.until - self._world.now
            self._world.violate("retry-after", f"{case.label}: {operation} {early:.1f} s before Retry-After")


def _upstream(operation: str) -> str:
    return operation.partition(".")[0]
