"""Documents are promises: settings, answers and commands in the documents are those of the code."""

import filecmp
import json
import re
import subprocess
import sys
from html import unescape
from pathlib import Path

import pytest
from cli_process import environment
from conftest import ROOT

from contraforce_sentinel import VERSION
from contraforce_sentinel.azure import httpx_transport
from contraforce_sentinel.contraforce import client
from contraforce_sentinel.edge.payloads import MAX_BODY_BYTES
from contraforce_sentinel.settings import Settings
from operators_tool import commands as commands_module
from operators_tool.exits import Exit

README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
OF_THE_USER = {"local.settings.json", "workspaces.json"}
DEPLOYED = ROOT / "src" / "contraforce_sentinel"
DOCUMENTS = [path.relative_to(ROOT).as_posix() for path in (*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"))]


MIB = 1024 * 1024
LIMITS = {
    "bodies": MAX_BODY_BYTES // MIB,
    "answers of ContraForce": client.MAX_ANSWER_BYTES // MIB,
    "answers of Azure Tables": httpx_transport.MAX_ANSWER_BYTES // MIB,
    "answers of Azure": httpx_transport.MAX_RESOURCE_BYTES // MIB,
    "lists of incidents": httpx_transport.MAX_LIST_BYTES // MIB,
}


@pytest.mark.parametrize("document", ["SECURITY.md", "docs/reference.md"])
def test_the_limits_on_sizes_that_a_document_names_are_all_of_the_codes_and_no_others(document: str) -> None:
    named = {int(size) for size in re.findall(r"(\d+) MiB", (ROOT / document).read_text())}

    assert named == set(LIMITS.values())


def test_security_says_what_a_function_key_opens() -> None:
    said = (ROOT / "SECURITY.md").read_text().split("**Function keys.**")[1].split("\n- **")[0]

    assert "for all customers" in said
    for word in ("link_incident", "host keys", "/api/status", "/api/health", "master key"):
        assert word in said


def documented_settings() -> dict[str, tuple[str, str]]:
    section = REFERENCE.split("## Settings")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([A-Z_]+)` \| (.+) \| (.+) \|$", section, re.MULTILINE)
    return {name: (meaning, default) for name, meaning, default in rows}


def test_the_settings_of_code_sample_file_and_reference_are_the_same() -> None:
    in_code = {name.upper() for name in Settings.model_fields}
    sample = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    of_the_host = {"FUNCTIONS_WORKER_RUNTIME", "AzureWebJobsStorage"}
    assert set(documented_settings()) == in_code, "docs/reference.md"
    assert set(sample) - of_the_host == in_code, "local.settings.sample.json"


def test_the_defaults_of_code_sample_file_and_reference_are_the_same() -> None:
    sample = json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]
    required = {
        "CONTRAFORCE_CLIENT_ID": "a",
        "CONTRAFORCE_CLIENT_SECRET": "b",
        "WORKSPACES": sample["WORKSPACES"],  # of no use without an entry to fill in
    }
    by_default = Settings.from_environment(required)
    assert by_default == Settings.from_environment({**sample, **required})
    for name, (_, default) in documented_settings().items():
        field = Settings.model_fields[name.lower()]
        if field.is_required():
            assert default == "required"
        elif default == "none":
            assert not field.get_default()
        else:
            documented = Settings.from_environment({**required, name: default.strip("`")})
            assert documented == by_default, name


def test_every_setting_has_a_description() -> None:
    assert all(field.description for field in Settings.model_fields.values())


def test_a_malformed_value_of_every_setting_is_refused_by_name() -> None:
    """An empty row here means that a setting accepts anything: then its name has to be listed."""
    accepts_any_word = {"CONTRAFORCE_CLIENT_SECRET", "AZURE_CLIENT_ID"}
    for name in set(documented_settings()) - accepts_any_word:
        with pytest.raises(Exception, match=name):
            Settings.from_environment({name: "::: no value fits :::"})


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_file_and_make_target_that_a_document_names_exists(document: str) -> None:
    text = (ROOT / document).read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)) <= targets
    places = [ROOT, ROOT / "src", ROOT / "tests", ROOT / "infra", DEPLOYED]
    for name in re.findall(r"`([\w./]+\.(?:py|json|md|toml|yaml|bicep))`", text):
        assert any((place / name).exists() for place in places) or name in OF_THE_USER, name
    for link in re.findall(r"\]\(((?!https?:)[^)#]+)\)", text):
        assert ((ROOT / document).parent / link).exists(), link


