"""The comments on an incident, as Sentinel keeps them."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

from sandbox.bodies import JsonObject, trimmed_time


def new_etag() -> str:
    """Return an etag that was never used before, in Sentinel's spelling with its quotes."""
    return f'"{uuid4()}"'


@dataclass(slots=True)
class StoredComment:
    """A comment as Sentinel keeps it: the message verbatim. `odd` is shown instead of its properties."""

    arm_id: str
    name: str
    message: str
    created: datetime
    modified: datetime
    etag: str = field(default_factory=new_etag)
    odd: JsonObject = field(default_factory=dict)

    def to_rest(self, _: str = "") -> JsonObject:
        """Return the resource as REST shows it, in every version of the API."""
        author = {
            "objectId": "aaaaaaaa-0000-4000-8000-000000000001",
            "email": None,
            "name": "id-sentinel-link-func",
            "userPrincipalName": None,
        }
        properties = {
            "message": self.message,
            "createdTimeUtc": trimmed_time(self.created),
            "lastModifiedTimeUtc": trimmed_time(self.modified),
            "author": author,
        }
        kind = "Microsoft.SecurityInsights/incidents/comments"
        return {
            "id": self.arm_id,
            "name": self.name,
            "type": kind,
            "etag": self.etag,
            "properties": {**properties, **self.odd},
        }
