"""The link store in one SQLite file: for one machine, safe for several processes (WAL).

https://sqlite.org/wal.html; the schema's version is SQLite's own `user_version`.
"""

import asyncio
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final
from uuid import uuid4

import stamina
from pydantic import ValidationError

from contraforce_sentinel.errors import NotAnIncident, StaleLink, StoreUnavailable
from contraforce_sentinel.incidents import IncidentId
from contraforce_sentinel.links import Link

SCHEMA_VERSION: Final = 1
_BUSY_SECONDS: Final = 5.0
_SCHEMA: Final = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS links (
    incident    TEXT PRIMARY KEY,     -- lower-cased ARM id
    version     TEXT NOT NULL,        -- another one with every change, never one that was before
    state       TEXT NOT NULL,
    next_try_at TEXT,                 -- UTC, ISO 8601; NULL: nothing is owed
    record      TEXT NOT NULL         -- the link as JSON
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS links_due ON links (next_try_at) WHERE next_try_at IS NOT NULL;
PRAGMA user_version = 1;
COMMIT;
"""


class SqliteLinkStore:
    """`links.LinkStore` over one file; opened with the first use, in a thread of its own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="link-store")
        self._opened: sqlite3.Connection | None = None

    async def insert(self, link: Link) -> Link | None:
        """See `LinkStore.insert`."""
        stored = _renewed(link)
        inserted = await self._run(
            lambda db: (
                db.execute(
                    "INSERT INTO links (incident, version, state, next_try_at, record) VALUES (?, ?, ?, ?, ?)"
                    " ON CONFLICT DO NOTHING",
                    (link.incident_id.key, *_columns(stored)),
                ).rowcount
            )
        )
        return stored if inserted else None

    async def get(self, incident_id: IncidentId) -> Link | None:
        """See `LinkStore.get`."""
        row = await self._run(
            lambda db: db.execute(
                "SELECT version, record FROM links WHERE incident = ?", (incident_id.key,)
            ).fetchone()
        )
        return None if row is None else _link(row)

    async def replace(self, link: Link) -> Link:
        """See `LinkStore.replace`."""
        stored = _renewed(link)
        changed = await self._run(
            lambda db: (
                db.execute(
                    "UPDATE links SET version = ?, state = ?, next_try_at = ?, record = ?"
                    " WHERE incident = ? AND version = ?",
                    (*_columns(stored), link.incident_id.key, link.version),
                ).rowcount
            )
        )
        if not changed:
            raise StaleLink(f"the link of {link.incident_id.key} was changed by another worker")
        return stored

    async def delete(self, link: Link) -> None:
        """See `LinkStore.delete`."""
        deleted = await self._run(
            lambda db: (
                db.execute(
                    "DELETE FROM links WHERE incident = ? AND version = ?",
                    (link.incident_id.key, link.version),
                ).rowcount
            )
        )
        if not deleted:
            raise StaleLink(f"the link of {link.incident_id.key} was changed by another worker")

    async def check(self) -> None:
        """See `LinkStore.check`; takes and gives back the write lock."""
        await self._run(lambda db: db.executescript("BEGIN IMMEDIATE; ROLLBACK;"))

    async def close(self) -> None:
        """See `LinkStore.close`."""
        if self._opened is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._opened.close)
            self._opened = None
        self._thread.shutdown()

    async def _run[T](self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread, lambda: work(self._connection())
            )
        except (sqlite3.Error, OSError) as error:
            raise StoreUnavailable("the SQLite link store cannot be used") from error

    def _connection(self) -> sqlite3.Connection:
        if self._opened is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._opened = _open(self._path)
        return self._opened


# Two processes that switch a new file to WAL at the same moment get SQLITE_BUSY without SQLite's own wait.
@stamina.retry(on=sqlite3.OperationalError, timeout=_BUSY_SECONDS, wait_initial=0.02, wait_jitter=0.05)
def _open(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")  # an answered delivery survives a power cut
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version > SCHEMA_VERSION:
            raise StoreUnavailable(  # noqa: TRY301 - the connection is closed below
                f"the SQLite link store has schema version {version}, this app knows {SCHEMA_VERSION}"
            )
        if version < SCHEMA_VERSION:
            db.executescript(_SCHEMA)
    except BaseException:
        db.close()
        raise
    return db


def _renewed(link: Link) -> Link:
    return link.model_copy(update={"version": uuid4().hex})


def _columns(link: Link) -> tuple[str, str, str | None, str]:
    due = None if link.next_try_at is None else link.next_try_at.isoformat(timespec="microseconds")
    return link.version, link.state, due, link.model_dump_json(exclude={"version"})


def _link(row: tuple[str, str]) -> Link:
    version, record = row
    try:
        return Link.model_validate_json(record).model_copy(update={"version": version})
    except (ValidationError, NotAnIncident):
        raise StoreUnavailable("a record of the SQLite link store cannot be read by this version") from None
