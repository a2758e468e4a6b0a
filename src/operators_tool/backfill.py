"""`backfill`: the open incidents of a workspace that have no link yet, as a plan with its duration."""

import asyncio
import math
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from contraforce_sentinel.bootstrap import App
from contraforce_sentinel.domain.errors import RecordUnreadable
from contraforce_sentinel.domain.incidents import Delivery, Incident, WorkspaceId, skip_reason
from contraforce_sentinel.domain.links import LinkState
from contraforce_sentinel.telemetry.reports import report_unreadable
from operators_tool.render import counts_content, duration, open_console, show_counts, show_json

SECONDS_A_LINK: Final = 1.0
"""What the estimate takes one link for: a call to ContraForce and one to Sentinel. Not a measurement."""

_READS_AT_ONCE: Final = 16
_UNREADABLE: Final = "unreadable"


@dataclass(frozen=True, slots=True)
class Choice:
    """Which incidents are meant: created in [since, until), and of these severities and states, if given."""

    since: datetime
    until: datetime
    severities: Collection[str] = ()
    statuses: Collection[str] = ()

    def takes(self, incident: Incident) -> bool:
        """Whether an incident is one of them."""
        created = incident.created_at
        return (
            (created is None or self.since <= created < self.until)
            and (not self.severities or incident.severity in self.severities)
            and (not self.statuses or incident.status in self.statuses)
        )


@dataclass(slots=True)
class Plan:
    """What a run has to do: `todo` in the order of creation; the rest counted by why nothing is done."""

    todo: list[Delivery] = field(default_factory=list)
    settled: Counter[tuple[str, str]] = field(default_factory=Counter)

    def seconds(self, app: App) -> float:
        """About how long `todo` takes: Sentinel's limit, or a second for each link, whichever is longer."""
        return max(app.pace.seconds_for(len(self.todo)), len(self.todo) * SECONDS_A_LINK)


async def make_plan(app: App, workspace: WorkspaceId, choice: Choice) -> Plan:
    """Look through Sentinel and the store; writes nothing. Raises `UpstreamError` or `StoreUnavailable`."""
    plan = Plan()
    exists = await app.store.exists()
    async for page in app.sentinel.list_incidents(workspace, since=choice.since, until=math.inf):
        taken = [incident for incident in page if choice.takes(incident)]
        for incident, state in zip(taken, await _states(app, taken, exists=exists), strict=True):
            reason = skip_reason(incident, minimum=app.settings.minimum_severity)
            if state == _UNREADABLE:
                plan.settled["refused", "the record cannot be read"] += 1
            elif state in {LinkState.LINKED, LinkState.DEAD}:
                plan.settled[state, "before this run"] += 1
            elif reason is not None and state in {None, LinkState.SKIPPED}:
                plan.settled[LinkState.SKIPPED, reason] += 1
            else:
                plan.todo.append(Delivery(incident.id, incident, is_confirmed=True))
    return plan


async def _states(app: App, incidents: list[Incident], *, exists: bool) -> list[str | None]:
    """Return where the links of incidents stand, None for those without a record."""
    places = asyncio.Semaphore(_READS_AT_ONCE)

    async def state(incident: Incident) -> str | None:
        async with places:
            try:
                link = await app.store.get(incident.id)
            except RecordUnreadable:
                report_unreadable(incident.id.key)
                return _UNREADABLE
            return link.state if link else None

    return list(await asyncio.gather(*map(state, incidents))) if exists else [None] * len(incidents)


def show_plan(app: App, plan: Plan, *, as_json: bool) -> None:
    """Say what a run would do, and how long it would take."""
    seconds = plan.seconds(app)
    counts = Counter(plan.settled)
    counts["to link", ""] = len(plan.todo)
    if as_json:
        outcomes = counts_content(counts)
        show_json(
            {"dryRun": True, "outcomes": outcomes, "toLink": len(plan.todo), "estimatedSeconds": seconds}
        )
        return
    console = open_console()
    show_counts(console, counts)
    why = "Sentinel's limit on comments" if app.pace.seconds_for(len(plan.todo)) else "at a second each"
    told = f"A run will take about {duration(seconds)}: {why}." if plan.todo else "There is nothing to do."
    console.print(f"Nothing was written. {told}")
