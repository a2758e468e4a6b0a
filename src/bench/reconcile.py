"""The timer's work over many incidents and many workspaces, beside the same requests alone."""

from functools import partial
from typing import Any, Final
from uuid import uuid4

from bench.children import Child
from bench.figures import Figure, in_turn
from bench.lab import Lab

CPU_TARGET: Final = 2.0
GROWTH_TARGET_MB: Final = 40.0
MS: Final = 1000.0


async def reconcile(lab: Lab, *, incidents: int, rounds: int) -> list[Figure]:
    """Run over so many linked incidents of one workspace; fresh processes, so that the peak is this one's."""
    app, floor = await _measure(lab, incidents=incidents, rounds=rounds)
    name = f"reconcile, {incidents:,} linked incidents"
    return [
        Figure(f"{name}, CPU", "ms", _of(app, "cpu", MS), _of(floor, "cpu", MS), CPU_TARGET),
        Figure(f"{name}, time", "ms", _of(app, "wall", MS), _of(floor, "wall", MS)),
        Figure(f"{name}, peak memory", "MB", _of(app, "peak")[-1:], _of(floor, "peak")[-1:]),
    ]


async def growth(lab: Lab, *, few: int, many: int) -> list[Figure]:
    """Return by how much the peak of the memory grows from few incidents to many."""
    peaks = [max(_of((await _measure(lab, incidents=count, rounds=2))[0], "peak")) for count in (few, many)]
    name = f"reconcile, growth of the peak memory from {few:,} to {many:,} incidents"
    return [Figure(name, "MB", (max(0.0, peaks[1] - peaks[0]),), target=GROWTH_TARGET_MB)]


async def many_workspaces(lab: Lab, *, workspaces: int, rounds: int) -> list[Figure]:
    """Run over so many workspaces in which nothing is new."""
    await lab.upstream.ask("workspaces", count=workspaces)
    app, floor = await _measure(lab, incidents=0, rounds=rounds)
    name = f"reconcile, {workspaces} workspaces without news"
    return [
        Figure(f"{name}, CPU", "ms", _of(app, "cpu", MS), _of(floor, "cpu", MS)),
        Figure(f"{name}, time", "ms", _of(app, "wall", MS), _of(floor, "wall", MS)),
    ]


async def _measure(lab: Lab, *, incidents: int, rounds: int) -> tuple[list[Any], list[Any]]:
    await lab.upstream.ask("latency", seconds=0)
    listed = await lab.upstream.ask("listed", count=incidents)
    environment = await lab.environment(store=f"reconcile-{uuid4().hex}")
    async with Child.start("bench.reconcilers", "app", environment=environment) as filler:
        await filler.ask("fill", incidents=listed)
    results: tuple[list[Any], list[Any]] = ([], [])
    async with (
        Child.start("bench.reconcilers", "app", environment=environment) as app,
        Child.start("bench.reconcilers", "floor", environment=environment) as floor,
    ):
        for number in range(rounds + 1):  # the first is cold
            lab.say(f"reconcile, {incidents:,} incidents: round {number} of {rounds}")
            ran = await in_turn(number, partial(app.ask, "run"), partial(floor.ask, "run"))
            for found, result in zip(results, ran, strict=True):
                found.append(result)
    return results[0][1:], results[1][1:]


def _of(results: list[Any], what: str, factor: float = 1.0) -> tuple[float, ...]:
    return tuple(result[what] * factor for result in results)
