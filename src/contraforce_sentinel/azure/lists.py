"""Lists of Resource Manager, page by page: each one ends, and no link takes the app's token elsewhere.

https://learn.microsoft.com/rest/api/azure/#async-operations-throttling-and-paging
"""

import logging
from collections.abc import AsyncGenerator, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contraforce_sentinel.azure.httpx_transport import MAX_LIST_BYTES
from contraforce_sentinel.azure.resource_manager import ResourceManager
from contraforce_sentinel.domain.errors import Upstream, UpstreamMalformed
from contraforce_sentinel.domain.incidents import WorkspaceId
from contraforce_sentinel.telemetry.events import event
from contraforce_sentinel.transport.retries import deadline

MOST_PAGES: Final = 1000


@dataclass(frozen=True, slots=True)
class Page:
    """One answer: what it lists, and whether it names another one."""

    documents: list[Any]
    has_next: bool


class _Answer(BaseModel):
    model_config = ConfigDict(hide_input_in_errors=True, defer_build=True)

    value: list[Any]
    next_link: Any = Field(None, alias="nextLink")


async def pages(
    resource_manager: ResourceManager,
    workspace_id: WorkspaceId,
    collection: str,
    *,
    query: Mapping[str, str],
    upstream: Upstream,
    until: float,
) -> AsyncGenerator[Page]:
    """Yield what a collection of a workspace holds, page by page; some may be empty. Raises `UpstreamError`.

    Who clears a page frees it while it works: the pages of hundreds of workspaces may be under way at once.
    A list whose next link leads elsewhere, or nowhere new, ends there, with an event.
    """
    address: str | None = resource_manager.address(f"{workspace_id.arm_id}/{collection}", query)
    asked: set[str] = set()
    while address is not None:
        asked.add(address)
        document = await resource_manager.read(
            address, upstream=upstream, until=min(until, deadline()), most_bytes=MAX_LIST_BYTES
        )
        try:
            page = _Answer.model_validate(document)
        except ValidationError:
            raise UpstreamMalformed("a list of an unknown shape", upstream=upstream) from None
        del document
        has_next = page.next_link is not None and page.next_link != ""
        yield Page(page.value, has_next)
        if not has_next:
            return
        address = resource_manager.own_address(page.next_link)
        objection = _objection(address, asked)
        if objection is not None:
            event("discovery.cut-short", level=logging.ERROR, workspace=workspace_id.key, error=objection)
            return


def _objection(address: str | None, asked: Collection[str]) -> str | None:
    """Say why a link to a further page is not followed."""
    if address is None:
        return "the link to the next page is not one of this endpoint"
    if address in asked:
        return "the link to the next page leads back"
    return f"over {MOST_PAGES} pages" if len(asked) >= MOST_PAGES else None
