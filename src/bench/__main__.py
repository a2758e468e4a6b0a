"""`python -m bench`: measures, and prints a table. Every figure stands beside its floor, of the same run.

The whole takes about a quarter of an hour, `--short` less than two minutes: it fails on a regression.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from bench import chart, report
from bench.azurite import azurite
from bench.cold import Cold, cold
from bench.deliveries import burst, shares, warm
from bench.figures import Figure
from bench.lab import Lab
from bench.reconcile import growth, many_workspaces, reconcile
from bench.regression import Measure, find_regressions
from bench.size import size

DOCS: Final = Path(__file__).resolve().parents[2] / "docs"
RECORDED, DOCUMENT, PICTURE = DOCS / "performance.json", DOCS / "performance.md", DOCS / "performance.svg"
SQLITE: Final = "links"
WARM: Final = ((0, 7, 100), (50, 7, 40), (200, 7, 15))
"""Latency of the upstreams in ms, rounds, deliveries of a round."""

PARTS: Final = ("warm", "burst", "cold", "reconcile", "size")


def main() -> int:
    """Measure what the arguments name; the exit status counts the regressions."""
    options = _parser().parse_args()
    console = Console(stderr=True)
    with console.status("starting") as status:
        work = _short(options, status.update) if options.short else _full(options, status.update)
        return asyncio.run(work)


async def _full(options: argparse.Namespace, say: Callable[[str], None]) -> int:
    figures: list[Figure] = []
    more: dict[str, Any] = {"shares": {}, "imports": {}}
    async with Lab.open(say=say) as lab, azurite() as tables:
        stores = {"SQLite": SQLITE} | ({"Azurite": tables} if tables else {})
        if "cold" in options.only:
            figures += await cold(lab, rounds=11, is_compiled=True)
            figures += await cold(lab, rounds=5, is_compiled=False)
            more["imports"] = await Cold(lab, is_compiled=True).imports()
        for kind, store in stores.items() if "warm" in options.only else ():
            for latency, rounds, count in WARM:
                figures += await warm(
                    lab, store=store, kind=kind, latency_ms=latency, rounds=rounds, count=count
                )
        if "reconcile" in options.only:
            figures += await reconcile(lab, incidents=10_000, rounds=5)
            figures += await growth(lab, few=1_000, many=10_000)
        for kind, store in stores.items() if "burst" in options.only else ():
            for latency in (0, 50):
                figures += await burst(lab, store=store, kind=kind, latency_ms=latency, rounds=5, count=1000)
        if "burst" in options.only:
            more["shares"] = await shares(lab, store=SQLITE, count=1000)
        if "reconcile" in options.only:  # last: from here on there are many workspaces
            figures += await many_workspaces(lab, workspaces=300, rounds=5)
    if "size" in options.only:
        figures += size()
    _write(options, report.to_json(figures, **more))
    return 0


async def _short(options: argparse.Namespace, say: Callable[[str], None]) -> int:
    recorded = json.loads(RECORDED.read_text()).get("short", {}) if RECORDED.exists() else {}
    async with Lab.open(say=say) as lab:
        measures: list[Measure] = [
            partial(warm, lab, store=SQLITE, kind="SQLite", latency_ms=0, rounds=5, count=40),
            partial(warm, lab, store=SQLITE, kind="SQLite", latency_ms=50, rounds=3, count=15),
            partial(burst, lab, store=SQLITE, kind="SQLite", latency_ms=0, rounds=3, count=200),
            partial(cold, lab, rounds=3, is_compiled=True),
            partial(reconcile, lab, incidents=1_000, rounds=3),
        ]
        figures, worse = await find_regressions(measures, recorded)
    if options.record:
        kept = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
        kept["short"] = {one.name: round(one.ratio, 3) for one in figures if one.ratio and len(one.app) > 1}
        RECORDED.write_text(json.dumps(kept, indent=1) + "\n")
    sys.stdout.write(report.table(figures) + "\n")
    for name in worse:
        sys.stdout.write(f"worse than recorded, in every repetition: {name} (recorded {recorded[name]})\n")
    if not worse:
        sys.stdout.write(f"{len(recorded)} ratios are within what the noise of this run allows\n")
    return len(worse)


def _write(options: argparse.Namespace, results: dict[str, Any]) -> None:
    figures = [Figure.of(found) for found in results["figures"]]
    sys.stdout.write(report.measured_part(results) + "\n")
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    if options.record:
        kept = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
        RECORDED.write_text(json.dumps({**results, "short": kept.get("short", {})}, indent=1) + "\n")
        DOCUMENT.write_text(report.put_into(DOCUMENT.read_text(), report.measured_part(results)))
        PICTURE.write_text(chart.chart(figures))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the app beside its floors.")
    parser.add_argument("--short", action="store_true", help="a few figures, beside the recorded ratios")
    parser.add_argument("--json", type=Path, help="write every value there, too")
    parser.add_argument("--record", action="store_true", help="keep the results in docs/")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="some parts of the whole")
    return parser


if __name__ == "__main__":
    os.environ.setdefault("PYTHONHASHSEED", "0")
    sys.exit(main())
