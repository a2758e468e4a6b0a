"""The KQL texts of the repository, and what binds them to the tables of Azure Monitor and Sentinel."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

ROOT = Path(__file__).parent.parent
WORKBOOK = ROOT / "infra" / "workbook.json"
FOLDERS = [ROOT / "infra" / "queries", ROOT / "infra" / "alerts"]
PACKAGE = ROOT / ".tools" / "node_modules" / "@kusto" / "language-service-next"
# https://learn.microsoft.com/azure/azure-monitor/reference/tables-index
TABLES: Final[dict[str, dict[str, str]]] = json.loads((ROOT / "tests" / "kql" / "tables.json").read_text())
# What a workbook puts in the place of its parameters before a query runs.
PARAMETERS: Final = {"{Workspace}": "'*'", "{TimeRange:grain}": "1h"}
LOGS: Final = 0  # the workbook's number for queries of Log Analytics; 1 is Resource Graph
_SECONDS: Final = 300


@dataclass(frozen=True)
class Query:
    """One KQL text, by the place it stands in."""

    place: str
    text: str

    @property
    def names(self) -> set[str]:
        """Every text in quotes: names of events, metrics and spans among others."""
        return set(re.findall(r'"([^"\n]*)"', self.code))

    @property
    def dimensions(self) -> set[str]:
        """What is read of Properties, whichever way it is written."""
        return {
            name or other for name, other in re.findall(r'Properties(?:\.(\w+)|\["([^"]+)"\])', self.code)
        }

    @property
    def code(self) -> str:
        """The text without its comments."""
        return re.sub(r"^\s*//.*$", "", self.text, flags=re.MULTILINE)


def queries() -> list[Query]:
    """Return every KQL text: queries, alerts, and those of the workbook with its parameters filled in."""
    files = [path for folder in FOLDERS for path in sorted(folder.glob("*.kql"))]
    found = [Query(str(path.relative_to(ROOT)), path.read_text()) for path in files]
    workbook = json.loads(WORKBOOK.read_text())
    return found + [Query(f"workbook: {place}", filled(text)) for place, text in workbook_queries(workbook)]


def workbook_queries(item: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Yield every query of a workbook with its item's name, those of parameters and of groups included."""
    if isinstance(item, list):
        for one in item:
            yield from workbook_queries(one, place)
    elif isinstance(item, dict):
        name = item.get("name")
        place = f"{place}/{name}" if isinstance(name, str) else place
        if isinstance(item.get("query"), str) and item["queryType"] == LOGS:
            yield place, item["query"]
        for one in item.values():
            yield from workbook_queries(one, place)


def filled(text: str) -> str:
    """Return a workbook's query as it is sent, with a value in the place of each parameter."""
    for parameter, value in PARAMETERS.items():
        text = text.replace(parameter, value)
    return text


def bound(texts: Mapping[str, str]) -> dict[str, list[str]]:
    """Parse and bind KQL texts; per text what the language service objects to.

    Skips the test where Node.js or the service is missing, fails it where `REQUIRE_KUSTO` is set.
    """
    node = shutil.which("node")
    if node is None or not PACKAGE.exists():
        if os.environ.get("REQUIRE_KUSTO"):
            pytest.fail("the Kusto language service is not installed: make kusto")
        pytest.skip("the Kusto language service is not installed: make kusto")
    done = subprocess.run(
        [node, ROOT / "tests" / "kql" / "bind.js", PACKAGE],
        input=json.dumps({"tables": TABLES, "texts": texts}),
        capture_output=True,
        text=True,
        check=True,
        timeout=_SECONDS,
    )
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found
