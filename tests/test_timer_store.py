"""What the timer needs of a link store, over every store: due, known, expired, backlog, watermarks, runs."""

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

import pytest
from azure.core.exceptions import ServiceResponseError
from azure.data.tables.aio import TableClient
from store_fixtures import (
    ACCOUNT,
    KEY,
    NESTED,
    OpenStore,
    Tables,
    spoil,
    spoil_feed,
    spoil_run,
    spoil_watermark,
    table_transport,
)

from contraforce_sentinel.domain.errors import (
    RecordUnreadable,
    StaleLink,
    StoreUnavailable,
    Upstream,
    UpstreamRejected,
)
from contraforce_sentinel.domain.incidents import IncidentId, WorkspaceId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.reasons import Reason
from contraforce_sentinel.domain.records import LinkState, Sighting
from contraforce_sentinel.domain.runs import Backlog, Feed, TimerRun
from contraforce_sentinel.domain.tickets import Ticket
from contraforce_sentinel.stores.entities import key
from contraforce_sentinel.stores.link_store import LinkStore
from contraforce_sentinel.stores.tables import TableLinkStore
from contraforce_sentinel.use_cases.following import keep

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
ONE = WorkspaceId("11111111-2222-4333-8444-555555555555", "rg-secops", "law-one")
OTHER = WorkspaceId("11111111-2222-4333-8444-555555555555", "rg-secops", "law-other")
DESK = UUID(int=7)
TICKET = Ticket(system="Jira", number="SEC-1")


def link(*, workspace: WorkspaceId = ONE, name: str | None = None, due: datetime | None = NOW) -> Link:
    incident_id = IncidentId(workspace, name or str(uuid4()))
    return Link(incident_id=incident_id, next_try_at=due, created_at=NOW, updated_at=NOW)


async def add(store: LinkStore, *links: Link) -> list[Link]:
    stored = await asyncio.gather(*(store.insert(one) for one in links))
    return [one for one in stored if one is not None]


def names(links: list[Link]) -> list[str]:
    return [one.incident_id.name for one in links]


async def test_due_links_come_longest_waiting_first_and_no_others(store: LinkStore) -> None:
    waits = {"c": 10, "a": 30, "b": 20}
    await add(store, *(link(name=name, due=NOW - timedelta(minutes=ago)) for name, ago in waits.items()))
    await add(store, link(due=NOW + timedelta(seconds=1)), link(due=None), link(workspace=OTHER))
    assert names((await store.due(ONE, now=NOW, limit=10)).links) == ["a", "b", "c"]
    assert names((await store.due(ONE, now=NOW, limit=2)).links) == ["a", "b"]
    assert names((await store.due(ONE, now=NOW - timedelta(minutes=20), limit=10)).links) == ["a", "b"]


async def test_a_link_that_is_due_now_is_due(store: LinkStore) -> None:
    await add(store, link(name="a", due=NOW))
    assert names((await store.due(ONE, now=NOW, limit=10)).links) == ["a"]


async def test_a_link_that_a_wrong_clock_put_far_ahead_is_due(store: LinkStore) -> None:
    """Further than any wait, or than any `Retry-After` where there was one, is no time that was meant."""
    asked = NOW + timedelta(hours=20)
    waiting = link(name="asked to wait", due=asked).model_copy(update={"not_before": asked})
    wrong = link(name="b", due=NOW + timedelta(days=2)).model_copy(update={"not_before": asked})
    await add(store, link(name="a", due=NOW + timedelta(days=365)), wrong, waiting)
    await add(store, link(name="c"), link(name="in an hour", due=NOW + timedelta(hours=1)))
    assert names((await store.due(ONE, now=NOW, limit=10)).links) == ["c", "b", "a"]
    assert names((await store.due(ONE, now=NOW, limit=1)).links) == ["c"]


async def test_a_due_link_can_be_replaced_as_it_was_read(store: LinkStore) -> None:
    await add(store, link(name="a"))
    (found,) = (await store.due(ONE, now=NOW, limit=10)).links
    await store.replace(found.linked(now=NOW))
    assert (await store.due(ONE, now=NOW, limit=10)).links == []
    with pytest.raises(StaleLink):
        await store.replace(found.linked(now=NOW))


