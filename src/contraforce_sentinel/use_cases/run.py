"""One run of the timer: its time, and what it knows and counts."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from contraforce_sentinel.domain.incidents import Incident, WorkspaceId
from contraforce_sentinel.telemetry.reports import report_unreadable, report_workspace_failure
from contraforce_sentinel.use_cases.outages import Outages

_CONCURRENCY: Final = 20
_LISTS: Final = 5


@dataclass(slots=True)
class Run:
    """`until` is on the loop's clock.

    `lists` has a place for each answer of a list that is in memory: a workspace that hangs has one of them.
    `found` are the incidents that were just read, by the keys of workspace and incident; `told` are the
    records that this process has told to be unreadable.
    """

    started_at: datetime
    until: float
    is_first_of_the_day: bool
    told: set[str]
    outages: Outages = field(default_factory=Outages)
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CONCURRENCY))
    lists: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_LISTS))
    found: defaultdict[str, dict[str, Incident]] = field(default_factory=lambda: defaultdict(dict))
    tried: int = 0
    linked: int = 0
    discovered: int = 0
    removed: int = 0
    left_to_backfill: set[str] = field(default_factory=set)
    failed: set[str] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)

    def is_over(self) -> bool:
        """Whether nothing new is to be begun."""
        return asyncio.get_running_loop().time() >= self.until

    @contextmanager
    def apart(self, workspace: WorkspaceId) -> Iterator[None]:
        """What fails inside is counted once for the workspace and told, and goes no further."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this step's alone
            if workspace.key not in self.failed:
                report_workspace_failure(error)
            self.failed.add(workspace.key)

    def counts(self, incident: str) -> bool:
        """Whether each run counts the incident of this key anew."""
        return incident in self.left_to_backfill or incident in self.unreadable

    def note_unreadable(self, incident: str) -> None:
        """Count a record that cannot be read, by its incident's key; tell it once a process."""
        self.unreadable.add(incident)
        if incident not in self.told:
            self.told.add(incident)
            report_unreadable(incident)
