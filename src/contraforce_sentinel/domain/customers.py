"""A customer: whose Sentinel workspace goes with which ContraForce workspace."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from contraforce_sentinel.domain.errors import NotAnIncident, RefusedValue
from contraforce_sentinel.domain.incidents import Severity, WorkspaceId


def _severity(value: Any) -> Severity:
    severity = Severity.named(value) if isinstance(value, str) else value
    if not isinstance(severity, Severity):
        raise RefusedValue("must be Informational, Low, Medium or High")
    return severity


type NamedSeverity = Annotated[Severity, BeforeValidator(_severity)]
"""A severity by its name, in any letter case."""


class Customer(BaseModel):
    """One customer: the Sentinel workspace and the ContraForce workspace its tickets live in.

    Open incidents below `minimum_severity` get no ticket link. `ticket_url_templates`: by ticket system, a
    URL with `{id}` or `{number}`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    workspace: WorkspaceId
    contraforce_workspace_id: UUID = Field(alias="contraforceWorkspaceId")
    minimum_severity: NamedSeverity = Field(Severity.INFORMATIONAL, alias="minimumSeverity")
    ticket_url_templates: Mapping[str, str] = Field({}, alias="ticketUrlTemplates")

    @field_validator("workspace", mode="before")
    @classmethod
    def _parse_workspace(cls, value: Any) -> WorkspaceId:
        try:
            return WorkspaceId.parse(value if isinstance(value, str) else "")
        except NotAnIncident as error:
            raise RefusedValue(str(error)) from None