async def test_a_link_is_due_under_its_newest_time_only(store: LinkStore) -> None:
    (first,) = await add(store, link(name="a"))
    second = await store.replace(first.claimed(owner="x", now=NOW))
    assert (await store.due(ONE, now=NOW, limit=10)).links == []
    third = await store.replace(second.model_copy(update={"next_try_at": NOW + timedelta(hours=1)}))
    later = (await store.due(ONE, now=NOW + timedelta(hours=2), limit=10)).links
    assert [one.version for one in later] == [third.version]


@pytest.mark.slow
async def test_a_glimpse_tells_1200_incidents_apart(store: LinkStore) -> None:
    incidents = [IncidentId(ONE, f"i-{number}") for number in range(1200)]
    await add(store, *(link(name=one.name, due=None) for one in incidents[::40]))
    asked = [IncidentId(one.workspace, one.name.upper()) for one in incidents]
    assert set(await store.glimpse(asked)) == {one.key for one in incidents[::40]}
    assert await store.glimpse([]) == {}


async def test_expired_are_old_linked_and_skipped_records_of_the_workspace(store: LinkStore) -> None:
    old = NOW - timedelta(days=91)

    def aged(name: str, workspace: WorkspaceId = ONE) -> Link:
        return link(name=name, workspace=workspace, due=None).model_copy(update={"created_at": old})

    refusal = UpstreamRejected("no", upstream=Upstream.CONTRAFORCE, code="X")
    await add(
        store,
        aged("linked").linked(now=NOW),
        aged("skipped").skipped(Reason.CLOSED, now=NOW),
        aged("dead").failed(refusal, now=NOW, jitter=0),
        aged("pending").model_copy(update={"next_try_at": NOW}),
        aged("elsewhere", OTHER).linked(now=NOW),
        link(name="young", due=None).linked(now=NOW),
    )
    before = NOW - timedelta(days=90)
    found = (await store.expired(ONE, before=before, limit=10)).links
    assert sorted(names(found)) == ["linked", "skipped"]
    assert len((await store.expired(ONE, before=before, limit=1)).links) == 1
    assert (await store.expired(ONE, before=old, limit=10)).links == []
    for one in found:
        await store.delete(one)
    assert (await store.expired(ONE, before=before, limit=10)).links == []


async def test_the_backlog_is_the_oldest_next_try_and_the_number_of_dead(store: LinkStore) -> None:
    assert await store.backlog(ONE) == Backlog()
    refusal = UpstreamRejected("no", upstream=Upstream.CONTRAFORCE, code="X")
    await add(store, link(due=NOW + timedelta(hours=1)), link(due=NOW - timedelta(hours=1)))
    dead = await add(store, *(link().failed(refusal, now=NOW, jitter=0) for _ in range(3)))
    await add(store, link(workspace=OTHER).failed(refusal, now=NOW, jitter=0))
    assert await store.backlog(ONE) == Backlog(oldest_due_at=NOW - timedelta(hours=1), dead=3)
    await store.replace(dead[0].linked(now=NOW))
    assert (await store.backlog(ONE)).dead == 2


async def test_a_glimpse_has_the_words_that_decide_and_reads_the_record_when_asked(store: LinkStore) -> None:
    seen = Sighting(state="merged", since=NOW)
    first, second = await add(
        store, link(due=None).linked(now=NOW), link(name="seen").model_copy(update={"seen": seen})
    )
    found = await store.glimpse([first.incident_id, second.incident_id])
    assert [(one.state, one.seen) for one in found.values()] == [("linked", None), ("pending", "merged")]
    assert [await one.read() for one in found.values()] == [first, second]
    read = await found[second.incident_id.key].read()
    assert read is not None
    await store.replace(read.skipped(Reason.REDIRECTED, now=NOW))
    (again,) = (await store.glimpse([second.incident_id])).values()
    assert (again.state, again.seen) == ("skipped", "merged")


async def test_a_feed_changes_by_compare_and_set_and_per_workspace(open_store: OpenStore) -> None:
    stores = [open_store() for _ in range(3)]
    assert await stores[0].feed(ONE) is None
    feeds = [Feed(follows_from=NOW + timedelta(minutes=minute)) for minute in range(3)]
    saves = (store.save_feed(ONE, feed) for store, feed in zip(stores, feeds, strict=True))
    saved = [feed for feed in await asyncio.gather(*saves) if feed is not None]
    assert saved == [await stores[1].feed(ONE)]
    assert await stores[0].feed(OTHER) is None
    moved = await stores[0].save_feed(ONE, saved[0].passing(NOW))
    assert moved == await stores[2].feed(ONE)
    assert await stores[1].save_feed(ONE, saved[0].passing(NOW + timedelta(hours=1))) is None
    assert moved == await stores[2].feed(ONE)


