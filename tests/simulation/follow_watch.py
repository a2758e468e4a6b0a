"""Watches how incidents are followed as they change, beside the referee; the promise is (g).

Here are also: a lease that is written over, a record that the timer makes anew after it was removed, a dead
link that comes back, and events that are told once for each write, or not at all where the write's answer
was lost or its process died.
"""

from dataclasses import dataclass, field
from math import inf
from typing import Final

from truth import Case, Process, World
from virtual_time import WORK, Work, seconds_of

from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.reasons import Reason
from contraforce_sentinel.domain.records import LinkState
from contraforce_sentinel.domain.runs import Feed

LOOKBACK_SECONDS: Final = 24 * 3600.0
"""How far the first look goes back."""

_CLOCKS_APART_SECONDS: Final = 120.0
_MARGIN_SECONDS: Final = 2 * 3600.0
_LOOKED_AT_SECONDS: Final = 50 * 60.0
"""What was changed within this time before a run is looked at by it, whatever the watermark."""

_TOLD: Final = {"link.merged", "link.revived"}
_FAILED: Final = {"reconcile.workspace-failed": "workspace", "reconcile.link-failed": "incident"}
_ALIVE: Final = {LinkState.PENDING, LinkState.TICKETED, LinkState.LINKED}


@dataclass(slots=True)
class Hold:
    """A worker's lease, as long as it may count for anybody."""

    work: Work | None
    start: float
    end: float


@dataclass(slots=True)
class Write:
    """One that has to be told, by whom; after its process has died, or its answer was lost, it may be."""

    event: str
    process: Process
    may_be_lost: bool = False


@dataclass(slots=True)
class Trail:
    """What was done to the record of one incident."""

    last: Link | None = None
    holds: list[Hold] = field(default_factory=list)
    writes: list[tuple[float, Work | None]] = field(default_factory=list)
    to_tell: list[Write] = field(default_factory=list)
    seen: set[str | None] = field(default_factory=set)
    mergers_told: int = 0
    is_removed: bool = False
    is_reborn: bool = False
    is_dead: bool = False

    def touched_by_others(self, work: Work, now: float) -> bool:
        """Whether anybody else held or wrote it while this work went on."""
        if self.last is not None and self.last.lease is not None and self.holds[-1].end >= now:
            return True  # its own, perhaps, which it has not given back
        written = any(at >= work.since and by is not work for at, by in self.writes)
        return written or any(
            hold.work is not work and hold.end >= work.since and hold.start <= now for hold in self.holds
        )


