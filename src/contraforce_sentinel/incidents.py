"""ARM ids and trigger payloads: untrusted text in, an incident reference out.

The shape of the trigger's body is the one of the Microsoft Sentinel incident trigger of Logic Apps
(https://learn.microsoft.com/connectors/azuresentinel/); its traps are documented in the tests.
No message of this module repeats any text of its input.
"""

import re
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import from_json

from contraforce_sentinel.errors import BodyTooLarge, NotAnIncident, NotJson

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
MAX_ARM_ID_LENGTH: Final = 600
MAX_TICKET_ID_LENGTH: Final = 128

_JSON_CONTENT_TYPE: Final = re.compile(
    r"application/(?:[\w.+-]+\+)?json\s*(?:;.*)?", re.ASCII | re.IGNORECASE
)
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
        return self.arm_id.lower()


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
        return self.arm_id.lower()


def _resource_group(text: str) -> str:
    """Azure's rule for names of resource groups, less two dots in a row: letters, digits, `-_.()`."""
    if not all(char.isalnum() or char in "-_.()" for char in text) or text.endswith(".") or ".." in text:
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


@dataclass(frozen=True, slots=True)
class Incident:
    """What the link needs to know of an incident; deliberately without title and description."""

    id: IncidentId
    number: str
    severity: str
    status: str
    labels: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Delivery:
    """One call of the HTTP entrance.

    `incident` is None where the body only names the incident: it has to be read from Sentinel first.
    `customer_id` is the workspace GUID that the body claims, to be compared with the real one.
    """

    incident_id: IncidentId
    incident: Incident | None = None
    ticket_id: str | None = None
    customer_id: str | None = None


def skip_reason(incident: Incident, *, minimum: Severity) -> str | None:
    """Return why this incident gets no ticket link, or None if it gets one.

    A merged incident is closed and labelled `Redirected`; comments on it stay behind. An unknown
    severity is never below the minimum: better one comment too many than an incident missed.
    """
    if any(label.lower() == "redirected" for label in incident.labels):
        return "redirected"
    if incident.status.lower() == "closed":
        return "closed"
    severity = Severity.named(incident.severity)
    if severity is not None and severity < minimum:
        return "below-minimum-severity"
    return None


def parse_delivery(body: bytes, *, content_type: str | None) -> Delivery:
    """Read the body of `POST /api/incidents`: the trigger's body, whole or trimmed, or a bare ARM id.

    Raises `BodyTooLarge`, `NotJson` or `NotAnIncident`, whose message names the field to fix.
    """
    if len(body) > MAX_BODY_BYTES:
        raise BodyTooLarge(f"the body is over {MAX_BODY_BYTES} bytes; send the trimmed body")
    if _JSON_CONTENT_TYPE.fullmatch(content_type or "") is None:
        raise NotJson("send Content-Type: application/json")
    try:
        document = from_json(body)
    except ValueError:
        raise NotAnIncident("the body is not valid JSON") from None
    try:
        payload = _Payload.model_validate(document)
    except ValidationError as error:
        raise NotAnIncident(_describe(error)) from None
    return payload.delivery()


def _describe(error: ValidationError) -> str:
    """Name each bad field; pydantic's own messages may quote the input, so only its error types are used."""
    found = {".".join(str(part) for part in item["loc"]) or "body": item["type"] for item in error.errors()}
    return "; ".join(
        f"{place}: {'is missing' if kind == 'missing' else f'is not valid ({kind})'}"
        for place, kind in sorted(found.items())
    )


def _number(value: Any) -> Any:
    """Incident numbers come as a number or as a string of digits."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _same(first: str | None, second: str | None) -> bool:
    """Compare two ids without case; an absent one contradicts nothing."""
    return not first or not second or first.lower() == second.lower()


class _CaseInsensitive(BaseModel):
    """A JSON object whose keys may come in any letter case; two spellings of one key are refused."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _fold_keys(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        wanted = {(field.alias or name).lower() for name, field in cls.model_fields.items()}
        folded: dict[str, Any] = {}
        for key, item in value.items():
            name = key.lower()
            if name in wanted:
                if folded.get(name, item) != item:
                    raise ValueError
                folded[name] = item
        return folded


class _WorkspaceInfo(_CaseInsensitive):
    subscription_id: str | None = Field(None, alias="subscriptionid")
    resource_group: str | None = Field(None, alias="resourcegroupname")
    name: str | None = Field(None, alias="workspacename")


class _Label(_CaseInsensitive):
    name: str | None = Field(None, alias="labelname")


def _label(value: Any) -> Any:
    return {"labelname": value} if isinstance(value, str) else value


class _Properties(_CaseInsensitive):
    number: Annotated[str, Field(pattern=r"^[0-9]{1,18}$"), BeforeValidator(_number)] | None = Field(
        None, alias="incidentnumber"
    )
    severity: str | None = None
    status: str | None = None
    labels: list[Annotated[_Label, BeforeValidator(_label)]] | None = None


class _Object(_CaseInsensitive):
    id: str
    name: str | None = None
    properties: _Properties | None = None


class _Payload(_CaseInsensitive):
    object: _Object | None = None
    incident_arm_id: str | None = Field(None, alias="incidentarmid")
    workspace_info: _WorkspaceInfo | None = Field(None, alias="workspaceinfo")
    customer_id: str | None = Field(None, alias="workspaceid")
    ticket_id: Annotated[str, Field(pattern=rf"^[^\x00-\x1f\x7f]{{1,{MAX_TICKET_ID_LENGTH}}}$")] | None = (
        Field(None, alias="ticketid")
    )

    def delivery(self) -> Delivery:
        """Turn the fields into one reference; raise `NotAnIncident` where they contradict each other."""
        if self.object is None and self.incident_arm_id is None:
            raise NotAnIncident("send the incident trigger's body, or incidentArmId")
        ids = [
            IncidentId.parse(text) for text in (self.object and self.object.id, self.incident_arm_id) if text
        ]
        if not ids:
            raise NotAnIncident("the incident's ARM id is empty")
        incident_id = ids[0]
        self._refuse_contradictions(ids)
        return Delivery(
            incident_id=incident_id,
            incident=self._incident(incident_id),
            ticket_id=self.ticket_id,
            customer_id=self.customer_id or None,
        )

    def _incident(self, incident_id: IncidentId) -> Incident | None:
        """Return the incident if the body says enough of it to decide; else it is read from Sentinel."""
        found = self.object.properties if self.object else None
        if found is None or not (found.number and found.severity and found.status) or found.labels is None:
            return None
        labels = frozenset(label.name for label in found.labels if label.name)
        return Incident(incident_id, found.number, found.severity, found.status, labels)

    def _refuse_contradictions(self, ids: list[IncidentId]) -> None:
        incident_id, info = ids[0], self.workspace_info or _WorkspaceInfo()
        workspace = incident_id.workspace
        agreeing = {
            "incidentArmId": ids[-1].key == incident_id.key,
            "object.name": _same(self.object.name if self.object else None, incident_id.name),
            "workspaceInfo.SubscriptionId": _same(info.subscription_id, workspace.subscription_id),
            "workspaceInfo.ResourceGroupName": _same(info.resource_group, workspace.resource_group),
            "workspaceInfo.WorkspaceName": _same(info.name, workspace.name),
        }
        contradicting = [field for field, agrees in agreeing.items() if not agrees]
        if contradicting:
            raise NotAnIncident(f"contradicts the incident's ARM id: {', '.join(contradicting)}")
