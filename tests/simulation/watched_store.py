"""The real stores behind faults and under the referee's eyes.

All instances share one SQLite store, in memory. Over tables each has its own, with the real SDK, and the
service beneath them is shared: there the referee learns what is stored from the service (`table_watch.py`).
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Executor, Future
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

import httpx
from faultplan import FaultPlan
from freezes import Freezes
from referee import Referee
from surprises import SurpriseOfStore, Surprises
from truth import TABLES_URL, World
from wire import Mortal

from contraforce_sentinel.azure.httpx_transport import HttpxTransport
from contraforce_sentinel.azure.identity import Identity
from contraforce_sentinel.domain.errors import StoreUnavailable
from contraforce_sentinel.domain.incidents import IncidentId, WorkspaceId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.records import LinkState
from contraforce_sentinel.domain.runs import Backlog, Feed, TimerRun
from contraforce_sentinel.stores.link_store import Found, Glimpse, LinkStore
from contraforce_sentinel.stores.sqlite import SqliteLinkStore
from contraforce_sentinel.stores.tables import READ_SECONDS, TableLinkStore
from contraforce_sentinel.transport.connections import Connections

_SLOW_SECONDS: Final = 1.0


class _AtOnce(Executor):
    """Runs the work where it is submitted: no thread, so no order that chance decides."""

    def submit[**P, T](self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:  # noqa: BLE001 - as an executor does
            future.set_exception(error)
        return future


def open_sqlite() -> SqliteLinkStore:
    """Return the store that all instances of a world share."""
    store = SqliteLinkStore(Path(":memory:"))
    store._file._thread.shutdown()
    store._file._thread = _AtOnce()
    return store


def open_tables(world: World, network: httpx.AsyncBaseTransport) -> TableLinkStore:
    """Return a store of its own over the tables of the world, as its identity."""
    transport = HttpxTransport(
        Connections(partial(httpx.AsyncClient, transport=network, timeout=READ_SECONDS, trust_env=False))
    )
    identity = Identity(client_id=world.identity.client_ids[0], transport=transport)
    return TableLinkStore.from_endpoint(TABLES_URL, identity, transport=transport)


class WatchedStore:
    """One instance's view of what is stored; `LinkStore` again.

    The referee is told here of what a shared store holds; of tables it knows already.
    """

    def __init__(
        self,
        store: LinkStore,
        process: Mortal,
        *,
        world: World,
        faults: FaultPlan,
        surprises: Surprises,
        freezes: Freezes,
        referee: Referee,
    ) -> None:
        self._store = store
        self._freezes = freezes
        self._surprises = surprises
        self._tells = isinstance(store, SqliteLinkStore)
        self._process = process
        self._world = world
        self._faults = faults
        self._referee = referee

    async def insert(self, link: Link) -> Link | None:
        def seen(stored: Link | None) -> None:
            if stored is not None:
                self._wrote(stored)

        return await self._do("insert", link, lambda: self._store.insert(link), seen)

    async def get(self, incident_id: IncidentId) -> Link | None:
        return await self._do("get", incident_id.key, lambda: self._store.get(incident_id))

    async def replace(self, link: Link) -> Link:
        return await self._do("replace", link, lambda: self._store.replace(link), self._wrote)

    async def delete(self, link: Link) -> None:
        def seen(_: None) -> None:
            self._world.stored.pop(link.incident_id.key, None)
            self._referee.removed(self._process, link.incident_id.key)

        await self._do("delete", link, lambda: self._store.delete(link), seen)

    async def glimpse(self, incident_ids: Sequence[IncidentId]) -> dict[str, Glimpse]:
        return await self._do("glimpse", "", lambda: self._store.glimpse(incident_ids))

    async def due(self, workspace_id: WorkspaceId, *, now: datetime, limit: int) -> Found:
        return await self._do("due", "", lambda: self._store.due(workspace_id, now=now, limit=limit))

    async def expired(self, workspace_id: WorkspaceId, *, before: datetime, limit: int) -> Found:
        return await self._do(
            "expired", "", lambda: self._store.expired(workspace_id, before=before, limit=limit)
        )

    async def in_state(self, workspace_id: WorkspaceId, state: LinkState, *, after: str, limit: int) -> Found:
        return await self._do(
            "in_state", "", lambda: self._store.in_state(workspace_id, state, after=after, limit=limit)
        )

    async def repair(self, workspace_id: WorkspaceId, *, after: str) -> str | None:
        return await self._do("repair", "", lambda: self._store.repair(workspace_id, after=after))

    async def backlog(self, workspace_id: WorkspaceId) -> Backlog:
        return await self._do("backlog", "", lambda: self._store.backlog(workspace_id))

    async def feed(self, workspace_id: WorkspaceId) -> Feed | None:
        return await self._do("feed", "", lambda: self._store.feed(workspace_id))

    async def save_feed(self, workspace_id: WorkspaceId, feed: Feed) -> Feed | None:
        def seen(saved: Feed | None) -> None:
            if saved is not None:
                self._referee.feed_moved(self._process, workspace_id, saved)

        return await self._do("save_feed", "", lambda: self._store.save_feed(workspace_id, feed), seen)

    async def creation_watermark(self, workspace_id: WorkspaceId) -> datetime | None:
        return await self._do("creation_watermark", "", lambda: self._store.creation_watermark(workspace_id))

    async def move_creation_watermark(self, workspace_id: WorkspaceId, to: datetime) -> None:
        await self._do(
            "move_creation_watermark", "", lambda: self._store.move_creation_watermark(workspace_id, to)
        )

    async def last_run(self) -> TimerRun | None:
        return await self._do("last_run", "", self._store.last_run)

    async def save_run(self, run: TimerRun) -> None:
        await self._do("save_run", "", lambda: self._store.save_run(run))

    async def exists(self) -> bool:
        return await self._do("exists", "", self._store.exists)

    async def check(self) -> None:
        await self._do("check", "", self._store.check)

    async def close(self) -> None:
        """The shared store stays open for the other instances."""

    def _wrote(self, link: Link) -> None:
        self._world.stored[link.incident_id.key] = link
        self._referee.stored(self._process, link)

    async def _do[T](
        self,
        name: str,
        subject: Link | str,
        work: Callable[[], Awaitable[T]],
        seen: Callable[[T], Any] | None = None,
    ) -> T:
        """Do one operation: it may fail before it has its effect, or after; the process may die at both."""
        faults, process = self._faults, self._process
        label = _label(self._world, process, name, subject)
        await process.step(f"before {label}")
        fails, there, back = faults.of_store(self._world.now)
        if there + back > _SLOW_SECONDS:
            self._world.went_wrong()
        await asyncio.sleep(there)
        if fails == "before":
            self._lose(label, subject)
        await process.step(f"at {label}")
        if self._surprises.strikes():
            self._surprise(f"before {label}", subject)
        await self._freeze(f"before {label}", subject)
        try:
            result = await work()
        except StoreUnavailable:
            await process.step(f"after failing {label}")
            self._lose(label, subject)
        if seen is not None:
            self._world.note(f"{label}{' finds one' if name == 'insert' and result is None else ''}")
            if self._tells:
                seen(result)
        await process.step(f"after {label}")
        await self._freeze(f"after {label}", subject)
        await asyncio.sleep(back)
        if self._surprises.strikes():
            self._surprise(f"after {label}", subject)
        if fails == "after":
            self._lose(label, subject)
        return result

    async def _freeze(self, what: str, subject: Link | str) -> None:
        key = subject.incident_id.key if isinstance(subject, Link) else subject
        await self._freezes.perhaps(self._process, self._world.cases.get(key), what)

    def _surprise(self, what: str, subject: Link | str) -> NoReturn:
        self._world.note(f"surprise {what}")
        self._world.went_wrong()
        if isinstance(subject, Link):
            before = self._world.stored.get(subject.incident_id.key)
            if subject.ticket is not None and before is not None and before.ticket is None:
                self._surprises.risk(subject.incident_id.key)
            self._referee.not_stored(self._process, subject)
        else:
            self._referee.not_read(self._process, subject)
        raise SurpriseOfStore

    def _lose(self, label: str, subject: Link | str) -> NoReturn:
        self._world.note(f"{label} fails")
        self._world.went_wrong()
        if isinstance(subject, Link):
            self._referee.not_stored(self._process, subject)
        else:
            self._referee.not_read(self._process, subject)
        raise StoreUnavailable("the simulated store is out of reach")


def _label(world: World, process: Mortal, name: str, subject: Link | str) -> str:
    key = subject.incident_id.key if isinstance(subject, Link) else subject
    case = world.cases.get(key)
    state = f" {subject.state} {subject.reason}" if isinstance(subject, Link) else ""
    return f"{process.name} store.{name} {case.label if case else ''}{state}"
