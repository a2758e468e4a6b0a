"""Many links, as an operator watches them: a bar with rate and time left, then a table of outcomes."""

from collections import Counter
from typing import Final

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from contraforce_sentinel.bootstrap import App
from contraforce_sentinel.domain.incidents import Delivery
from operators_tool.exits import Exit
from operators_tool.render import counts_content, literal, open_console, show_counts, show_json
from operators_tool.work import Tally, link_all

_RATE_OVER_SECONDS: Final = 900.0
"""Three windows of Sentinel's limit: within one, a burst is followed by a pause."""


class _Rate(ProgressColumn):
    """Incidents a minute."""

    def render(self, task: Task) -> Text:
        return Text("" if task.speed is None else f"{task.speed * 60:.0f} a minute", style="dim")


def _bar() -> Progress:
    said = open_console(stderr=True)
    return Progress(
        TextColumn("linking"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(elapsed_when_finished=True),
        console=said,
        disable=not said.is_terminal,
        speed_estimate_period=_RATE_OVER_SECONDS,
    )


async def run_all(
    app: App, deliveries: list[Delivery], *, as_json: bool, settled: Counter[tuple[str, str]] | None = None
) -> Exit:
    """Link many with a progress bar, and tell what became of all of them, also after an interruption.

    `settled` are those of which nothing has to be done.
    """
    tally = Tally(settled or Counter())
    try:
        with _bar() as bar:
            task = bar.add_task("", total=len(deliveries))
            await link_all(app, deliveries, tally, advance=lambda: bar.advance(task))
    finally:
        show_tally(tally, as_json=as_json)
    return tally.exit


def show_tally(tally: Tally, *, as_json: bool) -> None:
    """Print how many incidents ended where."""
    if as_json:
        outcomes = counts_content(tally.counts)
        show_json({"dryRun": False, "outcomes": outcomes, "stopped": tally.stopped})
        return
    console = open_console()
    show_counts(console, tally.counts)
    if tally.stopped:
        told = f"Stopped early: {tally.stopped}. Run it again when that is over."
        console.print(literal(told, style="bold red"))
