"""One call for an incident: what a body, the timer or the operators' tool says of it."""

from dataclasses import dataclass

from contraforce_sentinel.domain.incidents import Incident, IncidentId


@dataclass(frozen=True, slots=True)
class Delivery:
    """One call of `POST /api/incidents`.

    `incident` is None where the body only names the incident: it has to be read from Sentinel first.
    `is_confirmed` says that it is Sentinel's own word, not a body's: a skip needs that.
    """

    incident_id: IncidentId
    incident: Incident | None = None
    ticket_id: str | None = None
    is_confirmed: bool = False
