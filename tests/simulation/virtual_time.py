"""An event loop whose clock jumps to the next thing to do: no wait takes any real time, nothing does I/O."""

import asyncio
import gc
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

EPOCH: Final = datetime(2026, 3, 2, 8, tzinfo=UTC)
"""The time of day at which every simulation starts."""


class _Jump:
    """The loop's "selector": waiting means moving the clock."""

    def __init__(self, loop: "VirtualTimeLoop") -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("every task waits for something that never comes")
        self._loop.now += timeout
        return []

    def close(self) -> None:
        pass


class VirtualTimeLoop(asyncio.BaseEventLoop):
    """`now` is the loop's clock in seconds since the start of the simulation."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._selector = _Jump(self)

    def time(self) -> float:
        return self.now

    def _process_events(self, event_list: list[Any]) -> None:
        """There are no file descriptors, so no events."""

    def _write_to_self(self) -> None:
        """Nobody sleeps in a system call, so nobody is to be woken."""


def run[T](main: Callable[[VirtualTimeLoop], Awaitable[T]], *, seed: int) -> T:
    """Run a simulation on a loop of its own; the app's own dice (jitter) are seeded, too."""
    state = random.getstate()
    random.seed(seed)
    collecting = gc.isenabled()
    gc.disable()  # collections would come at moments that depend on what ran before
    loop = VirtualTimeLoop()
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            return runner.run(_awaited(main(loop)))
    finally:
        random.setstate(state)
        if collecting:
            gc.enable()


async def _awaited[T](awaitable: Awaitable[T]) -> T:
    return await awaitable


def wall(seconds: float) -> datetime:
    """Return the time of day at a moment of the simulation."""
    return EPOCH + timedelta(seconds=seconds)


def seconds_of(moment: datetime) -> float:
    """Return the moment of the simulation at a time of day."""
    return (moment - EPOCH).total_seconds()
