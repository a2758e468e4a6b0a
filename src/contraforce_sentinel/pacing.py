"""Keeps the timer within Sentinel's documented floor for comment PUTs, per subscription.

75 in 5 minutes: https://learn.microsoft.com/azure/sentinel/sentinel-service-limits. Deliveries over HTTP are
counted, because they spend from the same budget, but never held back.
"""

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from contraforce_sentinel.telemetry import measure

PUTS: Final = 75
WINDOW_SECONDS: Final = 300.0
_MARGIN: Final = 1.01
"""A window a little longer than the service's, because requests arrive later than they are sent."""


class Pace:
    """The comment PUTs of this process within the last window, by subscription."""

    def __init__(self, *, window_seconds: float = WINDOW_SECONDS) -> None:
        self._window_seconds = window_seconds * _MARGIN
        self._sent: dict[str, deque[float]] = defaultdict(deque)
        self._turns: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def note(self, subscription_id: str) -> None:
        """A comment PUT goes out now."""
        self._sent[subscription_id].append(asyncio.get_running_loop().time())

    def seconds_for(self, puts: int) -> float:
        """Return how long so many PUTs of one subscription wait for their turns, all together."""
        return max(puts - 1, 0) // PUTS * self._window_seconds

    @asynccontextmanager
    async def turn(self, subscription_id: str, *, until: float) -> AsyncIterator[bool]:
        """Wait for the one turn of a subscription, and until it has room for a PUT.

        Gives False, without more waiting, if that would be after `until` on the loop's clock.
        """
        loop = asyncio.get_running_loop()
        async with self._turns[subscription_id]:
            free_at = self._free_at(subscription_id, loop.time())
            if max(free_at, loop.time()) >= until:
                yield False
                return
            wait_seconds = free_at - loop.time()
            if wait_seconds > 0:
                measure("pace.wait", wait_seconds * 1000, subscription=subscription_id)
            await asyncio.sleep(wait_seconds)
            yield True

    def _free_at(self, subscription_id: str, now: float) -> float:
        sent = self._sent[subscription_id]
        while sent and sent[0] <= now - self._window_seconds:
            sent.popleft()
        return now if len(sent) < PUTS else sent[len(sent) - PUTS] + self._window_seconds