@pytest.mark.slow
async def test_what_several_instances_keep_of_a_feed_at_once_is_all_kept(open_store: OpenStore) -> None:
    stores = [open_store() for _ in range(3)]
    times = [NOW + timedelta(minutes=minute) for minute in range(30)]
    await asyncio.gather(
        *(keep(stores[n % 3], ONE, None, partial(Feed.passing, moment=time)) for n, time in enumerate(times))
    )
    feed = await stores[1].feed(ONE)
    assert feed is not None
    assert feed.watermark == times[-1]


async def test_a_feed_keeps_what_only_a_later_version_knows(store: LinkStore) -> None:
    stored = await store.save_feed(ONE, Feed.model_validate({"of_tomorrow": {"a": [1]}}))
    assert stored is not None
    await keep(store, ONE, stored, partial(Feed.passing, moment=NOW))
    found = await store.feed(ONE)
    assert found is not None
    assert (found.watermark, found.model_extra) == (NOW, {"of_tomorrow": {"a": [1]}})


@pytest.mark.parametrize("text", ["", "pLaNtEd", b"\xff", '{"watermark": "pLaNtEd"}', "[]"])
async def test_a_feed_that_cannot_be_read_is_named_and_left_as_it_is(
    store: LinkStore, text: str | bytes
) -> None:
    """Whatever stood in its place could link what retention has removed."""
    await spoil_feed(store, ONE, text)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="how far a workspace was followed cannot be read") as told:
            await store.feed(ONE)
        assert "pLaNtEd" not in f"{told.value}{told.value.__context__}"
        assert await store.save_feed(ONE, Feed()) is None
    assert await store.save_feed(OTHER, Feed()) is not None


@pytest.mark.slow
async def test_the_watermark_of_0_1_0_moves_forward_only_and_per_workspace(open_store: OpenStore) -> None:
    stores = [open_store() for _ in range(3)]
    assert await stores[0].creation_watermark(ONE) is None
    times = [NOW + timedelta(microseconds=number) for number in (5, 1, 4, 2, 3)]
    for store, time in zip(stores * 2, times, strict=False):
        await store.move_creation_watermark(ONE, time)
    assert await stores[0].creation_watermark(ONE) == times[0]
    assert await stores[0].creation_watermark(OTHER) is None
    racing = [NOW + timedelta(minutes=minute) for minute in range(30)]
    await asyncio.gather(*(stores[n % 3].move_creation_watermark(ONE, time) for n, time in enumerate(racing)))
    assert await stores[1].creation_watermark(ONE) == racing[-1]


@pytest.mark.parametrize(
    "text", ["", "pLaNtEd", "2026-11-23T12:00:00", "20261123", b"\xff", "0000-00-00T00:00:00+00:00"]
)
async def test_a_watermark_that_cannot_be_read_is_named_and_left_as_it_is(
    store: LinkStore, text: str | bytes
) -> None:
    """Whatever stood in its place could pass by incidents that nobody has seen."""
    await spoil_watermark(store, ONE, text)
    for _ in range(2):
        with pytest.raises(StoreUnavailable, match="the watermark of a workspace cannot be read") as told:
            await store.creation_watermark(ONE)
        assert "pLaNtEd" not in f"{told.value}{told.value.__context__}"
    assert await store.creation_watermark(OTHER) is None


@pytest.mark.parametrize(
    "run",
    [
        "",
        "null",
        "[]",
        "pLaNtEd",
        b"\xff",
        '{"started_at": "2026-11-23T12:00:00", "finished_at": "2026-11-23T12:00:00"}',
        '{"started_at": 1e99, "finished_at": 1}',
        "[" * 30_000,
    ],
)
async def test_a_last_run_that_cannot_be_read_is_none_and_the_next_one_takes_its_place(
    store: LinkStore, run: str | bytes
) -> None:
    await spoil_run(store, run)
    assert await store.last_run() is None
    good = TimerRun(started_at=NOW, finished_at=NOW)
    await store.save_run(good)
    assert await store.last_run() == good


