"""Follows the incidents of a workspace as they change: what each of them needs now is put into the store.

A row is passed when what it needs is stored. The store's `Feed` keeps how far that has come.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from collections.abc import Set as AbstractSet
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from typing import Final

from contraforce_sentinel.azure.sentinel import CHANGED, Row, Sentinel
from contraforce_sentinel.domain.customers import Customer
from contraforce_sentinel.domain.errors import RecordUnreadable, StaleLink
from contraforce_sentinel.domain.incidents import Incident, IncidentState, WorkspaceId
from contraforce_sentinel.domain.links import Clock, Link
from contraforce_sentinel.domain.records import LinkState
from contraforce_sentinel.domain.runs import Feed
from contraforce_sentinel.stores.link_store import Glimpse, LinkStore
from contraforce_sentinel.telemetry.reports import (
    report_link,
    report_link_failure,
    report_merged,
    report_revived,
)
from contraforce_sentinel.use_cases.decision import Need, followed, need, need_by_state
from contraforce_sentinel.use_cases.feed import incidents
from contraforce_sentinel.use_cases.run import Run

_TRIGGER: Final = "discovery"
_STATES: Final = {state.value: state for state in LinkState}

OVERLAP: Final = timedelta(hours=1)
"""How far before the watermark each look begins: lists may lag, and clocks differ."""

SECOND_LOOK: Final = timedelta(days=7)
"""How far back the look goes that is made once a day."""


async def keep(
    store: LinkStore, workspace: WorkspaceId, feed: Feed | None, change: Callable[[Feed], Feed]
) -> Feed:
    """Store a change of a feed, as it was read; of the newer one where another instance was faster."""
    while True:
        now = feed or Feed()
        changed = change(now)
        if changed == now:
            return now
        saved = await store.save_feed(workspace, changed)
        if saved is not None:
            return saved
        feed = await store.feed(workspace)


class Following:
    """Follows workspaces for the timer."""

    def __init__(self, *, sentinel: Sentinel, store: LinkStore, lookback: timedelta, clock: Clock) -> None:
        self._sentinel = sentinel
        self._store = store
        self._lookback = lookback
        self._clock = clock
        self._settled: dict[str, AbstractSet[int]] = {}

    async def follow(self, customer: Customer, run: Run) -> None:
        """Look at what was changed since the watermark, less the overlap.

        The watermark passes no row whose need could not be stored.
        """
        workspace = customer.workspace
        feed = await self._begin(workspace)
        since = feed.watermark - OVERLAP if feed.watermark else feed.follows_from or self._clock()
        has_all, passed = True, feed.watermark
        settled = _Settled(before=self._settled.get(workspace.key, frozenset()))
        self._settled[workspace.key] = settled.now
        async with aclosing(self._changes(workspace, since, run.started_at, run)) as changes:
            async for rows in changes:
                async for row, is_done in self._take_all(rows, settled, customer, run):
                    has_all = has_all and is_done
                    if has_all and row.moment is not None:
                        passed = row.moment
                if passed is not None:
                    feed = await keep(self._store, workspace, feed, partial(Feed.passing, moment=passed))
                if run.is_over():
                    return

    async def look_again(self, customer: Customer, run: Run) -> None:
        """Once a day, look at what was changed in the days before the watermark, in as many runs as it takes.

        What a change of a setting has made possible is taken up so, and what any look may have missed.
        """
        workspace, today = customer.workspace, run.started_at.date()
        feed = await self._store.feed(workspace)
        if feed is None or feed.watermark is None or run.is_over():
            return
        if feed.second_look_at is None and feed.second_look_on == today:
            return
        since = feed.second_look_at or feed.watermark - SECOND_LOOK
        async with aclosing(self._changes(workspace, since, feed.watermark, run)) as changes:
            async for rows in changes:
                async for row, _ in self._take_all(rows, _Settled(), customer, run):
                    since = row.moment or since
                feed = await keep(
                    self._store, workspace, feed, partial(Feed.looking_again, at=since, on=today)
                )
                if run.is_over():
                    return
        await keep(self._store, workspace, feed, partial(Feed.looking_again, at=None, on=today))

    def _changes(
        self, workspace: WorkspaceId, since: datetime, up_to: datetime, run: Run
    ) -> AsyncGenerator[list[Row]]:
        return incidents(
            self._sentinel,
            workspace,
            by=CHANGED,
            since=since,
            up_to=up_to,
            until=run.until,
            places=run.lists,
        )

    async def _begin(self, workspace: WorkspaceId) -> Feed:
        """Return the feed; with the first look, from which creation on the workspace is followed.

        What lies ahead of now was written by a clock that was wrong, and counts as not written.
        """
        now = self._clock()
        feed = await keep(
            self._store, workspace, await self._store.feed(workspace), partial(_not_ahead, now=now)
        )
        if feed.follows_from is not None:
            return feed
        start = now - self._lookback
        created = await self._store.creation_watermark(workspace)
        begun = partial(_begun, start=min(start, created or start), today=now.date())
        return await keep(self._store, workspace, feed, begun)

    async def _take_all(
        self, rows: list[Row], settled: "_Settled", customer: Customer, run: Run
    ) -> AsyncIterator[tuple[Row, bool]]:
        """Yield each row, and whether it may be passed; ends early when the run's time does."""
        listed = [row.incident for row in rows if row.incident is not None and not settled.has(row)]
        records = await self._store.glimpse([incident.id for incident in listed])
        follows_from = None
        if len(records) < len(listed):  # read after the records: it moves before retention removes one
            feed = await self._store.feed(customer.workspace)
            follows_from = feed.follows_from if feed else None
        for row in rows:
            if run.is_over():
                return
            incident = row.incident
            if incident is None or settled.has(row):  # that has been told, or is not new
                yield row, True
                continue
            record = records.get(incident.id.key)
            try:
                if record is not None and self._is_settled(incident, record, customer):
                    is_done = True
                elif record is None:
                    is_done = await self._take_up(incident, customer, follows_from, run)
                else:
                    is_done = await self._go_on(incident, await record.read(), customer, run)
            except RecordUnreadable as error:
                run.note_unreadable(error.incident)
                is_done = True
            except Exception as error:  # noqa: BLE001 - it is this incident's alone
                report_link_failure(incident.id, error)
                is_done = False
            if is_done and not run.counts(incident.id.key):
                settled.add(row)
            yield row, is_done

    async def _take_up(
        self, incident: Incident, customer: Customer, follows_from: datetime | None, run: Run
    ) -> bool:
        """Store a record for an incident that has none; say whether that is done."""
        now = self._clock()
        created = incident.created_at or incident.changed_at or now
        if follows_from is None or created < follows_from:
            if need(incident, None, customer) is Need.LINK:
                run.left_to_backfill.add(incident.id.key)
            return True
        new = Link(
            incident_id=incident.id,
            first_seen_at=now,
            first_seen_by=_TRIGGER,
            next_try_at=now,
            created_at=now,
            updated_at=now,
        )
        link = followed(incident, new, customer, is_confirmed=True, now=now)
        if await self._store.insert(link) is None:
            return False
        self._tell(link, None, incident, run)
        return True

    def _is_settled(self, incident: Incident, record: Glimpse, customer: Customer) -> bool:
        """Whether nothing is to be written, as the two words of the record tell that decide."""
        is_dated = incident.created_at is not None and incident.created_at <= self._clock()
        needed = need_by_state(incident, _STATES.get(record.state), record.seen, customer)
        return is_dated and needed is Need.NOTHING

    async def _go_on(self, incident: Incident, link: Link | None, customer: Customer, run: Run) -> bool:
        """Store what the incident of a record needs now; say whether that is done."""
        now = self._clock()
        if link is None:  # retention has just removed it
            return False
        changed = followed(incident, link, customer, is_confirmed=True, now=now)
        if changed == link:
            return True
        if link.is_busy(now):
            return False
        try:
            await self._store.replace(changed)
        except StaleLink:
            return False
        self._tell(changed, link, incident, run)
        return True

    def _tell(self, link: Link, before: Link | None, incident: Incident, run: Run) -> None:
        """Tell what has just been written."""
        if before is not None and before.state is LinkState.SKIPPED and link.state is not LinkState.SKIPPED:
            report_revived(link, was=before.reason, trigger=_TRIGGER)
        if before is not None and _is_merged_since(before, link):
            report_merged(link, trigger=_TRIGGER)
        if link.state is LinkState.SKIPPED and (before is None or before.state is not LinkState.SKIPPED):
            report_link(link, trigger=_TRIGGER, seconds=0.0, claimed=False)
        if link.next_try_at is not None and (before is None or before.next_try_at is None):
            run.found[incident.id.workspace.key][incident.id.key] = incident
            run.discovered += 1


