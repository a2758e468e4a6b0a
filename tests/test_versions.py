"""Versions one after the other, and side by side: what was stored is read, what only others know is kept."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self
from uuid import UUID

import pytest
from azure.data.tables import UpdateMode
from conftest import App
from store_fixtures import spoil_watermark

from contraforce_sentinel.bootstrap import current_app
from contraforce_sentinel.domain.errors import Upstream, UpstreamRejected, UpstreamUnavailable
from contraforce_sentinel.domain.incidents import Incident, IncidentId, WorkspaceId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.reasons import Reason
from contraforce_sentinel.domain.records import LinkState, Record
from contraforce_sentinel.domain.tickets import Ticket
from contraforce_sentinel.stores.entities import partition
from contraforce_sentinel.stores.link_store import LinkStore
from contraforce_sentinel.stores.sqlite import SqliteLinkStore
from contraforce_sentinel.stores.sqlite_file import SqliteFile
from contraforce_sentinel.stores.tables import TableLinkStore

WORKSPACE: Final = WorkspaceId("11111111-2222-4333-8444-555555555555", "rg", "law-one")
INCIDENT: Final = IncidentId(WORKSPACE, "3f1d9a52")
DESK: Final = UUID(int=7)
NOW: Final = datetime(2026, 11, 30, 12, tzinfo=UTC)
LATER: Final = NOW + timedelta(hours=1)
TICKET: Final = Ticket(system="Jira", number="SEC-1")

SCHEMA_OF_0_1_0: Final = """
CREATE TABLE links (
    incident TEXT PRIMARY KEY, workspace TEXT NOT NULL, version TEXT NOT NULL, state TEXT NOT NULL,
    next_try_at TEXT, created_at TEXT NOT NULL, record TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX links_due ON links (workspace, next_try_at) WHERE next_try_at IS NOT NULL;
CREATE TABLE watermarks (workspace TEXT PRIMARY KEY, created_at TEXT NOT NULL) STRICT;
CREATE TABLE runs (only INTEGER PRIMARY KEY CHECK (only = 1), run TEXT NOT NULL) STRICT;
PRAGMA user_version = 1;
"""
INSERT_OF_0_1_0: Final = (
    "INSERT INTO links (incident, workspace, version, state, next_try_at, created_at, record)"
    " VALUES (?, ?, ?, ?, ?, ?, ?)"
)
UPDATE_OF_0_1_0: Final = (
    "UPDATE links SET version = ?, state = ?, next_try_at = ?, record = ? WHERE incident = ?"
)
RECORD_OF_0_1_0: Final = (
    f'{{"incident_id": "{INCIDENT.arm_id}", "incident_number": "42", "state": "linked",'
    ' "ticket": {"system": "Jira", "number": "SEC-1", "id": "10", "title": "T", "status": "Open"},'
    ' "requested_ticket_id": null, "reason": null, "code": null, "fields": [], "request_id": "r-1",'
    ' "attempts": 1, "failures": 0, "failing_since": null, "next_try_at": null, "not_before": null,'
    ' "lease": null, "history": [{"state": "linked", "reason": null, "code": null,'
    ' "at": "2026-11-23T10:00:00Z", "last_at": "2026-11-23T10:00:00Z", "times": 1}],'
    ' "created_at": "2026-11-23T09:00:00Z", "updated_at": "2026-11-23T10:00:00Z"}'
)


def rows_of_0_1_0(file: Path) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.executescript(SCHEMA_OF_0_1_0)
        values = (INCIDENT.key, WORKSPACE.key, "v1", "linked", None, "2026-11-23T09:00:00.000000+00:00")
        db.execute(INSERT_OF_0_1_0, (*values, RECORD_OF_0_1_0))
        db.execute("INSERT INTO watermarks VALUES (?, '2026-11-23T10:00:00.000000+00:00')", (WORKSPACE.key,))


async def entities_of_0_1_0(store: TableLinkStore) -> None:
    await store.check()
    keys = {"PartitionKey": partition(WORKSPACE), "workspace": WORKSPACE.key}
    created = datetime(2026, 11, 23, 9, tzinfo=UTC)
    link = {"RowKey": f"link-{INCIDENT.name}", "state": "linked", "created_at": created}
    await store._table.upsert_entity({**keys, **link, "record": RECORD_OF_0_1_0})
    watermark = {"RowKey": "watermark", "created_at": "20261123T100000.000000Z"}
    await store._table.upsert_entity({**keys, **watermark})


async def stored_by_0_1_0(open_store: Callable[[], LinkStore], tmp_path: Path) -> LinkStore:
    store = open_store()
    if isinstance(store, SqliteLinkStore):
        rows_of_0_1_0(tmp_path / "links.db")
    else:
        assert isinstance(store, TableLinkStore)
        await entities_of_0_1_0(store)
    return store


async def test_what_0_1_0_has_stored_is_read_as_before_and_changed(
    open_store: Callable[[], LinkStore], tmp_path: Path
) -> None:
    store = await stored_by_0_1_0(open_store, tmp_path)
    link = await store.get(INCIDENT)
    assert link is not None
    assert (link.state, link.incident_number, link.attempts) == (LinkState.LINKED, "42", 1)
    assert link.ticket == Ticket(system="Jira", number="SEC-1", id="10", title="T", status="Open")
    assert (link.seen.state, link.first_seen_at, link.ticket_workspace_id, link.earlier_tickets) == (
        None,
        None,
        None,
        (),
    )
    (glimpse,) = (await store.glimpse([INCIDENT])).values()
    assert (glimpse.state, glimpse.seen, await glimpse.read()) == ("linked", None, link)
    assert await store.creation_watermark(WORKSPACE) == datetime(2026, 11, 23, 10, tzinfo=UTC)
    merged = Incident(INCIDENT, "42", "High", "Closed", frozenset({"Redirected"}))
    changed = await store.replace(link.saw(merged, is_confirmed=True, now=NOW))
    (glimpse,) = (await store.glimpse([INCIDENT])).values()
    assert (glimpse.seen, await glimpse.read()) == ("merged", changed)
    assert len((await store.expired(WORKSPACE, before=NOW, limit=9)).links) == 1


def test_a_file_grows_once_however_many_processes_open_it(tmp_path: Path) -> None:
    rows_of_0_1_0(tmp_path / "links.db")
    files = [SqliteFile(tmp_path / "links.db") for _ in range(8)]

    def columns(file: SqliteFile) -> tuple[int, int]:
        with closing(file._connection()) as db:
            (count,) = db.execute("SELECT count(*) FROM pragma_table_info('links')").fetchone()
            (version,) = db.execute("PRAGMA user_version").fetchone()
            return count, version

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(columns, files)) == [(8, 1)] * 8


async def test_0_1_0_goes_on_with_a_file_beside_this_version(tmp_path: Path) -> None:
    store = SqliteLinkStore(tmp_path / "links.db")
    await store.check()
    with closing(sqlite3.connect(tmp_path / "links.db", isolation_level=None)) as old:
        values = (INCIDENT.key, WORKSPACE.key, "v1", "linked", None, "2026-11-23T09:00:00.000000+00:00")
        old.execute(INSERT_OF_0_1_0, (*values, RECORD_OF_0_1_0))
        assert (await store.get(INCIDENT)) is not None
        old.execute(UPDATE_OF_0_1_0, ("v2", "linked", None, RECORD_OF_0_1_0, INCIDENT.key))
    (glimpse,) = (await store.glimpse([INCIDENT])).values()
    read = await glimpse.read()
    assert read is not None
    assert read.version == "v2"
    await store.close()


# Fields of tomorrow

TOMORROW: Final = {"of_tomorrow": {"a": [1, None, "x"]}}


def of_tomorrow(link: Link) -> Link:
    """Return the record with a field in each part that this version does not know."""
    document: dict[str, Any] = link.model_dump(mode="json")
    parts = [document, document["ticket"], document["lease"], document["seen"], document["was_dead"]]
    for part in [*parts, *document["history"], *document["earlier_tickets"]]:
        if part is not None:
            part.update(TOMORROW)
    return Link.model_validate(document)


def parts(link: Link) -> list[str]:
    """Return the parts of a record in which the field is."""
    found: dict[str, Record | None] = {"link": link, "ticket": link.ticket, "lease": link.lease}
    found |= {"seen": link.seen}
    found |= {"was_dead": link.was_dead, "step": link.history[0] if link.history else None}
    found |= {"earlier ticket": link.earlier_tickets[0] if link.earlier_tickets else None}
    return sorted(name for name, part in found.items() if part and part.model_extra == TOMORROW)


def new() -> Link:
    return Link(incident_id=INCIDENT, created_at=NOW, updated_at=NOW, earlier_tickets=(TICKET,))


HELD: Final = new().skipped(Reason.CLOSED, now=NOW).claimed(owner="me", now=NOW)
OUTAGE: Final = UpstreamUnavailable("down", upstream=Upstream.CONTRAFORCE, ambiguous=True)
REFUSAL: Final = UpstreamRejected("no", upstream=Upstream.CONTRAFORCE, code="X")
TICKETED: Final = HELD.ticketed(TICKET, of=DESK, request_id="r", now=NOW)
DEAD: Final = TICKETED.failed(REFUSAL, now=NOW, jitter=0)
OPEN: Final = Incident(INCIDENT, "1", "High", "New")
WRITES: Final[dict[str, tuple[Link, Callable[[Link], Link], str]]] = {
    "requesting": (new(), lambda link: link.requesting("7", of=DESK, now=LATER), ""),
    "claimed": (
        new().skipped(Reason.CLOSED, now=NOW),
        lambda link: link.claimed(owner="a", now=LATER),
        "step",
    ),
    "ticketed": (HELD, lambda link: link.ticketed(TICKET, of=DESK, request_id="r", now=LATER), "lease step"),
    "linked": (TICKETED, lambda link: link.linked(now=LATER), "ticket step"),
    "saw": (TICKETED, lambda link: link.saw(OPEN, is_confirmed=True, now=LATER), "lease ticket step"),
    "skipped": (TICKETED, lambda link: link.skipped(Reason.CLOSED, now=LATER), "ticket step"),
    "skipped, dead before": (DEAD, lambda link: link.skipped(Reason.CLOSED, now=LATER), "ticket step"),
    "brought back": (
        TICKETED.skipped(Reason.CLOSED, now=NOW),
        lambda link: link.brought_back(now=LATER),
        "ticket step",
    ),
    "revived": (DEAD, lambda link: link.revived(now=LATER), "ticket step"),
    "failed": (TICKETED, lambda link: link.failed(OUTAGE, now=LATER, jitter=0), "ticket step"),
    "dead": (TICKETED, lambda link: link.failed(REFUSAL, now=LATER, jitter=0), "ticket step"),
}


@pytest.mark.parametrize("write", WRITES)
async def test_fields_of_tomorrow_are_found_again_after_every_write(store: LinkStore, write: str) -> None:
    """But for a lease's, when the lease ends: a new one is another's."""
    before, change, kept = WRITES[write]
    inserted = await store.insert(of_tomorrow(before))
    assert inserted is not None
    read = await store.get(INCIDENT)
    assert read == inserted
    await store.replace(change(read))
    after = await store.get(INCIDENT)
    assert after is not None
    assert after.updated_at == LATER
    assert set(parts(after)) >= {"link", "seen", "earlier ticket", *kept.split()}


def test_every_way_in_which_a_record_changes_is_among_these_writes() -> None:
    methods = {name: vars(Link)[name] for name in vars(Link) if not name.startswith(("_", "model_"))}
    ways = {
        name for name, one in methods.items() if getattr(one, "__annotations__", {}).get("return") is Self
    }
    tested = {write.split(",")[0].replace(" ", "_") for write in WRITES} - {"dead"}
    assert ways - {"noted"} == tested


async def test_a_column_of_tomorrow_is_kept_by_the_tables(store: LinkStore) -> None:
    if not isinstance(store, TableLinkStore):
        pytest.skip("SQLite's updates name their columns")
    inserted = await store.insert(new())
    assert inserted is not None
    keys = {"PartitionKey": partition(WORKSPACE), "RowKey": f"link-{INCIDENT.name}"}
    await store._table.update_entity({**keys, "of_tomorrow": 7}, mode=UpdateMode.MERGE)
    read = await store.get(INCIDENT)
    assert read is not None
    await store.replace(read.claimed(owner="me", now=LATER))
    assert (await store._table.get_entity(*keys.values()))["of_tomorrow"] == 7


async def test_the_feed_begins_where_the_creation_watermark_of_0_1_0_is_older_than_the_lookback(
    app: App,
) -> None:
    store, place = current_app().store, WorkspaceId.parse(app.workspace.arm_id)
    mark = datetime.now(UTC) - timedelta(days=3)
    await spoil_watermark(store, place, mark.isoformat(timespec="microseconds"))
    late = app.workspace.arrive_late(created=mark + timedelta(hours=1))
    await app.reconcile()
    feed = await store.feed(place)
    assert feed is not None
    assert feed.follows_from == mark
    link = await store.get(IncidentId.parse(late.arm_id))
    assert link is not None
    assert link.state is LinkState.LINKED


async def test_a_creation_watermark_that_lies_ahead_hides_nothing(app: App) -> None:
    store, place = current_app().store, WorkspaceId.parse(app.workspace.arm_id)
    ahead = datetime.now(UTC) + timedelta(days=365)
    await spoil_watermark(store, place, ahead.isoformat(timespec="microseconds"))
    incident = app.workspace.add_incident(created=datetime.now(UTC) - timedelta(hours=20))
    await app.reconcile()
    link = await store.get(IncidentId.parse(incident.arm_id))
    assert link is not None
    assert link.state is LinkState.LINKED
