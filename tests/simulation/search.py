"""Simulates a range of seeds up to the first broken promise, and says which one it is, as JSON."""

import json
import sys

from simulate import simulate
from truth import Violation

import contraforce_sentinel


def first_violation(seeds: range) -> tuple[int, Violation] | None:
    """Return the first seed that fails, and how; a simulation that breaks down counts, too."""
    for seed in seeds:
        try:
            violations = simulate(seed).violations
        except Exception as error:  # noqa: BLE001 - whatever a planted bug may lead to
            return seed, Violation("raises", repr(error))
        if violations:
            return seed, violations[0]
    return None


def main() -> None:
    """Arguments: the first seed, and how many."""
    first, count = map(int, sys.argv[1:])
    found = first_violation(range(first, first + count))
    answer = {
        "source": contraforce_sentinel.__file__,
        "seed": found[0] if found else None,
        "promise": found[1].promise if found else None,
        "text": found[1].text if found else None,
    }
    print(json.dumps(answer))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
