"""What happens in worlds that last for days: records grow old, are removed, and their incidents change again.

The timer runs seldom there, so that days cost little. The dice are their own.
"""

from dataclasses import dataclass, field
from random import Random
from typing import Final

from changes import WHAT, Change, Restart
from faultplan import HOUR
from truth import World

DAYS_SHARE: Final = 0.06


@dataclass(slots=True)
class Days:
    """All of it."""

    end: float
    timer_seconds: float
    changes: list[Change] = field(default_factory=list)
    restarts: list[Restart] = field(default_factory=list)


def draw_days(world: World, *, retention_days: int) -> Days:
    """Draw it. A run soon after 40 h and one soon after 64 h are the first of their days."""
    rng = Random(f"what days bring {world.seed}")  # noqa: S311
    end = rng.uniform(66, 72) * HOUR
    days = Days(end, rng.choice((2.5, 3.0, 4.0)) * HOUR)
    _beat(rng, world, days)
    for case in world.cases.values():
        if rng.random() < 0.4:
            days.changes.append(Change(rng.uniform(1, 24) * HOUR, case, rng.choice(WHAT)))
        for _ in range(rng.choice((0, 1, 1, 2))):
            days.changes.append(Change(rng.uniform(41 * HOUR, end), case, rng.choice(WHAT)))
    days.changes.sort(key=lambda change: change.at)
    retention = rng.choice((1, 1, 90)) if retention_days == 90 else 1
    if retention != retention_days:
        days.restarts.append(Restart(rng.uniform(3, 38) * HOUR, retention))
    if rng.random() < 0.3:
        gone = frozenset({rng.choice(world.workspaces).arm_id.lower()})
        days.restarts.append(Restart(rng.uniform(39, 45) * HOUR, retention, gone))
        days.restarts.append(Restart(rng.uniform(46, 60) * HOUR, rng.choice((retention, 90))))
    elif rng.random() < 0.3:
        days.restarts.append(Restart(rng.uniform(41, 60) * HOUR, 91 - retention))
    return days


def _beat(rng: Random, world: World, days: Days) -> None:
    """Let something be changed in each workspace every few hours: retention counts from what was seen."""
    for workspace in world.workspaces:
        cases = [case for case in world.cases.values() if case.workspace is workspace]
        at = 0.0
        while cases and (at := at + rng.uniform(4, 8) * HOUR) < days.end:
            days.changes.append(Change(at, cases[0], "touch"))
