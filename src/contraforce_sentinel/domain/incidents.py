"""Incidents: ARM ids by a strict grammar, severities, what one is, and what a delivery says of it.

No message of this module repeats any text of its input.
"""

import re
import unicodedata
from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Final, Self

from pydantic import BeforeValidator, Field

from contraforce_sentinel.domain.errors import NotAnIncident

MAX_ARM_ID_LENGTH: Final = 600

_GUID: Final = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_WORKSPACE: Final = (
    rf"/subscriptions/(?P<subscription_id>{_GUID})"
    r"/resourceGroups/(?P<resource_group>[^/]{1,90})"
    r"/providers/Microsoft\.OperationalInsights/workspaces/(?P<workspace>[a-z0-9][a-z0-9-]{2,61}[a-z0-9])"
)
_WORKSPACE_ID: Final = re.compile(_WORKSPACE, re.ASCII | re.IGNORECASE)
_INCIDENT_ID: Final = re.compile(
    _WORKSPACE + r"/providers/Microsoft\.SecurityInsights/incidents/(?P<name>[a-z0-9][a-z0-9_-]{0,63})",
    re.ASCII | re.IGNORECASE,
)
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class WorkspaceId:
    """A Log Analytics workspace; `key` is its identity, because ARM ids do not distinguish case."""

    subscription_id: str
    resource_group: str
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an ARM id by a grammar that admits no second reading.

        Raises `NotAnIncident` for everything else, `..`, encoded slashes and foreign providers included.
        """
        match = _WORKSPACE_ID.fullmatch(text) if len(text) <= MAX_ARM_ID_LENGTH else None
        if match is None:
            raise NotAnIncident("not the ARM id of a Log Analytics workspace")
        return cls(match["subscription_id"], _resource_group(match["resource_group"]), match["workspace"])

    @property
    def arm_id(self) -> str:
        """The id as ARM takes it in a URL's path."""
        return (
            f"/subscriptions/{self.subscription_id}/resourceGroups/{self.resource_group}"
            f"/providers/Microsoft.OperationalInsights/workspaces/{self.name}"
        )

    @property
    def key(self) -> str:
        """The lower-cased ARM id."""
        return caseless(self.arm_id)


@dataclass(frozen=True, slots=True)
class IncidentId:
    """A Sentinel incident; `key` is its identity (the name alone repeats across workspaces)."""

    workspace: WorkspaceId
    name: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an ARM id; `Incidents` and `incidents` are the same. Raises `NotAnIncident`."""
        match = _INCIDENT_ID.fullmatch(text) if len(text) <= MAX_ARM_ID_LENGTH else None
        if match is None:
            raise NotAnIncident("not the ARM id of a Microsoft Sentinel incident")
        group = _resource_group(match["resource_group"])
        return cls(WorkspaceId(match["subscription_id"], group, match["workspace"]), match["name"])

    @property
    def arm_id(self) -> str:
        """The id as Sentinel's REST API writes it."""
        return f"{self.workspace.arm_id}/providers/Microsoft.SecurityInsights/incidents/{self.name}"

    @property
    def key(self) -> str:
        """The lower-cased ARM id."""
        return caseless(self.arm_id)


def caseless(text: str) -> str:
    """Return an id in lower case, as Azure has it: Python's sigma at the end of a word is another one."""
    return text.lower().replace("\u03c2", "\u03c3")


def is_incident_name(text: str) -> bool:
    """Whether a text may stand as an incident's name in an ARM id."""
    return _NAME.fullmatch(text) is not None


def _resource_group(text: str) -> str:
    """Azure's rule for names of resource groups: letters and digits of any script, `-_.()`.

    Less two dots in a row, and less signs that are another letter's double (the Kelvin sign, the capital
    sharp s): lower-cased, they would be another resource group's name.
    """
    legal = all((char.isalnum() and char != "\u1e9e") or char in "-_.()" for char in text)
    if not legal or text.endswith(".") or ".." in text or not unicodedata.is_normalized("NFKC", text):
        raise NotAnIncident("the resource group in the ARM id is not a valid name")
    return text


class Severity(IntEnum):
    """Sentinel's severities, so that they compare."""

    INFORMATIONAL = 0
    LOW = 1
    MEDIUM = 2
    HIGH = 3

    @classmethod
    def named(cls, text: str | None) -> Self | None:
        """Return the severity of that name in any letter case; None for a name that is not known."""
        return cls.__members__.get((text or "").upper())


class IncidentState(StrEnum):
    """What an incident is: its record keeps that. A merged one is closed and labelled `Redirected`."""

    OPEN = "open"
    CLOSED = "closed"
    MERGED = "merged"


def _digits(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


type IncidentNumber = Annotated[str, Field(pattern=r"^[0-9]{1,18}$"), BeforeValidator(_digits)]
"""It comes as a number or as a string of digits."""


@dataclass(frozen=True, slots=True)
class Incident:
    """What the link needs to know of an incident; deliberately without title and description.

    A text that is not known is empty. `provider_id` is the number that the provider, Defender for one, has
    given it, `defender_url` where its portal shows it. How it was closed: the three of `classification`.
    """

    id: IncidentId
    number: str
    severity: str
    status: str
    labels: frozenset[str] = frozenset()
    created_at: datetime | None = None
    changed_at: datetime | None = None
    provider: str = ""
    provider_id: str = ""
    defender_url: str = ""
    classification: str = ""
    classification_reason: str = ""
    classification_comment: str = field(default="", repr=False)

    @property
    def state(self) -> IncidentState:
        """Open, closed or merged away; of a merged one the comments stay behind."""
        if any(label.lower() == "redirected" for label in self.labels):
            return IncidentState.MERGED
        return IncidentState.CLOSED if self.status.lower() == "closed" else IncidentState.OPEN

    def reaches(self, minimum: Severity) -> bool:
        """Whether it is severe enough; an unknown severity always is: better a comment than a miss."""
        severity = Severity.named(self.severity)
        return severity is None or severity >= minimum


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