def _begun(feed: Feed, start: datetime, today: date) -> Feed:
    """Follow the workspace from `start` on, unless another instance has just begun.

    The first look is as wide as a second one. What retention has removed stays left behind.
    """
    if feed.follows_from is not None:
        return feed
    start = max(start, feed.removed_before or start)
    return feed.model_copy(update={"follows_from": start, "second_look_on": today})


def _not_ahead(feed: Feed, now: datetime) -> Feed:
    """Read the watermark as no later than now, and no moment from which to follow where it lies ahead."""
    changes: dict[str, object] = {}
    if feed.watermark is not None and feed.watermark > now:
        changes["watermark"] = now
    if feed.follows_from is not None and feed.follows_from > now:
        changes["follows_from"] = None
    return feed.model_copy(update=changes) if changes else feed


def _is_merged_since(before: Link, link: Link) -> bool:
    """Whether a link with a ticket was just seen to hang on an incident that was merged away."""
    has_ticket = link.state in {LinkState.TICKETED, LinkState.LINKED}
    return has_ticket and link.seen.state == IncidentState.MERGED != before.seen.state


@dataclass(frozen=True, slots=True)
class _Settled:
    """The rows of a workspace that need nothing unless they change, of its last look and of this one.

    Hashes: tens of thousands of them take little. One without a moment may change without a sign.
    """

    before: AbstractSet[int] = frozenset()
    now: set[int] = field(default_factory=set)

    def has(self, row: Row) -> bool:
        """Whether a row is one of them; one of the last look is one of this."""
        mark = hash((row.name, row.moment))
        if mark in self.before:
            self.now.add(mark)
        return mark in self.now

    def add(self, row: Row) -> None:
        if row.moment is not None:
            self.now.add(hash((row.name, row.moment)))
