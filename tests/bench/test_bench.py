"""The bench measures what it says: every part once, as small as can be, with real processes."""

import json
import xml.etree.ElementTree as ET
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from conftest import ROOT

from bench import chart, report
from bench.children import Child, ChildFailed
from bench.cold import Cold, cold, package_of
from bench.deliveries import burst, shares, warm
from bench.figures import Figure
from bench.lab import Lab
from bench.reconcile import growth, many_workspaces, reconcile
from bench.size import needed, size

RESULTS = json.loads((ROOT / "docs" / "performance.json").read_text())
DOCUMENT = (ROOT / "docs" / "performance.md").read_text()

pytestmark = pytest.mark.timeout(600)


@pytest_asyncio.fixture(scope="module")
async def lab() -> AsyncIterator[Lab]:
    async with Lab.open(say=lambda _: None) as opened:
        yield opened


def check(figures: list[Figure], count: int) -> None:
    assert len(figures) == count
    for figure in figures:
        assert all(value > 0 for value in (*figure.app, *figure.floor)) or "growth" in figure.name


async def test_warm_deliveries_are_linked_and_wait_for_both_upstreams(lab: Lab) -> None:
    figures = await warm(lab, store="links", kind="SQLite", latency_ms=20, rounds=2, count=2)
    check(figures, 3)
    p50 = figures[0]
    assert min(*p50.app, *p50.floor) >= 40  # two upstreams in turn, of 20 ms each


@pytest.mark.deep
async def test_a_burst_is_answered_and_its_profile_names_packages(lab: Lab) -> None:
    check(await burst(lab, store="links", kind="SQLite", latency_ms=0, rounds=1, count=5), 2)
    found = await shares(lab, store="links", count=5)
    assert {"contraforce_sentinel", "httpx"} <= found.keys()
    assert sum(found.values()) == pytest.approx(1)


@pytest.mark.deep
async def test_cold_starts_are_measured_to_the_answer_and_imports_are_told_by_package(lab: Lab) -> None:
    check(await cold(lab, rounds=1, is_compiled=True), 2)
    assert {"pydantic", "azure.identity", "azure.mgmt"} <= (
        await Cold(lab, is_compiled=True).imports()
    ).keys()


@pytest.mark.deep
async def test_the_timer_is_measured_over_incidents_and_over_workspaces(lab: Lab) -> None:
    check(await reconcile(lab, incidents=300, rounds=1), 3)
    check(await growth(lab, few=10, many=20), 1)
    check(await many_workspaces(lab, workspaces=3, rounds=1), 2)


def test_what_is_deployed_leaves_out_what_only_developers_need() -> None:
    (deployed, telemetry) = size()
    assert deployed.ratio is not None
    assert deployed.ratio > 1
    assert telemetry.app[0] > 1
    found = needed(["contraforce-sentinel"])
    assert {"httpx", "azure-identity", "msal"} <= found
    assert not found & {"aiohttp", "pytest", "rich", "typer"}


@pytest.mark.parametrize(
    ("module", "package"),
    [("json.decoder", "(Python itself)"), ("azure.core.rest", "azure.core"), ("pydantic.main", "pydantic")],
)
def test_a_package_is_what_a_reader_calls_it(module: str, package: str) -> None:
    assert package_of(module) == package


@pytest.mark.slow
async def test_a_child_that_ends_is_told() -> None:
    async with Child.start("bench.figures") as child:  # defines something, and ends
        with pytest.raises(ChildFailed, match="exit code 0"):
            await child.ask("anything")


def test_the_document_and_its_chart_show_the_recorded_run() -> None:
    part = report.measured_part(RESULTS)
    assert report.put_into(DOCUMENT, part) == DOCUMENT
    picture = (ROOT / "docs" / "performance.svg").read_text()
    assert picture == chart.chart(report.figures_of(RESULTS))
    assert ET.fromstring(picture).tag.endswith("svg")  # noqa: S314 - our own


def test_every_target_that_is_missed_is_spoken_of_in_the_document() -> None:
    """A figure that misses its target has its name, less the conditions, in the text above the table."""
    text = DOCUMENT.partition(report.BEGIN)[0].lower()
    for figure in report.figures_of(RESULTS):
        if figure.is_met is False:
            assert figure.name.partition(",")[0].lower() in text, figure.name


def test_the_short_form_has_ratios_to_compare_with() -> None:
    assert len(RESULTS["short"]) >= 6
    assert all(0 < ratio < 10 for ratio in RESULTS["short"].values())