async def test_a_repair_of_what_is_in_order_changes_nothing(store: LinkStore) -> None:
    refusal = UpstreamRejected("no", upstream=Upstream.CONTRAFORCE, code="X")
    links = [link(name="due"), link(name="later", due=NOW + timedelta(hours=1)), link(name="none", due=None)]
    links += [link(name="dead").failed(refusal, now=NOW, jitter=0), link(name="linked").linked(now=NOW)]
    stored = {one.incident_id: one for one in await add(store, *links)}
    backlog = await store.backlog(ONE)
    after: str | None = ""
    while after is not None:
        after = await store.repair(ONE, after=after)
    assert {one: await store.get(one) for one in stored} == stored
    assert names((await store.due(ONE, now=NOW, limit=10)).links) == ["due"]
    assert await store.backlog(ONE) == backlog == Backlog(oldest_due_at=NOW, dead=1)


async def test_the_last_run_is_remembered(open_store: OpenStore) -> None:
    store, another = open_store(), open_store()
    assert await store.last_run() is None
    run = TimerRun(started_at=NOW, finished_at=NOW, linked=3, backlog=Backlog(dead=1, oldest_due_at=NOW))
    await store.save_run(run.model_copy(update={"linked": 1}))
    await store.save_run(run)
    assert await another.last_run() == run


async def test_two_stores_racing_for_50_due_links_have_one_winner_each(open_store: OpenStore) -> None:
    stores = open_store(), open_store()
    await add(stores[0], *(link() for _ in range(50)))
    due = [(await store.due(ONE, now=NOW, limit=100)).links for store in stores]
    tries = [
        (store, one.claimed(owner=str(number), now=NOW))
        for number, store in enumerate(stores)
        for one in due[number]
    ]
    results = await asyncio.gather(*(store.replace(one) for store, one in tries), return_exceptions=True)
    assert Counter(type(result) for result in results) == {Link: 50, StaleLink: 50}


async def test_a_linked_incident_is_one_entity_and_no_index_row_stays_behind(table: TableClient) -> None:
    store = TableLinkStore(table)
    (first,) = await add(store, link(name="a"))
    claimed = await store.replace(first.claimed(owner="x", now=NOW))
    ticketed = await store.replace(claimed.ticketed(TICKET, of=DESK, request_id=None, now=NOW))
    refusal = UpstreamRejected("no", upstream=Upstream.SENTINEL, code="X")
    dead = await store.replace(ticketed.failed(refusal, now=NOW, jitter=0))
    assert sorted([one["RowKey"] async for one in table.list_entities()]) == ["dead-a", "link-a"]
    await store.replace(dead.linked(now=NOW))
    assert [one["RowKey"] async for one in table.list_entities()] == ["link-a"]


