"""docs/deploy.md can be followed: each step has a command, and every name in it is in the templates."""

import re
import subprocess
from pathlib import Path

import pytest
from compiler import TEMPLATES
from conftest import ROOT
from deployed import INFRA, compiled, role_ids

DOCUMENT = (ROOT / "docs" / "deploy.md").read_text()
COMMANDS = re.findall(r"```sh\n(.+?)```", DOCUMENT, re.DOTALL)
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", DOCUMENT, re.MULTILINE | re.DOTALL))
JSON_OF = {file: name for name, file in TEMPLATES.items()}
_CONTINUED = re.compile(r"\\\n\s*")


def lines() -> list[str]:
    return [line for block in COMMANDS for line in _CONTINUED.sub("", block).splitlines()]


@pytest.mark.parametrize("section", SECTIONS)
def test_every_step_has_a_command(section: str) -> None:
    assert section == "What you need" or "```sh" in SECTIONS[section]


def test_the_outputs_that_are_asked_for_exist() -> None:
    asked = set(re.findall(r"(?:\$\(|`)out (\w+)", DOCUMENT))
    assert asked
    assert asked <= compiled()["outputs"].keys()
    of_a_customer = set(re.findall(r"properties\.outputs\.(\w+)\.value", DOCUMENT))
    assert of_a_customer == {"ruleId"}
    assert of_a_customer == compiled("customer")["outputs"].keys()


def test_the_parameters_that_are_given_exist_and_none_is_missing() -> None:
    templates = dict.fromkeys(JSON_OF.keys() - {TEMPLATES["main"]}, 0)
    for line in lines():
        used = re.search(r"--template-file infra/([\w.-]+)", line)
        if used is None:
            continue
        given = set(re.findall(r"[ ](\w+)=", line.split("--parameters")[1]))
        parameters = compiled(JSON_OF[used[1]])["parameters"]
        assert given <= parameters.keys()
        required = {name for name, found in parameters.items() if "defaultValue" not in found}
        assert required <= given
        templates[used[1]] += 1
    assert all(templates.values())
    for name in re.findall(r"\bcustomer\s(\w+)=", DOCUMENT):
        assert name in compiled("customer")["parameters"]
    for name in re.findall(r"\\nparam (\w+) = ", DOCUMENT):
        assert name in compiled()["parameters"]


def test_every_name_in_backticks_that_looks_like_a_parameter_is_one() -> None:
    words = set(re.findall(r"`([a-z]+[A-Z]\w+)`", DOCUMENT))
    names = ("main", "customer", "lighthouse")
    known = {parameter for name in names for parameter in compiled(name)["parameters"]}
    assert words
    assert words <= known


def test_every_file_and_make_target_exists() -> None:
    for name in set(re.findall(r"[\w/.-]+\.(?:bicep|bicepparam|md)\b", DOCUMENT)) - {"infra/main.bicepparam"}:
        places = (ROOT / name, INFRA / name, ROOT / "docs" / name)
        assert any(place.exists() for place in places), name
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)$", DOCUMENT, re.MULTILINE)) <= targets
    assert "infra/main.bicepparam" in (ROOT / ".gitignore").read_text()


def test_the_ids_of_roles_are_those_of_the_templates() -> None:
    invented = "00000000-0000-0000-0000-000000000000"
    ids = set(re.findall(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", DOCUMENT)) - {invented}
    security_insights = "98785600-1bb7-4fb9-b9fa-19afe2c8a360"
    assert ids - {security_insights} == {
        role_ids()["Microsoft Sentinel Responder"],
        role_ids()["Microsoft Sentinel Reader"],
        role_ids()["Managed Services Registration Assignment Delete"],
    }
    assert security_insights in (INFRA / "main.bicep").read_text()


def test_the_roles_that_are_named_are_those_of_the_templates() -> None:
    named = set(re.findall(r"Microsoft Sentinel [A-Z]\w+(?: [A-Z]\w+)?", DOCUMENT))
    assert named - role_ids().keys() == {
        "Microsoft Sentinel Playbook Operator"
    }  # of a person, not of the app


def test_no_secret_is_typed_into_a_command() -> None:
    for line in lines():
        assert not re.search(r"(?i)secret=\S|--value|password=", line), line
        assert "CONTRAFORCE_CLIENT_SECRET" not in line or re.search(r"read -rs|unset", line)


@pytest.mark.slow
def test_the_commands_are_valid_shell(tmp_path: Path) -> None:
    script = tmp_path / "deploy.sh"
    script.write_text("\n".join(COMMANDS))
    checked = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
