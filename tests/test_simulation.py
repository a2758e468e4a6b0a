"""Thousands of small worlds in which everything fails, and in each of them every promise holds in the end.

Each seed has a world over SQLite, and one over Azure Tables: the real SDK, over the sandbox's table service.

SIMULATION_COUNT=20000 .venv/bin/python -m pytest tests/test_simulation.py     the soak, over SQLite
SIMULATION_TABLES_COUNT=300 .venv/bin/python -m pytest tests/test_simulation.py     more worlds over tables
SIMULATION_SEEDS=17,23 .venv/bin/python -m pytest tests/test_simulation.py     these worlds, over both
.venv/bin/python tests/simulation/simulate.py 17 --tables                      what happens in one
"""

import os
import sys
from itertools import batched
from pathlib import Path
from typing import Any, Final

import pytest

sys.path.insert(0, str(Path(__file__).parent / "simulation"))

from mutants import BUGS, SOURCE, Bug, with_bug
from simulate import Store, simulate

COUNTS: Final[dict[Store, int]] = {
    "sqlite": int(os.environ.get("SIMULATION_COUNT", "150")),
    "tables": int(os.environ.get("SIMULATION_TABLES_COUNT", "25")),
}
CHUNK: Final = 10  # small enough to be spread over processes
LAST_LINES: Final = 40


def _chunks() -> list[Any]:
    chosen = [int(seed) for seed in os.environ.get("SIMULATION_SEEDS", "").split(",") if seed]
    return [
        pytest.param(store, seeds, id=f"{store}, seeds {seeds[0]} to {seeds[-1]}")
        for store, count in COUNTS.items()
        for seeds in batched(chosen or range(count), CHUNK, strict=False)
    ]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("store", "seeds"), _chunks())
def test_every_promise_holds_in_every_world(store: Store, seeds: tuple[int, ...]) -> None:
    for seed in seeds:
        result = simulate(seed, store)
        if result.violations:
            broken = "\n".join(f"  {violation}" for violation in result.violations)
            trace = "\n".join(f"  {line}" for line in result.trace[-LAST_LINES:])
            command = f"SIMULATION_SEEDS={seed} .venv/bin/python -m pytest tests/test_simulation.py"
            option = " --tables" if store == "tables" else ""
            pytest.fail(
                f"seed {seed} over {store} breaks a promise:\n{broken}\nthe end of its trace:\n{trace}\n"
                f"again: {command}\n"
                f"the whole trace: .venv/bin/python tests/simulation/simulate.py {seed}{option}",
                pytrace=False,
            )


@pytest.mark.slow
@pytest.mark.parametrize("store", COUNTS)
@pytest.mark.parametrize("seed", [3, 14, 15, 92, 65])
def test_a_seed_always_makes_the_same_world(seed: int, store: Store) -> None:
    assert simulate(seed, store).digest == simulate(seed, store).digest


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_the_text_of_every_planted_bug_is_still_in_the_source(bug: Bug) -> None:
    assert bug.instead in with_bug(bug, SOURCE)
