"""The link store in one SQLite file: for one machine, safe for several processes."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from functools import partial
from itertools import batched
from pathlib import Path
from typing import Final
from uuid import uuid4

from pydantic import ValidationError

from contraforce_sentinel.domain.errors import RecordUnreadable, StaleLink
from contraforce_sentinel.domain.incidents import IncidentId, WorkspaceId
from contraforce_sentinel.domain.links import LONGEST_WAIT, Link
from contraforce_sentinel.domain.records import LinkState
from contraforce_sentinel.domain.runs import Backlog, Feed, TimerRun
from contraforce_sentinel.stores.link_store import Found, Glimpse, read_feed, read_record, read_watermark
from contraforce_sentinel.stores.sqlite_file import SqliteFile

_BATCH: Final = 500
_LAST_NAME: Final = "~"
"""It sorts behind every incident's name, so that a query does not go on into the next workspace."""
# as bytes: one record that is no text would stop the reading of the others
_SELECT: Final = "SELECT incident, version, CAST(record AS BLOB) FROM links"


class SqliteLinkStore:
    """`LinkStore` over one file."""

    def __init__(self, path: Path) -> None:
        self._file = SqliteFile(path)

    async def insert(self, link: Link) -> Link | None:
        """See `LinkStore.insert`."""
        stored = _renewed(link)
        inserted = await self._file.run(
            lambda db: (
                db.execute(
                    "INSERT INTO links"
                    " (incident, workspace, version, state, seen, next_try_at, created_at, record)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT DO NOTHING",
                    (link.incident_id.key, link.incident_id.workspace.key, *_columns(stored)),
                ).rowcount
            )
        )
        return stored if inserted else None

    async def get(self, incident_id: IncidentId) -> Link | None:
        """See `LinkStore.get`."""
        row = await self._file.run(
            lambda db: db.execute(
                "SELECT incident, version, CAST(record AS BLOB) FROM links WHERE incident = ?",
                (incident_id.key,),
            ).fetchone()
        )
        return None if row is None else _link(row)

    async def replace(self, link: Link) -> Link:
        """See `LinkStore.replace`."""
        stored = _renewed(link)
        changed = await self._file.run(
            lambda db: (
                db.execute(
                    "UPDATE links SET version = ?, state = ?, seen = ?, next_try_at = ?, created_at = ?,"
                    " record = ? WHERE incident = ? AND version = ?",
                    (*_columns(stored), link.incident_id.key, link.version),
                ).rowcount
            )
        )
        if not changed:
            raise StaleLink(f"the link of {link.incident_id.key} was changed by another worker")
        return stored

    async def delete(self, link: Link) -> None:
        """See `LinkStore.delete`."""
        deleted = await self._file.run(
            lambda db: (
                db.execute(
                    "DELETE FROM links WHERE incident = ? AND version = ?",
                    (link.incident_id.key, link.version),
                ).rowcount
            )
        )
        if not deleted:
            raise StaleLink(f"the link of {link.incident_id.key} was changed by another worker")

    async def glimpse(self, incident_ids: Sequence[IncidentId]) -> dict[str, Glimpse]:
        """See `LinkStore.glimpse`."""
        asked, found = {incident_id.key: incident_id for incident_id in incident_ids}, {}
        for batch in batched(asked, _BATCH, strict=False):
            for key, state, seen in await self._file.run(partial(_select_words, batch)):
                found[key] = Glimpse(state, seen, partial(self.get, asked[key]))
        return found

    async def due(self, workspace_id: WorkspaceId, *, now: datetime, limit: int) -> Found:
        """See `LinkStore.due`."""
        by_time = f"{_SELECT} WHERE workspace = ? AND next_try_at %s ? ORDER BY next_try_at"
        due = await self._find(by_time % "<=", (workspace_id.key, _text(now)), limit=limit)
        far = await self._find(by_time % ">", (workspace_id.key, _text(now + LONGEST_WAIT)), limit=limit)
        links = [*due.links, *(link for link in far.links if link.is_due(now))]
        return Found(links[:limit], due.unreadable + far.unreadable)

    async def expired(self, workspace_id: WorkspaceId, *, before: datetime, limit: int) -> Found:
        """See `LinkStore.expired`."""
        return await self._find(
            f"{_SELECT} WHERE workspace = ? AND state IN ('linked', 'skipped') AND created_at < ?"
            " ORDER BY created_at",
            (workspace_id.key, _text(before)),
            limit=limit,
        )

    async def in_state(self, workspace_id: WorkspaceId, state: LinkState, *, after: str, limit: int) -> Found:
        """See `LinkStore.in_state`."""
        first, last = (IncidentId(workspace_id, name).key for name in (after, _LAST_NAME))
        return await self._find(
            f"{_SELECT} WHERE workspace = ? AND state = ? AND incident > ? AND incident < ?"
            " ORDER BY incident",
            (workspace_id.key, state, first, last),
            limit=limit,
        )

    async def repair(self, workspace_id: WorkspaceId, *, after: str) -> str | None:  # noqa: ARG002
        """See `LinkStore.repair`; what SQLite finds a record by, it keeps itself."""
        return None

    async def backlog(self, workspace_id: WorkspaceId) -> Backlog:
        """See `LinkStore.backlog`."""
        oldest, dead = await self._file.run(
            lambda db: db.execute(
                "SELECT (SELECT min(next_try_at) FROM links"
                " WHERE workspace = :workspace AND next_try_at IS NOT NULL),"
                " (SELECT count(*) FROM links WHERE workspace = :workspace AND state = 'dead')",
                {"workspace": workspace_id.key},
            ).fetchone()
        )
        return Backlog(oldest_due_at=oldest, dead=dead)

    async def feed(self, workspace_id: WorkspaceId) -> Feed | None:
        """See `LinkStore.feed`."""
        row = await self._file.run(
            lambda db: db.execute(
                "SELECT CAST(feed AS BLOB), version FROM feeds WHERE workspace = ?", (workspace_id.key,)
            ).fetchone()
        )
        return None if row is None else read_feed(row[0], version=row[1])

    async def save_feed(self, workspace_id: WorkspaceId, feed: Feed) -> Feed | None:
        """See `LinkStore.save_feed`."""
        stored = feed.model_copy(update={"version": uuid4().hex})
        saved = await self._file.run(
            lambda db: (
                db.execute(
                    "INSERT INTO feeds (workspace, version, feed) VALUES (?1, ?2, ?3)"
                    " ON CONFLICT DO UPDATE SET version = ?2, feed = ?3 WHERE version = ?4",
                    (workspace_id.key, stored.version, _json(stored), feed.version),
                ).rowcount
            )
        )
        return stored if saved else None

    async def creation_watermark(self, workspace_id: WorkspaceId) -> datetime | None:
        """See `LinkStore.creation_watermark`."""
        row = await self._file.run(
            lambda db: db.execute(
                "SELECT CAST(created_at AS BLOB) FROM watermarks WHERE workspace = ?", (workspace_id.key,)
            ).fetchone()
        )
        return (
            None if row is None else read_watermark(row[0].decode(errors="replace"), datetime.fromisoformat)
        )

    async def move_creation_watermark(self, workspace_id: WorkspaceId, to: datetime) -> None:
        """See `LinkStore.move_creation_watermark`."""
        await self._file.run(
            lambda db: db.execute(
                "INSERT INTO watermarks (workspace, created_at) VALUES (?, ?) ON CONFLICT DO UPDATE"
                " SET created_at = excluded.created_at WHERE excluded.created_at > created_at",
                (workspace_id.key, _text(to)),
            )
        )

    async def last_run(self) -> TimerRun | None:
        """See `LinkStore.last_run`."""
        row = await self._file.run(lambda db: db.execute("SELECT CAST(run AS BLOB) FROM runs").fetchone())
        try:
            return None if row is None else TimerRun.model_validate_json(row[0])
        except ValidationError:  # of another version: the next run writes a new one
            return None

    async def save_run(self, run: TimerRun) -> None:
        """See `LinkStore.save_run`."""
        await self._file.run(
            lambda db: db.execute("INSERT OR REPLACE INTO runs VALUES (1, ?)", (run.model_dump_json(),))
        )

    async def exists(self) -> bool:
        """See `LinkStore.exists`."""
        return self._file.exists()

    async def check(self) -> None:
        """See `LinkStore.check`; takes and gives back the write lock."""
        await self._file.run(_take_write_lock)

    async def close(self) -> None:
        """See `LinkStore.close`."""
        await self._file.close()

    async def _find(self, query: str, parameters: tuple[str, ...], *, limit: int) -> Found:
        return await self._file.run(partial(_select, query, parameters, limit))


