"""Keeps the timer within Sentinel's documented floor for comment PUTs, per subscription.

75 in 5 minutes: https://learn.microsoft.com/azure/sentinel/sentinel-service-limits. Deliveries over HTTP are
counted, because they have the same budget, but never held back.
"""

import asyncio
import math
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from contraforce_sentinel.telemetry.events import measure

PUTS: Final = 75
WINDOW_SECONDS: Final = 300.0
_MARGIN: Final = 1.01
"""A window a little longer than the service's, because requests arrive later than they are sent."""


@dataclass(slots=True)
class _Budget:
    """Of one subscription: when PUTs were sent, how many are reserved, and who waits for the next."""

    sent: deque[float] = field(default_factory=deque)
    reserved: int = 0
    line: asyncio.Lock = field(default_factory=asyncio.Lock)
    given_back: asyncio.Event = field(default_factory=asyncio.Event)

    def forget(self, now: float, window_seconds: float) -> None:
        """Drop what the window has left behind."""
        while self.sent and self.sent[0] <= now - window_seconds:
            self.sent.popleft()

    def free_at(self, now: float, window_seconds: float, *, room: int) -> float:
        """When another PUT makes no more than `room` in a window."""
        self.forget(now, window_seconds)
        if room <= 0:
            return math.inf
        return now if len(self.sent) < room else self.sent[len(self.sent) - room] + window_seconds


class Pace:
    """The comment PUTs of this process within the last window, by subscription, in any letter case."""

    def __init__(self, *, window_seconds: float = WINDOW_SECONDS) -> None:
        self._window_seconds = window_seconds * _MARGIN
        self._budgets: dict[str, _Budget] = defaultdict(_Budget)

    def note(self, subscription_id: str) -> None:
        """A comment PUT goes out now; those before the window are forgotten, whether or not anybody waits."""
        budget, now = self._budgets[subscription_id.lower()], asyncio.get_running_loop().time()
        budget.forget(now, self._window_seconds)
        budget.sent.append(now)

    def seconds_for(self, puts: int) -> float:
        """Return how long so many PUTs of one subscription wait for their turns, all together."""
        return max(puts - 1, 0) // PUTS * self._window_seconds

    @asynccontextmanager
    async def turn(self, subscription_id: str, *, until: float) -> AsyncIterator[bool]:
        """Wait, in line, until the subscription has room for a PUT, and reserve it for the block inside.

        Blocks inside run side by side: one that hangs holds one PUT, and nobody in line. Gives False, without
        more waiting, if there would be room only after `until` on the loop's clock.
        """
        key = subscription_id.lower()
        budget = self._budgets[key]
        async with budget.line:
            has_room = await self._reserve(budget, key, until)
        try:
            yield has_room
        finally:
            if has_room:
                budget.reserved -= 1
                budget.given_back.set()

    async def _reserve(self, budget: _Budget, subscription_id: str, until: float) -> bool:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (now := loop.time()) < until:
            free_at = budget.free_at(now, self._window_seconds, room=PUTS - budget.reserved)
            if free_at <= now:
                if now > began:
                    measure("pace.wait", (now - began) * 1000, subscription=subscription_id)
                budget.reserved += 1
                return True
            if budget.free_at(now, self._window_seconds, room=PUTS) >= until:
                return False
            budget.given_back.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(min(until, free_at)):
                    await budget.given_back.wait()
        return False
