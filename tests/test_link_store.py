"""The contract of every link store, and what only one of them promises."""

import asyncio
import os
import re
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import stamina
from azure.core.exceptions import ServiceResponseError
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient
from store_fixtures import ACCOUNT, KEY, OpenStore, table_transport

from contraforce_sentinel.domain.errors import (
    RecordUnreadable,
    StaleLink,
    StoreUnavailable,
    Upstream,
    UpstreamConflict,
)
from contraforce_sentinel.domain.incidents import IncidentId, WorkspaceId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.reasons import Reason
from contraforce_sentinel.domain.records import Lease, LinkState
from contraforce_sentinel.domain.runs import Feed, TimerRun
from contraforce_sentinel.domain.tickets import Ticket
from contraforce_sentinel.stores import sqlite_file, table_calls
from contraforce_sentinel.stores.entities import key, version_of
from contraforce_sentinel.stores.link_store import LinkStore
from contraforce_sentinel.stores.sqlite import SqliteLinkStore
from contraforce_sentinel.stores.sqlite_file import SCHEMA_VERSION
from contraforce_sentinel.stores.tables import TableLinkStore

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SUBSCRIPTION = "11111111-2222-4333-8444-555555555555"
WORKSPACE = WorkspaceId(SUBSCRIPTION, "rg-secops", "law-1")


def incident_id(
    name: str = "3f1d9a52-7c0e-4b1b-9d5f-6a2f0e8c7b11", *, workspace: str = "law-1"
) -> IncidentId:
    return IncidentId(WorkspaceId(SUBSCRIPTION, "rg-secops", workspace), name)


def link(which: IncidentId | None = None, **changes: Any) -> Link:
    return Link(incident_id=which or incident_id(), created_at=NOW, updated_at=NOW, **changes)


FULL = link(
    incident_number="3177",
    state=LinkState.TICKETED,
    ticket=Ticket(
        system="ServiceNow",
        number="INC0010023",
        id="9d385017c611228701d22104cc95c371",
        title="Anmeldung fehlgeschlagen: \U0001f6a8 日本語 'quoted' \"; DROP TABLE links; --",
        status="Новый",
    ),
    requested_ticket_id="INC0010023",
    reason="sentinel-unavailable",
    code="ÄÖÜ",
    fields=("incident.number", ""),
    request_id="0HNH2V8L5Q1K3:00000004",
    attempts=7,
    failures=3,
    failing_since=NOW - timedelta(hours=1, microseconds=1),
    next_try_at=NOW + timedelta(minutes=4, microseconds=123_456),
    not_before=NOW + timedelta(minutes=2),
    lease=Lease(owner="instance-1/42", until=NOW + timedelta(minutes=3)),
)


async def inserted(store: LinkStore, record: Link) -> Link:
    stored = await store.insert(record)
    assert stored is not None
    return stored


