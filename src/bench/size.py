"""How large what is deployed is, beside the barest script's packages: files as installed, sources only."""

from collections.abc import Iterable
from importlib.metadata import distribution
from pathlib import Path
from typing import Final

from packaging.requirements import Requirement

from bench.figures import Figure

APP: Final = "contraforce-sentinel"
WORKER: Final = "azure-functions-runtime"
TELEMETRY: Final = "azure-monitor-opentelemetry"
BAREST: Final = ("azure-functions", WORKER, "azure-identity", "httpx")
MEGABYTE: Final = 1024 * 1024


def size() -> list[Figure]:
    """Return the megabytes of the deployed set, the worker library included, and telemetry apart."""
    ours = Path(__file__).resolve().parents[1] / "contraforce_sentinel"
    own = sum(path.stat().st_size for path in ours.rglob("*") if path.is_file() and _counts(path))
    everything = needed((APP, WORKER)) - {APP}
    required = (Requirement(one) for one in distribution(APP).requires or ())
    quiet = needed((WORKER, *(str(one) for one in required if one.name != TELEMETRY)))
    app, telemetry, floor = (
        sum(map(_bytes_of, names)) / MEGABYTE for names in (quiet, everything - quiet, needed(BAREST))
    )
    return [
        Figure("deployed, telemetry apart", "MB", (app + own / MEGABYTE,), (floor,)),
        Figure("deployed, telemetry", "MB", (telemetry,)),
    ]


def needed(roots: Iterable[str]) -> set[str]:
    """Return the names of these distributions and of everything that they need on this machine."""
    found: set[str] = set()
    waiting = [Requirement(root) for root in roots]
    while waiting:
        requirement = waiting.pop()
        name, marker = requirement.name.lower().replace("_", "-"), requirement.marker
        if name in found or (marker and not marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        waiting += map(Requirement, distribution(name).requires or ())
    return found


def _bytes_of(name: str) -> int:
    files = (Path(str(file.locate())) for file in distribution(name).files or ())
    return sum(path.stat().st_size for path in files if path.is_file() and _counts(path))


def _counts(path: Path) -> bool:
    return path.suffix != ".pyc"
