"""An incident as Sentinel's REST API shows it: the few fields that are needed; an odd one costs itself alone.

https://learn.microsoft.com/rest/api/securityinsights/incidents/get
"""

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from contraforce_sentinel.domain.errors import Upstream, UpstreamMalformed
from contraforce_sentinel.domain.incidents import (
    Incident,
    IncidentId,
    IncidentNumber,
    WorkspaceId,
    is_incident_name,
)
from contraforce_sentinel.domain.inputs import read_moment

API_VERSION: Final = "2025-09-01"


def read_incident(incident_id: IncidentId, document: object) -> Incident:
    """Read the incident of this id. Raises `UpstreamMalformed` if it cannot be used."""
    try:
        found = _Resource.model_validate(document).properties
    except ValidationError:
        raise UpstreamMalformed("an incident without a number", upstream=Upstream.SENTINEL) from None
    return Incident(
        id=incident_id,
        number=found.incident_number,
        severity=found.severity,
        status=found.status,
        labels=frozenset(found.labels),
        created_at=found.created_time_utc,
        changed_at=found.last_modified_time_utc,
        provider=found.provider_name,
        provider_id=found.provider_incident_id,
        defender_url=found.additional_data.provider_incident_url,
        classification=found.classification,
        classification_reason=found.classification_reason,
        classification_comment=found.classification_comment,
    )


def moment_of(document: object, field: str) -> datetime | None:
    """Read one moment of an incident of a list, whatever else it lacks."""
    return read_moment(_object(_object(document).get("properties")).get(field))


def read_listed(workspace_id: WorkspaceId, document: object) -> Incident:
    """Read an incident of a list. Raises `UpstreamMalformed` if it cannot be used."""
    name = document.get("name") if isinstance(document, dict) else None
    if not isinstance(name, str) or not is_incident_name(name):
        raise UpstreamMalformed("an incident without a name", upstream=Upstream.SENTINEL)
    return read_incident(IncidentId(workspace_id, name), document)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _address(value: Any) -> str:
    return value if isinstance(value, str) and value.startswith("https://") else ""


def _label_names(value: Any) -> list[str]:
    labels = value if isinstance(value, list) else []
    names = [label.get("labelName") for label in labels if isinstance(label, dict)]
    return [name for name in names if isinstance(name, str)]


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


type _Moment = Annotated[datetime | None, BeforeValidator(read_moment)]
type _Text = Annotated[str, BeforeValidator(_text)]


class _Document(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, hide_input_in_errors=True, defer_build=True)


class _AdditionalData(_Document):
    provider_incident_url: Annotated[str, BeforeValidator(_address)] = ""


class _Properties(_Document):
    incident_number: IncidentNumber
    severity: _Text = ""
    status: _Text = ""
    labels: Annotated[list[str], BeforeValidator(_label_names)] = []
    created_time_utc: _Moment = None
    last_modified_time_utc: _Moment = None
    provider_name: _Text = ""
    provider_incident_id: _Text = ""
    additional_data: Annotated[_AdditionalData, BeforeValidator(_object)] = Field(
        default_factory=_AdditionalData
    )
    classification: _Text = ""
    classification_reason: _Text = ""
    classification_comment: _Text = ""


class _Resource(_Document):
    properties: _Properties
