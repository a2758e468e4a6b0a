"""Runs the demo's steps one after the other, compares what each observed with what it expected, prints both.

Nothing that comes from a service is read as markup. Colours and the spinner are only for terminals: piped,
the report is plain text of 110 columns.
"""

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from operators_tool.render import literal

PIPED_WIDTH: Final = 110
LOG_LINES: Final = 20
_LABEL_WIDTH: Final = 10
_INDENT: Final = 4

type Fact = tuple[str, str]
"""A name and a text, shown beside each other."""


@dataclass(frozen=True, slots=True)
class Check:
    """One observation; it holds if what was seen equals what was expected."""

    label: str
    expected: object
    seen: object

    @property
    def holds(self) -> bool:
        """Whether it was observed."""
        return self.expected == self.seen


@dataclass(frozen=True, slots=True)
class Observed:
    """What a step has seen: its answer in two words, facts to show, and what was checked."""

    answer: str
    facts: Sequence[Fact]
    checks: Sequence[Check]
    ticket: str = ""
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to show. `before` are facts that are known, and shown, before `observe` is awaited."""

    title: str
    observe: Callable[[], Awaitable[Observed]]
    before: Sequence[Fact] = ()


@dataclass(frozen=True, slots=True)
class Result:
    """A step that has run; `observed` is None if it ended with an exception."""

    step: Step
    observed: Observed | None
    failures: Sequence[str]


def open_console() -> Console:
    """Return the console of the demo: as wide as the terminal, 110 columns when piped."""
    console = Console(markup=False, emoji=False, highlight=False)
    if not console.is_terminal:
        console.width = PIPED_WIDTH
    return console


async def run_steps(steps: Sequence[Step], console: Console) -> list[Result]:
    """Run and show every step; one that fails, whatever the way, does not stop those after it."""
    results = []
    for number, step in enumerate(steps, start=1):
        console.print()
        console.print(Text(f"{number:>2}  {step.title}", style="bold"))
        for fact in step.before:
            _show_fact(console, *fact)
        with console.status("waiting for the app"):
            result = await _run(step)
        _show(console, result)
        results.append(result)
    return results


def show_summary(results: Sequence[Result], console: Console, *, seconds: float) -> int:
    """Print one line per step; gives the number of steps that failed."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold underline")
    for header in ("", "step", "answer", "ticket"):
        table.add_column(header, overflow="fold")
    table.add_column("ms", justify="right", no_wrap=True, min_width=5)  # an answer takes 90 s at most
    for result in results:
        observed = result.observed or Observed("none", (), ())
        took = "" if observed.seconds is None else f"{observed.seconds * 1000:.0f}"
        cells = (result.step.title, observed.answer, observed.ticket, took)
        table.add_row(_mark(console, holds=not result.failures), *(literal(cell) for cell in cells))
    console.print("", table, "", sep="\n")
    failed = sum(bool(result.failures) for result in results)
    if not failed:
        console.print(f"All {len(results)} steps went as expected, in {seconds:.1f} s.", style="bold green")
    return failed


def show_failure(console: Console, message: str, log: Path) -> None:
    """Print what went wrong, and the last lines of the app's log."""
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
    console.print(message, style="bold red")
    console.print(f"The last {len(lines)} lines of the app's log:" if lines else "The app's log is empty.")
    for line in lines:
        console.print(Text(" " * _INDENT) + literal(line), soft_wrap=True)


class Stopwatch:
    """Runs from its making on."""

    def __init__(self) -> None:
        self._started = time.perf_counter()

    @property
    def seconds(self) -> float:
        """How long it has run."""
        return time.perf_counter() - self._started


async def _run(step: Step) -> Result:
    try:
        observed = await step.observe()
    except Exception as error:  # noqa: BLE001 - whatever goes wrong in a step is a failure of that step
        return Result(step, None, [f"the step broke off: {type(error).__name__}: {error}"])
    failures = [
        f"{check.label}: expected {check.expected}, seen {check.seen}"
        for check in observed.checks
        if not check.holds
    ]
    return Result(step, observed, failures)


def _show(console: Console, result: Result) -> None:
    """Print facts and checks: what holds as a list in one paragraph, what does not on a line each."""
    holding: list[str] = []
    if result.observed is not None:
        for fact in result.observed.facts:
            _show_fact(console, *fact)
        holding = [check.label for check in result.observed.checks if check.holds]
    if holding:
        _show_line(console, _mark(console, holds=True), literal("; ".join(holding)), hang=2)
    for failure in result.failures:
        _show_line(console, _mark(console, holds=False), literal(failure), hang=2)


def _show_fact(console: Console, name: str, text: str) -> None:
    _show_line(console, Text(name, style="cyan"), literal(text), hang=_LABEL_WIDTH)


def _show_line(console: Console, label: Text, text: Text, *, hang: int) -> None:
    """Print a label and, beside it, the text in a column of its own, without trailing spaces."""
    hang = max(hang, len(label) + 1)
    for line in text.wrap(console, console.width - _INDENT - hang, overflow="fold") or [Text()]:
        line.rstrip()
        console.print(
            Text(" " * _INDENT), label, Text(" " * (hang - len(label))), line, sep="", soft_wrap=True
        )
        label = Text()


def _mark(console: Console, *, holds: bool) -> Text:
    good, bad = _marks(console)
    return Text(good, style="green") if holds else Text(bad, style="bold red")


def _marks(console: Console) -> tuple[str, str]:
    """Return the words for right and wrong that the console's encoding has."""
    return ("ok", "FAILED") if console.options.ascii_only else ("✓", "✗")
