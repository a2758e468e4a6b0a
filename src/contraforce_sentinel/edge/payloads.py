"""The body of `POST /api/incidents`: untrusted bytes in, a delivery out.

Its shape is that of the Microsoft Sentinel incident trigger of Logic Apps, whole or trimmed
(https://learn.microsoft.com/azure/sentinel/playbook-triggers-actions). No message of this module repeats any
text of its input.
"""

import re
import unicodedata
from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, FailFast, Field, ValidationError, model_validator
from pydantic_core import from_json

from contraforce_sentinel.domain.errors import BodyTooLarge, NotAnIncident, NotJson, RefusedValue
from contraforce_sentinel.domain.incidents import Delivery, Incident, IncidentId, caseless
from contraforce_sentinel.domain.inputs import (
    MOST_CONTAINERS,
    decode,
    has_too_many_containers,
    read_moment,
    sentence,
)
from contraforce_sentinel.domain.tickets import MAX_ID_LENGTH, clean_id

MAX_BODY_BYTES: Final = 4 * 1024 * 1024
_MAX_PLACES: Final = 5
_MOST_SIGNS: Final = 10 * MAX_ID_LENGTH
"""Of a `ticketId` together with what nobody sees in it."""
_BREAKING: Final = frozenset({"Cc", "Zl", "Zp"})
_NUMBER: Final = re.compile(r"[0-9]{1,18}")
_SPELLINGS: Final = {
    name.lower(): name
    for name in ("incidentArmId", "incidentNumber", "labelName", "ticketId", "workspaceInfo")
}
_JSON_CONTENT_TYPE: Final = re.compile(
    r"application/(?:[\w.+-]+\+)?json\s*(?:;.*)?", re.ASCII | re.IGNORECASE
)


def parse_delivery(body: bytes, *, content_type: str | None) -> Delivery:
    """Read the body of `POST /api/incidents`: the trigger's body, whole or trimmed, or a bare ARM id.

    Raises `BodyTooLarge`, `NotJson` or `NotAnIncident`, whose message names the field to fix.
    """
    if len(body) > MAX_BODY_BYTES:
        raise BodyTooLarge(f"the body is over {MAX_BODY_BYTES} bytes; send the trimmed body")
    if has_too_many_containers(body):
        raise BodyTooLarge(f"the body has over {MOST_CONTAINERS} objects and lists; send the trimmed body")
    if _JSON_CONTENT_TYPE.fullmatch(content_type or "") is None:
        raise NotJson("send Content-Type: application/json")
    try:
        document = from_json(decode(body))
    except RefusedValue as error:
        raise NotAnIncident(f"the body {error}") from None
    except ValueError:
        raise NotAnIncident("the body is not valid JSON") from None
    try:
        payload = _Payload.model_validate(document)
    except ValidationError as error:
        raise NotAnIncident(_describe(error)) from None
    return payload.delivery()


def _incident_id(field: str, text: str) -> IncidentId:
    try:
        return IncidentId.parse(text)
    except NotAnIncident as error:
        raise NotAnIncident(f"{field}: {error}") from None


def _describe(error: ValidationError) -> str:
    """Name each bad field, and what it must be."""
    found = {
        ".".join(map(_spelled, item["loc"])) or "body": sentence(item)
        for item in error.errors(include_input=False)
    }
    return "; ".join(f"{place}: {what}" for place, what in sorted(found.items())[:_MAX_PLACES])


def _spelled(part: int | str) -> str:
    """Return a key as the trigger spells it."""
    return _SPELLINGS.get(str(part), str(part))


def _digits(value: Any) -> Any:
    """Numbers and ids come as a whole number or as a text."""
    is_whole = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return str(value) if is_whole else value


def _number(value: Any) -> Any:
    number = _digits(value)
    if not isinstance(number, str) or _NUMBER.fullmatch(number) is None:
        raise RefusedValue("must be a whole number of at most 18 digits")
    return number


def _ticket_id(value: Any) -> Any:
    found = _digits(value)
    if not isinstance(found, str):
        raise RefusedValue("must be a text or a whole number without a sign")
    ticket_id = clean_id(found[:_MOST_SIGNS])  # to look at each of four million stops everybody else
    if (
        len(found) > _MOST_SIGNS
        or len(ticket_id) > MAX_ID_LENGTH
        or any(unicodedata.category(char) in _BREAKING for char in found)
    ):
        raise RefusedValue(f"must be at most {MAX_ID_LENGTH} visible characters on one line")
    return ticket_id


def _provider_id(value: Any) -> str:
    """Nothing where it is odd: it decides nothing."""
    found = _digits(value)
    is_usable = isinstance(found, str) and len(found) <= MAX_ID_LENGTH and found.isprintable()
    return found if is_usable else ""


def _same(first: str | None, second: str | None) -> bool:
    """Compare two ids without case; an absent one contradicts nothing."""
    return not first or not second or caseless(first) == caseless(second)


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
                if name in folded and folded[name] != item:
                    raise RefusedValue("has a field in two spellings with two values")
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
    number: Annotated[str, BeforeValidator(_number)] | None = Field(None, alias="incidentnumber")
    severity: str | None = None
    status: str | None = None
    labels: (
        Annotated[list[Annotated[_Label, BeforeValidator(_label)]], FailFast(), Field(max_length=500)] | None
    ) = None
    created_at: Annotated[datetime | None, BeforeValidator(read_moment)] = Field(None, alias="createdtimeutc")
    provider_id: Annotated[str, BeforeValidator(_provider_id)] = Field("", alias="providerincidentid")


class _Object(_CaseInsensitive):
    id: str
    name: str | None = None
    properties: _Properties | None = None


class _Payload(_CaseInsensitive):
    object: _Object | None = None
    incident_arm_id: str | None = Field(None, alias="incidentarmid")
    workspace_info: _WorkspaceInfo | None = Field(None, alias="workspaceinfo")
    ticket_id: Annotated[str, BeforeValidator(_ticket_id)] | None = Field(None, alias="ticketid")

    def delivery(self) -> Delivery:
        """Turn the fields into one reference; raise `NotAnIncident` where they contradict each other."""
        if self.object is None and self.incident_arm_id is None:
            raise NotAnIncident("send the incident trigger's body, or incidentArmId")
        named = {"object.id": self.object.id if self.object else None, "incidentArmId": self.incident_arm_id}
        ids = [_incident_id(field, text) for field, text in named.items() if text is not None]
        incident_id = ids[0]
        self._refuse_contradictions(ids)
        return Delivery(
            incident_id=incident_id,
            incident=self._incident(incident_id),
            ticket_id=self.ticket_id or None,
        )

    def _incident(self, incident_id: IncidentId) -> Incident | None:
        """Return the incident if the body says enough of it to decide; else it is read from Sentinel."""
        found = self.object.properties if self.object else None
        if found is None or not (found.number and found.severity and found.status) or found.labels is None:
            return None
        labels = frozenset(label.name for label in found.labels if label.name)
        return Incident(
            id=incident_id,
            number=found.number,
            severity=found.severity,
            status=found.status,
            labels=labels,
            created_at=found.created_at,
            provider_id=found.provider_id,
        )

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
