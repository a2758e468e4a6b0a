"""What the table service holds, told to the referee when it changes, whoever gets the answer."""

from pydantic import ValidationError
from referee import Referee
from truth import Process, World

from contraforce_sentinel.domain.incidents import WorkspaceId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.runs import Feed
from sandbox.table_entities import Entity, Key


class TableWatch:
    """`sender` is the process whose request is being carried out."""

    def __init__(self, world: World, referee: Referee) -> None:
        self.sender: Process
        self._world = world
        self._referee = referee
        self._records: dict[Key, str] = {}
        self._workspaces: dict[str, WorkspaceId] = {}
        world.tables.watch = self._changed

    def _changed(self, key: Key, entity: Entity | None) -> None:
        row = key[1]
        if row.startswith("link-"):
            self._record_changed(key, entity)
        elif row == "feed" and entity is not None:
            workspace, feed = entity.properties["workspace"], entity.properties["feed"]
            if workspace not in self._workspaces:
                self._workspaces[workspace] = WorkspaceId.parse(workspace)
            moved = Feed.model_validate_json(feed)
            self._referee.feed_moved(self.sender, self._workspaces[workspace], moved)

    def _record_changed(self, key: Key, entity: Entity | None) -> None:
        stored = self._world.stored
        if entity is None:
            stored.pop(self._records[key], None)
            self._referee.removed(self.sender, self._records[key])
            return
        try:
            link = Link.model_validate_json(entity.properties["record"])
        except ValidationError:  # spoilt on purpose: of no interest any more
            return
        self._records[key] = link.incident_id.key
        stored[link.incident_id.key] = link
        self._referee.stored(self.sender, link)
