"""Index rows that are missing, and rows that are nobody's: after a restored backup, or by a person's hand."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from azure.core.exceptions import ServiceResponseError
from azure.data.tables.aio import TableClient
from store_fixtures import Tables, in_memory_transport, spoil

from contraforce_sentinel.azure.httpx_transport import HttpxTransport, open_azure_connections
from contraforce_sentinel.domain.errors import StaleLink, Upstream, UpstreamRejected
from contraforce_sentinel.domain.incidents import IncidentId, WorkspaceId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.reasons import Reason
from contraforce_sentinel.domain.records import LinkState
from contraforce_sentinel.domain.runs import Backlog
from contraforce_sentinel.domain.tickets import Ticket
from contraforce_sentinel.stores import tables as tables_module
from contraforce_sentinel.stores.entities import index_row, key, link_row, to_text
from contraforce_sentinel.stores.link_store import LinkStore
from contraforce_sentinel.stores.tables import TableLinkStore
from contraforce_sentinel.transport.network import Network
from sandbox import Sandbox, faults
from sandbox.table_service import TableService

pytestmark = pytest.mark.slow

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
EARLIER, LATER = NOW - timedelta(hours=1), NOW + timedelta(hours=1)
WORKSPACE = WorkspaceId("11111111-2222-4333-8444-555555555555", "rg-secops", "law-one")
OTHER = WorkspaceId("11111111-2222-4333-8444-555555555555", "rg-secops", "law-other")
REFUSAL = UpstreamRejected("no", upstream=Upstream.CONTRAFORCE, code="X")
DESK = UUID(int=7)
TICKET = Ticket(system="Jira", number="SEC-1")


def link(name: str, *, due: datetime | None = NOW, workspace: WorkspaceId = WORKSPACE) -> Link:
    incident_id = IncidentId(workspace, name)
    return Link(incident_id=incident_id, next_try_at=due, created_at=EARLIER, updated_at=EARLIER)


def ticketed(name: str, *, due: datetime = NOW) -> Link:
    return link(name, due=due).ticketed(TICKET, of=DESK, request_id=None, now=NOW)


def dead(name: str) -> Link:
    return link(name).failed(REFUSAL, now=NOW, jitter=0)


async def add(store: LinkStore, *links: Link) -> list[Link]:
    stored = await asyncio.gather(*(store.insert(one) for one in links))
    return [one for one in stored if one is not None]


async def rows(table: TableClient) -> list[str]:
    return sorted([entity["RowKey"] async for entity in table.list_entities()])


async def lose_index(table: TableClient) -> None:
    """Remove every index row."""
    async for entity in table.query_entities("RowKey lt 'link-'"):
        await table.delete_entity(entity)


async def orphan(table: TableClient, *names: str) -> None:
    """Put index rows that nobody has asked for."""
    for name in names:
        await table.submit_transaction([("create", key(WORKSPACE, name))])


async def due(store: LinkStore, *, limit: int = 10, now: datetime = NOW) -> list[str]:
    return [one.incident_id.name for one in (await store.due(WORKSPACE, now=now, limit=limit)).links]


async def repair(store: LinkStore, workspace: WorkspaceId = WORKSPACE) -> int:
    """Let the store look at every record; return how many calls that took."""
    calls, after = 1, await store.repair(workspace, after="")
    while after is not None:
        calls, after = calls + 1, await store.repair(workspace, after=after)
    return calls


@pytest.fixture
def store(table: TableClient) -> TableLinkStore:
    return TableLinkStore(table)


class TestAWriteWhoseIndexRowIsGone:
    """It goes through: else the incident is answered 503, and its link tried in vain, for ever."""

    async def test_a_claim_and_all_that_follows_go_through(
        self, store: TableLinkStore, table: TableClient
    ) -> None:
        (read,) = await add(store, link("a"))
        await lose_index(table)
        claimed = await store.replace(read.claimed(owner="x", now=NOW))
        assert await store.get(read.incident_id) == claimed
        assert await rows(table) == [str(index_row(claimed)), "link-a"]
        await lose_index(table)
        linked = await store.replace(claimed.linked(now=NOW))
        assert await store.get(read.incident_id) == linked
        assert await rows(table) == ["link-a"]

    async def test_a_dead_link_is_brought_back(self, store: TableLinkStore, table: TableClient) -> None:
        (read,) = await add(store, dead("a"))
        await lose_index(table)
        await store.replace(read.revived(now=NOW))
        assert await due(store) == ["a"]

    async def test_a_record_is_deleted(self, store: TableLinkStore, table: TableClient) -> None:
        (read,) = await add(store, link("a"))
        await lose_index(table)
        await store.delete(read)
        assert await rows(table) == []

    async def test_a_record_that_another_worker_has_changed_stays_as_it_is(
        self, store: TableLinkStore, table: TableClient
    ) -> None:
        (read,) = await add(store, link("a"))
        changed = await store.replace(read.claimed(owner="one", now=NOW))
        await lose_index(table)
        with pytest.raises(StaleLink):
            await store.replace(read.claimed(owner="two", now=NOW))
        with pytest.raises(StaleLink):
            await store.delete(read)
        assert await store.get(read.incident_id) == changed

    async def test_a_record_that_is_gone_with_its_row_is_stale(
        self, store: TableLinkStore, table: TableClient
    ) -> None:
        (read,) = await add(store, link("a"))
        await table.delete_entity(key(WORKSPACE, "link-a"))
        await lose_index(table)
        with pytest.raises(StaleLink):
            await store.replace(read.claimed(owner="x", now=NOW))
        with pytest.raises(StaleLink):
            await store.delete(read)
        assert await rows(table) == []

    async def test_lost_answers_make_no_conflict_of_it(
        self, store: TableLinkStore, table: TableClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        claimed, deleted = await add(store, link("a"), link("b"))
        await lose_index(table)
        submit, tries = table.submit_transaction, 0

        async def lossy(operations: Any) -> Any:
            nonlocal tries
            done = await submit(operations)
            tries += 1
            if tries % 2:
                raise ServiceResponseError("the answer was lost")
            return done

        monkeypatch.setattr(table, "submit_transaction", lossy)
        stored = await store.replace(claimed.claimed(owner="x", now=NOW))
        assert await store.get(claimed.incident_id) == stored
        tries = 0
        await store.delete(deleted)
        assert await rows(table) == [str(index_row(stored)), "link-a"]


class TestARowThatIsNobodys:
    """Who looks for due links removes it, and goes on."""

    async def test_it_is_removed_and_hides_no_due_link(
        self, store: TableLinkStore, table: TableClient
    ) -> None:
        await add(store, link("due"), link("later", due=LATER), link("linked").linked(now=NOW), dead("dead"))
        before = await rows(table)
        moment = to_text(EARLIER)
        await orphan(
            table,
            *(f"due-{moment}-{name}" for name in ("gone", "later", "linked", "dead", "due", "DUE", "")),
            "due-1",
            "due-20200101",
        )
        assert await due(store, limit=1) == ["due"]
        assert await due(store) == ["due"]
        assert await rows(table) == before

    async def test_a_link_that_is_found_by_two_rows_is_due_once_and_in_its_turn(
        self, store: TableLinkStore, table: TableClient
    ) -> None:
        await add(store, link("b", due=NOW), link("a", due=EARLIER))
        await orphan(table, f"due-{to_text(EARLIER - timedelta(days=1))}-b")
        assert await due(store) == ["a", "b"]

    async def test_a_due_link_that_is_found_by_a_wrong_row_only_is_due(
        self, store: TableLinkStore, table: TableClient
    ) -> None:
        """Its own is missing; the claim goes through all the same."""
        await add(store, link("a"))
        await lose_index(table)
        await orphan(table, f"due-{to_text(EARLIER)}-a")
        (found,) = (await store.due(WORKSPACE, now=NOW, limit=10)).links
        linked = await store.replace(found.linked(now=NOW))
        assert linked.state is LinkState.LINKED
        assert await rows(table) == ["link-a"]

    @pytest.mark.slow
    async def test_300_of_them_cost_one_run_and_no_other(
        self, store: TableLinkStore, table: TableClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await add(store, link("a"))
        for batch in range(3):
            names = [f"due-{to_text(EARLIER)}-n{batch}-{number}" for number in range(100)]
            await table.submit_transaction([("create", key(WORKSPACE, name)) for name in names])
        assert await due(store, limit=50) == ["a"]
        read: list[str] = []
        query = table.query_entities

        def counting(*args: Any, **options: Any) -> Any:
            def hook(response: Any) -> None:
                read.extend(one["RowKey"] for one in response.http_response.json()["value"])

            return query(*args, raw_response_hook=hook, **options)

        monkeypatch.setattr(table, "query_entities", counting)
        assert await due(store, limit=50) == ["a"]
        assert read == [str(index_row(link("a")))]

    async def test_of_very_many_one_call_removes_a_bounded_number(
        self, store: TableLinkStore, table: TableClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tables_module, "_MOST_WRONG", 30)
        await add(store, link("a"))
        names = [f"due-{to_text(EARLIER)}-n{number:02}" for number in range(75)]
        await table.submit_transaction([("create", key(WORKSPACE, name)) for name in names])
        assert [await due(store, limit=10) for _ in range(3)] == [[], [], ["a"]]
        assert await rows(table) == [str(index_row(link("a"))), "link-a"]

    async def test_a_row_that_another_worker_has_just_put_anew_stays(
        self, store: TableLinkStore, table: TableClient, tables: Tables, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It is removed as it was read: else the other worker's link would be found by nobody."""
        (stored,) = await add(store, link("a", due=LATER))
        await orphan(table, f"due-{to_text(NOW)}-a")
        submit = table.submit_transaction
        async with tables.open() as client:

            async def write_first(operations: Any) -> Any:
                await TableLinkStore(client).replace(stored.model_copy(update={"next_try_at": NOW}))
                return await submit(operations)

            monkeypatch.setattr(table, "submit_transaction", write_first)
            assert await due(store) == []
            monkeypatch.undo()
        assert await due(store) == ["a"]

    async def test_two_that_meet_it_at_once_do_not_mind(
        self, store: TableLinkStore, table: TableClient, tables: Tables
    ) -> None:
        await add(store, link("a"))
        await orphan(table, *(f"due-{to_text(EARLIER)}-n{number}" for number in range(20)))
        async with tables.open() as client:
            one, other = await asyncio.gather(due(store), due(TableLinkStore(client)))
        assert (one, other) == (["a"], ["a"])
        assert len(await rows(table)) == 2

    async def test_the_rows_of_a_record_that_cannot_be_read_stay_and_it_is_named_once(
        self, store: TableLinkStore, table: TableClient
    ) -> None:
        (stored,) = await add(store, link("a"))
        await orphan(table, f"due-{to_text(EARLIER)}-a", "dead-a")
        await spoil(store, stored.incident_id)
        before = await rows(table)
        found = await store.due(WORKSPACE, now=NOW, limit=10)
        assert (found.links, found.unreadable) == ([], [stored.incident_id.key])
        await repair(store)
        assert await rows(table) == before

    @pytest.mark.parametrize("name", ["a'b", "a%20b", "ä b", "%", "a+b", "a&b=c", "a-b--", "~", "日本"])
    async def test_one_of_an_odd_name_costs_nothing_else(
        self, store: TableLinkStore, table: TableClient, name: str
    ) -> None:
        await add(store, link("a"), link("b", due=LATER))
        before = await rows(table)
        await orphan(table, f"due-{to_text(EARLIER)}-{name}", f"dead-{name}", f"due-{name}")
        assert await due(store) == ["a"]
        await repair(store)
        assert await rows(table) == before


