"""What is in Sentinel: workspaces and their incidents, how these change, and how REST shows them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import uuid4

from sandbox import triggers
from sandbox.bodies import JsonObject, utc_now
from sandbox.comments import StoredComment, new_etag
from sandbox.contraforce import ContraForce, IncidentKey
from sandbox.oddities import shown
from sandbox.paging import Listing
from sandbox.ticket_systems.model import Ticket

VERSION: Final = "2025-09-01"
NEW: Final = frozenset({"providerName", "providerIncidentId"})
"""What older versions of the API do not show."""

Severity = Literal["Informational", "Low", "Medium", "High"]
Status = Literal["New", "Active", "Closed"]
Classification = Literal["Undetermined", "TruePositive", "BenignPositive", "FalsePositive"]
Reason = Literal["SuspiciousActivity", "SuspiciousButExpected", "IncorrectAlertLogic", "InaccurateData"]

LONG_AGO: Final = timedelta(days=30)


@dataclass(slots=True, eq=False)
class SandboxIncident:
    """An incident. `comments_by_name` has lower-case names.

    Its commands change it as an analyst or Defender would, and move `changed`, the time of the last change,
    to now by the workspace's clock, or to the moment `at`. Setting a field moves nothing.

    `odd` is what REST shows instead of these properties, as `oddities` says; `odd_comments` instead of those
    of its comments. `late`: so many requests for it, or for its comments, are still answered 404 although
    lists show it; None: all.
    """

    workspace: "SandboxWorkspace"
    name: str
    number: int
    title: str
    severity: Severity
    status: Status
    labels: list[str]
    created: datetime
    changed: datetime
    provider: str = "Azure Sentinel"
    classification: str | None = None
    classification_reason: str | None = None
    classification_comment: str | None = None
    odd: JsonObject = field(default_factory=dict)
    odd_comments: JsonObject = field(default_factory=dict)
    late: int | None = 0
    etag: str = field(default_factory=new_etag)
    comments_by_name: dict[str, StoredComment] = field(default_factory=dict)

    @property
    def arm_id(self) -> str:
        """The resource id as REST spells it, with `incidents`."""
        return f"{self.workspace.arm_id}/providers/Microsoft.SecurityInsights/incidents/{self.name}"

    @property
    def trigger_arm_id(self) -> str:
        """The resource id as the automation rule's trigger spells it, with `Incidents`."""
        return f"{self.workspace.arm_id}/providers/Microsoft.SecurityInsights/Incidents/{self.name}"

    @property
    def comments(self) -> list[StoredComment]:
        """The comments as stored, oldest first."""
        return list(self.comments_by_name.values())

    @property
    def key(self) -> IncidentKey:
        """What ContraForce knows the incident by."""
        return self.workspace.contraforce_id.lower(), self.name.lower()

    @property
    def ticket(self) -> Ticket | None:
        """The ticket that ContraForce has linked, if it has."""
        return self.workspace.contraforce.links.get(self.key)

    def hold_back(self, times: int | None = None) -> None:
        """Answer 404 to the next `times` link calls, as before ingestion; None: until `ingest`."""
        self.workspace.contraforce.not_ingested.set(self.key, times)

    def ingest(self) -> None:
        """Lift `hold_back`: ContraForce knows the incident from now on."""
        self.workspace.contraforce.not_ingested.lift(self.key)

    def withhold_ticket(self, times: int | None = None) -> None:
        """Answer the next `times` link calls without a ticket; None: until `grant_ticket`."""
        self.workspace.contraforce.without_ticket.set(self.key, times)

    def grant_ticket(self) -> None:
        """Lift `withhold_ticket`: the next link call gets a ticket."""
        self.workspace.contraforce.without_ticket.lift(self.key)

    def is_late(self) -> bool:
        """Whether a request for it is still answered 404; it counts."""
        if self.late is None or self.late == 0:
            return self.late is None
        self.late -= 1
        return True

    def touch(self, *, at: datetime | None = None) -> None:
        """Change something that nobody here looks at."""
        self.changed = at or self.workspace.clock()
        self.etag = new_etag()

    def set_severity(self, severity: Severity, *, at: datetime | None = None) -> None:
        """Raise or lower the severity."""
        self.severity = severity
        self.touch(at=at)

    def close(
        self,
        classification: Classification = "Undetermined",
        *,
        reason: Reason | None = None,
        comment: str | None = None,
        at: datetime | None = None,
    ) -> None:
        """Close it, saying how it was classified and why."""
        self.status, self.classification = "Closed", classification
        self.classification_reason, self.classification_comment = reason, comment
        self.touch(at=at)

    def reopen(self, *, status: Status = "Active", at: datetime | None = None) -> None:
        """Open it again; how it was closed is forgotten."""
        self.status, self.classification = status, None
        self.classification_reason = self.classification_comment = None
        self.touch(at=at)

    def merge_away(self, *, label: str = "Redirected", at: datetime | None = None) -> None:
        """Let Defender merge it into another: closed, and labelled in any case; its comments stay here."""
        self.status = "Closed"
        self.labels.append(label)
        self.touch(at=at)

    def delete(self) -> None:
        """Remove the incident from Sentinel, with its comments: 404 from now on, and in no list."""
        del self.workspace.incidents[self.name.lower()]

    def trigger_body(self, event: Literal["Create", "Update"] = "Create") -> JsonObject:
        """Return the body of the Microsoft Sentinel incident trigger, whole."""
        return triggers.full(self, event)

    def trimmed_body(self) -> JsonObject:
        """Return the small part of the trigger's body that the playbook passes on."""
        return triggers.trimmed(self)

    def properties(self) -> JsonObject:
        """Return the properties that REST and the trigger have in common."""
        return triggers.properties(self)

    def to_rest(self, version: str = VERSION) -> JsonObject:
        """Return the resource as REST shows it in a version of the API."""
        properties = self.properties()
        if version != VERSION:
            properties = {name: value for name, value in properties.items() if name not in NEW}
        kind = "Microsoft.SecurityInsights/incidents"
        return {
            "id": self.arm_id,
            "name": self.name,
            "type": kind,
            "etag": self.etag,
            "properties": shown(properties, self.odd),
        }


