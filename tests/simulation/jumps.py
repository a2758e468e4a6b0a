"""Wall clocks that are wrong for a while: one instance's is set hours, or a year, from the others'.

Their dice are their own. While clocks differ so much, two workers may be at an incident at once, and nobody
honours what another's clock has written; everything else has to hold.
"""

from dataclasses import dataclass
from random import Random

from faultplan import HOUR
from truth import Case, World


@dataclass(frozen=True, slots=True)
class Jump:
    """The clock of one slot is wrong by so many seconds from a moment to another."""

    slot: int
    seconds: float
    start: float
    end: float


def draw_jump(world: World, *, until: float, slots: int, end: float) -> Jump | None:
    """Return what happens to a clock of this world; in most worlds nothing does.

    In a few the first look of the timer has a wrong clock, and retention in some that last for days.
    """
    dice = Random(f"first clocks {world.seed}")  # noqa: S311
    if end > until and dice.random() < 0.4:  # around the first run of a day
        start, end = dice.uniform(36, 40), dice.uniform(41, 50)
        hours_ahead = dice.choice((2, 24 * 365, 24 * 365))
        return Jump(dice.randrange(slots), hours_ahead * HOUR, start * HOUR, end * HOUR)
    if dice.random() < 0.05:
        hours_ahead = dice.choice((2, 6, 24 * 365, 24 * 365, -6))
        return Jump(dice.randrange(slots), hours_ahead * HOUR, 0.0, dice.uniform(2, 900))
    rng = Random(f"jumps {world.seed}")  # noqa: S311
    ahead = next((case for case in world.cases.values() if case.is_ahead), None)
    if ahead is not None:
        return _behind(ahead, until=until, slots=slots)
    if rng.random() > 0.08 or not 600 < until < HOUR:
        return None
    start = rng.uniform(300, until * 0.8)
    hours = rng.choice((1 / 6, 2, 6, 24 * 400, -1, -6))
    return Jump(rng.randrange(slots), hours * HOUR, start, rng.uniform(start, until))


def _behind(case: Case, *, until: float, slots: int) -> Jump | None:
    """Perhaps let a clock be hours ahead once an incident is listed that is dated ahead.

    Not for long: what comes meanwhile is looked at by a right clock within the overlap of discovery.
    """
    rng = Random(f"jumps ahead {case.key}")  # noqa: S311
    start = case.listed_at + rng.uniform(60, 300)
    end = start + rng.uniform(900, 1500)
    if rng.random() < 0.1 or start < 300 or end > until + 600 or until > HOUR:
        return None
    return Jump(rng.randrange(slots), rng.choice((2, 3, 3)) * HOUR, start, end)