def test_every_room_is_described_and_every_test_has_its_place_on_the_map() -> None:
    rooms = {
        path.name for path in DEPLOYED.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
    }
    for document, section in (
        ("docs/architecture.md", "Rooms"),
        ("CONTRIBUTING.md", "Rooms and their tests"),
    ):
        table = (ROOT / document).read_text().split(f"## {section}\n")[1].split("\n## ")[0]
        named = set(re.findall(r"`([\w.]+)`", "".join(re.findall(r"^\| (.+?) \|", table, re.MULTILINE))))
        assert rooms - {"__init__.py"} <= named, document
    tests = {path.relative_to(ROOT / "tests").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    assert set(re.findall(r"`([\w/]*test_\w+\.py)`", table)) == tests


def test_the_first_sentence_on_speed_is_what_was_measured() -> None:
    text = (ROOT / "docs" / "performance.md").read_text()
    waits, ratio = re.findall(r"50 ms away, (\d+) ms after .*?\n(\d\.\d+) times", text, re.DOTALL)[0]
    assert re.search(rf"\| warm delivery, SQLite, 50 ms upstream, p50 \| {waits} ms \| \d+ \| {ratio} ", text)


def test_the_readme_is_read_in_a_few_minutes() -> None:
    assert len(README.split()) < 1000


def test_the_reference_tells_of_every_command_and_exit_code_of_the_tool() -> None:
    section = REFERENCE.split("## The operators' tool")[1].split("\n## ")[0]
    commands = {
        str(command.callback.__name__)
        for command in commands_module.app.registered_commands
        if command.callback
    }
    told = set(re.findall(r"`([a-z]+)[ `]", "".join(re.findall(r"^\| (.+?) \|", section, re.MULTILINE))))
    assert told == commands
    codes = section.split("Exit codes: ")[1].split(").")[0]
    assert {int(code) for code in re.findall(r"\b(\d+) ", codes)} == {code.value for code in Exit}


def test_the_pictures_of_the_readme_are_terminals_drawn_by_rich() -> None:
    """They show what is claimed of them."""
    shown = {
        name: unescape((ROOT / "docs" / f"{name}.svg").read_text()).replace("\xa0", " ")
        for name in re.findall(r"\(docs/(\w+)\.svg\)", README)
    }
    assert set(shown) == {"demo", "doctor"}
    assert "All 11 steps went as expected" in shown["demo"]
    assert "az role assignment create --assignee" in shown["doctor"]
    assert "12 of 15 checks are fine, 1 failed." in shown["doctor"]


@pytest.mark.deep
def test_the_pictures_of_the_readme_are_what_the_code_draws_each_time_on_any_terminal(tmp_path: Path) -> None:
    """Where the second assertion fails, `make pictures` draws them anew."""
    pictures, docs = ["demo.svg", "doctor.svg"], ROOT / "docs"
    terminals = {"dumb": {"NO_COLOR": "1", "TERM": "dumb"}, "narrow": {"FORCE_COLOR": "1", "COLUMNS": "40"}}
    drawings = [
        subprocess.Popen(
            [sys.executable, "-m", "operators_tool.pictures", tmp_path / name],
            env=environment(None, **variables),
        )
        for name, variables in terminals.items()
    ]
    assert [drawing.wait(timeout=60) for drawing in drawings] == [0, 0]
    same: tuple[list[str], list[str], list[str]] = (pictures, [], [])
    assert filecmp.cmpfiles(tmp_path / "dumb", tmp_path / "narrow", pictures, shallow=False) == same
    assert filecmp.cmpfiles(tmp_path / "dumb", docs, pictures, shallow=False) == same


def test_every_promise_of_the_readme_has_a_test_named_after_it_and_no_other_has() -> None:
    section = README.split("## What it promises")[1].split("\n## ")[0]
    promised = re.findall(r"^\| \(([a-z])\) \|", section, re.MULTILINE)
    tests = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert sorted(set(re.findall(r"def test_promise_([a-z])_", tests))) == promised


def test_the_version_is_the_same_everywhere() -> None:
    project = re.search(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    changelog = re.search(r"^## \[(\d.+?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert project is not None
    assert changelog is not None
    assert project[1] == changelog[1] == VERSION


def test_the_workflow_installs_bicep_runs_the_ci_script_the_demo_and_the_package_and_nothing_else() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert re.findall(r"\brun: (.+)", workflow) == [
        ".ci/install-bicep",
        ".ci/run",
        "make demo",
        "make package",
    ]
    assert all(name.startswith("actions/") for name in re.findall(r"\buses: (.+)", workflow))


def test_the_ci_script_calls_only_make_targets_that_exist_and_lets_none_of_their_tests_be_skipped() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    script = (ROOT / ".ci" / "run").read_text()
    called = set(" ".join(re.findall(r"^ *make ([a-z -]+)", script, re.MULTILINE)).split())
    assert (
        {"setup", "azurite", "kusto", "checkov", "bicep", "check", "test", "test-deep"} <= called <= targets
    )
    assert "export REQUIRE_AZURITE=1 REQUIRE_KUSTO=1\n" in script
    assert "make checkov\nexport REQUIRE_CHECKOV=1\n" in script
    assert "export REQUIRE_BICEP=1\n" in script
