"""The flood: a short one keeps its limits but for the machine's noise, and its verdict can fail."""

import json
import sys
from typing import Any

import openapi
import pytest

from bench.flood.__main__ import tell
from bench.flood.deliveries import INVALID, KINDS, LARGE, LINKED, TOO_LARGE, Delivery, Mix
from bench.flood.run import Flood
from bench.flood.tricks import tricks
from bench.flood.verdict import Answers, Measured, Sample, broken
from contraforce_sentinel.edge.payloads import MAX_BODY_BYTES
from sandbox import Sandbox

PHASES = ("flood", "hostile minute", "afterwards")


def measured(
    *, grown: float = 10, peak: float = 250, slowest: float = 90, wrong: tuple[str, ...] = ()
) -> Measured:
    samples = [
        Sample("flood", 5_000, 100, 120),
        Sample("flood", 20_000, 100 + grown, 130),
        Sample("calm", 21_000, 90, peak),
    ]
    return Measured(samples, {name: Answers(7, slowest, list(wrong)) for name in PHASES})


def test_figures_at_their_limits_are_kept(capsys: pytest.CaptureFixture[str]) -> None:
    assert tell(measured(), as_json=False) == 0
    assert "every limit is kept" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (measured(grown=10.1), "memory, growth since settled: 10.1 MB, at most 10"),
        (measured(peak=250.5), "memory, peak: 250.5 MB, at most 250"),
        (measured(slowest=90.2), "flood, slowest answer: 90.2 s, at most 90"),
        (measured(wrong=("new: 500",)), "hostile minute, wrong or missing answers: 1.0, at most 0"),
    ],
)
def test_a_broken_limit_is_said_in_a_sentence_and_by_the_exit_status(
    found: Measured, sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sentence in broken(found.figures())
    assert tell(found, as_json=False) == 1
    assert sentence in capsys.readouterr().out
    assert tell(found, as_json=True) == 1
    assert sentence in json.loads(capsys.readouterr().out)["broken"]


def made(mix: Mix, bodies: list[dict[str, Any]]) -> list[Delivery]:
    kinds = mix.kinds(300)
    return mix.deliver(kinds, bodies[: mix.new_ones(kinds)])


@pytest.mark.slow
def test_the_same_seed_gives_the_same_deliveries_of_every_kind(sandbox: Sandbox) -> None:
    workspace = sandbox.add_workspace(name="law-1")
    bodies = [workspace.add_incident(number=number).trimmed_body() for number in range(300)]
    first, second = ([*made(Mix(accepted=LINKED), bodies)] for _ in range(2))
    assert first == second
    assert {delivery.kind for delivery in first} == set(KINDS)
    assert {len(filled(bodies[0])) for filled in LARGE} == {MAX_BODY_BYTES - 1, MAX_BODY_BYTES}
    assert max(len(filled(bodies[0])) for _, filled in TOO_LARGE) > MAX_BODY_BYTES
    assert len({invalid(bodies[0]).content for invalid in INVALID}) >= len(INVALID) - 2
    assert len(tricks()) > 80


@pytest.mark.deep
@pytest.mark.timeout(600)
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_a_short_flood_is_answered_as_documented_and_leaves_the_app_at_work() -> None:
    """Too short for memory to settle: that is `make flood`'s to say."""
    async with Flood.open(say=lambda _: None, check=openapi.check_response) as flood:
        found = await flood.measure(deliveries=400, seconds=5)
    assert [name for name, phase in found.phases.items() if phase.count] == list(PHASES)
    assert found.phases["flood"].count == 400
    assert [one for phase in found.phases.values() for one in phase.wrong] == []
    assert [said for said in broken(found.figures()) if "growth" not in said] == []
