"""A figure of the app beside that of its floor, both of the same run: medians, ratio, noise; pure."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from statistics import median, quantiles
from typing import Any, Final, Self

_FEW: Final = 2


@dataclass(frozen=True, slots=True)
class Figure:
    """What was measured, one value for each round; less is better.

    `floor` is empty for a figure that stands for itself. `target` is the most that the ratio, or without a
    floor the median, should be.
    """

    name: str
    unit: str
    app: tuple[float, ...]
    floor: tuple[float, ...] = ()
    target: float | None = None

    @property
    def ratio(self) -> float | None:
        """The app's median over the floor's."""
        return median(self.app) / median(self.floor) if self.floor else None

    @property
    def noise(self) -> float:
        """How far the rounds' own ratios lie apart, as a part of their median: half the middle half."""
        if len(self.app) < _FEW or not self.floor:
            return 0.0
        ratios = [ours / theirs for ours, theirs in zip(self.app, self.floor, strict=True)]
        low, middle, high = quantiles(ratios, n=4, method="inclusive")
        return (high - low) / 2 / middle

    @property
    def is_met(self) -> bool | None:
        """Whether the target is met; None without one."""
        reached = median(self.app) if self.ratio is None else self.ratio
        return None if self.target is None else reached <= self.target

    @classmethod
    def of(cls, found: dict[str, Any]) -> Self:
        """Read what `asdict` gave and JSON has kept."""
        return cls(**{**found, "app": tuple(found["app"]), "floor": tuple(found["floor"])})


async def in_turn[T](number: int, *measures: Callable[[], Awaitable[T]]) -> list[T]:
    """Await one after the other, in every second round backwards: who comes first must not matter."""
    order = list(range(len(measures)))
    found = {place: await measures[place]() for place in (order[::-1] if number % 2 else order)}
    return [found[place] for place in order]


def percentile(values: Iterable[float], percent: int) -> float:
    """Return the value that so many percent of them do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