@pytest.mark.slow
async def test_10_due_among_2000_linked_are_10_index_rows_and_10_links_read(
    table: TableClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TableLinkStore(table)
    for batch in range(20):
        await add(store, *(link(name=f"l-{batch}-{n}", due=None).linked(now=NOW) for n in range(100)))
    await add(store, *(link(name=f"d-{n}") for n in range(10)))
    read: list[str] = []

    def hook(response: Any) -> None:
        found = response.http_response.json()
        read.extend(one["RowKey"] for one in found.get("value", [found]))

    for name in ("query_entities", "get_entity"):
        method = getattr(table, name)
        monkeypatch.setattr(
            table, name, lambda *a, _method=method, **k: _method(*a, raw_response_hook=hook, **k)
        )
    assert len((await store.due(ONE, now=NOW, limit=300)).links) == 10
    assert Counter(row.split("-")[0] for row in read) == {"due": 10, "link": 10}


async def test_a_write_whose_answer_was_lost_is_repeated_and_is_no_conflict(
    table: TableClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every transaction takes effect, and every first answer to one is lost on the way."""
    store, submit, lost = TableLinkStore(table), table.submit_transaction, 0

    async def lossy(operations: Any) -> Any:
        nonlocal lost
        done = await submit(operations)
        lost += 1
        if lost % 2:
            raise ServiceResponseError("the answer was lost")
        return done

    monkeypatch.setattr(table, "submit_transaction", lossy)
    (first,) = await add(store, link(name="a"))
    claimed = await store.replace(first.claimed(owner="x", now=NOW))
    assert await store.get(first.incident_id) == claimed
    with pytest.raises(StaleLink):
        await store.replace(first.claimed(owner="x", now=NOW))
    assert await store.insert(link(name="a")) is None


@pytest.mark.slow
async def test_tables_out_of_reach_or_with_a_wrong_key_are_unavailable_and_the_key_is_not_told(
    tables: Tables,
) -> None:
    wrong = tables.connection.replace(tables.key, "c2VjcmV0LXBsYW50ZWQ=")
    closed = f"AccountName={ACCOUNT};AccountKey={KEY};TableEndpoint=http://127.0.0.1:1/{ACCOUNT};"
    for connection, transport in ((wrong, tables.open_transport()), (closed, table_transport())):
        store = TableLinkStore.from_connection_string(connection, transport=transport)
        with pytest.raises(StoreUnavailable) as refused:
            await store.check()
        told = f"{refused.value} {refused.value.__cause__}"
        assert "c2Vj" not in told
        assert KEY not in told
        assert tables.key not in told
        await store.close()


async def test_a_table_that_is_removed_is_unavailable_and_then_made_again(table: TableClient) -> None:
    store = TableLinkStore(table)
    await store.check()
    await table.delete_table()
    with pytest.raises(StoreUnavailable):
        await store.get(IncidentId(ONE, "a"))
    assert await store.get(IncidentId(ONE, "a")) is None


ENDLESS = link(name="a").model_dump_json().replace("2026-11-23T12:00:00Z", "0001-01-01T00:00:00+10:00")
UNREADABLE = ["", "null", '{"incident_id": "x"}', NESTED, ENDLESS]


@pytest.mark.parametrize("record", UNREADABLE, ids=["empty", "null", "of nothing", "nested", "endless"])
async def test_an_unreadable_record_is_named_and_left_as_it_is(store: LinkStore, record: str) -> None:
    (stored,) = await add(store, link(name="a"))
    await spoil(store, stored.incident_id, record)
    for _ in range(2):
        with pytest.raises(RecordUnreadable) as unreadable:
            await store.get(stored.incident_id)
        assert unreadable.value.incident == stored.incident_id.key
        assert await store.insert(link(name="a")) is None
    assert set(await store.glimpse([stored.incident_id])) == {stored.incident_id.key}


async def test_a_record_of_another_incident_is_unreadable(store: LinkStore) -> None:
    mine, theirs = await add(store, link(name="a"), link(name="a", workspace=OTHER))
    await spoil(store, mine.incident_id, theirs.model_dump_json(exclude={"version"}))
    with pytest.raises(RecordUnreadable):
        await store.get(mine.incident_id)
    assert (await store.due(ONE, now=NOW, limit=10)).links == []


async def test_unreadable_records_hide_no_other_whatever_is_asked_for(store: LinkStore) -> None:
    """Also where there are more of them than are asked for, and they come first in every order."""
    old, good = NOW - timedelta(days=91), 5
    bad = 3 * good

    def aged(number: int, prefix: str) -> Link:
        moment = old + timedelta(seconds=number)
        return link(name=f"{prefix}-{number:02}", due=moment).model_copy(update={"created_at": moment})

    pending = await add(store, *(aged(number, "p") for number in range(bad + good)))
    linked = await add(store, *(aged(number, "l").linked(now=NOW) for number in range(bad + good)))
    for one in (*pending[:bad], *linked[:bad]):
        await spoil(store, one.incident_id)
    for found, whole in (
        (await store.due(ONE, now=NOW, limit=good), pending),
        (await store.in_state(ONE, LinkState.PENDING, after="", limit=good), pending),
        (await store.in_state(ONE, LinkState.LINKED, after="", limit=good), linked),
        (await store.expired(ONE, before=NOW, limit=good), linked),
    ):
        assert found.links == whole[bad:]
        assert sorted(found.unreadable) == [one.incident_id.key for one in whole[:bad]]
    more = await store.due(ONE, now=NOW, limit=good + 1)
    assert (len(more.links), len(more.unreadable)) == (good, bad)


@pytest.mark.parametrize("row", ["due-1", "due-20200101T000000.000000Z-gone"])
async def test_an_index_row_that_leads_nowhere_hides_no_due_link(table: TableClient, row: str) -> None:
    store = TableLinkStore(table)
    (stored,) = await add(store, link(name="a"))
    await table.upsert_entity(key(ONE, row))
    assert (await store.due(ONE, now=NOW, limit=1)).links == [stored]
