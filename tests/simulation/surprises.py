"""Exceptions that nobody foresaw, before and after a call of every port; spoilt records; lost index rows.

Their dice are their own: a world is the same with and without them, up to the first.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from random import Random
from typing import Any, Final
from uuid import uuid4

from azure.data.tables import UpdateMode
from referee import Referee
from truth import PLANTED_TITLE, Case, World
from virtual_time import wall

from contraforce_sentinel.domain.incidents import IncidentId
from contraforce_sentinel.stores.entities import key, link_row, to_text
from contraforce_sentinel.stores.link_store import LinkStore
from contraforce_sentinel.stores.sqlite import SqliteLinkStore
from contraforce_sentinel.stores.tables import TableLinkStore
from contraforce_sentinel.telemetry import events as telemetry

AT_RISK: Final = "surprised after a success of tickets/link"


_LAST_RUN: Final = ("timer", "last-run")


class Surprise(Exception):
    """What no code of the app names; its text must be told nowhere."""

    def __init__(self) -> None:
        super().__init__(PLANTED_TITLE)


class SurpriseOfStore(Surprise):
    """One that comes where it would be recorded: only it may be raised by the app."""


class Surprises:
    """One per world; after `until` there are none any more."""

    def __init__(self, world: World, referee: Referee, *, until: float) -> None:
        self._rng = rng = Random(f"surprises {world.seed}")  # noqa: S311
        self._world = world
        self._referee = referee
        self._until = until
        self._rate = rng.choice((0.0, 0.0, 0.0, 0.01, 0.05, 0.15))
        self.spoils_at = rng.uniform(0, until) if rng.random() < 0.25 else None

        rows = Random(f"index rows {world.seed}")  # noqa: S311 - of their own, too
        self.tampers_at = rows.uniform(0, until) if rows.random() < 0.15 else None
        self._rows = rows

    def tamper(self) -> None:
        """Take index rows away, and put some that nobody has asked for, as a restored backup may."""
        for table in self._world.tables.tables.values():
            records = [key for key in table.order if key[1].startswith("link-")]
            with table.changing():
                for key in table.order:
                    if key[1].startswith(("due-", "dead-")) and self._rows.random() < 0.5:
                        table.delete(key, "*")
                for place, row in self._rows.sample(records, min(2, len(records))):
                    name = row.removeprefix("link-")
                    moment = to_text(wall(self._world.now + self._rows.uniform(-3600, 3600)))
                    for orphan in (f"due-{moment}-{name}", f"due-{moment}-gone", f"dead-{name}"):
                        table.replace((place, orphan), {}, None)

    def begin_a_day(self) -> None:
        """Let the next run of the timer be the first one of its day."""
        for table in self._world.tables.tables.values():
            with table.changing():
                table.replace(_LAST_RUN, {}, None)
                table.delete(_LAST_RUN, "*")

    def strikes(self) -> bool:
        """Whether one comes now."""
        return self._rate > 0 and self._world.now < self._until and self._rng.random() < self._rate

    def strike(self, what: str) -> None:
        """Let one come, perhaps."""
        if self.strikes():
            self._world.note(f"surprise {what}")
            self._world.went_wrong()
            raise Surprise

    def around[**P, T](self, call: Callable[P, Awaitable[T]], what: str) -> Callable[P, Awaitable[T]]:
        """Return the call with one before it or after it, perhaps."""

        async def surprising(*args: P.args, **kwargs: P.kwargs) -> T:
            self.strike(f"before {what}")
            result = await call(*args, **kwargs)
            self.strike(f"after {what}")
            return result

        return surprising

    def around_pages[**P, T](
        self, call: Callable[P, AsyncGenerator[T]], what: str
    ) -> Callable[P, AsyncGenerator[T]]:
        """Return a listing with one before its pages or between them, perhaps."""

        async def surprising(*args: P.args, **kwargs: P.kwargs) -> AsyncGenerator[T]:
            self.strike(f"before {what}")
            async for page in call(*args, **kwargs):
                yield page
                self.strike(f"after a page of {what}")

        return surprising

    def after_ticket[**P, T](self, read: Callable[P, T]) -> Callable[P, T]:
        """Return the reading of a success of tickets/link, with one behind it, perhaps."""

        def surprising(*args: P.args, **kwargs: P.kwargs) -> T:
            ticket = read(*args, **kwargs)
            if self.strikes():
                self.risk(telemetry._ids.get()["incident"])
                self._world.note("surprise after a ticket")
                raise Surprise
            return ticket

        return surprising

    def risk(self, incident: str) -> None:
        """A ticket of this incident may be lost: its link may die of it."""
        case = self._world.cases.get(incident)
        if case is not None:
            self._referee.file(case).killers.add(AT_RISK)

    def pick(self) -> Case | None:
        """Choose an incident whose record is to be spoilt; None if none has one."""
        recorded = [case for case in self._world.cases.values() if case.key in self._world.stored]
        return self._rng.choice(recorded) if recorded else None


def surprise_ports(surprises: Surprises, *, workspaces: Any, sentinel: Any) -> None:
    """Wrap the calls of these ports; the store and ContraForce are surprised elsewhere."""
    workspaces.resolve = surprises.around(workspaces.resolve, "workspaces.resolve")
    sentinel.get_incident = surprises.around(sentinel.get_incident, "sentinel.get_incident")
    sentinel.put_comment = surprises.around(sentinel.put_comment, "sentinel.put_comment")
    sentinel.list_incidents = surprises.around_pages(sentinel.list_incidents, "sentinel.list_incidents")


async def spoil(store: LinkStore, case: Case) -> None:
    """Write over a record what nobody can read, as another writer would."""
    incident_id = IncidentId.parse(case.facts.arm_id)
    case.is_spoilt = True
    if isinstance(store, SqliteLinkStore):
        update, version = "UPDATE links SET record = '[[', version = ? WHERE incident = ?", uuid4().hex
        await store._file.run(lambda db: db.execute(update, (version, incident_id.key)))
    elif isinstance(store, TableLinkStore):
        keys = key(incident_id.workspace, link_row(incident_id))
        await store._table.update_entity({**keys, "record": "[["}, mode=UpdateMode.MERGE)
