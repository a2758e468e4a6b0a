"""A customer: whose Sentinel workspace goes with which ContraForce workspace."""

from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, field_validator

from contraforce_sentinel.domain.errors import NotAnIncident, RefusedValue
from contraforce_sentinel.domain.incidents import WorkspaceId


class Customer(BaseModel):
    """One customer: the Sentinel workspace and the ContraForce workspace its tickets live in."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    workspace: WorkspaceId
    contraforce_workspace_id: UUID = Field(alias="contraforceWorkspaceId")

    @field_validator("workspace", mode="before")
    @classmethod
    def _parse_workspace(cls, value: Any) -> WorkspaceId:
        try:
            return WorkspaceId.parse(value if isinstance(value, str) else "")
        except NotAnIncident as error:
            raise RefusedValue(str(error)) from None