@dataclass(slots=True, eq=False)
class SandboxWorkspace:
    """A Log Analytics workspace with Sentinel on it, and the ContraForce workspace that belongs to it.

    `second_put` is the answer to a PUT without etag on a comment that exists, which Microsoft does not
    document. `incidents` has lower-case names. `listing` says what is odd about lists of them. `clock` tells
    when incidents and comments are made and changed.
    """

    contraforce: ContraForce = field(repr=False)
    name: str
    system: str
    subscription: str
    resource_group: str
    location: str = "westeurope"
    customer_id: str = field(default_factory=lambda: str(uuid4()))
    contraforce_id: str = field(default_factory=lambda: str(uuid4()))
    second_put: Literal[200, 409] = 200
    listing: Listing = field(default_factory=Listing)
    clock: Callable[[], datetime] = utc_now
    incidents: dict[str, SandboxIncident] = field(default_factory=dict, repr=False)

    @property
    def arm_id(self) -> str:
        """The resource id of the Log Analytics workspace."""
        group = f"/subscriptions/{self.subscription}/resourceGroups/{self.resource_group}"
        return f"{group}/providers/Microsoft.OperationalInsights/workspaces/{self.name}"

    def add_incident(
        self,
        *,
        number: int | None = None,
        title: str = "Multiple failed sign-ins followed by success",
        severity: Severity = "Medium",
        status: Status = "New",
        labels: Sequence[str] = (),
        created: datetime | None = None,
        changed: datetime | None = None,
        name: str | None = None,
        provider: str = "Azure Sentinel",
        ticket_title: str | None = None,
    ) -> SandboxIncident:
        """Create an incident; by default it has the next free number, was created now, and not changed."""
        created = created or self.clock()
        if number is None:
            number = max((incident.number for incident in self.incidents.values()), default=3176) + 1
        incident = SandboxIncident(
            workspace=self,
            name=name or str(uuid4()),
            number=number,
            title=title,
            severity=severity,
            status=status,
            labels=list(labels),
            created=created,
            changed=changed or created,
            provider=provider,
        )
        self.incidents[incident.name.lower()] = incident
        if ticket_title is not None:
            self.contraforce.titles[incident.key] = ticket_title
        return incident

    def arrive_late(
        self,
        *,
        created: datetime | None = None,
        severity: Severity = "Medium",
        status: Status = "New",
        at: datetime | None = None,
    ) -> SandboxIncident:
        """Let an incident enter that was created long ago; it was last changed now, or `at` a moment."""
        now = at or self.clock()
        return self.add_incident(
            severity=severity, status=status, created=created or now - LONG_AGO, changed=now
        )

    def add_ticket(self, title: str = "A ticket opened by hand") -> Ticket:
        """Create a ticket on this workspace's service desk that no incident is linked to yet."""
        return self.contraforce.add_ticket(self.contraforce_id, title)

    def to_rest(self) -> JsonObject:
        """Return the Log Analytics workspace as Resource Manager shows it."""
        properties = {
            "customerId": self.customer_id,
            "provisioningState": "Succeeded",
            "sku": {"name": "PerGB2018"},
            "retentionInDays": 90,
            "features": {"enableLogAccessUsingOnlyResourcePermissions": True},
            "publicNetworkAccessForIngestion": "Enabled",
            "publicNetworkAccessForQuery": "Enabled",
        }
        kind = "Microsoft.OperationalInsights/workspaces"
        return {
            "id": self.arm_id,
            "name": self.name,
            "type": kind,
            "location": self.location,
            "properties": properties,
        }
