"""What is stored of a link, part by part; what only a later version knows of it is kept."""

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Self

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict

from contraforce_sentinel.domain.incidents import Incident

type UtcTime = Annotated[AwareDatetime, AfterValidator(lambda time: time.astimezone(UTC))]


class Record(BaseModel):
    """A frozen value, read tolerantly; errors never quote what was read.

    Fields that this version does not know go through every change as they are: an older version may run
    beside a newer one, or follow it.
    """

    model_config = ConfigDict(frozen=True, extra="allow", hide_input_in_errors=True)


class LinkState(StrEnum):
    """Where a link stands; see the drawing in the docstring of `links`."""

    PENDING = "pending"
    TICKETED = "ticketed"
    LINKED = "linked"
    SKIPPED = "skipped"
    DEAD = "dead"


class Lease(Record):
    """One worker's right to work on a link, until a moment in UTC."""

    owner: str
    until: AwareDatetime


class Step(Record):
    """Where an attempt left the link; the same again is counted, `at` the first time, `last_at` the last."""

    state: LinkState
    reason: str | None = None
    code: str | None = None
    at: UtcTime
    last_at: UtcTime
    times: int = 1


class Sighting(Record):
    """What the incident was when it was last looked at; only a change is written.

    `state` is an `IncidentState`, since `since`; None where nobody has looked yet. `changed_at` is when
    Sentinel had last changed what was written. `is_undated` says that Sentinel gave no creation time: no age
    can be told of it.
    """

    state: str | None = None
    since: UtcTime | None = None
    changed_at: UtcTime | None = None
    created_at: UtcTime | None = None
    is_undated: bool = False
    provider_incident_id: str | None = None

    def updated(self, incident: Incident, *, is_confirmed: bool, now: datetime) -> Self:
        """Return what is known after another look, at Sentinel's own words or at a body's."""
        if self.is_newer_than(incident):
            return self
        created, known = incident.created_at, self.created_at
        seen = self.model_copy(
            update={
                "state": incident.state,
                "since": self.since if self.state == incident.state else now,
                "created_at": created or known if is_confirmed else known or created,
                "is_undated": created is None if is_confirmed else self.is_undated,
                "provider_incident_id": incident.provider_id or self.provider_incident_id,
            }
        )
        changed = incident.changed_at
        if seen == self or changed is None or changed > now:
            return seen
        return seen.model_copy(update={"changed_at": changed})

    def is_newer_than(self, incident: Incident) -> bool:
        """Whether a look is late: what it shows has been changed since, and that was seen."""
        changed = incident.changed_at
        return changed is not None and self.changed_at is not None and changed < self.changed_at


class Cause(Record):
    """Why a link was dead, while its incident is closed."""

    reason: str | None = None
    code: str | None = None
    fields: tuple[str, ...] = ()
