"""Removes finished records that are old, in batches; what goes is never taken up again by the timer."""

from datetime import datetime, timedelta
from functools import partial
from typing import Final

from contraforce_sentinel.domain.errors import StaleLink
from contraforce_sentinel.domain.incidents import WorkspaceId
from contraforce_sentinel.domain.links import Clock, Link
from contraforce_sentinel.domain.runs import Feed
from contraforce_sentinel.stores.link_store import LinkStore
from contraforce_sentinel.telemetry.reports import report_link_failure
from contraforce_sentinel.use_cases.following import OVERLAP, keep
from contraforce_sentinel.use_cases.run import Run

_REMOVED_AT_ONCE: Final = 100
MARGIN: Final = timedelta(hours=2)
"""A record is younger than its incident, up to the difference of clocks, for which this is ample."""


class Retention:
    """Removes the records of workspaces."""

    def __init__(self, *, store: LinkStore, retention: timedelta, clock: Clock) -> None:
        self._store = store
        self._retention = retention
        self._clock = clock

    async def remove_old(self, workspace: WorkspaceId, run: Run) -> None:
        """Remove the records that were made before the cut-off, which counts from a time that Sentinel told.

        Before the first one goes, the feed leaves their incidents behind; version 0.1.0 would, too: it looks
        an hour back from its watermark.
        """
        feed = await self._store.feed(workspace)
        if feed is None or feed.watermark is None or feed.follows_from is None:
            return
        before = min(self._clock(), feed.watermark) - self._retention
        feed = await keep(self._store, workspace, feed, partial(Feed.leaving, before=before + MARGIN))
        await self._store.move_creation_watermark(workspace, before + MARGIN + OVERLAP)
        is_done = False
        while not run.is_over() and not is_done:
            batch = await self._store.expired(workspace, before=before, limit=_REMOVED_AT_ONCE)
            for incident in batch.unreadable:
                run.note_unreadable(incident)
            left = feed.follows_from or before
            gone = [await self._remove(link, left, run) for link in batch.links if not run.is_over()]
            is_done = len(batch.links) < _REMOVED_AT_ONCE or not any(gone)

    async def _remove(self, link: Link, follows_from: datetime, run: Run) -> bool:
        """Remove one record, or keep it longer; say whether it has expired no more."""
        created, now = link.seen.created_at, self._clock()
        try:
            if link.seen.is_undated or (created is not None and created >= follows_from):
                # the feed could take its incident for a new one
                await self._store.replace(link.model_copy(update={"created_at": now}))
                return True
            await self._store.delete(link)
        except StaleLink:  # a delivery has just used it
            return False
        except Exception as error:  # noqa: BLE001 - it is this record's alone
            report_link_failure(link.incident_id, error)
            return False
        run.removed += 1
        return True
