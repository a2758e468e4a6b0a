"""Wall clocks that are wrong for a while: one instance's is set hours, or a year, from the others'.

Their dice are their own. While clocks differ so much, two workers may be at an incident at once, and nobody
honours what another's clock has written; everything else has to hold.
"""

from dataclasses import dataclass
from random import Random

from truth import World


@dataclass(frozen=True, slots=True)
class Jump:
    """The clock of one slot is wrong by so many seconds from a moment to another."""

    slot: int
    seconds: float
    start: float
    end: float


def draw_jump(world: World, *, until: float, slots: int) -> Jump | None:
    """Return what happens to a clock of this world; in most worlds nothing does.

    The first look of the timer has a right clock, and no record becomes old enough to be removed.
    """
    rng = Random(f"jumps {world.seed}")  # noqa: S311
    if rng.random() > 0.08 or not 600 < until < 3600:
        return None
    start = rng.uniform(300, until * 0.8)
    hours = rng.choice((1 / 6, 2, 6, 24 * 400, -1, -6))
    return Jump(rng.randrange(slots), hours * 3600, start, rng.uniform(start, until))