async def test_where_it_cannot_be_removed_what_is_due_is_told_all_the_same(sandbox: Sandbox) -> None:
    transport = HttpxTransport(
        open_azure_connections(Network(tls=sandbox.client_context()), read_seconds=5.0)
    )
    store = TableLinkStore.from_connection_string(sandbox.tables.connection_string, transport=transport)
    await add(store, link("a"))
    (table,) = sandbox.tables.tables.values()
    wrong = (key(WORKSPACE, "")["PartitionKey"], f"due-{to_text(EARLIER)}-gone")
    with table.changing():
        table.insert(wrong, {})
    sandbox.faults.plan("tables.batch", faults.status(403), times=None)
    assert await due(store) == ["a"]
    sandbox.faults.clear()
    assert await due(store) == ["a"]
    assert wrong not in table.order
    await store.close()


async def test_an_index_row_without_a_moment_is_not_taken_for_the_oldest(
    store: TableLinkStore, table: TableClient
) -> None:
    await add(store, link("a", due=LATER))
    await orphan(table, *(f"due-2-{number}" for number in range(30)), "due-", "due-x")
    assert await store.backlog(WORKSPACE) == Backlog(oldest_due_at=LATER)
    await lose_index(table)
    await orphan(table, "due-x")
    assert await store.backlog(WORKSPACE) == Backlog()


