"""Refusals of Resource Manager by code, now and then or for long, and incidents that come late.

Their dice are their own.
"""

from dataclasses import dataclass
from random import Random
from typing import Final

from truth import World

from sandbox.refusals import REFUSALS, applies

_LATEST_SECONDS: Final = 20 * 60.0
"""Well within the half hour that the app has for it."""


@dataclass(frozen=True, slots=True)
class _Lasting:
    code: str
    workspace: str
    start: float
    end: float


class Codes:
    """What a world's requests to Resource Manager are refused with; nothing after `until`."""

    def __init__(self, seed: int, *, until: float, workspaces: list[str]) -> None:
        self._rng = rng = Random(f"codes {seed}")  # noqa: S311
        self._until = until
        self._rate = rng.choice((0.0, 0.0, 0.02, 0.1))
        self._lasting = []
        for _ in range(rng.choice((0, 1, 1, 2))):
            start = rng.uniform(-0.2, 0.3) * until
            end = start + rng.uniform(0.5, 1.5) * until
            code, workspace = rng.choice(list(REFUSALS)), rng.choice(workspaces)
            self._lasting.append(_Lasting(code, workspace, start, min(end, until)))

    def calm(self) -> None:
        """Refuse nothing."""
        self._rate, self._lasting = 0.0, []

    def draw(self, operation: str, workspace: str | None, now: float) -> str | None:
        """Draw the code that a request is refused with, None if it is not."""
        if now >= self._until:
            return None
        found = [
            one.code for one in self._lasting if one.start <= now < one.end and one.workspace == workspace
        ]
        if self._rng.random() < self._rate:
            found.append(self._rng.choice(list(REFUSALS)))
        of_sentinel, is_write = operation != "arm.workspace", operation == "arm.comment.put"
        return next(
            (code for code in found if applies(code, is_of_sentinel=of_sentinel, is_write=is_write)), None
        )


def make_late(world: World) -> None:
    """Let Sentinel announce some incidents before it has them."""
    rng = Random(f"late {world.seed}")  # noqa: S311
    for case in world.cases.values():
        if rng.random() < 0.25:
            case.there_at = max(case.created, 0.0) + rng.uniform(0, _LATEST_SECONDS)
