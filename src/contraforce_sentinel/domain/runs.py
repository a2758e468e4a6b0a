"""What one run of the timer did, and what it left to do."""

from pydantic import AwareDatetime, BaseModel, ConfigDict


class Backlog(BaseModel):
    """What is due and what needs a person; `oldest_due_at` is the earliest next try of any link."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    oldest_due_at: AwareDatetime | None = None
    dead: int = 0


class TimerRun(BaseModel):
    """What one run of the timer did, and the backlog that it left.

    `unreadable` are the records that it had to pass over.
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
    backlog: Backlog = Backlog()
