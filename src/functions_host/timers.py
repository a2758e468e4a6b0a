"""Runs the timer functions in the background.

Mirrors the host: UTC, ``runOnStartup``, a run that takes longer than its interval delays the next one, a
failure is logged and the schedule goes on. Different here: runs that were missed while the host was down are
not made up for (``useMonitor`` is ignored), and a manual run waits for a running one instead of overlapping.
"""

import asyncio
import logging
from datetime import UTC, datetime

from functions_host.errors import InvocationFailed, ScheduleError
from functions_host.schedule import Schedule, read_schedule
from functions_host.worker import FunctionMetadata, Worker

# Waiting in short pieces keeps to the wall clock when the machine sleeps or its clock is set.
_LONGEST_WAIT_SECONDS = 30.0
_logger = logging.getLogger(__name__)


class Timers:
    """The timer functions of an app; construction raises ScheduleError for a schedule Azure would refuse."""

    def __init__(self, worker: Worker, *, scheduled: list[FunctionMetadata]) -> None:
        self._worker = worker
        self._schedules = {function.name: _schedule_of(function) for function in scheduled}
        self._locks = {function.name: asyncio.Lock() for function in worker.functions if function.is_timer}
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to follow the schedules."""
        for name, schedule in self._schedules.items():
            self._tasks.append(asyncio.create_task(self._follow(name, schedule), name=f"timer {name}"))

    async def stop(self, *, grace_seconds: float) -> None:
        """Start no more runs; wait for running ones and cancel those that outlast the grace."""
        self._stopping.set()
        await drain(self._tasks, grace_seconds=grace_seconds)

    async def run(self, name: str) -> None:
        """Run a timer function now, after a run that is under way; a failure is logged, not raised."""
        async with self._locks[name]:
            started = asyncio.get_running_loop().time()
            try:
                await self._worker.invoke_timer(name)
            except InvocationFailed as failure:
                log_failure(failure)
            else:
                took_ms = round((asyncio.get_running_loop().time() - started) * 1000)
                _logger.info("executed %s (succeeded)", name, extra={"duration_ms": took_ms})

    async def _follow(self, name: str, schedule: Schedule) -> None:
        if self._worker.function(name).run_on_startup:
            await self.run(name)
        due = datetime.now(UTC)
        while not self._stopping.is_set():
            # Not before the last due time: a wait may end a little early, and would run twice.
            due = schedule.next_after(max(datetime.now(UTC), due))
            if await self._is_reached(due):
                await self.run(name)

    async def _is_reached(self, due: datetime) -> bool:
        while (remaining := (due - datetime.now(UTC)).total_seconds()) > 0:
            try:
                await asyncio.wait_for(self._stopping.wait(), min(remaining, _LONGEST_WAIT_SECONDS))
            except TimeoutError:
                continue
            return False
        return not self._stopping.is_set()


async def drain(tasks: list[asyncio.Task[None]], *, grace_seconds: float) -> None:
    """Wait for tasks and cancel those that outlast the grace."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=grace_seconds)
    for task in late:
        _logger.warning("gave up waiting for %s", task.get_name())
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def log_failure(failure: InvocationFailed) -> None:
    """Log what a function raised, with the worker's stack trace."""
    _logger.error(
        "executed %s (failed): %s\n%s",
        failure.function_name,
        failure.message,
        failure.stack_trace.rstrip(),
        extra={"invocation_id": failure.invocation_id},
    )


def _schedule_of(function: FunctionMetadata) -> Schedule:
    try:
        schedule = read_schedule(function.timer_schedule or "")
    except ScheduleError as error:
        raise ScheduleError(f"function {function.name}: {error}") from error
    if schedule.interval is not None:
        _logger.warning("%s has a TimeSpan schedule: Consumption and Flex plans refuse those", function.name)
    return schedule
