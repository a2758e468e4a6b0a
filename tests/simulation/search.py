"""Simulates a range of seeds up to the first broken promise, and says which one it is, as JSON."""

import json
import sys

from simulate import Store, simulate
from truth import Violation

import contraforce_sentinel


def first_violation(seeds: range, store: Store) -> tuple[int, Violation] | None:
    """Return the first seed that fails, and how; a simulation that breaks down counts, too."""
    for seed in seeds:
        try:
            violations = simulate(seed, store).violations
        except Exception as error:  # noqa: BLE001 - whatever a planted bug may lead to
            return seed, Violation("raises", repr(error))
        if violations:
            return seed, violations[0]
    return None


def main() -> None:
    """Arguments: the first seed, how many, and "tables" for worlds over tables."""
    first, count = map(int, sys.argv[1:3])
    found = first_violation(range(first, first + count), "tables" if "tables" in sys.argv[3:] else "sqlite")
    answer = {
        "source": contraforce_sentinel.__file__,
        "seed": found[0] if found else None,
        "promise": found[1].promise if found else None,
        "text": found[1].text if found else None,
    }
    print(json.dumps(answer))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
