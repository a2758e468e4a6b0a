"""Whether a figure is worse than it was: ratios only, never seconds, and never by one measurement."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from bench.figures import Figure

LEAST_MARGIN: Final = 0.5
NOISE_FACTOR: Final = 4.0
TRIES: Final = 4

type Measure = Callable[[], Awaitable[Sequence[Figure]]]


def is_worse(figure: Figure, recorded: float) -> bool:
    """Whether the ratio is beyond the recorded one by more than half of it, or than the noise allows."""
    margin = max(LEAST_MARGIN, NOISE_FACTOR * figure.noise)
    return figure.ratio is not None and figure.ratio > recorded * (1 + margin)


async def find_regressions(
    measures: Sequence[Measure], recorded: Mapping[str, float]
) -> tuple[list[Figure], list[str]]:
    """Measure; what looks worse is measured again, up to three times, and is worse only if it always is.

    Return the last of each figure, and the names of those that are worse.
    """
    figures: dict[str, Figure] = {}
    worse: list[str] = []
    for measure in measures:
        suspects: set[str] | None = None
        for _ in range(TRIES):
            found = {figure.name: figure for figure in await measure()}
            figures |= found
            seen = {name for name in recorded.keys() & found if is_worse(found[name], recorded[name])}
            suspects = seen if suspects is None else suspects & seen
            if not suspects:
                break
        worse += sorted(suspects or ())
    return list(figures.values()), worse
