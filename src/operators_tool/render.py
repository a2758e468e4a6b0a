"""What the terminal shows: consoles, tables, JSON. No data is markup here, and no control character passes.

Colours and progress are for terminals. Piped, a table is plain text with one line a row. `NO_COLOR` holds:
rich reads it, https://no-color.org.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

_PIPED_WIDTH: Final = 2000  # so that no cell of a piped table is cut or wrapped
_STYLES: Final[Mapping[str, str]] = {
    "linked": "green",
    "skipped": "dim",
    "pending": "yellow",
    "ticketed": "yellow",
    "dead": "bold red",
}


def open_console(*, stderr: bool = False) -> Console:
    """Return the console for answers, or for what is said beside them."""
    console = Console(stderr=stderr, markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    return console


def literal(text: str, *, style: str = "") -> Text:
    """Return foreign text as it is: no markup, and no control characters for the terminal."""
    shown = (char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)
    return Text("".join(shown), style=style)


def show_json(document: Any) -> None:
    """Write one JSON document to standard output; ASCII only, so any terminal and pipe takes it."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")


def show_table(console: Console, headers: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table; a cell that is a link's state has its colour."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold underline")
    for header in headers:
        table.add_column(header, overflow="fold")
    for row in rows:
        table.add_row(*(literal(cell, style=_STYLES.get(cell, "")) for cell in row))
    if console.is_terminal:
        console.print(table)
        return
    with console.capture() as capture:
        console.print(table)
    for line in capture.get().splitlines():
        console.print(Text(line.rstrip()), soft_wrap=True)


type Counts = Mapping[tuple[str, str], int]
"""How many incidents ended where: by state and reason, which may be empty."""


def show_counts(console: Console, counts: Counts) -> None:
    """Print how many incidents ended where."""
    rows = ((state, reason, str(count)) for (state, reason), count in sorted(counts.items()))
    show_table(console, ("state", "reason", "incidents"), rows)


def counts_content(counts: Counts) -> list[dict[str, Any]]:
    """Return how many incidents ended where as JSON."""
    return [
        {"status": state, "reason": reason or None, "count": count}
        for (state, reason), count in sorted(counts.items())
    ]


def moment(at: datetime | None) -> str:
    """Return a time as operators read it, in UTC to the second; an empty text for None."""
    return "" if at is None else f"{at:%Y-%m-%d %H:%M:%S}Z"


def duration(seconds: float) -> str:
    """Return how long something takes in words of at most two units."""
    whole = round(seconds)
    hours, minutes, left = whole // 3600, whole % 3600 // 60, whole % 60
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {left} s" if minutes else f"{left} s"
