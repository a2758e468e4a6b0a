"""What doctor finds: one finding per check, as text for people and as JSON for scripts."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any, Final

from rich.console import Console
from rich.text import Text

from operators_tool.render import literal


class Status(StrEnum):
    """How a check ended. `UNSURE` is no failure: it says what could not be seen, and how it could."""

    OK = "ok"
    FAILED = "failed"
    UNSURE = "unsure"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check: what was seen, what that means for the app, and the command that fixes it."""

    check: str
    status: Status
    seen: str
    meaning: str = ""
    fix: str = ""


_STYLES: Final = {
    Status.OK: "green",
    Status.FAILED: "bold red",
    Status.UNSURE: "yellow",
    Status.SKIPPED: "dim",
}
_MARKS: Final = {Status.OK: "✓", Status.FAILED: "✗", Status.UNSURE: "?", Status.SKIPPED: "-"}
_INDENT: Final = " " * 2


def ok(check: str, seen: str) -> Finding:
    """Return a check that holds."""
    return Finding(check, Status.OK, seen)


def failed(check: str, seen: str, *, meaning: str, fix: str) -> Finding:
    """Return a check that does not hold."""
    return Finding(check, Status.FAILED, seen, meaning, fix)


def unsure(check: str, seen: str, *, meaning: str, fix: str) -> Finding:
    """Return a check that cannot be decided."""
    return Finding(check, Status.UNSURE, seen, meaning, fix)


def skipped(check: str, because: str) -> Finding:
    """Return a check that needs another one to hold first."""
    return Finding(check, Status.SKIPPED, f"needs {because}")


def is_healthy(findings: Sequence[Finding]) -> bool:
    """Whether no check failed."""
    return all(finding.status is not Status.FAILED for finding in findings)


def findings_content(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the findings as JSON."""
    return {"ok": is_healthy(findings), "checks": [asdict(finding) for finding in findings]}


def show_findings(console: Console, findings: Sequence[Finding]) -> None:
    """Print a line for each check, and below a failed one what it means and what fixes it."""
    width = max(len(finding.check) for finding in findings)
    for finding in findings:
        style = _STYLES[finding.status]
        mark = finding.status if console.options.ascii_only else _MARKS[finding.status]
        line = Text.assemble((f"{mark} {finding.check:<{width}}  ", style), literal(finding.seen))
        console.print(line, soft_wrap=not console.is_terminal)
        if finding.meaning:
            console.print(literal(f"{_INDENT}{finding.meaning}"), soft_wrap=not console.is_terminal)
        if finding.fix:  # never wrapped: it is there to be copied
            console.print(Text(f"{_INDENT}fix: ", style="bold"), literal(finding.fix), sep="", soft_wrap=True)
    good = sum(finding.status is Status.OK for finding in findings)
    bad = sum(finding.status is Status.FAILED for finding in findings)
    style = "bold red" if bad else "bold green" if good == len(findings) else "yellow"
    told = f"{good} of {len(findings)} checks are fine" + (f", {bad} failed." if bad else ".")
    console.print()
    console.print(told, style=style)
