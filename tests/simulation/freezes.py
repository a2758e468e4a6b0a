"""Workers that stand still for a while, at calls of the store and between two tries, and do not know it.

Their dice are their own: a world is the same with and without them, up to the first.
"""

from random import Random

from referee import Referee
from truth import Case, Process, World


class Freezes:
    """One per world; after `until` there are none any more."""

    def __init__(self, world: World, referee: Referee, *, until: float) -> None:
        self._rng = rng = Random(f"freezes {world.seed}")  # noqa: S311
        self._world = world
        self._referee = referee
        self._until = until
        self._rate = rng.choice((0.0, 0.0, 0.0, 0.02, 0.1, 0.3))
        self._left = rng.randint(1, 4)

    async def perhaps(self, process: Process, case: Case | None, what: str) -> None:
        """Let the caller's work stand still, perhaps: what it has not stored may be lost, as in a death."""
        if self._rate == 0 or self._left == 0 or self._world.now >= self._until:
            return
        if case is None or self._rng.random() >= self._rate:
            return
        self._left -= 1
        seconds = self._rng.choice((30.0, 150.0, 200.0, self._rng.uniform(0, 900)))
        self._world.note(f"{process.name} stands still for {seconds:.0f} s {what}")
        self._world.went_wrong()
        self._referee.stands_still(process, case)
        await self._world.loop.freeze(seconds)
