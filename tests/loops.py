"""What `make quick`, `make test` and `make test-deep` run: by marks, most of them put on by these rules.

What has no mark is quick, and may not start a process. The marks are explained in pyproject.toml.
"""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from _pytest.mark.expression import Expression

MAKEFILE: Final = Path(__file__).parent.parent / "Makefile"
SLOW_FIXTURES: Final = {"binding", "customer", "lab", "link_store", "package", "shell", "terminal", "traces"}
"""They start processes, or what uses them does."""


def mark(items: Iterable[pytest.Item]) -> None:
    """Put on each test the marks that follow from the fixtures it uses."""
    for item in items:
        fixtures = set(getattr(item, "fixturenames", ()))
        if fixtures & SLOW_FIXTURES:
            item.add_marker(pytest.mark.slow)
        if "azurite" in fixtures:
            item.add_marker(pytest.mark.azurite)
        if "seeds" in fixtures:  # of a simulation's worlds
            item.add_marker(pytest.mark.slow)
            item.add_marker(pytest.mark.simulation)


def marks(item: pytest.Item) -> frozenset[str]:
    return frozenset(found.name for found in item.iter_markers())


@cache
def expressions() -> dict[str, str]:
    """Return the expressions by which the Makefile's commands choose: QUICK, TEST and DEEP."""
    return dict(re.findall(r"^(QUICK|TEST|DEEP) := (.+)$", MAKEFILE.read_text(), re.MULTILINE))


@cache
def loops(names: frozenset[str]) -> frozenset[str]:
    """Return which of the expressions choose a test with these marks."""
    return frozenset(
        loop
        for loop, text in expressions().items()
        if Expression.compile(text).evaluate(lambda name, /, **_: name in names)
    )
