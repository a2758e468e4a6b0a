"""A scanner of templates (checkov) finds nothing in what would be deployed but what a reason is given for.

The reasons are in `checkov-left.json`. The scanner looks into no nested deployment and calls that clean, so
each snapshot is written as one flat template.
"""

import json
import os
import re
import subprocess
from typing import Any

import compiler
import pytest
from conftest import ROOT

pytestmark = [pytest.mark.deep, pytest.mark.timeout(300)]
CHECKOV = ROOT / ".tools" / "bin" / "checkov"
LEFT: dict[str, str] = json.loads((compiler.INFRA / "checkov-left.json").read_text())
SCHEMA = "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#"


@pytest.fixture(scope="module")
def checks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[str, str]]]:
    """Return the checks that passed and that failed in any snapshot: the check, and the resource."""
    if not CHECKOV.exists():
        if os.environ.get("REQUIRE_CHECKOV"):
            pytest.fail("checkov is not installed: make checkov")
        pytest.skip("checkov is not installed: make checkov")
    folder = tmp_path_factory.mktemp("flat")
    for path in compiler.SNAPSHOTS.glob("*.json"):
        resources = json.loads(path.read_text())["predictedResources"]
        flat = {"$schema": SCHEMA, "contentVersion": "1.0.0.0", "resources": resources}
        (folder / path.name).write_text(json.dumps(flat, indent=1))
    done = subprocess.run(
        [CHECKOV, "-d", folder, "--framework", "arm", "--skip-download", "--output", "json", "--compact"],
        capture_output=True, text=True, check=False, timeout=280,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout)["results"]
    assert not found["parsing_errors"]
    return {
        kind: [(check["check_id"], f"{check['file_path']}: {check['resource']}") for check in found[kind]]
        for kind in ("passed_checks", "failed_checks")
    }


@pytest.mark.parametrize(
    "kind",
    [
        "Microsoft.Storage/storageAccounts",
        "Microsoft.KeyVault/vaults",
        "Microsoft.KeyVault/vaults/secrets",
        "Microsoft.Web/sites",
    ],
)
def test_checks_were_made(kind: str, checks: dict[str, list[tuple[str, str]]]) -> None:
    seen = {place for found in checks.values() for _, place in found}
    for path in compiler.SNAPSHOTS.glob("*.main.json"):
        assert any(place.startswith(f"/{path.name}: {kind}.") for place in seen), path.name


def test_nothing_fails_that_no_reason_is_given_for(checks: dict[str, list[tuple[str, str]]]) -> None:
    assert [found for found in checks["failed_checks"] if found[0] not in LEFT] == []


def test_no_reason_is_given_for_what_passes_everywhere(checks: dict[str, list[tuple[str, str]]]) -> None:
    assert LEFT.keys() - {check for check, _ in checks["failed_checks"]} == set()


def test_every_reason_is_a_sentence() -> None:
    for check, reason in LEFT.items():
        assert re.fullmatch(r"CKV2?_AZURE_\d+", check)
        assert re.fullmatch(r"[A-Z].{20,}\.", reason), check