class TestRepair:
    """Every record of a workspace is looked at, once a day."""

    async def test_every_record_that_lacks_its_row_gets_it(
        self, store: TableLinkStore, table: TableClient
    ) -> None:
        await add(store, link("due"), link("later", due=LATER), ticketed("ticketed"), dead("dead"))
        await add(store, link("linked").linked(now=NOW), link("skipped").skipped(Reason.CLOSED, now=NOW))
        before = await rows(table)
        await lose_index(table)
        assert await due(store) == []
        await repair(store)
        assert await rows(table) == before
        assert sorted(await due(store)) == ["due", "ticketed"]

    async def test_rows_that_are_nobodys_are_removed_also_those_of_the_dead_and_of_the_future(
        self, store: TableLinkStore, table: TableClient
    ) -> None:
        await add(store, link("due"), dead("dead"), link("linked").linked(now=NOW))
        await add(store, link("due", workspace=OTHER))
        before, backlog = await rows(table), await store.backlog(WORKSPACE)
        await orphan(table, "dead-due", "dead-linked", "dead-gone", f"due-{to_text(LATER)}-due", "due-x")
        assert (await store.backlog(WORKSPACE)).dead == 4
        await repair(store)
        assert await rows(table) == before
        assert await store.backlog(WORKSPACE) == backlog

    async def test_what_is_no_row_of_ours_and_other_workspaces_are_left_alone(
        self, store: TableLinkStore, table: TableClient
    ) -> None:
        await add(store, link("due", workspace=OTHER))
        await lose_index(table)
        await orphan(table, "deaf-due", "dog-due", "due.x", "link.due", "watermark")
        before = await rows(table)
        await repair(store)
        assert await rows(table) == before
        await repair(store, OTHER)
        assert len(await rows(table)) == len(before) + 1

    async def test_records_that_cannot_be_read_and_odd_row_keys_cost_nothing_else(
        self, store: TableLinkStore, table: TableClient
    ) -> None:
        spoilt, _ = await add(store, link("a"), link("b"))
        record = await table.get_entity(key(WORKSPACE, "x")["PartitionKey"], link_row(spoilt.incident_id))
        await spoil(store, spoilt.incident_id)
        await lose_index(table)
        for name in ("link-", "link-'", "link-%", "link-A"):
            await table.submit_transaction([("create", {**record, "RowKey": name})])
        await repair(store)
        assert await due(store) == ["b"]

    async def test_a_link_that_changes_meanwhile_keeps_no_row_of_before(
        self, store: TableLinkStore, table: TableClient, tables: Tables, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (read,) = await add(store, link("a"))
        await lose_index(table)
        submit = table.submit_transaction
        async with tables.open() as client:

            async def write_first(operations: Any) -> Any:
                monkeypatch.undo()
                await TableLinkStore(client).replace(read.claimed(owner="x", now=NOW))
                return await submit(operations)

            monkeypatch.setattr(table, "submit_transaction", write_first)
            await repair(store)
        claimed = await store.get(read.incident_id)
        assert claimed is not None
        assert await rows(table) == [str(index_row(claimed)), "link-a"]

    async def test_a_row_that_another_one_puts_at_the_same_time_is_put_once(
        self, store: TableLinkStore, table: TableClient, tables: Tables
    ) -> None:
        await add(store, *(link(f"n{number}") for number in range(30)))
        before = await rows(table)
        await lose_index(table)
        async with tables.open() as client:
            await asyncio.gather(repair(store), repair(TableLinkStore(client)))
        assert await rows(table) == before


@pytest.mark.parametrize("states", [("linked",), ("linked", "pending", "dead")])
async def test_a_look_at_every_record_is_made_one_answer_of_the_service_at_a_time(
    table_service: TableService, states: Sequence[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So neither its time nor its memory grows with the workspace."""
    kinds = {"linked": link("x").linked(now=NOW), "pending": link("x"), "dead": dead("x")}
    tables = Tables(table_service.connection_string, "", lambda: in_memory_transport(table_service), "links")
    async with tables.open() as table:
        store = TableLinkStore(table)
        for number in range(120):
            kind = kinds[states[number % len(states)]]
            which = IncidentId(WORKSPACE, f"n{number:03}")
            await store.insert(kind.model_copy(update={"incident_id": which}))
        before = await rows(table)
        await lose_index(table)
        table_service.looks_per_page = 50
        answers: list[int] = []
        query = table.query_entities

        def counting(*args: Any, **options: Any) -> Any:
            def hook(response: Any) -> None:
                answers.append(len(response.http_response.json()["value"]))

            return query(*args, raw_response_hook=hook, **options)

        monkeypatch.setattr(table, "query_entities", counting)
        calls = await repair(store)
        monkeypatch.undo()
        assert len(answers) == calls > 1
        assert max(answers) <= 50
        assert await rows(table) == before
