"""One table of the Azure Table service: its entities in order, and what may be done to them.

https://learn.microsoft.com/rest/api/storageservices/insert-or-replace-entity and the pages beside it say
which condition each operation has.
"""

import re
from bisect import bisect_left, insort
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from sandbox.table_entities import Entity, Key, merged
from sandbox.table_errors import TableError
from sandbox.table_filters import Condition

ETAG: Final = re.compile(r'W/"[^"]*"')


class Table:
    """The entities of a table. `tick` gives the moment of a write, never the same one twice.

    `watch` is told of every change that lasts: the key, and the entity, None where it was removed.
    """

    def __init__(self, tick: Callable[[], int]) -> None:
        self.watch: Callable[[Key, Entity | None], None] = lambda _key, _entity: None
        self._tick = tick
        self._entities: dict[Key, Entity] = {}
        self._order: list[Key] = []
        self._undo: list[tuple[Key, Entity | None]] = []

    @property
    def order(self) -> Sequence[Key]:
        """The keys of all entities, in their order."""
        return tuple(self._order)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Keep what the block changes if it ends well, else nothing of it."""
        self._undo = []
        try:
            yield
        except TableError:
            for key, before in reversed(self._undo):
                self._set(key, before)
            raise
        for key in [key for key, _ in self._undo]:
            self.watch(key, self._entities.get(key))

    def get(self, key: Key) -> Entity:
        """Return an entity, if it is there."""
        found = self._entities.get(key)
        if found is None:
            raise TableError("ResourceNotFound")
        return found

    def insert(self, key: Key, properties: Mapping[str, Any]) -> Entity:
        """Put a new entity."""
        if key in self._entities:
            raise TableError("EntityAlreadyExists")
        return self._write(key, properties)

    def replace(self, key: Key, properties: Mapping[str, Any], if_match: str | None) -> Entity:
        """Put an entity in the place of the one that is there; without a condition there may be none."""
        self._check(key, if_match)
        return self._write(key, properties)

    def merge(self, key: Key, properties: Mapping[str, Any], if_match: str | None) -> Entity:
        """Change some properties of an entity; without a condition there may be none."""
        before = self._check(key, if_match)
        return self._write(key, properties if before is None else merged(before.properties, properties))

    def delete(self, key: Key, if_match: str | None) -> None:
        """Remove an entity; the condition is required, and may be `*`."""
        if if_match is None:
            raise TableError("MissingRequiredHeader")
        self._check(key, if_match)
        self._change(key, None)

    def page(
        self, condition: Condition, *, start: Key | None, size: int, looks: int | None
    ) -> tuple[list[Entity], Key | None]:
        """Return at most `size` entities from `start` on, and where the next page starts, if there is one.

        The service looks at no more than `looks` entities for a page, so that it may be empty and not the
        last one: https://learn.microsoft.com/rest/api/storageservices/query-timeout-and-pagination
        """
        found: list[Entity] = []
        first = bisect_left(self._order, max(condition.low, start or condition.low))
        for number, key in enumerate(self._order[first:]):
            if key > condition.high:
                break
            if number == looks:
                return found, key
            entity = self._entities[key]
            if condition.test(entity):
                if len(found) == size:
                    return found, key
                found.append(entity)
        return found, None

    def _check(self, key: Key, if_match: str | None) -> Entity | None:
        """Return the entity that is there, if it is as the condition says."""
        if if_match is None:
            return self._entities.get(key)
        if if_match != "*" and ETAG.fullmatch(if_match) is None:
            raise TableError("InvalidInput", f"The etag value '{if_match}' is not valid.")
        found = self.get(key)
        if if_match not in {"*", found.etag}:
            raise TableError("UpdateConditionNotSatisfied")
        return found

    def _write(self, key: Key, properties: Mapping[str, Any]) -> Entity:
        entity = Entity.of(key, properties, self._tick())
        self._change(key, entity)
        return entity

    def _change(self, key: Key, entity: Entity | None) -> None:
        self._undo.append((key, self._entities.get(key)))
        self._set(key, entity)

    def _set(self, key: Key, entity: Entity | None) -> None:
        if entity is None:
            if self._entities.pop(key, None) is not None:
                del self._order[bisect_left(self._order, key)]
            return
        if key not in self._entities:
            insort(self._order, key)
        self._entities[key] = entity
