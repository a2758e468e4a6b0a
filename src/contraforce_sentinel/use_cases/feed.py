"""A workspace's incidents in the order of their creation or change, from a moment on, however many there are.

A link to a further page is an offset into a list that moves meanwhile, and a list ends after 1,000 incidents
without a sign. So each answer is followed by a list of its own, from the last moment that was seen.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from contraforce_sentinel.azure.sentinel import MOST_OF_A_LIST, Row, Sentinel
from contraforce_sentinel.domain.incidents import WorkspaceId
from contraforce_sentinel.telemetry.events import event
from contraforce_sentinel.use_cases.turns import in_turn

_ONE_ON: Final = timedelta(microseconds=1)


@dataclass(slots=True)
class _Walk:
    """What one list has shown so far; further pages of it are read only while all has one moment."""

    shown: set[tuple[str, datetime | None]] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    """Of the first moment alone."""

    moments: set[datetime] = field(default_factory=set)
    last: datetime | None = None
    rows: int = 0
    dated: int = 0
    pages: int = 0
    has_next: bool = False

    def note(self, rows: list[Row], *, has_next: bool) -> None:
        before = len(self.shown)
        for row in rows:
            self.shown.add((row.name, row.moment))
            if row.moment is not None:
                self.moments.add(row.moment)
                self.last = row.moment
                self.dated += 1
            if self.is_of_one_moment:
                self.names.add(row.name)
        self.rows += len(rows)
        self.pages += len(self.shown) > before
        self.has_next = has_next

    @property
    def is_of_one_moment(self) -> bool:
        return len(self.moments) <= 1


async def incidents(
    sentinel: Sentinel,
    workspace: WorkspaceId,
    *,
    by: str,
    since: datetime,
    up_to: datetime,
    until: float,
    places: asyncio.Semaphore,
) -> AsyncGenerator[list[Row]]:
    """Yield the incidents from `since` on, oldest first, at least up to `up_to`. Raises `UpstreamError`.

    `by` is `CREATED` or `CHANGED` of the Sentinel adapter. What has the last moment of an answer comes again.
    A moment outside of what was asked for is odd: its row comes without. So do those of further pages, which
    may hide some: once nothing is new, a row comes that has nothing but the last moment. An answer has one of
    the `places` until the next one is asked for; a reader that may stop early closes the generator.
    """
    known: set[str] = set()
    while True:
        walk = _Walk()
        found = sentinel.list_incidents(workspace, by=by, since=since, until=until)
        async with aclosing(in_turn(found, places)) as answers:
            async for answer in answers:
                rows = [_without_odd_moment(row, since, up_to) for row in answer.rows]
                walk.note(rows, has_next=answer.has_next)
                yield [replace(row, moment=None) for row in rows] if walk.pages > 1 else rows
                if not walk.is_of_one_moment:
                    break
        if walk.pages > 1 and not walk.names <= known:
            known |= walk.names  # the list may have moved between two pages: once more, until nothing is new
            continue
        if walk.pages > 1:
            yield [Row("", walk.last, None)]
        onward = _onward(walk, since, workspace)
        if onward is None:
            return
        since, known = onward, set()


def _without_odd_moment(row: Row, since: datetime, up_to: datetime) -> Row:
    is_odd = row.moment is not None and not since <= row.moment <= up_to
    return replace(row, moment=None) if is_odd else row


def _onward(walk: _Walk, since: datetime, workspace: WorkspaceId) -> datetime | None:
    """Return where the next list begins, None where there is nothing more to ask for."""
    if walk.last is None:
        return None
    if walk.is_of_one_moment:
        if walk.dated < MOST_OF_A_LIST:
            return None
        event("feed.stuck", level=logging.ERROR, workspace=workspace.key, moment=walk.last.isoformat())
        return walk.last + _ONE_ON
    if not walk.has_next and walk.rows < MOST_OF_A_LIST:
        return None
    return walk.last if walk.last > since else max(walk.moments)
