"""What the flood may cost, and whether it did cost more; pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from bench.figures import Figure

DELIVERIES: Final = 20_000
SETTLED: Final = 5_000
"""From this delivery on, memory counts: what is loaded with the first of a kind is there."""

HOSTILE_SECONDS: Final = 60.0
MOST_GROWTH_MB: Final = 10.0
MOST_MEMORY_MB: Final = 250.0
MOST_SECONDS: Final = 90.0


@dataclass(frozen=True, slots=True)
class Sample:
    """The app's memory in MB: what it has now, and the most it ever had."""

    after: str
    answers: int
    now: float
    peak: float


@dataclass(slots=True)
class Answers:
    """The answers to the deliveries of one phase."""

    count: int = 0
    slowest: float = 0.0
    wrong: list[str] = field(default_factory=list)
    """One line for each delivery with another answer than it should have, or without one."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A whole run. `samples` begin with the one from which memory counts."""

    samples: Sequence[Sample]
    phases: dict[str, Answers]

    def figures(self) -> list[Figure]:
        """Return every figure beside the most that it may be."""
        settled = self.samples[0]
        growth = max(sample.now for sample in self.samples) - settled.now
        return [
            *(Figure(f"{name}, answers", "", (phase.count,)) for name, phase in self.phases.items()),
            Figure("memory once settled", "MB", (settled.now,)),
            Figure("memory in the end", "MB", (self.samples[-1].now,)),
            Figure("memory, growth since settled", "MB", (growth,), target=MOST_GROWTH_MB),
            Figure("memory, peak", "MB", (self.samples[-1].peak,), target=MOST_MEMORY_MB),
            *(
                Figure(f"{name}, slowest answer", "s", (phase.slowest,), target=MOST_SECONDS)
                for name, phase in self.phases.items()
            ),
            *(
                Figure(f"{name}, wrong or missing answers", "", (len(phase.wrong),), target=0)
                for name, phase in self.phases.items()
            ),
        ]


def broken(figures: Sequence[Figure]) -> list[str]:
    """Return a sentence for each limit that is broken."""
    return [
        f"{figure.name}: {figure.app[0]:,.1f} {figure.unit}".rstrip() + f", at most {figure.target:,.0f}"
        for figure in figures
        if figure.is_met is False
    ]
