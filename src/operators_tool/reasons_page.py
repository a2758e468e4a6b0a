"""`python -m operators_tool.reasons_page`: writes docs/reasons.md anew, from the tables of the code."""

from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final

from contraforce_sentinel.domain.reasons import (
    CODES,
    EXCEPTIONS_TYPE,
    REASONS,
    SERVICES_CODE,
    Code,
    Explanation,
    Reason,
)
from contraforce_sentinel.domain.schedules import Schedule, every_step

PAGE: Final = Path(__file__).resolve().parents[2] / "docs" / "reasons.md"
_TEXT: Final = """\
# Reasons and codes

Made from `domain/reasons.py` and `domain/schedules.py`, by `.venv/bin/python -m operators_tool.reasons_page`.

INCIDENT is an ARM id, an Azure portal address, or with `--workspace` the incident's name or number. A dead
link needs a person: when its cause is gone, `contraforce-sentinel replay INCIDENT` tries it again, and
`contraforce-sentinel replay --state dead --reason REASON` all dead links that have the reason.

## Reasons

Why a link stands where it stands: `reason` of answers, records and events.

{reasons}

## Codes

The word to switch on in an error's answer: `code` of its problem details. A dead link's `code` is that of its
record; where the record has none, it is the reason.

{codes}
"""
_REST: Final = {
    "any other word": SERVICES_CODE,
    "the name of a Python exception": EXCEPTIONS_TYPE,
}


def page() -> str:
    """Return the text of the page."""
    return _TEXT.format(
        reasons=_table(
            ("reason", "meaning", "who acts", "next command", "query", "next try"),
            ((f"`{reason}`", *_cells(row), _tries(reason)) for reason, row in REASONS.items()),
        ),
        codes=_table(
            ("code", "meaning", "who acts", "next command", "query"),
            ((name, *_cells(row)) for name, row in _with_the_rest(CODES).items()),
        ),
    )


def _with_the_rest(codes: Mapping[Code, Explanation]) -> Mapping[str, Explanation]:
    return {f"`{code}`": row for code, row in codes.items()} | _REST


def _table(headers: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    names = list(headers)
    lines = [names, ["---"] * len(names), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cells(row: Explanation) -> tuple[str, ...]:
    query = f"[`{row.query}`](../infra/queries/{row.query})" if row.query else ""
    return row.meaning, row.who, f"`{row.command}`" if row.command else "", query


def _tries(reason: Reason) -> str:
    """Say when a link with this reason is tried again, in each case."""
    return ", or ".join(dict.fromkeys(_told(schedule) for found, schedule in every_step() if found is reason))


def _told(schedule: Schedule) -> str:
    if schedule.give_up_after == timedelta(0):
        return "none: dead at once"
    waits = f"every {_time(schedule.first)}"
    if schedule.longest > schedule.first:
        waits = f"in {_time(schedule.first)}, doubling to {_time(schedule.longest)}"
    if schedule.slow_after is not None:
        waits += f", after {_time(schedule.slow_after)} every {_time(schedule.slow)}"
    if schedule.give_up_after is None:
        return f"{waits}; without end"
    end = "skipped" if schedule.skips else "dead"
    return f"{waits}; {end} after {_time(schedule.give_up_after)} and {schedule.tries} tries"


def _time(length: timedelta) -> str:
    minutes = length // timedelta(minutes=1)
    return f"{minutes} min" if minutes % 60 else f"{minutes // 60} h"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
