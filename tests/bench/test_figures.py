"""Figures, and when one of them counts as a regression: by ratio, beyond the noise, and never at one try."""

from collections.abc import Sequence
from functools import partial

import pytest

from bench.figures import Figure, in_turn, percentile
from bench.regression import TRIES, find_regressions, is_worse

STEADY = (1.0, 1.0, 1.0, 1.0)


def figure(*app: float, floor: Sequence[float] = STEADY, target: float | None = None) -> Figure:
    return Figure("a", "ms", app, tuple(floor), target)


def test_the_ratio_is_that_of_the_medians_and_the_target_is_met_up_to_it() -> None:
    assert figure(2.0, 2.0, 2.0, 9.0).ratio == 2.0
    assert figure(2.0, 2.0, 2.0, 9.0, target=2.0).is_met is True
    assert figure(2.1, 2.1, 2.1, 2.1, target=2.0).is_met is False
    assert figure(2.0, 2.0, 2.0, 2.0).is_met is None
    assert Figure("memory", "MB", (41.0,), target=40.0).is_met is False


def test_noise_is_how_far_the_rounds_lie_apart_and_nothing_for_one_round() -> None:
    assert figure(2.0, 2.0, 2.0, 2.0).noise == 0
    assert figure(1.0, 2.0, 2.0, 3.0).noise == pytest.approx(0.125)
    assert figure(2.0, floor=(1.0,)).noise == 0


def test_a_round_in_which_everything_was_slow_is_no_noise() -> None:
    assert figure(2.0, 20.0, 2.0, 20.0, floor=(1.0, 10.0, 1.0, 10.0)).noise == 0


async def test_every_second_round_is_measured_backwards_and_told_forwards() -> None:
    order: list[str] = []

    async def measure(name: str) -> str:
        order.append(name)
        return name

    for number in range(2):
        assert await in_turn(number, partial(measure, "app"), partial(measure, "floor")) == ["app", "floor"]
    assert order == ["app", "floor", "floor", "app"]


def test_a_percentile_is_the_value_that_so_many_do_not_exceed() -> None:
    values = [float(value) for value in range(1, 101)]
    assert [percentile(values, percent) for percent in (0, 50, 99, 100)] == [1.0, 51.0, 100.0, 100.0]


@pytest.mark.parametrize(
    ("ratio", "noise", "worse"),
    [(1.4, 0.0, False), (1.6, 0.0, True), (2.0, 0.0, True), (1.6, 0.2, False), (2.0, 0.2, True)],
)
def test_twice_as_slow_is_worse_unless_this_run_was_as_noisy(
    ratio: float, noise: float, *, worse: bool
) -> None:
    rounds = (1 - noise, 1 - noise, 1.0, 1 + noise, 1 + noise)
    found = figure(*(ratio * part for part in rounds), floor=(1.0,) * 5)
    assert found.noise == pytest.approx(noise)
    assert is_worse(found, 1.0) is worse


class Runs:
    """Gives planned ratios, one for each measurement."""

    def __init__(self, *ratios: float) -> None:
        self._ratios = list(ratios)
        self.count = 0

    async def __call__(self) -> list[Figure]:
        self.count += 1
        return [figure(*[self._ratios.pop(0)] * 4)]


async def test_a_planted_regression_is_found_after_every_repetition_was_worse() -> None:
    runs = Runs(*[2.0] * TRIES)
    figures, worse = await find_regressions([runs], {"a": 1.0})
    assert (worse, runs.count) == (["a"], TRIES)
    assert [found.ratio for found in figures] == [2.0]


async def test_one_good_repetition_of_four_is_enough() -> None:
    runs = Runs(2.0, 2.0, 2.0, 1.2)
    assert (await find_regressions([runs], {"a": 1.0}))[1] == []
    assert runs.count == TRIES


async def test_what_is_as_it_was_is_measured_once_and_what_was_not_recorded_is_not_compared() -> None:
    known, new = Runs(1.1), Runs(99.0)
    assert (await find_regressions([known], {"a": 1.0}))[1] == []
    assert (await find_regressions([new], {"b": 1.0}))[1] == []
    assert (known.count, new.count) == (1, 1)