def _take_write_lock(db: sqlite3.Connection) -> None:
    if not db.in_transaction:  # else it is held
        db.executescript("BEGIN IMMEDIATE; ROLLBACK;")


def _select(query: str, parameters: tuple[str, ...], limit: int, db: sqlite3.Connection) -> Found:
    """Read rows until `limit` of them were links."""
    found = Found()
    with closing(db.execute(query, parameters)) as rows:
        for row in rows:
            try:
                found.links.append(_link(row))
            except RecordUnreadable as error:
                found.unreadable.append(error.incident)
            if len(found.links) == limit:
                break
    return found


def _select_words(keys: tuple[str, ...], db: sqlite3.Connection) -> list[tuple[str, str, str | None]]:
    marks = ", ".join("?" * len(keys))
    select = f"SELECT incident, state, seen FROM links WHERE incident IN ({marks})"  # noqa: S608 - marks only
    return db.execute(select, keys).fetchall()


def _text(moment: datetime) -> str:
    """Return a text that sorts as the moments do."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def _renewed(link: Link) -> Link:
    return link.model_copy(update={"version": uuid4().hex})


def _columns(link: Link) -> tuple[str, str, str | None, str | None, str, str]:
    due = None if link.next_try_at is None else _text(link.next_try_at)
    return link.version, link.state, link.seen.state, due, _text(link.created_at), _json(link)


def _json(record: Link | Feed) -> str:
    return record.model_dump_json(exclude={"version"})


def _link(row: tuple[str, str, bytes]) -> Link:
    incident, version, record = row
    return read_record(record, incident=incident, version=version)
