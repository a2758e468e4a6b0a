"""What was measured as a table, as JSON, and in the document between its marks; pure."""

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.figures import Figure

BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
_HEADER: Final = (
    "| figure | app | floor | ratio | at most | met | noise |\n|---|---:|---:|---:|---:|---|---:|"
)
_MOST: Final = 12


@dataclass(frozen=True, slots=True)
class Part:
    """What one part of a run gave: figures, and by title how something spreads over packages."""

    figures: list[Figure]
    shares: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON keeps it."""
        return {"figures": [asdict(figure) for figure in self.figures], "shares": dict(self.shares)}


def machine() -> dict[str, str]:
    """Return what the figures depend on."""
    model = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    ]
    return {
        "processor": model[0] if model else platform.processor() or platform.machine(),
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a Markdown table, medians of the rounds."""
    return "\n".join([_HEADER, *map(_row, figures)])


def shares_table(title: str, found: Mapping[str, float]) -> str:
    """Return the largest parts as a table, in percent of the whole."""
    total = sum(found.values())
    rows = (f"| {name} | {part / total:.0%} |" for name, part in list(found.items())[:_MOST])
    return "\n".join([f"| {title} | part |", "|---|---:|", *rows])


def figures_of(results: Mapping[str, Any]) -> list[Figure]:
    """Return the figures of every part, in the order of the parts."""
    return [Figure.of(found) for part in results["parts"].values() for found in part["figures"]]


def measured_part(results: Mapping[str, Any]) -> str:
    """Return what the document says of a run."""
    where = results["machine"]
    machine = f"{where['processor']}, {where['cores']} cores, {where['system']}, Python {where['python']}."
    shares = {title: found for part in results["parts"].values() for title, found in part["shares"].items()}
    tables = [shares_table(title, found) for title, found in shares.items()]
    return "\n\n".join([machine, table(figures_of(results)), *tables])


def put_into(document: str, part: str) -> str:
    """Return the document with the part between its marks."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{part}\n{END}{after}"


def _row(figure: Figure) -> str:
    floor = _number(median(figure.floor)) if figure.floor else ""
    ratio = "" if figure.ratio is None else f"{figure.ratio:.2f}"
    met = {None: "", True: "yes", False: "**no**"}[figure.is_met]
    target = "" if figure.target is None else f"{figure.target:.2f}"
    noise = f"{figure.noise:.0%}" if figure.floor and len(figure.app) > 1 else ""
    app = f"{_number(median(figure.app))} {figure.unit}"
    return f"| {figure.name} | {app} | {floor} | {ratio} | {target} | {met} | {noise} |"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"  # noqa: PLR2004
