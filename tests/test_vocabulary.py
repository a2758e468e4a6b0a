"""One vocabulary: call sites, tables in code and document name the same events, metrics and spans."""

import ast
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import trustme
from conftest import ROOT
from deployed import snapshot

from contraforce_sentinel.domain.records import LinkState
from contraforce_sentinel.telemetry.vocabulary import CORRELATION, EVENTS, METRICS, SPANS
from sandbox import Sandbox

PACKAGE = ROOT / "src" / "contraforce_sentinel"
DOCUMENT = (ROOT / "docs" / "operate.md").read_text()


def calls(function: str) -> Iterator[tuple[str, set[str]]]:
    """Yield the name and the dimensions of every call of a telemetry function in the package."""
    for path in PACKAGE.rglob("*.py"):
        module = ast.parse(path.read_text())
        for scope in ast.walk(module):
            if not isinstance(scope, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(scope):
                if isinstance(node, ast.Call) and getattr(node.func, "id", None) == function:
                    dimensions = {word.arg for word in node.keywords if word.arg} - {"level"}
                    unpacked = [word.value for word in node.keywords if word.arg is None]
                    dimensions |= {key for value in unpacked for key in keys_of(value, scope, module)}
                    for name in names_of(node.args[0], scope):
                        yield name, dimensions


def names_of(node: ast.expr, scope: ast.AST) -> list[str]:
    """Return the values that a call's first argument may have: a text, a variable's texts, a state's name."""
    if isinstance(node, ast.Constant):
        return [str(node.value)]
    if isinstance(node, ast.JoinedStr):
        assert ast.unparse(node) == "f'link.{link.state}'"
        return [f"link.{state}" for state in LinkState]
    assert isinstance(node, ast.Name), ast.unparse(node)
    values = [v for target, v in assignments(scope) if target == node.id]
    return [str(value.value) for value in values if isinstance(value, ast.Constant)]


def keys_of(node: ast.expr, scope: ast.AST, module: ast.Module) -> list[str]:
    """Return the keys of a dictionary that is unpacked: a variable's, or what a function returns."""
    found: ast.expr | None
    if isinstance(node, ast.Call):
        name = getattr(node.func, "id", None)
        (function,) = [one for one in module.body if isinstance(one, ast.FunctionDef) and one.name == name]
        (found,) = [one.value for one in function.body if isinstance(one, ast.Return)]
    else:
        assert isinstance(node, ast.Name), ast.unparse(node)
        (found,) = [value for target, value in assignments(scope) if target == node.id]
    assert isinstance(found, ast.Dict)
    return [key.value for key in found.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]


def assignments(scope: ast.AST) -> Iterator[tuple[str, ast.expr]]:
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value


def emitted(function: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for name, dimensions in calls(function):
        found[name] |= dimensions
    return dict(found)


def documented(section: str, column: int) -> dict[str, set[str]]:
    """Return the names of a table of the document, each with the dimensions of that column."""
    text = DOCUMENT.split(f"\n## {section}\n")[1].split("\n## ")[0]
    found: dict[str, set[str]] = {}
    for row in re.findall(r"^\| `.+\|$", text, re.MULTILINE):
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        (name,) = re.findall(r"`([^`]+)`", cells[0])
        words = set(re.findall(r"`([^`]+)`", cells[column]))
        found[name] = found[words.pop()] if cells[column].startswith("as ") else words
    return found


def test_every_event_in_code_is_in_the_vocabulary_with_its_dimensions() -> None:
    in_code = emitted("event")
    assert {name: dimensions - CORRELATION for name, dimensions in in_code.items()} == EVENTS


def test_every_metric_in_code_is_in_the_vocabulary_with_its_dimensions() -> None:
    assert emitted("measure") == {name: metric.dimensions for name, metric in METRICS.items()}


def test_every_span_in_code_is_in_the_vocabulary_with_its_attributes() -> None:
    late = {"outcome"}  # put in at the end
    assert emitted("span") == {name: attributes - late for name, attributes in SPANS.items()}


def test_the_document_lists_the_events_of_the_code_and_their_dimensions() -> None:
    assert documented("Events", 2) == EVENTS


def test_the_document_names_what_any_event_may_carry() -> None:
    text = DOCUMENT.split("\n## Events\n")[1].split("\n|")[0]
    assert set(re.findall(r"`([a-z_]+)`", text)) >= CORRELATION


def test_the_document_lists_the_metrics_of_the_code_their_units_and_dimensions() -> None:
    assert documented("Metrics", 3) == {name: metric.dimensions for name, metric in METRICS.items()}
    units = documented_units()
    assert units == {name: metric.unit for name, metric in METRICS.items()}


def documented_units() -> dict[str, str]:
    text = DOCUMENT.split("\n## Metrics\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `([a-z_.]+)` \| (\w+) \|", text, re.MULTILINE))


def test_the_document_names_the_spans_of_the_code_and_their_attributes() -> None:
    text = DOCUMENT.split("\n## Traces\n")[1]
    for name, attributes in SPANS.items():
        assert {name, *attributes} <= set(re.findall(r"`([^`]+)`", text))


def test_the_document_leads_to_every_query_and_names_no_other() -> None:
    files = {path.name for path in (ROOT / "infra" / "queries").glob("*.kql")}
    assert set(re.findall(r"`([a-z-]+\.kql)`", DOCUMENT)) == files


def test_the_document_leads_on_from_every_alert() -> None:
    text = DOCUMENT.split("\n## An alert has fired\n")[1].split("\n## ")[0]
    alerts = {path.stem for path in (ROOT / "infra" / "alerts").glob("*.kql")}
    assert set(re.findall(r"^\| `([a-z-]+)` \|", text, re.MULTILINE)) == alerts


def test_the_document_speaks_of_every_event_and_of_no_event_that_is_not_there() -> None:
    stems = {name.split(".")[0] for name in EVENTS}
    spoken = set(re.findall(rf"`((?:{'|'.join(stems)})\.[a-z-]+)`", DOCUMENT)) - METRICS.keys()
    assert spoken == EVENTS.keys()


def test_the_settings_in_the_document_are_those_that_the_template_sets() -> None:
    text = DOCUMENT.split("\n## Settings\n")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| (.+?) \| .+ \|$", text, re.MULTILINE))
    found = snapshot("defaults").settings()
    telemetry = ("APPLICATIONINSIGHTS", "PYTHON_APPLICATIONINSIGHTS", "OTEL_")
    assert rows.keys() == {name for name in found if name.startswith(telemetry)}
    for name, value in rows.items():
        if value.startswith("`") and "<" not in value:
            assert found[name] == value.strip("`")


def test_the_sandbox_turns_telemetry_on_as_the_template_does() -> None:
    """So that what is tested is what is deployed; the rest of its settings keep the exporters on loopback."""
    settings = snapshot("defaults").settings()
    deployed = {name: settings[name] for name in settings if name.startswith(("OTEL_", "PYTHON_APP"))}
    assert len(deployed) == 5
    here = Sandbox(trustme.CA(), Path()).telemetry_environment()
    assert {name: here[name] for name in deployed} == deployed


def test_the_host_leaves_telemetry_to_opentelemetry() -> None:
    assert json.loads((ROOT / "host.json").read_text())["telemetryMode"] == "OpenTelemetry"