class TestEveryStore:
    """What linking relies on, whatever keeps the records."""

    async def test_an_incident_without_a_record_has_none(self, store: LinkStore) -> None:
        assert await store.get(incident_id()) is None

    async def test_an_inserted_record_is_there_as_it_was_returned(self, store: LinkStore) -> None:
        stored = await inserted(store, link())

        assert stored.version
        assert stored.model_copy(update={"version": ""}) == link()
        assert await store.get(incident_id()) == stored

    async def test_a_second_insert_does_nothing(self, store: LinkStore) -> None:
        first = await inserted(store, link(incident_number="1"))

        assert await store.insert(link(incident_number="2")) is None
        assert await store.get(incident_id()) == first

    async def test_a_record_with_every_field_comes_back_whole(
        self, store: LinkStore, open_store: OpenStore
    ) -> None:
        stored = await inserted(store, FULL)

        assert stored.model_copy(update={"version": ""}) == FULL
        assert await open_store().get(incident_id()) == stored

    async def test_a_replaced_record_is_there_with_another_version(self, store: LinkStore) -> None:
        first = await inserted(store, link())

        second = await store.replace(first.claimed(owner="one", now=NOW))
        third = await store.replace(second.linked(now=NOW))

        assert len({first.version, second.version, third.version}) == 3
        assert third.state is LinkState.LINKED
        assert await store.get(incident_id()) == third

    async def test_a_replaced_record_may_lose_everything(self, store: LinkStore) -> None:
        stored = await inserted(store, FULL)

        bare = await store.replace(link(version=stored.version))

        found = await store.get(incident_id())
        assert found == bare
        assert (found.ticket, found.lease, found.next_try_at) == (None, None, None)

    async def test_a_record_that_was_changed_in_between_is_stale(self, store: LinkStore) -> None:
        read = await inserted(store, link())
        changed = await store.replace(read.claimed(owner="one", now=NOW))

        with pytest.raises(StaleLink):
            await store.replace(read.claimed(owner="two", now=NOW))
        assert await store.get(incident_id()) == changed

    async def test_a_record_that_was_deleted_in_between_is_stale(self, store: LinkStore) -> None:
        read = await inserted(store, link())
        await store.delete(read)

        with pytest.raises(StaleLink):
            await store.replace(read)
        assert await store.get(incident_id()) is None

    async def test_a_deleted_record_is_gone_and_may_come_again(self, store: LinkStore) -> None:
        await store.delete(await inserted(store, link(incident_number="1")))

        again = await inserted(store, link(incident_number="2"))
        assert await store.get(incident_id()) == again

    async def test_a_record_that_was_deleted_and_came_again_is_another_one(self, store: LinkStore) -> None:
        """Who read the first one must not write over the second one."""
        first = await inserted(store, link(incident_number="1"))
        await store.delete(first)
        second = await inserted(store, link(incident_number="2"))

        with pytest.raises(StaleLink):
            await store.replace(first.claimed(owner="late", now=NOW))
        with pytest.raises(StaleLink):
            await store.delete(first)
        assert await store.get(incident_id()) == second

    async def test_a_changed_record_is_not_deleted(self, store: LinkStore) -> None:
        read = await inserted(store, link())
        changed = await store.replace(read.claimed(owner="one", now=NOW))

        with pytest.raises(StaleLink):
            await store.delete(read)
        assert await store.get(incident_id()) == changed

    async def test_a_record_is_deleted_once(self, store: LinkStore) -> None:
        read = await inserted(store, link())
        await store.delete(read)

        with pytest.raises(StaleLink):
            await store.delete(read)

    async def test_an_incident_has_one_record_in_every_letter_case(self, store: LinkStore) -> None:
        stored = await inserted(store, link())
        upper = IncidentId.parse(incident_id().arm_id.upper())

        assert await store.get(upper) == stored
        assert await store.insert(link(upper)) is None
        replaced = await store.replace(link(upper, version=stored.version))
        await store.delete(replaced)
        assert await store.get(incident_id()) is None

    async def test_records_of_different_incidents_do_not_touch(self, store: LinkStore) -> None:
        """The same name in two workspaces is two incidents."""
        others = [incident_id("b"), incident_id(workspace="law-2")]
        stored = await inserted(store, link())
        for other in others:
            await inserted(store, link(other, incident_number=other.key))

        await store.replace(stored.linked(now=NOW))
        for other in others:
            found = await store.get(other)
            assert found is not None
            assert (found.incident_id, found.incident_number, found.state) == (other, other.key, "pending")

    async def test_a_resource_group_in_another_script_is_kept(self, store: LinkStore) -> None:
        which = IncidentId(WorkspaceId(SUBSCRIPTION, "rg-Äé-日本-Жщ", "law-1"), "n")
        stored = await inserted(store, link(which))

        assert stored.incident_id == which
        assert await store.get(IncidentId.parse(which.arm_id.upper())) == stored

    async def test_of_many_inserts_at_once_one_wins(self, store: LinkStore, open_store: OpenStore) -> None:
        stores = [store, open_store()]
        results = await asyncio.gather(
            *(stores[number % 2].insert(link(incident_number=str(number))) for number in range(20))
        )

        winners = [stored for stored in results if stored is not None]
        assert len(winners) == 1
        assert await store.get(incident_id()) == winners[0]

    @pytest.mark.parametrize("instances", [1, 2])
    async def test_of_many_claims_at_once_one_wins(self, open_store: OpenStore, instances: int) -> None:
        stores = [open_store() for _ in range(instances)]
        await inserted(stores[0], link())
        everyone_has_read = asyncio.Barrier(20)

        async def claim(number: int) -> Link | None:
            store = stores[number % instances]
            read = await store.get(incident_id())
            assert read is not None
            await everyone_has_read.wait()
            try:
                return await store.replace(read.claimed(owner=str(number), now=NOW))
            except StaleLink:
                return None

        results = await asyncio.gather(*(claim(number) for number in range(20)))

        winners = [stored for stored in results if stored is not None]
        assert len(winners) == 1
        assert await stores[-1].get(incident_id()) == winners[0]
        assert winners[0].attempts == 1

    async def test_no_change_is_lost_between_two_instances(self, open_store: OpenStore) -> None:
        stores = [open_store(), open_store()]
        await inserted(stores[0], link())

        async def count(store: LinkStore) -> None:
            for _ in range(10):
                while True:
                    read = await store.get(incident_id())
                    assert read is not None
                    try:
                        await store.replace(read.model_copy(update={"attempts": read.attempts + 1}))
                    except StaleLink:
                        continue
                    break

        await asyncio.gather(*(count(store) for store in stores))

        found = await stores[0].get(incident_id())
        assert found is not None
        assert found.attempts == 20

    async def test_a_store_that_works_passes_its_check_and_is_unchanged(self, store: LinkStore) -> None:
        await store.check()
        stored = await inserted(store, link())
        await store.check()

        assert await store.get(incident_id()) == stored

    async def test_another_instance_sees_what_a_closed_one_wrote(self, open_store: OpenStore) -> None:
        first = open_store()
        stored = await inserted(first, FULL)
        await first.close()

        assert await open_store().get(incident_id()) == stored

    async def test_a_store_may_be_closed_twice_and_unused(self, open_store: OpenStore) -> None:
        used, unused = open_store(), open_store()
        await used.check()
        for store in (used, unused):
            await store.close()
            await store.close()

    async def test_links_in_a_state_come_page_by_page_in_the_order_of_their_names(
        self, store: LinkStore
    ) -> None:
        names = ["a", "a-1", "a-10", "a_2", "a1", "b", "c0ffee"]
        for name in names:
            record = link(incident_id(name))
            await inserted(store, record.skipped(Reason.CLOSED, now=NOW) if name != "b" else record)
        await inserted(store, link(incident_id("a", workspace="law-2")).skipped(Reason.CLOSED, now=NOW))

        pages: list[list[str]] = []
        after = ""
        while page := (await store.in_state(WORKSPACE, LinkState.SKIPPED, after=after, limit=2)).links:
            pages.append([found.incident_id.name for found in page])
            assert {found.state for found in page} == {LinkState.SKIPPED}
            after = pages[-1][-1]
        assert [len(page) for page in pages] == [2, 2, 2]
        assert [name for page in pages for name in page] == sorted(set(names) - {"b"})

    async def test_a_link_leaves_the_list_of_a_state_with_it(self, store: LinkStore) -> None:
        stored = await inserted(store, link().claimed(owner="one", now=NOW))
        dead = await store.replace(
            stored.failed(UpstreamConflict("409", upstream=Upstream.SENTINEL), now=NOW, jitter=0)
        )
        assert (await store.in_state(WORKSPACE, LinkState.DEAD, after="", limit=9)).links == [dead]
        revived = await store.replace(dead.revived(now=NOW))
        assert (await store.in_state(WORKSPACE, LinkState.DEAD, after="", limit=9)).links == []
        assert (await store.due(WORKSPACE, now=NOW, limit=9)).links == [revived]
        assert (await store.backlog(WORKSPACE)).dead == 0

    async def test_a_store_exists_from_its_first_use_on_and_asking_makes_none(
        self, store: LinkStore, open_store: OpenStore
    ) -> None:
        assert [await store.exists(), await open_store().exists()] == [False, False]
        await store.check()
        assert [await store.exists(), await open_store().exists()] == [True, True]


