"""Thousands of small worlds in which everything fails, and in each of them every promise holds in the end.

SIMULATION_COUNT=20000 .venv/bin/python -m pytest tests/test_simulation.py     the soak
SIMULATION_SEEDS=17,23 .venv/bin/python -m pytest tests/test_simulation.py     these worlds
.venv/bin/python tests/simulation/simulate.py 17                               what happens in one
"""

import os
import sys
from itertools import batched
from pathlib import Path
from typing import Final

import pytest

sys.path.insert(0, str(Path(__file__).parent / "simulation"))

from mutants import BUGS, SOURCE, Bug, plant
from simulate import simulate

BASE: Final = 0
CHUNK: Final = 10
LAST_LINES: Final = 40


def _seeds() -> list[int]:
    chosen = os.environ.get("SIMULATION_SEEDS")
    if chosen:
        return [int(seed) for seed in chosen.split(",")]
    return list(range(BASE, BASE + int(os.environ.get("SIMULATION_COUNT", "150"))))


CHUNKS: Final = list(batched(_seeds(), CHUNK, strict=False))


@pytest.mark.timeout(600)
@pytest.mark.parametrize("seeds", CHUNKS, ids=[f"seeds {chunk[0]} to {chunk[-1]}" for chunk in CHUNKS])
def test_every_promise_holds_in_every_world(seeds: tuple[int, ...]) -> None:
    for seed in seeds:
        result = simulate(seed)
        if result.violations:
            broken = "\n".join(f"  {violation}" for violation in result.violations)
            trace = "\n".join(f"  {line}" for line in result.trace[-LAST_LINES:])
            command = f"SIMULATION_SEEDS={seed} .venv/bin/python -m pytest tests/test_simulation.py"
            pytest.fail(
                f"seed {seed} breaks a promise:\n{broken}\nthe end of its trace:\n{trace}\n"
                f"again: {command}\nthe whole trace: .venv/bin/python tests/simulation/simulate.py {seed}",
                pytrace=False,
            )


@pytest.mark.parametrize("seed", [3, 14, 15, 92, 65])
def test_a_seed_always_makes_the_same_world(seed: int) -> None:
    assert simulate(seed).digest == simulate(seed).digest


@pytest.mark.parametrize("bug", BUGS, ids=[bug.name for bug in BUGS])
def test_the_text_of_every_planted_bug_is_still_in_the_source(bug: Bug, tmp_path: Path) -> None:
    module = plant(bug, tmp_path, source=SOURCE) / "contraforce_sentinel" / bug.module
    assert module.read_text() != (SOURCE / "contraforce_sentinel" / bug.module).read_text()
