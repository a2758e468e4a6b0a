"""Links as entities of Azure Tables: keys, properties and versions; pure.

A link's `version` is the entity's ETag together with the index row that stands beside it.
"""

import json
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from azure.core import MatchConditions

from contraforce_sentinel.domain.incidents import IncidentId, WorkspaceId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.records import LinkState
from contraforce_sentinel.stores.link_store import read_record

type Entity = dict[str, Any]


def partition(workspace_id: WorkspaceId) -> str:
    """Return the partition key of a workspace."""
    return sha256(workspace_id.key.encode()).hexdigest()[:32]


def key(workspace_id: WorkspaceId, row: str) -> Entity:
    """Return both keys of a row of a workspace."""
    return {"PartitionKey": partition(workspace_id), "RowKey": row}


def link_row(incident_id: IncidentId) -> str:
    """Return the row key of an incident's record."""
    return f"link-{incident_id.name.lower()}"


def behind(row: str) -> str:
    """Return the row key right behind another one: a space sorts before whatever else a key may have."""
    return f"{row} "


def index_row(link: Link) -> str | None:
    """Return the row key of the entity beside the link, by which it is found; None if it need not be."""
    name = link.incident_id.name.lower()
    if link.next_try_at is not None:
        return f"due-{to_text(link.next_try_at)}-{name}"
    return f"dead-{name}" if link.state is LinkState.DEAD else None


def incident_name(row: str) -> str:
    """Return the name of the incident that an index row is of."""
    kind, _, rest = row.partition("-")
    return rest.partition("-")[2] if kind == "due" else rest


def due_at(row: str) -> datetime | None:
    """Return the moment in the row key of an index row; None if it is none of ours."""
    try:
        return to_time(row.split("-")[1])
    except (ValueError, IndexError):
        return None


def to_entity(link: Link) -> Entity:
    """Return a link as it is stored."""
    return {
        **key(link.incident_id.workspace, link_row(link.incident_id)),
        "workspace": link.incident_id.workspace.key,
        "state": link.state.value,
        "seen": link.seen.state or "",
        "created_at": link.created_at.astimezone(UTC),
        "record": link.model_dump_json(exclude={"version"}),
    }


def to_link(entity: Any, workspace_id: WorkspaceId) -> Link:
    """Read a stored link. Raises `RecordUnreadable`."""
    incident = IncidentId(workspace_id, entity["RowKey"].removeprefix("link-")).key
    link = read_record(entity.get("record"), incident=incident, version="")
    version = version_of(str(entity.metadata["etag"]), index_row(link))
    return link.model_copy(update={"version": version})


def version_of(etag: str, index: str | None) -> str:
    """The ETag, and the index row that a change has to remove."""
    return json.dumps([etag, index])


def read_version(version: str) -> tuple[str, str | None]:
    """Return ETag and index row."""
    etag, index = json.loads(version)
    return etag, index


def unchanged(etag: str) -> dict[str, Any]:
    """Return the condition that an entity is still the one with this ETag."""
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}


def to_text(moment: datetime) -> str:
    """Return a text that sorts as the moments do, without the characters that keys must not have."""
    return moment.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%fZ")


def to_time(text: str) -> datetime:
    """Read what `to_text` wrote."""
    return datetime.strptime(text, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