READ_BACK = version_of('W/"1"', None)
OPERATIONS: dict[str, Callable[[LinkStore], Awaitable[object]]] = {
    "insert": lambda store: store.insert(link(next_try_at=NOW)),
    "get": lambda store: store.get(incident_id()),
    "replace": lambda store: store.replace(link(version=READ_BACK)),
    "delete": lambda store: store.delete(link(version=READ_BACK)),
    "glimpse": lambda store: store.glimpse([incident_id()]),
    "due": lambda store: store.due(incident_id().workspace, now=NOW, limit=10),
    "expired": lambda store: store.expired(incident_id().workspace, before=NOW, limit=10),
    "repair": lambda store: store.repair(incident_id().workspace, after=""),
    "backlog": lambda store: store.backlog(incident_id().workspace),
    "feed": lambda store: store.feed(incident_id().workspace),
    "save_feed": lambda store: store.save_feed(incident_id().workspace, Feed()),
    "creation_watermark": lambda store: store.creation_watermark(incident_id().workspace),
    "move_creation_watermark": lambda store: store.move_creation_watermark(incident_id().workspace, NOW),
    "last_run": lambda store: store.last_run(),
    "save_run": lambda store: store.save_run(TimerRun(started_at=NOW, finished_at=NOW)),
    "check": lambda store: store.check(),
}


LOOK_UP = re.compile(
    r"SEARCH links USING (?:PRIMARY KEY|(?:COVERING )?INDEX \w+) "
    r"\((?:incident=\?|incident>\? AND incident<\?|workspace=\?.*)\)"
)


def _in_state(state: LinkState, store: LinkStore) -> Awaitable[object]:
    return store.in_state(WORKSPACE, state, after="a", limit=10)


