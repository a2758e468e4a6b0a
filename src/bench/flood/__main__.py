"""`python -m bench.flood`: floods the app, is hostile to it for a minute, and says what it cost.

It ends with 1 where a limit of `verdict.py` is broken.
"""

import argparse
import asyncio
import json
import sys
from dataclasses import asdict
from typing import Final

from rich.console import Console

from bench import report
from bench.children import ChildFailed
from bench.flood.run import Flood
from bench.flood.verdict import DELIVERIES, HOSTILE_SECONDS, Measured, broken
from bench.lab import Say

MOST_WRONG_SHOWN: Final = 10


def main() -> int:
    """Flood; the exit status says whether a limit is broken."""
    options = _parser().parse_args()
    if sys.platform != "linux":
        sys.stderr.write("flood: memory is read from /proc, which only Linux has\n")
        return 1
    with Console(stderr=True).status("starting") as status:
        try:
            measured = asyncio.run(_measure(options, status.update))
        except ChildFailed as failure:
            sys.stderr.write(f"flood: {failure}\n")
            return 1
    return tell(measured, as_json=options.json)


async def _measure(options: argparse.Namespace, say: Say) -> Measured:
    async with Flood.open(say=say) as flood:
        return await flood.measure(deliveries=options.deliveries, seconds=options.seconds)


def tell(measured: Measured, *, as_json: bool) -> int:
    """Print the figures, and a sentence for each broken limit; return the exit status."""
    figures = measured.figures()
    sentences = broken(figures)
    wrong = [f"{name}: {one}" for name, phase in measured.phases.items() for one in phase.wrong]
    if as_json:
        found = {"figures": [asdict(one) for one in figures], "wrong": wrong, "broken": sentences}
        sys.stdout.write(json.dumps({**asdict(measured), **found}, indent=1) + "\n")
        return 1 if sentences else 0
    rows = (
        f"| {sample.after} | {sample.answers:,} | {sample.now:.1f} | {sample.peak:.1f} |"
        for sample in measured.samples
    )
    samples = "\n".join(["| after | answers | memory, MB | peak, MB |", "|---|---:|---:|---:|", *rows])
    said = sentences or ["every limit is kept"]
    sys.stdout.write(
        "\n".join([samples, "", report.table(figures), "", *wrong[:MOST_WRONG_SHOWN], *said, ""])
    )
    return 1 if sentences else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.flood", description="Flood the app.")
    parser.add_argument("--deliveries", type=int, default=DELIVERIES, help="default: %(default)s")
    parser.add_argument("--seconds", type=float, default=HOSTILE_SECONDS, help="of hostility: %(default)s")
    parser.add_argument("--json", action="store_true", help="print every value as JSON instead")
    return parser


if __name__ == "__main__":
    sys.exit(main())
