"""The documented floor of Sentinel's rate limits, as a sliding window per subscription.

https://learn.microsoft.com/azure/sentinel/sentinel-service-limits
"""

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

Metered = Literal["comment PUT", "comment GET"]

COMMENT_PUTS: Final = 75
COMMENT_GETS: Final = 100
WINDOW_SECONDS: Final = 300.0


@dataclass(slots=True)
class SentinelLimits:
    """How many comment calls one subscription may make in any window of this length."""

    comment_puts: int = COMMENT_PUTS
    comment_gets: int = COMMENT_GETS
    window_seconds: float = WINDOW_SECONDS
    clock: Callable[[], float] = time.monotonic
    _calls: dict[tuple[str, Metered], deque[float]] = field(default_factory=dict)

    def take(self, subscription: str, what: Metered) -> int:
        """Count a call; return 0, or for a call over the limit the whole seconds to wait, at least 1."""
        limit = self.comment_puts if what == "comment PUT" else self.comment_gets
        calls = self._calls.setdefault((subscription.lower(), what), deque())
        now = self.clock()
        while calls and calls[0] <= now - self.window_seconds:
            calls.popleft()
        if len(calls) >= limit:
            return max(1, math.ceil(calls[0] + self.window_seconds - now)) if calls else 1
        calls.append(now)
        return 0
