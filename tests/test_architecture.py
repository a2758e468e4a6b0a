"""The house: packages and rooms, and which may know which; the contracts stand in pyproject.toml."""

import tomllib
from pathlib import Path

import pytest
from conftest import ROOT
from importlinter.api import read_configuration
from importlinter.application.use_cases import lint_imports

DEPLOYED = ROOT / "src" / "contraforce_sentinel"
MOST_MODULES = 12
MOST_LINES = 300


def modules(folder: Path) -> list[Path]:
    return [path for path in folder.glob("*.py") if path.name != "__init__.py"]


FOLDERS = [DEPLOYED, *(path for path in DEPLOYED.rglob("*") if path.is_dir() and path.name != "__pycache__")]


def test_every_import_goes_down_and_none_leaves_what_is_deployed(capsys: pytest.CaptureFixture[str]) -> None:
    """Imports inside functions and for types alone count, too."""
    assert lint_imports(config_filename=str(ROOT / "pyproject.toml"), cache_dir=None), capsys.readouterr().out


def test_the_contracts_cover_every_package_and_every_room() -> None:
    contracts = read_configuration(str(ROOT / "pyproject.toml"))["contracts_options"]
    packages, rooms, circles = contracts
    listed = {name.strip() for layer in packages["layers"] for name in layer.split("|")}
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert listed == {Path(path).name for path in wheel["packages"]}
    assert rooms["exhaustive"]
    assert "contraforce_sentinel.**" in circles["ancestors"]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_room_of_what_is_deployed_is_taken_in_at_a_glance(folder: Path) -> None:
    assert len(modules(folder)) <= MOST_MODULES
    lines = {path.name: len(path.read_text().splitlines()) for path in modules(folder)}
    assert not {name: count for name, count in lines.items() if count > MOST_LINES}


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_every_module_says_what_it_is_for(folder: Path) -> None:
    for path in [*modules(folder), folder / "__init__.py"]:
        assert path.read_text().startswith('"""'), path
