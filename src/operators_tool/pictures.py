"""`make pictures`: the README's pictures of the demo, and of doctor finding a fault, as SVG by rich.

They show real runs. What differs with every run is an ellipsis, so that the same code draws the same bytes.
"""

import asyncio
import os
import re
import sys
from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from rich.console import Console
from rich.status import Status
from rich.text import Text

from operators_tool.demo.main import run_demo
from operators_tool.demo.report import PIPED_WIDTH
from operators_tool.doctor import examine
from operators_tool.findings import show_findings
from sandbox import Sandbox
from sandbox.serve import fill

_WIDE: Final = 1000  # wraps nothing: lines are wrapped where a terminal would, in the picture
_SHOWN_STEPS: Final = 2
_CLIENT_ID: Final = "66666666-7777-4888-8999-aaaaaaaaaaaa"  # the identity that doctor's command names
_VARYING: Final = (
    (r"(127\.0\.0\.1):\d+ \(process \d+\)", r"\1:… (process …)"),
    (r", in [\d.]+ (m?s)\b", r", in … \1"),
    (r"  [ \d]{4}\d$", "      …"),  # the milliseconds of the table
    (r"\d+ s ahead of", "… s ahead of"),  # the service tells whole seconds
)


def main(directory: Path) -> None:
    """Draw both into a directory; raises if the demo fails."""
    directory.mkdir(exist_ok=True)
    shown = _terminal(PIPED_WIDTH)
    if asyncio.run(run_demo(shown)):
        raise RuntimeError("the demo failed: no picture of that")
    _draw(directory, "demo", _excerpt(_lines(shown)))
    shown = _terminal(_WIDE)
    asyncio.run(_doctor(shown))
    _draw(directory, "doctor", _lines(shown))


class _Still(Console):
    """A terminal on which nothing moves: no spinner in a picture."""

    def status(self, *_: Any, **__: Any) -> Status:
        return Console(quiet=True).status("")


def _terminal(width: int) -> Console:
    return _Still(
        file=StringIO(),
        force_terminal=True,
        color_system="standard",
        width=width,
        markup=False,
        emoji=False,
        highlight=False,
        _environ={},  # the same on every terminal
    )


def _lines(console: Console) -> list[Text]:
    assert isinstance(console.file, StringIO)  # noqa: S101 - made above
    shown = console.file.getvalue()
    for pattern, spelling in _VARYING:
        shown = re.sub(pattern, spelling, shown, flags=re.MULTILINE)
    return [Text.from_ansi(line) for line in shown.splitlines()]


def _excerpt(lines: list[Text]) -> list[Text]:
    """Leave out the steps after the first ones; the table in the end has them all."""
    steps = [
        at for at, line in enumerate(lines) if line.plain.lstrip()[:1].isdecimal() and line.plain[4:5] != " "
    ]
    summary = next(
        at for at, line in enumerate(lines) if line.plain.split() == ["step", "answer", "ticket", "ms"]
    )
    return [*lines[: steps[_SHOWN_STEPS]], Text("  …"), Text(), *lines[summary:]]


def _draw(directory: Path, command: str, lines: Iterable[Text]) -> None:
    picture = Console(
        file=StringIO(),
        record=True,
        width=PIPED_WIDTH,
        color_system="standard",
        highlight=False,
        _environ={},
    )
    for line in lines:
        picture.print(line, overflow="fold")
    picture.save_svg(str(directory / f"{command}.svg"), title=f"contraforce-sentinel {command}")


async def _doctor(console: Console) -> None:
    with TemporaryDirectory() as directory:
        async with Sandbox.start() as sandbox:
            sandbox.identity.client_ids = [_CLIENT_ID]
            fill(sandbox, broken=True)
            # azure-identity and TLS read the process's environment
            os.environ.update(sandbox.environment() | {"LINK_STORE": f"sqlite:///{directory}/links.db"})
            show_findings(console, await examine(os.environ, app_url=None))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
