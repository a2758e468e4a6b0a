"""The templates hold against Azure's published types, and the checker would say so if they did not.

`BICEP_CHECK` names a type checker: it takes files or folders and prints `file(line,column) …` for a finding.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bicep_templates import INFRA

CHECKER = os.environ.get("BICEP_CHECK")
BROKEN = Path(__file__).parent / "broken" / "broken.bicep"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CHECKER, reason="BICEP_CHECK names no type checker"),
]


def check(path: Path) -> "subprocess.CompletedProcess[str]":
    assert CHECKER
    return subprocess.run(
        [sys.executable, CHECKER, path], capture_output=True, text=True, check=False, timeout=100
    )


def test_the_templates_have_no_finding() -> None:
    checked = check(INFRA)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    files = len(list(INFRA.glob("*.bicep")))
    assert f"{files} files, 0 findings" in checked.stdout


def test_a_broken_template_is_found_broken_on_each_marked_line_and_no_other() -> None:
    checked = check(BROKEN)
    assert checked.returncode == 1, checked.stderr
    found = {int(line) for line in re.findall(r"\.bicep\((\d+),\d+\)", checked.stdout)}
    marked = {
        number for number, line in enumerate(BROKEN.read_text().splitlines(), 1) if line.endswith("// BROKEN")
    }
    assert found == marked, checked.stdout