# SQLite only


@pytest.fixture
def no_retries() -> Iterator[None]:
    """Opening is tried again for seconds, because another process may be creating the file."""
    with stamina.set_testing(True):
        yield


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "links.db"


@pytest.fixture
async def sqlite_store(path: Path) -> AsyncIterator[SqliteLinkStore]:
    store = SqliteLinkStore(path)
    yield store
    await store.close()


def query(path: Path, sql: str, *values: object) -> list[Any]:
    with closing(sqlite3.connect(path)) as db, db:
        return db.execute(sql, values).fetchall()


async def assert_unavailable(store: SqliteLinkStore) -> None:
    """Every operation says so, and in no other way."""
    with pytest.raises(StoreUnavailable):
        await store.check()
    with pytest.raises(StoreUnavailable):
        await store.get(incident_id())
    with pytest.raises(StoreUnavailable):
        await store.insert(link())
    with pytest.raises(StoreUnavailable):
        await store.replace(link(version="1"))
    with pytest.raises(StoreUnavailable):
        await store.delete(link(version="1"))


@asynccontextmanager
async def held_up(store: SqliteLinkStore) -> AsyncIterator[None]:
    """Keep the store's thread busy, so that everything asked for meanwhile waits together."""
    is_busy, is_over = threading.Event(), threading.Event()

    def wait(_: sqlite3.Connection) -> None:
        is_busy.set()
        is_over.wait()

    holding = asyncio.create_task(store._file.run(wait))
    await asyncio.to_thread(is_busy.wait)
    try:
        yield
    finally:
        is_over.set()
        await holding


