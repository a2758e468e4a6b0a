"""The timer's work: links that are due, incidents that no delivery told of; once a day, every record.

Workspaces run side by side. What fails, foreseen or not, stops only itself: a try, an incident, a step of one
workspace. What the time of a run does not suffice for stays due, oldest first, for the next.
"""

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from contraforce_sentinel.azure.pacing import PUTS, Pace
from contraforce_sentinel.azure.sentinel import Sentinel
from contraforce_sentinel.domain.errors import StaleLink
from contraforce_sentinel.domain.incidents import Delivery, Incident, Severity, WorkspaceId, skip_reason
from contraforce_sentinel.domain.links import Clock, Link, LinkState
from contraforce_sentinel.domain.runs import Backlog, TimerRun
from contraforce_sentinel.stores.link_store import LinkStore
from contraforce_sentinel.telemetry.events import about, untraced
from contraforce_sentinel.telemetry.reports import (
    report_link,
    report_link_failure,
    report_run,
    report_unreadable,
    report_workspace_failure,
)
from contraforce_sentinel.use_cases.linking import TicketLinking
from contraforce_sentinel.use_cases.outages import Outages
from contraforce_sentinel.use_cases.turns import in_turn

RUN_SECONDS: Final = 240.0
"""A run stops itself well before the host does (host.json: 5 minutes)."""

OVERLAP: Final = timedelta(hours=1)
"""Discovery looks again at what was created this long before the watermark: rules and lists may lag."""

_CONCURRENCY: Final = 20
_LISTS: Final = 10  # pages of incidents in memory at once; a workspace that hangs has one place of them
DUE_PER_WORKSPACE: Final = 4 * PUTS
_REMOVED_AT_ONCE: Final = 100


@dataclass(slots=True)
class _Run:
    """What one run knows and counts; `until` is on the loop's clock."""

    started_at: datetime
    until: float
    is_first_of_the_day: bool
    outages: Outages = field(default_factory=Outages)
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CONCURRENCY))
    lists: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_LISTS))
    tried: int = 0
    linked: int = 0
    discovered: int = 0
    removed: int = 0
    failed: set[str] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)
    listed: dict[str, datetime] = field(default_factory=dict)

    def is_over(self) -> bool:
        return asyncio.get_running_loop().time() >= self.until

    def note(self, page: Iterable[Incident]) -> None:
        if self.is_first_of_the_day:  # else nothing is removed
            self.listed |= {one.id.key: one.created_at for one in page if one.created_at}


