"""What analysts and Defender do to incidents, and what restarts change; their dice are their own."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final, Literal

from truth import Case, World

type What = Literal["raise", "lower", "close", "reopen", "merge", "touch", "delete"]

WHAT: Final[Sequence[What]] = (
    *("raise", "lower", "close", "reopen") * 3,
    *("merge",) * 2,
    *("touch",) * 2,
    "delete",
)


@dataclass(frozen=True, slots=True)
class Change:
    """What is done to an incident."""

    at: float
    case: Case
    what: What


@dataclass(frozen=True, slots=True)
class Restart:
    """The instances start anew, with this retention and without these workspaces."""

    at: float
    retention_days: int
    left_out: frozenset[str] = frozenset()


def draw_changes(world: World, *, until: float, may_die: bool) -> list[Change]:
    """Draw what happens to the incidents of a world of an hour, some of it when the faults are over.

    Where links may die at once, some incidents are closed and opened again after that.
    """
    rng = Random(f"changes {world.seed}")  # noqa: S311
    share = rng.choice((0.0, 0.2, 0.5, 0.9))
    last = until + rng.choice((0.0, 0.0, 0.0, 900.0))
    changes = []
    for case in world.cases.values():
        if rng.random() < share:
            at = max(case.created, 0.0)
            for _ in range(rng.choice((1, 1, 2, 3, 4))):
                at += rng.choice((rng.uniform(0, 5), rng.uniform(0, until), rng.uniform(0, until / 3)))
                changes.append(Change(min(at, last), case, rng.choice(WHAT)))
        if may_die and rng.random() < 0.5:
            at = max(case.created, 0.0) + rng.uniform(300, 0.6 * until + 300)
            closed = Change(at, case, rng.choice(("close", "close", "merge")))
            changes += closed, Change(at + rng.uniform(300, 900), case, "reopen")
    return sorted(changes, key=lambda change: change.at)


def draw_restarts(world: World, *, until: float, retention_days: int) -> list[Restart]:
    """Perhaps take a customer away and add it again later, and perhaps change the retention."""
    rng = Random(f"restarts {world.seed}")  # noqa: S311
    if rng.random() >= 0.06:
        return []
    gone = frozenset({rng.choice(world.workspaces).arm_id.lower()})
    away, back = rng.uniform(0.05, 0.5) * until, rng.uniform(0.55, 0.95) * until
    days = rng.choice((1, 90))
    return [Restart(away, retention_days, gone), Restart(back, days)]


def apply_change(change: Change, world: World) -> None:
    """Let it be done, and note when the incident became what it is."""
    case, facts, now = change.case, change.case.facts, world.now
    if case.deleted_at is not None:
        return
    match change.what:
        case "raise":
            facts.set_severity("High")
        case "lower":
            facts.set_severity("Informational")
        case "close":
            facts.close()
        case "reopen":
            facts.reopen()
        case "merge":
            if not case.is_merged:
                case.merges += 1
                facts.merge_away(label="redirected" if case.merges % 2 else "Redirected")
        case "touch":
            facts.touch()
        case "delete":
            case.deleted_at = now
            facts.delete()
    case.became(now)
