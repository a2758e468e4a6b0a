"""How far the timer has followed a workspace; what one run of it did, and what it left to do."""

from datetime import date, datetime
from typing import Self

from pydantic import AwareDatetime, BaseModel, ConfigDict

from contraforce_sentinel.domain.records import Record, UtcTime


class Feed(Record):
    """How far the changes of a workspace's incidents have been followed.

    Incidents that were created before `follows_from` and have no record are not taken up; retention has
    removed none that was created since `removed_before`, behind which the other never goes. All that was
    changed up to `watermark` is in the store; it is always the time of a change that Sentinel told. The
    second look of `second_look_on` has come to `second_look_at`, None where it is done. `version` is the
    store's, for compare-and-set.
    """

    follows_from: UtcTime | None = None
    removed_before: UtcTime | None = None
    watermark: UtcTime | None = None
    second_look_at: UtcTime | None = None
    second_look_on: date | None = None
    version: str = ""

    def passing(self, moment: datetime) -> Self:
        """All up to a moment is in the store."""
        ahead = self.watermark is None or moment > self.watermark
        return self.model_copy(update={"watermark": moment}) if ahead else self

    def leaving(self, before: datetime) -> Self:
        """What was created before a moment is not followed any more, and is about to be removed."""
        moments = {"follows_from": self.follows_from, "removed_before": self.removed_before}
        changes = {name: before for name, moment in moments.items() if moment is None or before > moment}
        return self.model_copy(update=changes) if changes else self

    def looking_again(self, at: datetime | None, on: date) -> Self:
        """The second look of a day has come so far."""
        return self.model_copy(update={"second_look_at": at, "second_look_on": on})


class Backlog(BaseModel):
    """What is due and what needs a person; `oldest_due_at` is the earliest next try of any link."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    oldest_due_at: AwareDatetime | None = None
    dead: int = 0


class TimerRun(BaseModel):
    """What one run of the timer did, and the backlog that it left.

    `unreadable` are the records that it had to pass over, `left_to_backfill` the changed incidents that were
    created before the timer followed their workspace, and have no record.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    started_at: AwareDatetime
    finished_at: AwareDatetime
    tried: int = 0
    linked: int = 0
    discovered: int = 0
    removed: int = 0
    failed_workspaces: int = 0
    unreadable: int = 0
    left_to_backfill: int = 0
    backlog: Backlog = Backlog()