class FollowWatch:
    """One per world."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._trails: dict[str, Trail] = {}
        self._feeds: dict[str, Feed] = {}
        self.clock_ahead_seconds = 0.0

    def trail(self, key: str) -> Trail:
        """Return what is known of an incident's record."""
        return self._trails.setdefault(key, Trail())

    def stored(self, process: Process, case: Case, link: Link) -> bool:
        """A record was written; say whether that begins a new life, after its removal."""
        world, work, trail = self._world, WORK.get(), self.trail(case.key)
        is_reborn = trail.is_removed
        if is_reborn:
            if work is not None and work.is_timer:
                world.violate("a", f"{case.label}: the timer makes a record anew that was removed")
            trail = self._trails[case.key] = Trail(to_tell=trail.to_tell, is_reborn=True)
        before, trail.last = trail.last, link
        if before is not None:
            self._refuse_over_lease(process, case, before, work)
            self._expect(process, case, before, link)
        if trail.is_dead and link.state in _ALIVE and link.reason != Reason.REPLAYED:
            world.violate("dead", f"{case.label}: dead before, and now {link.state}")
        trail.is_dead |= link.state is LinkState.DEAD and link.reason != Reason.TICKET_REFUSED
        trail.writes.append((world.now, work))
        trail.seen.add(link.seen.state)
        self._note_hold(process, trail, link, work)
        return is_reborn

    def removed(self, process: Process, case: Case) -> None:
        """A record was removed."""
        trail = self.trail(case.key)
        link, trail.last, trail.is_removed = trail.last, None, True
        if link is None or self._world.clocks_were_wrong:
            return
        age = self._world.now + process.offset - seconds_of(link.created_at)
        if age < process.retention.total_seconds() or link.state not in {LinkState.LINKED, LinkState.SKIPPED}:
            self._world.violate("retention", f"{case.label}: removed, {link.state}, after {age:.0f} s")

    def feed_moved(self, process: Process, workspace: str, feed: Feed) -> float:
        """What is not followed any more was too old from the first, or its record may be removed.

        Returns where the watermark was before.
        """
        before = self._feeds.get(workspace)
        self._feeds[workspace] = feed
        self._refuse_late_start(process, before, feed)
        return -inf if before is None or before.watermark is None else seconds_of(before.watermark)

    def has_been_seen(self, case: Case) -> bool:
        """Whether its record has ever said what it is now; a change before the first look is not seen."""
        trail, feed = self.trail(case.key), self._feeds.get(case.workspace.arm_id.lower())
        if trail.last is None or feed is None or feed.follows_from is None:
            return True
        return case.state in trail.seen or case.facts.changed < feed.follows_from

    def _refuse_late_start(self, process: Process, before: Feed | None, feed: Feed) -> None:
        world = self._world
        from_ = None if before is None else before.follows_from
        if feed.follows_from is None or feed.follows_from == from_ or world.clocks_were_wrong:
            return
        now = world.now + process.offset
        back = LOOKBACK_SECONDS if from_ is None else process.retention.total_seconds() - _MARGIN_SECONDS
        if seconds_of(feed.follows_from) > now - back + 0.001 or (from_ and feed.follows_from < from_):
            world.violate("g", f"{process.name} follows from {feed.follows_from}, was {from_}")

    def follows(self, case: Case) -> bool:
        """Whether the timer has to take up the incident although nobody told of it."""
        feed = self._feeds.get(case.workspace.arm_id.lower())
        if feed is None or feed.follows_from is None:
            return False
        return min(case.counts_as_created, seconds_of(case.facts.changed)) >= seconds_of(feed.follows_from)

    def told(self, event: str, details: dict[str, object]) -> None:
        """An event was logged."""
        if (name := _FAILED.get(event)) is not None:
            work = WORK.get()
            if work is not None:
                work.failed.add(str(details[name]))
        if event not in _TOLD:
            return
        trail = self.trail(str(details["incident"]))
        case = self._world.cases[str(details["incident"])]
        writes = [write for write in trail.to_tell if write.event == event]
        if not writes:
            self._world.violate("told", f"{case.label}: {event} without a write, or again")
            return
        trail.to_tell.remove(min(writes, key=lambda write: write.may_be_lost))
        if event == "link.merged":
            trail.mergers_told += 1
            if trail.mergers_told > case.merges:
                self._world.violate("told", f"{case.label}: {event} more often than it was merged")

    def lost(self, process: Process, case: Case) -> None:
        """What the process has written of this incident, it does not know: nothing has to be told."""
        for write in self.trail(case.key).to_tell:
            write.may_be_lost |= write.process is process

    def run_ended(self, process: Process, work: Work, *, is_whole: bool) -> None:
        """Hold every incident against (g), unless something has befallen the run or the incident in it.

        A run counts that came to its end before its time did, by a clock no more than a minute wrong; for a
        workspace or an incident of which it told a failure it does not.
        """
        world = self._world
        if work.failed and world.last_fault_at < work.since:
            world.violate("told", f"{process.name} told a failure, and nothing failed")
        if not is_whole or abs(process.offset) > _CLOCKS_APART_SECONDS:
            return
        for key in process.workspaces - work.failed:
            self._check_start(process, key)
        for case in world.cases.values():
            key = case.workspace.arm_id.lower()
            if key in process.workspaces and not {key, case.key} & work.failed:
                self._check(process, case, work)

    def check_the_end(self) -> None:
        """Everything that had to be told was."""
        for key, trail in self._trails.items():
            for write in trail.to_tell:
                if not write.may_be_lost:
                    label = self._world.cases[key].label
                    self._world.violate("told", f"{label}: {write.event} was never told")

    def _check(self, process: Process, case: Case, work: Work) -> None:
        is_there = case.listed_at <= work.since and case.deleted_at is None and not case.is_spoilt
        trail = self.trail(case.key)
        if not is_there or case.changed_at > work.since or trail.touched_by_others(work, self._world.now):
            return
        link = self._world.stored.get(case.key)
        if link is None:
            if self.follows(case):
                self._world.violate("g", f"{case.label}: {case.state}, and {process.name} did not take it up")
            return
        if case.is_wanted and link.state is LinkState.SKIPPED and link.reason != Reason.INCIDENT_GONE:
            self._world.violate("g", f"{case.label}: open, and skipped ({link.reason}) by {process.name}")
        changed = seconds_of(case.facts.changed)
        is_recent = work.since - _LOOKED_AT_SECONDS <= changed <= work.since - _CLOCKS_APART_SECONDS
        at, by = trail.writes[-1] if trail.writes else (-inf, None)
        is_recent &= at < changed or (by is not None and by.is_timer)  # a delivery may know less
        if is_recent and link.seen.state not in {None, case.state}:
            self._world.violate("g", f"{case.label}: {case.state}, and its record says {link.seen.state}")

    def _check_start(self, process: Process, workspace: str) -> None:
        """A clock that was wrong has not moved the start beyond what may be left out."""
        feed = self._feeds.get(workspace)
        if feed is None or feed.follows_from is None:
            self._world.violate("g", f"{process.name} does not follow {workspace}")
            return
        kept = min(LOOKBACK_SECONDS, process.shortest_retention.total_seconds() - _MARGIN_SECONDS)
        latest = self._world.now + _CLOCKS_APART_SECONDS - kept + self.clock_ahead_seconds
        if seconds_of(feed.follows_from) > latest:
            self._world.violate("g", f"{process.name} follows from {feed.follows_from} only")

    def _refuse_over_lease(self, process: Process, case: Case, before: Link, work: Work | None) -> None:
        if before.lease is None or self._world.clocks_were_wrong:
            return
        holder = self.trail(case.key).holds[-1].work
        is_over = seconds_of(before.lease.until) <= self._world.now + process.offset + 0.001
        if work is not holder and not is_over:
            self._world.violate("lease", f"{case.label}: {process.name} writes while another holds it")

    def _expect(self, process: Process, case: Case, before: Link, link: Link) -> None:
        to_tell = self.trail(case.key).to_tell
        if before.state is LinkState.SKIPPED and link.state is not LinkState.SKIPPED:
            self._refuse_revival(case)
        if _was_skipped(before) and not _was_skipped(link):
            to_tell.append(Write("link.revived", process))
        has_ticket = link.state in {LinkState.TICKETED, LinkState.LINKED}
        if has_ticket and before.seen.state != "merged" == link.seen.state:
            to_tell.append(Write("link.merged", process))

    def _refuse_revival(self, case: Case) -> None:
        """A run revives what it has seen open itself."""
        work = WORK.get()
        if work is not None and work.is_timer and (case.unwanted_since or inf) < work.since:
            self._world.violate("g", f"{case.label}: {case.state}, and revived by the timer")

    def _note_hold(self, process: Process, trail: Trail, link: Link, work: Work | None) -> None:
        now, last = self._world.now, trail.holds[-1] if trail.holds else None
        if link.lease is None:
            if last is not None:
                last.end = min(last.end, now)
            return
        end = seconds_of(link.lease.until) - process.offset + _CLOCKS_APART_SECONDS
        if last is not None and last.work is work and last.end >= now:
            last.end = end
            return
        if last is not None:
            last.end = min(last.end, now)
        trail.holds.append(Hold(work, now, end))


def _was_skipped(link: Link) -> bool:
    """Whether it is skipped, or a claim of one that was: what becomes of that is told when it is known."""
    return bool(link.history) and link.history[-1].state is LinkState.SKIPPED
