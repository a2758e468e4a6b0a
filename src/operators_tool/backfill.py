"""`backfill`: the open incidents of a workspace that have no link yet, as a plan with its duration."""

import asyncio
import math
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from contraforce_sentinel.azure.sentinel import CREATED
from contraforce_sentinel.bootstrap import App
from contraforce_sentinel.domain.customers import Customer
from contraforce_sentinel.domain.errors import RecordUnreadable
from contraforce_sentinel.domain.incidents import Delivery, Incident, WorkspaceId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.records import LinkState
from contraforce_sentinel.domain.runs import Feed
from contraforce_sentinel.telemetry.reports import report_unreadable
from contraforce_sentinel.use_cases.decision import Need, need, skip_reason
from contraforce_sentinel.use_cases.feed import incidents
from contraforce_sentinel.use_cases.following import SECOND_LOOK
from operators_tool.render import counts_content, duration, open_console, show_counts, show_json

SECONDS_A_LINK: Final = 1.0
"""What the estimate takes one link for: a call to ContraForce and one to Sentinel. Not a measurement."""

_READS_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Choice:
    """Which incidents are meant: created in [since, until), and of these severities and states, if given."""

    since: datetime
    until: datetime
    severities: Collection[str] = ()
    statuses: Collection[str] = ()

    def is_within(self, incident: Incident) -> bool:
        """Whether an incident was created in that time, as far as is known."""
        created = incident.created_at
        return created is None or self.since <= created < self.until

    def takes(self, incident: Incident) -> bool:
        """Whether an incident is one of them."""
        return (
            self.is_within(incident)
            and (not self.severities or incident.severity in self.severities)
            and (not self.statuses or incident.status in self.statuses)
        )


@dataclass(slots=True)
class Plan:
    """What a run has to do: `todo` in the order of creation; the rest counted by why nothing is done.

    `of_the_timer` of them the timer takes up, too; `left_out` are those that options leave out.
    """

    todo: list[Delivery] = field(default_factory=list)
    settled: Counter[tuple[str, str]] = field(default_factory=Counter)
    of_the_timer: int = 0
    left_out: int = 0

    def seconds(self, app: App) -> float:
        """About how long `todo` takes: Sentinel's limit, or a second for each link, whichever is longer."""
        return max(app.pace.seconds_for(len(self.todo)), len(self.todo) * SECONDS_A_LINK)


async def make_plan(app: App, workspace: WorkspaceId, choice: Choice) -> Plan:
    """Look through Sentinel and the store; writes nothing. Raises `UpstreamError` or `StoreUnavailable`."""
    plan, seen = Plan(), set[str]()
    exists = await app.store.exists()
    customer = app.workspaces.require(workspace)
    feed = await app.store.feed(workspace) if exists else None
    answers = incidents(
        app.sentinel,
        workspace,
        by=CREATED,
        since=choice.since,
        up_to=choice.until,
        until=math.inf,
        places=asyncio.Semaphore(),
    )
    async for rows in answers:
        listed = [row.incident for row in rows if row.incident is not None]
        within = [one for one in listed if choice.is_within(one) and one.id.key not in seen]
        seen |= {incident.id.key for incident in within}
        taken = [one for one in within if choice.takes(one)]
        plan.left_out += len(within) - len(taken)
        for incident, record in zip(taken, await _records(app, taken, exists=exists), strict=True):
            if isinstance(record, RecordUnreadable):
                plan.settled["refused", "the record cannot be read"] += 1
            elif record is not None and record.state in {LinkState.LINKED, LinkState.DEAD}:
                plan.settled[record.state, "before this run"] += 1
            elif need(incident, record, customer) is Need.SKIP or _stays_skipped(incident, record, customer):
                plan.settled[LinkState.SKIPPED, skip_reason(incident, customer) or ""] += 1
            else:
                plan.todo.append(Delivery(incident.id, incident, is_confirmed=True))
                plan.of_the_timer += _is_of_the_timer(incident, record, feed)
    return plan


def _is_of_the_timer(incident: Incident, record: Link | None, feed: Feed | None) -> bool:
    """Whether the timer takes an incident up without anybody's doing, at the latest with its daily look."""
    if record is not None and record.state is not LinkState.SKIPPED:
        return True
    if feed is None or feed.watermark is None or feed.follows_from is None or incident.changed_at is None:
        return False
    is_followed = record is not None or (incident.created_at or incident.changed_at) >= feed.follows_from
    return is_followed and incident.changed_at >= feed.watermark - SECOND_LOOK


def _stays_skipped(incident: Incident, record: Link | None, customer: Customer) -> bool:
    is_skipped = record is not None and record.state is LinkState.SKIPPED
    return is_skipped and need(incident, record, customer) is not Need.BRING_BACK


async def _records(
    app: App, incidents: list[Incident], *, exists: bool
) -> list[Link | RecordUnreadable | None]:
    """Return the records of incidents, None for those without one."""
    places = asyncio.Semaphore(_READS_AT_ONCE)

    async def record(incident: Incident) -> Link | RecordUnreadable | None:
        async with places:
            try:
                return await app.store.get(incident.id)
            except RecordUnreadable as error:
                report_unreadable(incident.id.key)
                return error

    return list(await asyncio.gather(*map(record, incidents))) if exists else [None] * len(incidents)


def show_plan(app: App, plan: Plan, *, as_json: bool) -> None:
    """Say what a run would do, what it would leave, and how long it would take."""
    seconds = plan.seconds(app)
    counts = Counter(plan.settled)
    counts["to link", ""] = len(plan.todo)
    if as_json:
        outcomes = counts_content(counts)
        show_json(
            {
                "dryRun": True,
                "outcomes": outcomes,
                "toLink": len(plan.todo),
                "timerTakesUp": plan.of_the_timer,
                "leftOut": plan.left_out,
                "estimatedSeconds": seconds,
            }
        )
        return
    console = open_console()
    show_counts(console, counts)
    for told in _split(plan):
        console.print(told, soft_wrap=True)
    why = "Sentinel's limit on comments" if app.pace.seconds_for(len(plan.todo)) else "at a second each"
    told = f"A run will take about {duration(seconds)}: {why}." if plan.todo else "There is nothing to do."
    console.print(f"Nothing was written. {told}")


def _split(plan: Plan) -> Iterator[str]:
    """Say what is the timer's, what only this command does, and what stays as it is."""
    if plan.todo:
        alone = len(plan.todo) - plan.of_the_timer
        yield (
            f"Of the {len(plan.todo)} to link, {plan.of_the_timer} are the timer's, too, within a day;"
            f" {alone} are left to a run of this command."
        )
    if plan.settled:
        yield "A run leaves the rest as it is."
    if any(state == LinkState.DEAD for state, _ in plan.settled):
        yield "What is dead, replay brings back."
    if plan.left_out:
        yield f"Left out because of --severity or --status: {plan.left_out}."
