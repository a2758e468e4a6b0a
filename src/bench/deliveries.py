"""Warm deliveries, one at a time and a hundred at once, beside the barest client."""

from functools import partial
from typing import Any, Final

from bench.children import Child, ChildFailed
from bench.figures import Figure, in_turn, percentile
from bench.lab import Lab

P50_TARGETS: Final = {50: 1.10, 200: 1.05}
P99_TARGET: Final = 1.5
CPU_TARGET: Final = 4.0
BURST_TARGET: Final = 1 / 0.85
TRIES: Final = 3
MS: Final = 1000.0


async def warm(lab: Lab, *, store: str, kind: str, latency_ms: int, rounds: int, count: int) -> list[Figure]:
    """Deliver one at a time, the app's rounds and the floor's in turn."""
    clients = await lab.clients(store)
    await lab.upstream.ask("latency", seconds=latency_ms / MS)
    results = []
    for number in range(rounds):
        lab.say(f"warm, {kind}, {latency_ms} ms: round {number + 1} of {rounds}")
        results.append(await _in_turn(lab, clients, number, count, at_once=False))
    app, floor = zip(*results, strict=True)
    name = f"warm delivery, {kind}, {latency_ms} ms upstream"
    return [
        Figure(
            f"{name}, p50", "ms", _percentiles(app, 50), _percentiles(floor, 50), P50_TARGETS.get(latency_ms)
        ),
        Figure(f"{name}, p99", "ms", (_pooled(app),), (_pooled(floor),), P99_TARGET if latency_ms else None),
        Figure(f"{name}, CPU", "ms", _of(app, "cpu"), _of(floor, "cpu"), CPU_TARGET),
    ]


async def burst(lab: Lab, *, store: str, kind: str, latency_ms: int, rounds: int, count: int) -> list[Figure]:
    """Deliver all at once. Raises `ChildFailed` where a ticket or a comment was doubled or is missing."""
    clients = await lab.clients(store)
    await lab.upstream.ask("latency", seconds=latency_ms / MS)
    results = []
    for number in range(rounds):
        lab.say(f"burst, {kind}, {latency_ms} ms: round {number + 1} of {rounds}")
        results.append(await _in_turn(lab, clients, number, count, at_once=True))
    app, floor = zip(*results, strict=True)
    name = f"{count:,} deliveries at once, {kind}, {latency_ms} ms upstream"
    return [
        Figure(f"{name}, all answered", "ms", _of(app, "wall"), _of(floor, "wall"), BURST_TARGET),
        Figure(f"{name}, CPU each", "ms", _of(app, "cpu"), _of(floor, "cpu")),
    ]


async def shares(lab: Lab, *, store: str, count: int) -> dict[str, float]:
    """Return which part of a burst's time on the CPU each package has, by the profiler."""
    app, _ = await lab.clients(store)
    await lab.upstream.ask("latency", seconds=0)
    lab.say("profile of a burst")
    found: dict[str, float] = await app.ask("profile", bodies=await lab.bodies(count))
    return found


async def _in_turn(
    lab: Lab, clients: tuple[Child, Child], number: int, count: int, *, at_once: bool
) -> list[Any]:
    deliveries = (partial(_deliver, lab, client, count, at_once=at_once) for client in clients)
    return await in_turn(number, *deliveries)


async def _deliver(lab: Lab, client: Child, count: int, *, at_once: bool) -> Any:
    """Return the measures of a round in which every delivery was linked at once; nothing may be doubled."""
    for _ in range(TRIES):
        answer = await client.ask("deliver", bodies=await lab.bodies(count), at_once=at_once)
        told = await lab.upstream.ask("forget")
        if told["doubled"] or told["commented"] < count - answer["late"]:
            raise ChildFailed(f"of {count} incidents: {told}")
        if not answer["late"]:
            return answer
    raise ChildFailed("this machine is too busy: deliveries were left to the timer")


def _of(results: tuple[Any, ...], what: str) -> tuple[float, ...]:
    return tuple(result[what] * MS for result in results)


def _percentiles(results: tuple[Any, ...], percent: int) -> tuple[float, ...]:
    return tuple(percentile(result["seconds"], percent) * MS for result in results)


def _pooled(results: tuple[Any, ...]) -> float:
    return percentile((second for result in results for second in result["seconds"]), 99) * MS
