"""Links incidents for an operator: one at once, or many at the pace that Sentinel allows.

An incident that is begun is finished, also after Ctrl-C. What another worker holds, or what a service has no
room for yet, is tried again at the end.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from contraforce_sentinel.bootstrap import App
from contraforce_sentinel.domain.errors import RecordUnreadable, StoreUnavailable, in_our_words
from contraforce_sentinel.domain.incidents import Delivery
from contraforce_sentinel.domain.links import Link, Outcome
from contraforce_sentinel.domain.reasons import Reason
from contraforce_sentinel.domain.records import LinkState
from contraforce_sentinel.use_cases.outages import Outages
from operators_tool.exits import Exit

TRIGGER: Final = "operator"
_ROUNDS: Final = 3
_LONGEST_WAIT_SECONDS: Final = 360.0
"""A lease of a worker that died, or a window of Sentinel's limit, and a little: not worth another command."""

_AFTER_SECONDS: Final = 0.1


@dataclass(slots=True)
class Tally:
    """What became of the incidents: a count per state and reason. `stopped` says why work ended early."""

    counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    stopped: str | None = None

    def add(self, state: str, reason: str | None) -> None:
        """Count one incident."""
        self.counts[state, reason or ""] += 1

    def of(self, state: str) -> int:
        """How many ended in a state."""
        return sum(count for (found, _), count in self.counts.items() if found == state)

    @property
    def exit(self) -> Exit:
        """The exit code that says it all."""
        if self.of(LinkState.DEAD) or self.of("refused"):
            return Exit.LOOK
        waiting = self.of(LinkState.PENDING) + self.of(LinkState.TICKETED)
        return Exit.WAITING if waiting or self.stopped else Exit.DONE


async def link_whole(app: App, delivery: Delivery, *, known: Link | None = None) -> Outcome:
    """Link one incident; when cancelled, finish it first. Raises as `TicketLinking.link`."""
    work = asyncio.ensure_future(app.linking.link(delivery, trigger=TRIGGER, known=known))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await asyncio.wait([work])
        work.exception()  # seen: the record says more than it
        raise


async def revive(app: App, link: Link) -> Link:
    """Bring a dead link back, if it is still dead. Raises `StaleLink` if another worker has changed it."""
    if link.state is not LinkState.DEAD:
        return link
    return await app.store.replace(link.revived(now=datetime.now(UTC)))


async def link_all(
    app: App, deliveries: Iterable[Delivery], tally: Tally, *, advance: Callable[[], None]
) -> None:
    """Link many, in their order, counting each in `tally`; `advance` is called after each that is settled.

    Where an upstream fails three times in a row, the rest of that workspace is left out: it is in Sentinel
    still, for another run.
    """
    outages = Outages()
    todo = list(deliveries)
    for _ in range(_ROUNDS):
        again: list[Delivery] = []
        for delivery in todo:
            workspace = delivery.incident_id.workspace
            if outages.affect(workspace, has_ticket=False):
                continue
            async with app.pace.turn(workspace.subscription_id, until=math.inf):
                link = await _link(app, delivery, tally)
            if link is not None and (wait := _seconds_to_wait(link)) is not None:
                again.append(delivery)
                if not link.is_busy(datetime.now(UTC)):  # the service asks all callers to wait
                    await asyncio.sleep(wait)
                continue
            advance()
            if link is None:
                continue
            tally.add(link.state, link.reason)
            outages.note(link)
            if outages.affect(workspace, has_ticket=False):
                told = f"{link.reason} in {workspace.name}, three times in a row"
                tally.stopped = f"{tally.stopped}; {told}" if tally.stopped else told
        if not again:
            return
        todo = await _when_free(app, again)
    for _ in todo:
        advance()
        tally.add(LinkState.PENDING, Reason.IN_PROGRESS)


async def _when_free(app: App, deliveries: list[Delivery]) -> list[Delivery]:
    """Wait until no other worker holds the links any more."""
    links = []
    for delivery in deliveries:
        with suppress(RecordUnreadable):  # told when it is tried
            links.append(await app.store.get(delivery.incident_id))
    waits = [_seconds_to_wait(link) or 0.0 for link in links if link is not None]
    await asyncio.sleep(max(waits, default=0.0))
    return deliveries


async def _link(app: App, delivery: Delivery, tally: Tally) -> Link | None:
    """Link one; None if it was refused, which is counted."""
    try:
        return (await link_whole(app, delivery)).link
    except asyncio.CancelledError:
        settled = await app.store.get(delivery.incident_id)
        if settled is not None:
            tally.add(settled.state, settled.reason)
        raise
    except StoreUnavailable:
        raise
    except Exception as error:  # noqa: BLE001 - it is this incident's alone
        tally.add("refused", in_our_words(error))
        return None


def _seconds_to_wait(link: Link) -> float | None:
    """Until a link that is not settled may be tried again, if that is soon and it needs nothing else."""
    now = datetime.now(UTC)
    at = link.lease.until if link.lease is not None and link.is_busy(now) else link.not_before
    if at is None or link.state not in {LinkState.PENDING, LinkState.TICKETED}:
        return None
    wait = (at - now).total_seconds() + _AFTER_SECONDS
    return max(wait, 0.0) if wait <= _LONGEST_WAIT_SECONDS else None
