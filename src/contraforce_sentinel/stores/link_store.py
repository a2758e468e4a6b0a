"""The link stores: the protocol that each implements, and what the timer keeps beside the links.

One contract test suite runs over all of them.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from pydantic import ValidationError

from contraforce_sentinel.domain.errors import NotAnIncident, RecordUnreadable, StoreUnavailable
from contraforce_sentinel.domain.incidents import IncidentId, WorkspaceId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.records import LinkState
from contraforce_sentinel.domain.runs import Backlog, Feed, TimerRun


@dataclass(frozen=True, slots=True)
class Found:
    """Links that were asked for, in order, and the keys of the incidents whose records cannot be read.

    Those count against no limit, so that they hide no others.
    """

    links: list[Link] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Glimpse:
    """The two words of a record that tell whether its incident's change needs anything; `read` gets it all.

    `seen` is what its incident was, None where the record does not say. `read` raises `RecordUnreadable`, and
    returns None where the record is gone.
    """

    state: str
    seen: str | None
    read: Callable[[], Awaitable[Link | None]]


def read_record(record: object, *, incident: str, version: str) -> Link:
    """Read the stored JSON of the incident of this key. Raises `RecordUnreadable`, also for another's."""
    try:
        link = Link.model_validate_json(record if isinstance(record, str | bytes) else "")
    except (ValidationError, NotAnIncident, OverflowError):  # of a date at the end of time
        raise RecordUnreadable(incident) from None
    if link.incident_id.key != incident:
        raise RecordUnreadable(incident)
    return link.model_copy(update={"version": version})


def read_feed(feed: object, *, version: str) -> Feed:
    """Read the stored JSON of a feed. Raises `StoreUnavailable`: another one could link twice."""
    try:
        found = Feed.model_validate_json(feed if isinstance(feed, str | bytes) else "")
    except (ValidationError, OverflowError):
        raise StoreUnavailable("how far a workspace was followed cannot be read by this version") from None
    return found.model_copy(update={"version": version})


def read_watermark(text: object, read: Callable[[str], datetime]) -> datetime:
    """Read a stored watermark. Raises `StoreUnavailable`: any other one could pass by an incident."""
    moment = None
    with suppress(ValueError, OverflowError):
        moment = read(text) if isinstance(text, str) else None
    if moment is None or moment.tzinfo is None:
        raise StoreUnavailable("the watermark of a workspace cannot be read by this version")
    return moment


class LinkStore(Protocol):
    """Where links are kept: one record per incident, changed only by compare-and-set.

    Every method raises `StoreUnavailable` when the store does not do its work. A record that this version
    cannot read is never changed.
    """

    async def insert(self, link: Link) -> Link | None:
        """Store a new record and return it as stored; None, and no effect, if the incident has one."""

    async def get(self, incident_id: IncidentId) -> Link | None:
        """Return the incident's record, None if there is none. Raises `RecordUnreadable`."""

    async def replace(self, link: Link) -> Link:
        """Store a changed record; raise `StaleLink` if it is not the one that was read any more."""

    async def delete(self, link: Link) -> None:
        """Remove a record; raise `StaleLink` if it is not the one that was read any more."""

    async def glimpse(self, incident_ids: Sequence[IncidentId]) -> dict[str, Glimpse]:
        """Return those of the incidents, by their keys, that have a record; reads in bounded batches."""

    async def due(self, workspace_id: WorkspaceId, *, now: datetime, limit: int) -> Found:
        """Return a workspace's links whose next try has come, longest waiting first; reads no others.

        Behind them come those whose next try lies further ahead than any wait (`Link.is_due`).
        """

    async def expired(self, workspace_id: WorkspaceId, *, before: datetime, limit: int) -> Found:
        """Return some of a workspace's linked and skipped records that were made before a moment."""

    async def in_state(self, workspace_id: WorkspaceId, state: LinkState, *, after: str, limit: int) -> Found:
        """Return some of a workspace's links in a state, in the order of their incidents' names.

        The next page is asked for `after` the name of the last link of this one, the first one after "".
        """

    async def repair(self, workspace_id: WorkspaceId, *, after: str) -> str | None:
        """Look at some of a workspace's records, and let those be found that lack the row by which they are.

        Returns what the next call is made `after`, the first one after ""; None when all were looked at.
        """

    async def backlog(self, workspace_id: WorkspaceId) -> Backlog:
        """Return when a workspace's next link is or was due, and how many of its links are dead."""

    async def feed(self, workspace_id: WorkspaceId) -> Feed | None:
        """Return how far the workspace's changes were followed."""

    async def save_feed(self, workspace_id: WorkspaceId, feed: Feed) -> Feed | None:
        """Store that; None, and no effect, if it is not the one that was read any more."""

    async def creation_watermark(self, workspace_id: WorkspaceId) -> datetime | None:
        """Return up to which creation time version 0.1.0 had put the workspace's incidents into the store."""

    async def move_creation_watermark(self, workspace_id: WorkspaceId, to: datetime) -> None:
        """Move that forward, for 0.1.0, if it comes back; a move back has no effect."""

    async def last_run(self) -> TimerRun | None:
        """Return the timer's last finished run."""

    async def save_run(self, run: TimerRun) -> None:
        """Remember the timer's last finished run."""

    async def exists(self) -> bool:
        """Return whether the store was made yet, which its first use does; makes and changes nothing."""

    async def check(self) -> None:
        """Return if the store can be read and written, else raise `StoreUnavailable`."""

    async def close(self) -> None:
        """Release connections and threads; idempotent."""
