"""`python -m bench`: measures, and prints a table. Every figure stands beside its floor, of the same run.

The whole takes about a quarter of an hour, `--short` about a minute: it fails on a regression.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from bench import chart, report
from bench.azurite import azurite
from bench.cold import Cold, cold
from bench.deliveries import burst, shares, warm
from bench.figures import Figure
from bench.lab import Lab, Say
from bench.reconcile import growth, many_workspaces, reconcile
from bench.regression import Measure, find_regressions
from bench.report import Part
from bench.size import size

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
RECORDED, DOCUMENT, PICTURE = DOCS / "performance.json", DOCS / "performance.md", DOCS / "performance.svg"
SQLITE: Final = "links"
WARM: Final = ((0, 7, 100), (50, 7, 40), (200, 7, 15))
"""Latency of the upstreams in ms, rounds, deliveries of a round."""


def main() -> int:
    """Measure what the arguments name; the exit status counts the regressions."""
    options = _parser().parse_args()
    with Console(stderr=True).status("starting") as status:
        return asyncio.run(_short(options, status.update) if options.short else _full(options, status.update))


async def _cold(lab: Lab) -> Part:
    figures = await cold(lab, rounds=11, is_compiled=True) + await cold(lab, rounds=5, is_compiled=False)
    return Part(figures, {"package, import in a first delivery": await Cold(lab, is_compiled=True).imports()})


async def _warm(lab: Lab) -> Part:
    figures: list[Figure] = []
    async with azurite() as tables:
        stores = {"SQLite": SQLITE} | ({"Azurite": tables} if tables else {})
        for kind, store in stores.items():
            for latency, rounds, count in WARM:
                figures += await warm(
                    lab, store=store, kind=kind, latency_ms=latency, rounds=rounds, count=count
                )
    return Part(figures)


async def _burst(lab: Lab) -> Part:
    figures: list[Figure] = []
    for latency in (0, 50):
        figures += await burst(lab, store=SQLITE, kind="SQLite", latency_ms=latency, rounds=5, count=100)
    return Part(
        figures, {"package, of a burst's time on the CPU": await shares(lab, store=SQLITE, count=100)}
    )


async def _reconcile(lab: Lab) -> Part:
    figures = await reconcile(lab, incidents=10_000, rounds=5)
    figures += await growth(lab, few=1_000, many=10_000)
    return Part(figures + await many_workspaces(lab, workspaces=300, rounds=5))


async def _size(_: Lab) -> Part:
    return Part(size())


PARTS: Final[dict[str, Callable[[Lab], Awaitable[Part]]]] = {
    "cold": _cold,
    "warm": _warm,
    "burst": _burst,
    "reconcile": _reconcile,
    "size": _size,
}


async def _full(options: argparse.Namespace, say: Say) -> int:
    results: dict[str, Any] = {"machine": report.machine(), "parts": {}}
    for name in options.only:
        async with Lab.open(say=say) as lab:
            results["parts"][name] = (await PARTS[name](lab)).to_json()
        if options.record:
            _record(machine=results["machine"], parts={**_recorded().get("parts", {}), **results["parts"]})
    sys.stdout.write(report.measured_part(results) + "\n")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


async def _short(options: argparse.Namespace, say: Say) -> int:
    recorded = _recorded().get("short", {})
    async with Lab.open(say=say) as lab:
        measures: list[Measure] = [
            partial(warm, lab, store=SQLITE, kind="SQLite", latency_ms=0, rounds=5, count=40),
            partial(warm, lab, store=SQLITE, kind="SQLite", latency_ms=50, rounds=3, count=15),
            partial(burst, lab, store=SQLITE, kind="SQLite", latency_ms=0, rounds=3, count=100),
            partial(cold, lab, rounds=3, is_compiled=True),
            partial(reconcile, lab, incidents=1_000, rounds=3),
        ]
        figures, worse = await find_regressions(measures, recorded)
    if options.record:
        found = {one.name: round(one.ratio, 3) for one in figures if one.ratio and len(one.app) > 1}
        _record(short={name: max(ratio, recorded.get(name, 0.0)) for name, ratio in found.items()})
    sys.stdout.write(report.table(figures) + "\n")
    for name in worse:
        sys.stdout.write(f"worse than recorded, in every repetition: {name} (recorded {recorded[name]})\n")
    if not worse:
        sys.stdout.write(f"{len(recorded)} ratios are within what the noise of this run allows\n")
    return len(worse)


def _recorded() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    return found


def _record(**results: object) -> None:
    """Keep results, and what the document and its chart show of them."""
    kept = {**_recorded(), **results}
    RECORDED.write_text(json.dumps(kept, indent=1) + "\n")
    if "parts" in kept:
        DOCUMENT.write_text(report.put_into(DOCUMENT.read_text(), report.measured_part(kept)))
        PICTURE.write_text(chart.chart(report.figures_of(kept)))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the app beside its floors.")
    parser.add_argument("--short", action="store_true", help="a few figures, beside the recorded ratios")
    parser.add_argument("--json", type=Path, help="write every value there, too")
    parser.add_argument("--record", action="store_true", help="keep the results in docs/")
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=list(PARTS), help="some parts of the whole"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