class TestSqlite:
    """One file on one machine."""

    async def test_nothing_is_opened_before_the_first_use(self, path: Path) -> None:
        store = SqliteLinkStore(path)
        await store.close()

        assert not path.exists()

    async def test_parent_folders_are_created(self, path: Path) -> None:
        deep = path.parent / "a" / "b" / "links.db"
        store = SqliteLinkStore(deep)
        await store.check()
        await store.close()

        assert deep.is_file()

    async def test_a_file_that_is_removed_under_it_is_told_and_then_a_new_one_is_made(
        self, path: Path, sqlite_store: SqliteLinkStore
    ) -> None:
        """Else records would go into a file that nobody can find any more."""
        await inserted(sqlite_store, link())
        for file in path.parent.glob("links.db*"):
            file.unlink()

        with pytest.raises(StoreUnavailable):
            await sqlite_store.check()
        assert await sqlite_store.get(link().incident_id) is None
        assert path.is_file()

    async def test_readers_and_writers_do_not_block_each_other(
        self, path: Path, sqlite_store: SqliteLinkStore
    ) -> None:
        await sqlite_store.check()

        assert query(path, "PRAGMA journal_mode") == [("wal",)]
        assert query(path, "PRAGMA user_version") == [(SCHEMA_VERSION,)]

    async def test_what_is_due_can_be_found_in_order_of_its_time(
        self, path: Path, sqlite_store: SqliteLinkStore
    ) -> None:
        """The column is compared as text, so its order has to be that of time."""
        due = [NOW, NOW + timedelta(microseconds=1), NOW + timedelta(seconds=1), NOW + timedelta(days=40)]
        for number, moment in enumerate(reversed(due)):
            await inserted(sqlite_store, link(incident_id(f"n{number}"), next_try_at=moment))
        await inserted(sqlite_store, link(incident_id("none"), state=LinkState.DEAD))

        rows = query(path, "SELECT next_try_at, state FROM links WHERE next_try_at IS NOT NULL ORDER BY 1")
        assert [datetime.fromisoformat(moment) for moment, _ in rows] == due
        assert query(path, "SELECT state FROM links WHERE next_try_at IS NULL") == [("dead",)]

    @pytest.mark.parametrize("operation", [*OPERATIONS, *(f"in_state {state}" for state in LinkState)])
    async def test_no_query_looks_at_every_record(
        self, path: Path, sqlite_store: SqliteLinkStore, operation: str
    ) -> None:
        """By SQLite's own plan (https://sqlite.org/eqp.html), where a search without terms is a scan."""
        stored = await inserted(sqlite_store, link())
        calls: dict[str, Callable[[LinkStore], Awaitable[object]]] = {
            **OPERATIONS,
            "replace": lambda store: store.replace(stored),
            "delete": lambda store: store.delete(stored),
        }
        for state in LinkState:
            calls[f"in_state {state}"] = partial(_in_state, state)
        statements: list[str] = []
        await sqlite_store._file.run(lambda db: db.set_trace_callback(statements.append))
        await calls[operation](sqlite_store)
        plans = [
            step[-1]
            for statement in statements
            if not statement.startswith(("BEGIN", "ROLLBACK"))
            for step in query(path, f"EXPLAIN QUERY PLAN {statement}")
        ]
        assert all(LOOK_UP.fullmatch(step) for step in plans if " links" in step), plans

    async def test_a_replaced_record_changes_when_it_is_due(
        self, path: Path, sqlite_store: SqliteLinkStore
    ) -> None:
        stored = await inserted(sqlite_store, link(next_try_at=NOW))
        await sqlite_store.replace(stored.linked(now=NOW))

        assert query(path, "SELECT state, next_try_at FROM links") == [("linked", None)]

    @pytest.mark.usefixtures("no_retries")
    async def test_a_file_of_a_newer_version_is_left_alone(
        self, path: Path, sqlite_store: SqliteLinkStore
    ) -> None:
        query(path, f"PRAGMA user_version = {SCHEMA_VERSION + 1}")

        await assert_unavailable(sqlite_store)
        assert query(path, "SELECT name FROM sqlite_master") == []

        query(path, "PRAGMA user_version = 0")
        await sqlite_store.check()

    @pytest.mark.parametrize(
        "record",
        [
            "",
            "{",
            "{}",
            "null",
            '{"state": "pLaNtEd"}',
            link().model_dump_json().replace("pending", "pLaNtEd"),
        ],
    )
    async def test_a_record_that_cannot_be_read_is_named(
        self, path: Path, sqlite_store: SqliteLinkStore, record: str
    ) -> None:
        await inserted(sqlite_store, link())
        query(path, "UPDATE links SET record = ?", record)

        with pytest.raises(RecordUnreadable) as caught:
            await sqlite_store.get(incident_id())
        assert "pLaNtEd" not in f"{caught.value}{caught.value.__context__}"

    async def test_a_record_of_no_incident_is_named(self, path: Path, sqlite_store: SqliteLinkStore) -> None:
        await inserted(sqlite_store, link())
        query(path, "UPDATE links SET record = replace(record, '/subscriptions/', '/subscription/')")

        with pytest.raises(RecordUnreadable):
            await sqlite_store.get(incident_id())

    async def test_a_record_that_is_no_text_is_named_and_hides_no_other(
        self, path: Path, sqlite_store: SqliteLinkStore
    ) -> None:
        await inserted(sqlite_store, link(next_try_at=NOW))
        query(path, "UPDATE links SET record = CAST(x'7bff' AS TEXT)")
        other = await inserted(sqlite_store, link(incident_id("other"), next_try_at=NOW))

        with pytest.raises(RecordUnreadable):
            await sqlite_store.get(incident_id())
        found = await sqlite_store.due(incident_id().workspace, now=NOW, limit=10)
        assert (found.links, found.unreadable) == ([other], [incident_id().key])

    @pytest.mark.usefixtures("no_retries")
    async def test_a_folder_is_no_store(self, path: Path, sqlite_store: SqliteLinkStore) -> None:
        path.mkdir()

        await assert_unavailable(sqlite_store)

        path.rmdir()
        await sqlite_store.check()

    @pytest.mark.usefixtures("no_retries")
    async def test_a_file_in_place_of_the_folder_is_no_store(self, path: Path) -> None:
        path.write_text("a file")
        store = SqliteLinkStore(path / "links.db")

        await assert_unavailable(store)
        await store.close()

    @pytest.mark.usefixtures("no_retries")
    async def test_another_kind_of_file_is_no_store(self, path: Path, sqlite_store: SqliteLinkStore) -> None:
        path.write_bytes(b"no database at all" * 1_000)

        await assert_unavailable(sqlite_store)
        assert path.read_bytes().startswith(b"no database at all")

    @pytest.mark.usefixtures("no_retries")
    @pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
    async def test_a_read_only_folder_is_no_store(self, path: Path, sqlite_store: SqliteLinkStore) -> None:
        path.parent.chmod(0o500)

        await assert_unavailable(sqlite_store)
        path.parent.chmod(0o700)

    @pytest.mark.usefixtures("no_retries")
    async def test_a_place_that_takes_no_files_is_no_store(self) -> None:
        """The kernel's own file system refuses new files to everybody, root included."""
        store = SqliteLinkStore(Path("/proc/links.db"))

        await assert_unavailable(store)
        await store.close()

    async def test_a_file_that_another_process_keeps_locked_is_unavailable_until_it_lets_go(
        self, path: Path, sqlite_store: SqliteLinkStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sqlite_file, "_BUSY_SECONDS", 0.05)
        stored = await inserted(sqlite_store, link())
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")

            with pytest.raises(StoreUnavailable):
                await sqlite_store.check()
            with pytest.raises(StoreUnavailable):
                await sqlite_store.insert(link(incident_id("b")))
            with pytest.raises(StoreUnavailable):
                await sqlite_store.replace(stored.linked(now=NOW))
            assert await sqlite_store.get(incident_id()) == stored
            other.execute("ROLLBACK")

        await sqlite_store.check()
        await sqlite_store.replace(stored.linked(now=NOW))

    async def test_a_new_file_that_another_process_is_setting_up_is_opened_once_it_is_free(
        self, path: Path, sqlite_store: SqliteLinkStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The lock goes with the first retry: a store that tried once only would be unavailable."""
        monkeypatch.setattr(sqlite_file, "_BUSY_SECONDS", 0.01)
        query(path, "CREATE TABLE something (x)")
        with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
            other.execute("BEGIN IMMEDIATE")

            def let_go(details: stamina.instrumentation.RetryDetails) -> None:
                if other.in_transaction:
                    other.execute("ROLLBACK")

            stamina.instrumentation.set_on_retry_hooks([let_go])
            try:
                await sqlite_store.check()
            finally:
                stamina.instrumentation.set_on_retry_hooks(None)

        assert query(path, "PRAGMA journal_mode") == [("wal",)]

    async def test_operations_that_wait_together_wait_for_the_disk_once(
        self, path: Path, sqlite_store: SqliteLinkStore
    ) -> None:
        statements: list[str] = []
        await sqlite_store._file.run(lambda db: db.set_trace_callback(statements.append))
        async with held_up(sqlite_store):
            inserts = [sqlite_store.insert(link(incident_id(f"n{n}"))) for n in range(20)]
            together = asyncio.gather(*inserts, sqlite_store.check(), sqlite_store.get(incident_id("n0")))
            await asyncio.sleep(0)
        stored = await together
        assert [one.incident_id.name for one in stored[:20] if one] == [f"n{n}" for n in range(20)]
        assert stored[-1] == stored[0]
        assert [text.split()[0] for text in statements] == ["BEGIN", *["INSERT"] * 20, "SELECT", "COMMIT"]
        assert query(path, "SELECT count(*) FROM links") == [(20,)]

    async def test_an_operation_that_fails_does_not_touch_those_that_waited_with_it(
        self, sqlite_store: SqliteLinkStore
    ) -> None:
        await sqlite_store.check()
        async with held_up(sqlite_store):
            together = asyncio.gather(
                sqlite_store.insert(link(incident_id("a"))),
                sqlite_store._file.run(lambda db: db.execute("INSERT INTO nowhere VALUES (1)")),
                sqlite_store._file.run(lambda _: 1 // 0),
                sqlite_store.insert(link(incident_id("b"))),
                return_exceptions=True,
            )
            await asyncio.sleep(0)
        first, unavailable, raised, last = await together
        assert isinstance(unavailable, StoreUnavailable)
        assert isinstance(raised, ZeroDivisionError)
        assert await sqlite_store.get(incident_id("a")) == first
        assert await sqlite_store.get(incident_id("b")) == last

    async def test_where_sqlite_rolls_back_by_itself_nothing_is_stored_and_everybody_is_told(
        self, path: Path, sqlite_store: SqliteLinkStore
    ) -> None:
        await sqlite_store.check()
        async with held_up(sqlite_store):
            together = asyncio.gather(
                sqlite_store.insert(link(incident_id("a"))),
                sqlite_store._file.run(lambda db: db.execute("ROLLBACK")),
                sqlite_store.insert(link(incident_id("b"))),
                return_exceptions=True,
            )
            await asyncio.sleep(0)
        assert [type(outcome) for outcome in await together] == [StoreUnavailable] * 3
        assert query(path, "SELECT count(*) FROM links") == [(0,)]
        assert await sqlite_store.insert(link(incident_id("a"))) is not None

    async def test_an_operation_that_was_given_up_while_it_waited_is_not_done(
        self, path: Path, sqlite_store: SqliteLinkStore
    ) -> None:
        await sqlite_store.check()
        async with held_up(sqlite_store):
            given_up = asyncio.create_task(sqlite_store.insert(link(incident_id("a"))))
            await asyncio.sleep(0)
            given_up.cancel()
            await asyncio.gather(given_up, return_exceptions=True)
        await sqlite_store.check()
        assert query(path, "SELECT count(*) FROM links") == [(0,)]

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["a.db", "b.db", "c.db"])
    def test_two_processes_that_create_the_file_at_once_both_work(self, tmp_path: Path, name: str) -> None:
        path = tmp_path / name
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", WORKER, str(path), name],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for name in ("one", "two")
        ]
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("go\n")
            worker.stdin.flush()

        outcomes = [worker.communicate(timeout=60) for worker in workers]

        assert [out for out, _ in outcomes] == ["10\n", "10\n"]
        assert {line for _, log in outcomes for line in log.splitlines()} <= {"stamina.retry_scheduled"}
        assert query(path, "SELECT count(*) FROM links") == [(20,)]


WORKER = f"""
import asyncio, sys
from datetime import UTC, datetime
from pathlib import Path
from contraforce_sentinel.domain.incidents import IncidentId, WorkspaceId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.stores.sqlite import SqliteLinkStore

async def main(path, name):
    store = SqliteLinkStore(Path(path))
    print("ready", flush=True)
    sys.stdin.readline()
    now, done = datetime.now(UTC), 0
    for number in range(10):
        which = IncidentId(WorkspaceId("{SUBSCRIPTION}", "rg", "law-1"), f"{{name}}-{{number}}")
        done += await store.insert(Link(incident_id=which, created_at=now, updated_at=now)) is not None
    await store.close()
    print(done)

asyncio.run(main(*sys.argv[1:]))
"""


# Tables only


type Respond = Callable[[asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def service(respond: Respond) -> AsyncIterator[TableLinkStore]:
    """Give the store of a table service that answers every request in one way, its table made."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b"content-length:" in head:
            await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
        try:
            await respond(writer)
        except ConnectionError:  # the store has hung up
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/{ACCOUNT}"
    store = TableLinkStore.from_connection_string(
        f"AccountName={ACCOUNT};AccountKey={KEY};TableEndpoint={url};", transport=table_transport()
    )
    store._calls._is_made = True
    try:
        yield store
    finally:
        await store.close()
        server.close()


def answer(status: int, body: str, *headers: str) -> Respond:
    lines = [f"HTTP/1.1 {status} x", "Connection: close", f"Content-Length: {len(body)}", *headers, "", body]

    async def respond(writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join(lines).encode())
        await writer.drain()

    return respond


JSON = "Content-Type: application/json"


class TestTables:
    """A service at the other end of a network, and entities that anybody with the key can change."""

    async def test_a_removed_table_is_made_again_by_deliveries_too(self, table: TableClient) -> None:
        """An instance that only writes learns of it from a transaction."""
        store = TableLinkStore(table)
        await inserted(store, link())
        await table.delete_table()

        with pytest.raises(StoreUnavailable):
            await store.insert(link())
        await inserted(store, link())

    async def test_a_delete_whose_answer_was_lost_is_no_conflict(
        self, table: TableClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store, submit, tries = TableLinkStore(table), table.submit_transaction, 0
        stored = await inserted(store, link(next_try_at=NOW))

        async def lossy(operations: Any) -> None:
            nonlocal tries
            tries += 1
            await submit(operations)
            raise ServiceResponseError("the answer was lost")

        monkeypatch.setattr(table, "submit_transaction", lossy)
        await store.delete(stored)

        assert tries == 2
        assert [entity async for entity in table.list_entities()] == []
        monkeypatch.undo()
        with pytest.raises(StaleLink):
            await store.delete(stored)

    async def test_a_link_that_was_claimed_while_due_links_were_read_is_not_among_them(
        self, table: TableClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = TableLinkStore(table)
        stored = await inserted(store, link(next_try_at=NOW))
        read = table.get_entity

        async def claim_first(*keys: Any, **options: Any) -> Any:
            await store.replace(stored.claimed(owner="another", now=NOW))
            return await read(*keys, **options)

        monkeypatch.setattr(table, "get_entity", claim_first)
        assert (await store.due(incident_id().workspace, now=NOW, limit=10)).links == []

    @pytest.mark.parametrize("operation", OPERATIONS)
    @pytest.mark.parametrize(
        "body", ["", "null", "{}", "[]", '{"value": "x"}', '{"value": [null]}', '{"value": [{}]}', "<html>"]
    )
    async def test_a_200_of_another_shape_is_no_answer(self, operation: str, body: str) -> None:
        """Least of all that an incident is known: discovery would pass it by."""
        async with service(answer(200, body, JSON)) as store:
            with pytest.raises(StoreUnavailable):
                await OPERATIONS[operation](store)

    @pytest.mark.parametrize("operation", ["feed", "creation_watermark", "move_creation_watermark"])
    async def test_an_entity_that_cannot_be_read_is_no_answer(
        self, table: TableClient, operation: str
    ) -> None:
        store = TableLinkStore(table)
        await store.check()
        await table.upsert_entity({**key(incident_id().workspace, "watermark"), "created_at": "pLaNtEd"})
        await table.upsert_entity({**key(incident_id().workspace, "feed"), "feed": "pLaNtEd"})

        with pytest.raises(StoreUnavailable, match="cannot be read") as caught:
            await OPERATIONS[operation](store)
        assert "pLaNtEd" not in str(caught.value)

    @pytest.mark.parametrize("run", ['{"started_at": "pLaNtEd"}', None])
    async def test_a_run_that_cannot_be_read_is_none_and_does_not_stop_the_timer(
        self, table: TableClient, run: str | None
    ) -> None:
        store = TableLinkStore(table)
        await store.save_run(TimerRun(started_at=NOW, finished_at=NOW))
        (saved,) = [entity async for entity in table.list_entities()]
        await table.upsert_entity({**saved, "run": run}, mode=UpdateMode.REPLACE)

        assert await store.last_run() is None
        await store.save_run(TimerRun(started_at=NOW, finished_at=NOW))
        assert await store.last_run() is not None

    async def test_an_answer_that_breaks_off_is_asked_for_again(self) -> None:
        """A ticket that is not recorded for a moment's trouble would be linked a second time."""
        tries = 0

        async def break_off_once(writer: asyncio.StreamWriter) -> None:
            nonlocal tries
            tries += 1
            if tries == 1:
                writer.write(f"HTTP/1.1 200 x\r\n{JSON}\r\nContent-Length: 9999\r\n\r\n{{".encode())
                await writer.drain()
            else:
                await answer(404, '{"odata.error": {"code": "ResourceNotFound"}}', JSON)(writer)

        async with service(break_off_once) as store:
            assert await store.get(incident_id()) is None
        assert tries == 2

    async def test_what_is_asked_for_again_is_logged_without_the_words_of_the_service(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A gateway's page may quote the request."""
        answers = [answer(503, '{"odata.error": {"code": "pLaNtEd"}}', JSON), answer(502, "pLaNtEd")]
        gone = answer(404, '{"odata.error": {"code": "ResourceNotFound"}}', JSON)

        async def respond(writer: asyncio.StreamWriter) -> None:
            await (answers.pop(0) if answers else gone)(writer)

        async with service(respond) as store:
            assert await store.get(incident_id()) is None
        logged = [str(record.__dict__) for record in caplog.records if record.name == "stamina"]
        assert ["HttpResponseError 503" in logged[0], "HttpResponseError 502" in logged[1]] == [True, True]
        assert "pLaNtEd" not in "".join(logged)

    @pytest.mark.parametrize("status", [401, 403])
    async def test_a_missing_role_is_named(self, status: int) -> None:
        body = "<Error><Code>AuthorizationPermissionMismatch</Code><Message>pLaNtEd</Message></Error>"
        async with service(answer(status, body, "Content-Type: application/xml")) as store:
            with pytest.raises(StoreUnavailable, match="Storage Table Data Contributor") as caught:
                await store.insert(link())
        assert "pLaNtEd" not in str(caught.value)

    @pytest.mark.slow
    @pytest.mark.parametrize("status", [429, 503])
    async def test_a_long_retry_after_is_not_slept(self, status: int) -> None:
        started = time.monotonic()
        async with service(answer(status, "{}", JSON, "Retry-After: 600")) as store:
            with pytest.raises(StoreUnavailable):
                await store.get(incident_id())
        assert time.monotonic() - started < 12

    @pytest.mark.slow
    @pytest.mark.parametrize("operation", OPERATIONS)
    async def test_an_answer_that_comes_in_drops_is_given_up(
        self, operation: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """No time-out between two bytes ends this one."""
        monkeypatch.setattr(table_calls, "_OPERATION_SECONDS", 0.3)
        monkeypatch.setattr(table_calls, "_LISTING_SECONDS", 0.3)

        async def drip(writer: asyncio.StreamWriter) -> None:
            writer.write(f"HTTP/1.1 200 x\r\n{JSON}\r\nContent-Length: 9999\r\n\r\n".encode())
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)

        async with service(drip) as store, asyncio.timeout(5):
            with pytest.raises(StoreUnavailable):
                await OPERATIONS[operation](store)

    @pytest.mark.slow
    async def test_reads_of_many_workspaces_leave_connections_to_deliveries(self) -> None:
        now, most = 0, 0

        async def count(writer: asyncio.StreamWriter) -> None:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.02)
            now -= 1
            await answer(
                404, '{"odata.error": {"code": "ResourceNotFound", "message": {"value": ""}}}', JSON
            )(writer)

        async with service(count) as store:
            many = [[incident_id(f"n{n}", workspace=f"law-{w}") for n in range(50)] for w in range(10)]
            assert await asyncio.gather(*map(store.glimpse, many)) == [{}] * 10
        assert 32 <= most <= 64
