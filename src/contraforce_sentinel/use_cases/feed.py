"""A workspace's incidents in the order of their creation or change, from a moment on, however many there are.

A link to a further page is an offset into a list that moves meanwhile, and a list ends after 1,000 incidents
without a sign. So each answer is followed by a list of its own, from the last moment that was seen.
"""

import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from contraforce_sentinel.azure.sentinel import MOST_OF_A_LIST, Row, Rows, Sentinel
from contraforce_sentinel.domain.incidents import WorkspaceId
from contraforce_sentinel.telemetry.events import event

_ONE_ON: Final = timedelta(microseconds=1)


@dataclass(slots=True)
class _Walk:
    """What one list has shown so far; further pages of it are read only while all has one moment."""

    shown: set[str] = field(default_factory=set)
    names: set[str] = field(default_factory=set)
    """Of the first moment alone."""

    moments: set[datetime] = field(default_factory=set)
    last: datetime | None = None
    rows: int = 0
    pages: int = 0
    has_next: bool = False

    def note(self, answer: Rows) -> None:
        before = len(self.shown)
        for row in answer.rows:
            if row.moment is not None:
                self.moments.add(row.moment)
                self.last = row.moment
            if self.is_of_one_moment:
                self.names.add(row.name)
            self.shown.add(row.name)
        self.rows += len(answer.rows)
        self.pages += len(self.shown) > before
        self.has_next = answer.has_next

    @property
    def is_of_one_moment(self) -> bool:
        return len(self.moments) <= 1


async def incidents(
    sentinel: Sentinel, workspace: WorkspaceId, *, by: str, since: datetime, up_to: datetime, until: float
) -> AsyncGenerator[list[Row]]:
    """Yield the incidents from `since` on, oldest first; ends behind `up_to`. Raises `UpstreamError`.

    `by` is `CREATED` or `CHANGED` of the Sentinel adapter. What has the last moment of an answer comes again.
    """
    known: set[str] = set()
    while True:
        walk = _Walk()
        found = sentinel.list_incidents(workspace, by=by, since=since, until=until)
        async with aclosing(found):
            async for answer in found:
                walk.note(answer)
                yield answer.rows
                if not walk.is_of_one_moment:
                    break
        if walk.pages > 1 and not walk.names <= known:
            known |= walk.names  # the list may have moved between two pages: once more, until nothing is new
            continue
        onward = _onward(walk, since, workspace)
        if onward is None or onward > up_to:
            return
        since, known = onward, set()


def _onward(walk: _Walk, since: datetime, workspace: WorkspaceId) -> datetime | None:
    """Return where the next list begins, None where there is nothing more to ask for."""
    is_cut = walk.rows >= MOST_OF_A_LIST
    if walk.last is None or not (is_cut or (walk.has_next and not walk.is_of_one_moment)):
        return None
    if walk.is_of_one_moment:
        event("feed.stuck", level=logging.ERROR, workspace=workspace.key, moment=walk.last.isoformat())
        return walk.last + _ONE_ON
    if walk.last <= since:
        objection = "the list is not in the order that was asked for"
        event("discovery.cut-short", level=logging.ERROR, workspace=workspace.key, error=objection)
        return None
    return walk.last
