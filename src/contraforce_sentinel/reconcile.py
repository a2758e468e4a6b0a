"""The timer's work: links that are due, then incidents that no delivery told of, then old records.

Workspaces run side by side; a failure in one never stops another. What the time of a run does not suffice for
stays due, oldest first, for the next.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from contraforce_sentinel.errors import StaleLink, StoreUnavailable, UpstreamError
from contraforce_sentinel.incidents import Incident, Severity, WorkspaceId, skip_reason
from contraforce_sentinel.linking import TicketLinking
from contraforce_sentinel.links import Clock, Link, LinkState
from contraforce_sentinel.pacing import PUTS, Pace
from contraforce_sentinel.payloads import Delivery
from contraforce_sentinel.reports import report_link, report_run
from contraforce_sentinel.sentinel import Sentinel
from contraforce_sentinel.stores import Backlog, LinkStore, TimerRun
from contraforce_sentinel.telemetry import about, event, untraced

RUN_SECONDS: Final = 240.0
"""A run stops itself well before the host does (host.json: 5 minutes)."""

OVERLAP: Final = timedelta(hours=1)
"""Discovery looks again at what was created this long before the watermark: rules and lists may lag."""

_CONCURRENCY: Final = 20
_DUE_PER_WORKSPACE: Final = 4 * PUTS
_REMOVED_AT_ONCE: Final = 100
_FAILURES_OF_AN_OUTAGE: Final = 3
_EVERYWHERE: Final = frozenset({"contraforce-unavailable", "identity-unavailable", "identity-unauthorized"})
_BEFORE_THE_TICKET: Final = frozenset(
    {
        "contraforce-unavailable",
        "contraforce-unauthorized",
        "resource-manager-unavailable",
        "resource-manager-unauthorized",
        "workspace-not-found",
    }
)
_ALWAYS: Final = frozenset(
    {"identity-unavailable", "identity-unauthorized", "sentinel-unavailable", "sentinel-unauthorized"}
)


class Outages:
    """Failures in a row, by reason and, where the reason is not the same for all, by workspace."""

    def __init__(self) -> None:
        self._in_a_row: Counter[str] = Counter()

    def note(self, link: Link) -> None:
        """Learn from a link that was just tried."""
        reasons = _ALWAYS | _BEFORE_THE_TICKET
        if link.state in {LinkState.PENDING, LinkState.TICKETED} and link.reason in reasons:
            self._in_a_row[_place(link.reason, link.incident_id.workspace)] += 1
        else:
            for reason in reasons:
                self._in_a_row.pop(_place(reason, link.incident_id.workspace), None)

    def affect(self, link: Link) -> bool:
        """Whether an upstream that this link needs is down: then it is left alone for this run."""
        needed = _ALWAYS if link.state is LinkState.TICKETED else _ALWAYS | _BEFORE_THE_TICKET
        workspace = link.incident_id.workspace
        return any(self._in_a_row[_place(reason, workspace)] >= _FAILURES_OF_AN_OUTAGE for reason in needed)


def _place(reason: str, workspace: WorkspaceId) -> str:
    return reason if reason in _EVERYWHERE else f"{reason} {workspace.key}"


@dataclass(slots=True)
class _Run:
    """What one run knows and counts; `until` is on the loop's clock."""

    started_at: datetime
    until: float
    is_first_of_the_day: bool
    outages: Outages = field(default_factory=Outages)
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CONCURRENCY))
    tried: int = 0
    linked: int = 0
    discovered: int = 0
    removed: int = 0
    failed_workspaces: int = 0

    def is_over(self) -> bool:
        return asyncio.get_running_loop().time() >= self.until


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

    async def run(self) -> TimerRun:
        """Run once, for at most `RUN_SECONDS`. Raises `StoreUnavailable` if the report cannot be kept."""
        with untraced():
            last = await self._store.last_run()
        now = self._clock()
        run = _Run(
            started_at=now,
            until=asyncio.get_running_loop().time() + RUN_SECONDS,
            is_first_of_the_day=last is None or last.started_at.date() != now.date(),
        )
        served = await asyncio.gather(
            *(self._serve(workspace, run) for workspace in self._workspaces), return_exceptions=True
        )
        with untraced():
            backlogs = await asyncio.gather(*map(self._store.backlog, self._workspaces))
        dues = [backlog.oldest_due_at for backlog in backlogs if backlog.oldest_due_at]
        done = TimerRun(
            started_at=run.started_at,
            finished_at=self._clock(),
            tried=run.tried,
            linked=run.linked,
            discovered=run.discovered,
            removed=run.removed,
            failed_workspaces=run.failed_workspaces,
            backlog=Backlog(oldest_due_at=min(dues, default=None), dead=sum(b.dead for b in backlogs)),
        )
        with untraced():
            await self._store.save_run(done)
        report_run(done)
        for unforeseen in filter(None, served):  # a defect of ours: told by the host, after the others' work
            raise unforeseen
        return done

    async def _serve(self, workspace: WorkspaceId, run: _Run) -> None:
        """Do all of one workspace's work; its failure is counted and told, and stays its own."""
        with about(workspace=workspace.key):
            try:
                await self._try_due(workspace, {}, run)
                with untraced():
                    found = await self._discover(workspace, run)
                await self._try_due(workspace, found, run)
                if run.is_first_of_the_day:
                    with untraced():
                        await self._remove_old(workspace, run)
            except (UpstreamError, StoreUnavailable) as error:
                run.failed_workspaces += 1
                event(
                    "reconcile.workspace-failed",
                    level=logging.ERROR,
                    error=str(error),
                    advice=error.advice if isinstance(error, UpstreamError) else None,
                )

    async def _try_due(self, workspace: WorkspaceId, found: dict[str, Incident], run: _Run) -> None:
        """Try the due links in turn; one that was just found needs no second look at its incident."""
        with untraced():
            due = await self._store.due(workspace, now=self._clock(), limit=_DUE_PER_WORKSPACE)
        for link in due:
            if run.outages.affect(link):
                continue
            async with self._pace.turn(workspace.subscription_id, until=run.until) as has_room:
                if not has_room:
                    return
                async with run.places:
                    await self._try(link, found.get(link.incident_id.key), run)

    async def _try(self, link: Link, incident: Incident | None, run: _Run) -> None:
        run.tried += 1
        delivery = Delivery(incident_id=link.incident_id, incident=incident)
        try:
            outcome = await self._linking.link(delivery, trigger="timer", known=link)
        except StoreUnavailable as error:
            event(
                "reconcile.link-failed", level=logging.ERROR, incident=link.incident_id.key, error=str(error)
            )
            return
        run.outages.note(outcome.link)
        run.linked += outcome.link.state is LinkState.LINKED and not outcome.already_linked

    async def _discover(self, workspace: WorkspaceId, run: _Run) -> dict[str, Incident]:
        """Put every incident that is not in the store there; return those that are to be linked."""
        since = await self._sees_since(workspace)
        found: dict[str, Incident] = {}
        if run.is_over():
            return found
        async for page in self._sentinel.list_incidents(workspace, since=since, until=run.until):
            known = await self._store.known([incident.id for incident in page])
            for incident in page:
                if incident.id.key not in known and await self._record(incident):
                    found[incident.id.key] = incident
                    run.discovered += 1
            created = [incident.created_at for incident in page if incident.created_at]
            if created:  # everything on this page is in the store now
                await self._store.move_watermark(workspace, max(created))
            if run.is_over():
                break
        return found

    async def _sees_since(self, workspace: WorkspaceId) -> datetime:
        """Return from which creation time on discovery looks at incidents.

        The first time sets the watermark: else an outage from then on would move the start with the clock.
        """
        watermark = await self._store.watermark(workspace)
        if watermark is None:
            watermark = self._clock() - self._lookback + OVERLAP
            await self._store.move_watermark(workspace, watermark)
        return watermark - OVERLAP

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

        A record is younger than its incident, up to the difference of clocks, for which `OVERLAP` is ample.
        """
        unseen = await self._sees_since(workspace) - OVERLAP
        before = min(self._clock() - self._retention, unseen)
        batch: list[Link] | None = None
        while not run.is_over() and (batch is None or len(batch) == _REMOVED_AT_ONCE):
            batch = await self._store.expired(workspace, before=before, limit=_REMOVED_AT_ONCE)
            for link in batch:
                with suppress(StaleLink):  # a delivery has just used it
                    await self._store.delete(link)
                    run.removed += 1
