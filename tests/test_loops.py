"""What runs where: `make quick`, `make test` and `make test-deep` together run every test."""

import subprocess

import pytest
from conftest import ALL_TESTS, ROOT
from loops import expressions, loops

QUICK, ORDINARY, DEEP = {"QUICK", "TEST"}, {"TEST"}, {"DEEP"}


def test_every_test_is_in_exactly_one_of_quick_ordinary_and_deep(request: pytest.FixtureRequest) -> None:
    """Quick ones are ordinary, too; the simulation is in two: with some worlds, and with many."""
    found = request.config.stash[ALL_TESTS]
    for name, marks in found.items():
        allowed = [{"TEST", "DEEP"}] if "simulation" in marks else [QUICK, ORDINARY, DEEP]
        assert loops(marks) in allowed, name


@pytest.mark.slow
def test_the_three_commands_use_the_three_expressions() -> None:
    """As `make` says it would run them."""
    told = {target: recipe(target) for target in ("quick", "test", "test-deep")}
    chosen = expressions()
    assert f'-m "{chosen["QUICK"]}" some' in told["quick"]
    assert f'-m "{chosen["TEST"]}" some' in told["test"]
    assert f'-m "{chosen["DEEP"]}" some' in told["test-deep"]
    deep = told["test-deep"]
    assert "SIMULATION_COUNT=1000 SIMULATION_TABLES_COUNT=300 REQUIRE_AZURITE=1 REQUIRE_KUSTO=1" in deep
    assert "bench --short some" not in deep, "what is for pytest is not for the bench"
    assert deep.index("bench --short") < deep.index(" pytest "), "pytest's summary is the last that is said"


def recipe(target: str) -> str:
    done = subprocess.run(
        ["make", "--dry-run", target, "ARGS=some"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout
