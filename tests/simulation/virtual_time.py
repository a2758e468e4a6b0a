"""An event loop whose clock jumps to the next thing to do: no wait takes any real time, nothing does I/O.

Work that was frozen, as that of a paused virtual machine, does not know it by this clock: for it, and for
what it has started, time stood still.
"""

import asyncio
import gc
import heapq
import random
from collections.abc import Awaitable, Callable
from contextvars import Context, ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final

EPOCH: Final = datetime(2026, 3, 2, 8, tzinfo=UTC)
"""The time of day at which every simulation starts."""


@dataclass(slots=True, eq=False)
class Work:
    """What freezes together: for how long it was frozen so far, and the timers it has set.

    It began at `since`. `failed` are the keys of the workspaces and incidents whose failure it told.
    """

    is_timer: bool = False
    since: float = 0.0
    frozen_seconds: float = 0.0
    timers: list[asyncio.TimerHandle] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)


WORK: Final[ContextVar[Work | None]] = ContextVar("work", default=None)


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

    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self._selector = _Jump(self)

    def time(self) -> float:
        work = WORK.get()
        return self.now if work is None else self.now - work.frozen_seconds

    def call_at[*Ts](
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        work = WORK.get()
        if work is None:
            return super().call_at(when, callback, *args, context=context)
        timer = super().call_at(when + work.frozen_seconds, callback, *args, context=context)
        work.timers = [one for one in work.timers if not one.cancelled() and one.when() > self.now]
        work.timers.append(timer)
        return timer

    def call_outside[*Ts](self, delay: float, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        """Call it after a delay, whatever becomes of the work that asks for it."""
        super().call_at(self.now + delay, callback, *args)

    async def freeze(self, seconds: float) -> None:
        """Let the caller's work stand still for a while, and its timers with it."""
        work = WORK.get()
        if work is None:
            return
        for timer in work.timers:
            timer._when += seconds  # type: ignore[attr-defined] # what a heap of timers is made of
        heapq.heapify(self._scheduled)
        work.frozen_seconds += seconds
        thawed = self.create_future()
        self.call_outside(seconds, thawed.set_result, None)
        await thawed

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