class Reconciler:
    """Finishes what deliveries began or never told of; `run` is the whole of it."""

    def __init__(
        self,
        *,
        workspaces: Iterable[WorkspaceId],
        linking: TicketLinking,
        sentinel: Sentinel,
        store: LinkStore,
        pace: Pace,
        minimum_severity: Severity,
        lookback: timedelta,
        retention: timedelta,
        clock: Clock,
    ) -> None:
        self._workspaces = tuple(workspaces)
        self._linking = linking
        self._sentinel = sentinel
        self._store = store
        self._pace = pace
        self._minimum_severity = minimum_severity
        self._lookback = lookback
        self._retention = retention
        self._clock = clock
        self._told: set[str] = set()
        self._unrepaired: dict[str, str | None] = {}

    async def run(self) -> TimerRun:
        """Run once; after `RUN_SECONDS` nothing new is begun.

        Raises `StoreUnavailable` if the report cannot be kept.
        """
        with untraced():
            last = await self._store.last_run()
        now = self._clock()
        run = _Run(
            started_at=now,
            until=asyncio.get_running_loop().time() + RUN_SECONDS,
            is_first_of_the_day=last is None or last.started_at.date() != now.date(),
        )
        backlogs = await asyncio.gather(*(self._serve(workspace, run) for workspace in self._workspaces))
        dues = [backlog.oldest_due_at for backlog in backlogs if backlog.oldest_due_at]
        done = TimerRun(
            started_at=run.started_at,
            finished_at=self._clock(),
            tried=run.tried,
            linked=run.linked,
            discovered=run.discovered,
            removed=run.removed,
            failed_workspaces=len(run.failed),
            unreadable=len(run.unreadable),
            backlog=Backlog(oldest_due_at=min(dues, default=None), dead=sum(b.dead for b in backlogs)),
        )
        with untraced():
            await self._store.save_run(done)
        report_run(done)
        return done

    async def _serve(self, workspace: WorkspaceId, run: _Run) -> Backlog:
        """Do all of one workspace's work, and return what it left; a step that fails stops no other step."""
        found: dict[str, Incident] = {}
        backlog = Backlog()
        with about(workspace=workspace.key):
            with self._apart(workspace, run):
                await self._try_due(workspace, found, run)
            has_seen_all = False
            with self._apart(workspace, run), untraced():
                has_seen_all = await self._discover(workspace, found, run)
            if found:
                with self._apart(workspace, run):
                    await self._try_due(workspace, found, run)
            if run.is_first_of_the_day and has_seen_all:
                with self._apart(workspace, run), untraced():
                    await self._remove_old(workspace, run)
            with self._apart(workspace, run), untraced():
                await self._repair(workspace, run)
            with self._apart(workspace, run), untraced():
                backlog = await self._store.backlog(workspace)
        return backlog

    @contextmanager
    def _apart(self, workspace: WorkspaceId, run: _Run) -> Iterator[None]:
        """What fails inside is counted once for the workspace and told, and goes no further."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this step's alone
            if workspace.key not in run.failed:
                report_workspace_failure(error)
            run.failed.add(workspace.key)

    async def _try_due(self, workspace: WorkspaceId, found: dict[str, Incident], run: _Run) -> None:
        """Try the due links in turn; one that was just found needs no second look at its incident."""
        with untraced():
            due = await self._store.due(workspace, now=self._clock(), limit=DUE_PER_WORKSPACE)
        self._tell_unreadable(due.unreadable, run)
        for link in due.links:
            if run.outages.affect(workspace, has_ticket=link.ticket is not None):
                continue
            async with self._pace.turn(workspace.subscription_id, until=run.until) as has_room:
                if not has_room:
                    return
                async with run.places:
                    if run.is_over():  # others had the places until now
                        return
                    await self._try(link, found.get(link.incident_id.key), run)

    async def _try(self, link: Link, incident: Incident | None, run: _Run) -> None:
        run.tried += 1
        delivery = Delivery(incident_id=link.incident_id, incident=incident, is_confirmed=True)
        try:
            outcome = await self._linking.link(delivery, trigger="timer", known=link)
        except Exception as error:  # noqa: BLE001 - it is this incident's alone
            report_link_failure(link.incident_id, error)
            return
        run.outages.note(outcome.link)
        run.linked += outcome.link.state is LinkState.LINKED and not outcome.already_linked

    def _tell_unreadable(self, incidents: Iterable[str], run: _Run) -> None:
        """Count records that cannot be read, and tell each once a process."""
        for incident in incidents:
            run.unreadable.add(incident)
            if incident not in self._told:
                self._told.add(incident)
                report_unreadable(incident)

    async def _discover(self, workspace: WorkspaceId, found: dict[str, Incident], run: _Run) -> bool:
        """Put every incident that is not in the store there; add those that are to be linked to `found`.

        The watermark passes no incident that could not be put there, and never goes ahead of now: an odd date
        would hide all that comes later. Returns whether all of them were.
        """
        since = await self._sees_since(workspace)
        has_all = True
        if run.is_over():
            return False
        pages = self._sentinel.list_incidents(workspace, since=since, until=run.until)
        async with aclosing(in_turn(pages, run.lists)) as found_pages:
            async for page in found_pages:
                known = await self._store.known([incident.id for incident in page])
                run.note(page)
                for incident in page:
                    if incident.id.key in known:
                        continue
                    if run.is_over():
                        return False
                    try:
                        is_to_be_linked = await self._record(incident)
                    except Exception as error:  # noqa: BLE001 - it is this incident's alone
                        has_all = False
                        report_link_failure(incident.id, error)
                        continue
                    if is_to_be_linked:
                        found[incident.id.key] = incident
                        run.discovered += 1
                created = [incident.created_at for incident in page if incident.created_at]
                if created and has_all:  # everything up to here is in the store now
                    await self._store.move_watermark(workspace, min(max(created), run.started_at))
                if run.is_over():
                    break
        return has_all

    async def _sees_since(self, workspace: WorkspaceId) -> datetime:
        """Return from which creation time on discovery looks at incidents; never one that lies ahead.

        The first time sets the watermark: else an outage from then on would move the start with the clock.
        """
        watermark = await self._store.watermark(workspace)
        if watermark is None:
            watermark = self._clock() - self._lookback + OVERLAP
            await self._store.move_watermark(workspace, watermark)
        return min(watermark, self._clock()) - OVERLAP

    async def _record(self, incident: Incident) -> bool:
        """Store a link for an incident; say whether it is to be worked on."""
        now = self._clock()
        link = Link(
            incident_id=incident.id,
            incident_number=incident.number,
            next_try_at=now,
            created_at=now,
            updated_at=now,
        )
        reason = skip_reason(incident, minimum=self._minimum_severity)
        if reason is not None:
            link = link.skipped(reason, now=now)
        if await self._store.insert(link) is None:
            return False
        if reason is not None:
            report_link(link, trigger="discovery", seconds=0.0, claimed=False)
        return reason is None

    async def _remove_old(self, workspace: WorkspaceId, run: _Run) -> None:
        """Remove finished records, in batches, but none whose incident discovery could still see.

        Their age counts from the watermark, or from now where that is earlier: a clock that is far ahead once
        must not forget the tickets of yesterday. A record is younger than its incident, up to the difference
        of clocks, for which the retention of a day or more is ample; unless the incident is dated ahead: then
        this run's list has shown it.
        """
        unseen = await self._sees_since(workspace)
        before = unseen - self._retention
        seen = {key for key, created in run.listed.items() if created >= unseen}
        is_done = False
        while not run.is_over() and not is_done:
            batch = await self._store.expired(workspace, before=before, limit=_REMOVED_AT_ONCE)
            self._tell_unreadable(batch.unreadable, run)
            old = [link for link in batch.links if link.incident_id.key not in seen]
            removed = [await self._remove(link) for link in old if not run.is_over()]
            run.removed += sum(removed)
            is_done = len(batch.links) < _REMOVED_AT_ONCE or not any(removed)

    async def _remove(self, link: Link) -> bool:
        """Remove one record; say whether it is gone."""
        try:
            await self._store.delete(link)
        except StaleLink:  # a delivery has just used it
            return False
        except Exception as error:  # noqa: BLE001 - it is this record's alone
            report_link_failure(link.incident_id, error)
            return False
        return True

    async def _repair(self, workspace: WorkspaceId, run: _Run) -> None:
        """Once a day, let the store look at every record; the next run goes on where the time ends."""
        if run.is_first_of_the_day:
            self._unrepaired[workspace.key] = ""
        while (after := self._unrepaired.get(workspace.key)) is not None and not run.is_over():
            self._unrepaired[workspace.key] = await self._store.repair(workspace, after=after)
