"""The timer's work: links that are due, incidents that have changed; once a day, every record.

Workspaces run side by side. What fails, foreseen or not, stops only itself: a try, an incident, a step of one
workspace. What the time of a run does not suffice for stays due, oldest first, for the next.
"""

import asyncio
from collections.abc import Iterable
from typing import Final

from contraforce_sentinel.azure.pacing import PUTS, Pace
from contraforce_sentinel.domain.customers import Customer
from contraforce_sentinel.domain.incidents import Delivery, Incident, WorkspaceId
from contraforce_sentinel.domain.links import Clock, Link
from contraforce_sentinel.domain.records import LinkState
from contraforce_sentinel.domain.runs import Backlog, TimerRun
from contraforce_sentinel.stores.link_store import LinkStore
from contraforce_sentinel.telemetry.events import about, untraced
from contraforce_sentinel.telemetry.reports import report_link_failure, report_run
from contraforce_sentinel.use_cases.following import Following
from contraforce_sentinel.use_cases.linking import TicketLinking
from contraforce_sentinel.use_cases.retention import Retention
from contraforce_sentinel.use_cases.run import Run

RUN_SECONDS: Final = 240.0
"""A run stops itself well before the host does (host.json: 5 minutes)."""

DUE_PER_WORKSPACE: Final = 4 * PUTS


class Reconciler:
    """Finishes what deliveries began or never told of; `run` is the whole of it."""

    def __init__(
        self,
        *,
        customers: Iterable[Customer],
        linking: TicketLinking,
        following: Following,
        retention: Retention,
        store: LinkStore,
        pace: Pace,
        clock: Clock,
    ) -> None:
        self._customers = tuple(customers)
        self._linking = linking
        self._following = following
        self._retention = retention
        self._store = store
        self._pace = pace
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
        run = Run(
            started_at=now,
            until=asyncio.get_running_loop().time() + RUN_SECONDS,
            is_first_of_the_day=last is None or last.started_at.date() != now.date(),
            told=self._told,
        )
        backlogs = await asyncio.gather(*(self._serve(customer, run) for customer in self._customers))
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
            left_to_backfill=len(run.left_to_backfill),
            backlog=Backlog(oldest_due_at=min(dues, default=None), dead=sum(b.dead for b in backlogs)),
        )
        with untraced():
            await self._store.save_run(done)
        report_run(done)
        return done

    async def _serve(self, customer: Customer, run: Run) -> Backlog:
        """Do all of one workspace's work, and return what it left; a step that fails stops no other step."""
        workspace = customer.workspace
        backlog = Backlog()
        with about(workspace=workspace.key):
            with run.apart(workspace):
                await self._try_due(workspace, run)
            with run.apart(workspace), untraced():
                await self._following.follow(customer, run)
            with run.apart(workspace), untraced():
                await self._following.look_again(customer, run)
            if run.found[workspace.key]:
                with run.apart(workspace):
                    await self._try_due(workspace, run)
            if run.is_first_of_the_day:
                with run.apart(workspace), untraced():
                    await self._retention.remove_old(workspace, run)
            with run.apart(workspace), untraced():
                await self._repair(workspace, run)
            with run.apart(workspace), untraced():
                backlog = await self._store.backlog(workspace)
        return backlog

    async def _try_due(self, workspace: WorkspaceId, run: Run) -> None:
        """Try the due links in turn; one that was just found needs no second look at its incident."""
        with untraced():
            due = await self._store.due(workspace, now=self._clock(), limit=DUE_PER_WORKSPACE)
        for incident in due.unreadable:
            run.note_unreadable(incident)
        for link in due.links:
            if run.outages.affect(workspace, has_ticket=link.ticket is not None):
                continue
            async with self._pace.turn(workspace.subscription_id, until=run.until) as has_room:
                if not has_room:
                    return
                async with run.places:
                    if run.is_over():  # others had the places until now
                        return
                    await self._try(link, run.found[workspace.key].get(link.incident_id.key), run)

    async def _try(self, link: Link, incident: Incident | None, run: Run) -> None:
        run.tried += 1
        delivery = Delivery(incident_id=link.incident_id, incident=incident, is_confirmed=True)
        try:
            outcome = await self._linking.link(delivery, trigger="timer", known=link)
        except Exception as error:  # noqa: BLE001 - it is this incident's alone
            report_link_failure(link.incident_id, error)
            return
        run.outages.note(outcome.link)
        run.linked += outcome.link.state is LinkState.LINKED and not outcome.already_linked

    async def _repair(self, workspace: WorkspaceId, run: Run) -> None:
        """Once a day, let the store look at every record; the next run goes on where the time ends."""
        if run.is_first_of_the_day:
            self._unrepaired[workspace.key] = ""
        while (after := self._unrepaired.get(workspace.key)) is not None and not run.is_over():
            self._unrepaired[workspace.key] = await self._store.repair(workspace, after=after)
