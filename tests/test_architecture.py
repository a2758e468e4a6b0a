"""The house: packages and rooms, which of them may know which, and how large a room may be."""

import tomllib
from pathlib import Path
from typing import Final

import grimp
import pytest
from conftest import ROOT

DEPLOYED: Final = "contraforce_sentinel"
PACKAGES: Final[list[set[str]]] = [{"bench"}, {"operators_tool"}, {"sandbox"}, {DEPLOYED, "functions_host"}]
"""From the top down: each knows only those below it, and none beside it."""

ROOMS: Final[list[set[str]]] = [
    {"edge"},
    {"bootstrap"},
    {"settings"},
    {"use_cases"},
    {"stores"},
    {"azure", "contraforce"},
    {"transport"},
    {"telemetry"},
    {"domain"},
]
"""Of what is deployed, from the top down."""

MOST_MODULES: Final = 12
MOST_LINES: Final = 300

CIRCLES: Final = {"sandbox": {("sandbox.triggers", "sandbox.incidents")}}
"""A stand-in's incident and what its trigger says of it are two halves of one thing."""

HOUSE: Final = ROOT / "src" / DEPLOYED
FOLDERS: Final = [HOUSE, *(path.parent for path in HOUSE.glob("**/__init__.py") if path.parent != HOUSE)]


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Every import of every package, those inside functions and for types alone, too."""
    return grimp.build_graph(*set().union(*PACKAGES), cache_dir=None)


def modules(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.py") if path.name != "__init__.py"]


def against(graph: grimp.ImportGraph, layers: list[set[str]], *, inside: str | None) -> list[str]:
    """Return the imports that go up, or across, each with the way it takes."""
    found = graph.find_illegal_dependencies_for_layers(layers, containers={inside} if inside else None)
    return [f"{way.importer} -> {way.imported}" for way in found]


def test_no_package_knows_one_above_it(graph: grimp.ImportGraph) -> None:
    assert against(graph, PACKAGES, inside=None) == []


def test_no_room_of_what_is_deployed_knows_one_above_it(graph: grimp.ImportGraph) -> None:
    assert against(graph, ROOMS, inside=DEPLOYED) == []


@pytest.mark.parametrize("package", sorted(set().union(*PACKAGES)))
def test_no_package_has_a_circle(graph: grimp.ImportGraph, package: str) -> None:
    folders = [name for name in graph.modules if name.startswith(package) and graph.find_children(name)]
    assert folders
    circles = {name: graph.nominate_cycle_breakers(name) for name in folders}
    allowed = {name: found for name, found in CIRCLES.items() if name in folders}
    assert {name: found for name, found in circles.items() if found} == allowed


def test_an_import_that_goes_up_is_found_wherever_it_stands(graph: grimp.ImportGraph) -> None:
    """The way to the SDK is imported inside a function, the app's parts for types alone."""
    ways = {"contraforce_sentinel.bootstrap": "contraforce_sentinel.use_cases.linking"}
    ways["operators_tool.commands"] = "operators_tool.demo.main"
    assert all(graph.direct_import_exists(importer=one, imported=other) for one, other in ways.items())
    turned_round = against(graph, [*reversed(ROOMS)], inside=DEPLOYED)
    assert "contraforce_sentinel.edge -> contraforce_sentinel.domain" in turned_round


def test_the_layers_name_every_package_and_every_room() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    assert set().union(*PACKAGES) == {Path(path).name for path in project["targets"]["wheel"]["packages"]}
    rooms = {path.stem for path in modules(HOUSE)} | {path.name for path in FOLDERS if path.parent == HOUSE}
    assert set().union(*ROOMS) == rooms


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_room_of_what_is_deployed_is_taken_in_at_a_glance(folder: Path) -> None:
    assert len([*folder.glob("*.py")]) <= MOST_MODULES
    lines = {path.name: len(path.read_text().splitlines()) for path in modules(folder)}
    assert {name: count for name, count in lines.items() if count > MOST_LINES} == {}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_module_says_what_it_is_for(folder: Path) -> None:
    silent = [
        path for path in [*modules(folder), folder / "__init__.py"] if not path.read_text().startswith('"""')
    ]
    assert silent == []
