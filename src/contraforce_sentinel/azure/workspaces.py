"""The allow-list of workspaces, and what Resource Manager says of them.

https://learn.microsoft.com/rest/api/loganalytics/workspaces/get
"""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from pydantic import BaseModel, ValidationError

from contraforce_sentinel.azure.resource_manager import ResourceManager
from contraforce_sentinel.domain.customers import Customer
from contraforce_sentinel.domain.errors import (
    Upstream,
    UpstreamError,
    UpstreamMalformed,
    WorkspaceNotConfigured,
)
from contraforce_sentinel.domain.incidents import WorkspaceId, caseless

CACHE_SECONDS: Final = 3600.0
_API_VERSION: Final = "2025-07-01"


@dataclass(frozen=True, slots=True)
class Workspace:
    """A Log Analytics workspace as Resource Manager describes it; `customer_id` is its GUID."""

    id: WorkspaceId
    customer_id: UUID
    location: str


class _Properties(BaseModel, hide_input_in_errors=True):
    customerId: UUID  # noqa: N815 - Resource Manager's name


class _Resource(BaseModel, hide_input_in_errors=True):
    location: str
    properties: _Properties


class Workspaces:
    """The configured workspaces; what Resource Manager says of one is kept for an hour."""

    def __init__(self, mappings: Iterable[Customer], *, resource_manager: ResourceManager) -> None:
        self._mappings = {mapping.workspace.key: mapping for mapping in mappings}
        self._resource_manager = resource_manager
        self._resolved: dict[str, tuple[Workspace, float]] = {}

    def require(self, workspace_id: WorkspaceId) -> Customer:
        """Return the customer of a workspace; raise `WorkspaceNotConfigured` for any other."""
        mapping = self._mappings.get(workspace_id.key)
        if mapping is None:
            raise WorkspaceNotConfigured("the incident's workspace is not in WORKSPACES")
        return mapping

    def named(self, text: str) -> list[WorkspaceId]:
        """Return the configured workspaces of that name or ARM id, in any letter case."""
        wanted = caseless(text)
        found = (mapping.workspace for mapping in self._mappings.values())
        return [workspace for workspace in found if wanted in {workspace.name.lower(), workspace.key}]

    def is_resolved(self, mapping: Customer) -> bool:
        """Whether `resolve` answers without asking Resource Manager anew."""
        _, until = self._resolved.get(mapping.workspace.key, (None, 0.0))
        return asyncio.get_running_loop().time() < until

    async def resolve(self, mapping: Customer, *, until: float) -> Workspace:
        """Return the workspace. Raises `UpstreamError`.

        Each caller asks for itself until one has an answer: nobody waits for a request of an outage.
        """
        if self.is_resolved(mapping):
            return self._resolved[mapping.workspace.key][0]
        workspace = await self._get(mapping.workspace, until)
        kept_until = asyncio.get_running_loop().time() + CACHE_SECONDS
        self._resolved[mapping.workspace.key] = workspace, kept_until
        return workspace

    async def is_there(self, mapping: Customer, *, until: float) -> bool:
        """Whether Resource Manager shows the workspace now; what was kept of it counts for nothing."""
        self._resolved.pop(mapping.workspace.key, None)
        try:
            await self.resolve(mapping, until=until)
        except UpstreamError:
            return False
        return True

    async def _get(self, workspace_id: WorkspaceId, until: float) -> Workspace:
        address = self._resource_manager.address(workspace_id.arm_id, {"api-version": _API_VERSION})
        document = await self._resource_manager.read(address, upstream=Upstream.RESOURCE_MANAGER, until=until)
        try:
            found = _Resource.model_validate(document)
        except ValidationError:
            raise UpstreamMalformed(
                "a workspace without customerId and location", upstream=Upstream.RESOURCE_MANAGER
            ) from None
        return Workspace(workspace_id, found.properties.customerId, found.location)
