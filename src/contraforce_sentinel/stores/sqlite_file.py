"""One SQLite file, its connection and its thread: opened with the first use, one wait for the disk for many.

https://sqlite.org/wal.html; the schema's version is SQLite's own `user_version`.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import stamina

from contraforce_sentinel.domain.errors import StoreUnavailable

SCHEMA_VERSION: Final = 1
_BUSY_SECONDS: Final = 5.0
_LONGEST_WAIT_SECONDS: Final = 10.0
_FEEDS: Final = "feeds (workspace TEXT PRIMARY KEY, version TEXT NOT NULL, feed TEXT NOT NULL) STRICT"
_SCHEMA: Final = f"""
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS links (
    incident    TEXT PRIMARY KEY,     -- lower-cased ARM id
    workspace   TEXT NOT NULL,        -- lower-cased ARM id
    version     TEXT NOT NULL,        -- another one with every change, never one that was before
    state       TEXT NOT NULL,
    seen        TEXT,                 -- what the incident was; NULL: the record does not say
    next_try_at TEXT,                 -- UTC, ISO 8601; NULL: no try is to come
    created_at  TEXT NOT NULL,
    record      TEXT NOT NULL         -- the link as JSON
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS links_due ON links (workspace, next_try_at) WHERE next_try_at IS NOT NULL;
CREATE INDEX IF NOT EXISTS links_done ON links (workspace, created_at) WHERE state IN ('linked', 'skipped');
CREATE INDEX IF NOT EXISTS links_dead ON links (workspace) WHERE state = 'dead';
-- what 0.1.0 kept: it is read once, and moved with what is removed
CREATE TABLE IF NOT EXISTS watermarks (workspace TEXT PRIMARY KEY, created_at TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS {_FEEDS};
CREATE TABLE IF NOT EXISTS runs (only INTEGER PRIMARY KEY CHECK (only = 1), run TEXT NOT NULL) STRICT;
PRAGMA user_version = 1;
COMMIT;
"""
# version 0.1.0 may go on with the file beside this one: no new number
_IS_GROWN: Final = "SELECT count(*) FROM pragma_table_info('links') WHERE name = 'seen'"
_GROWTH: Final = (
    "ALTER TABLE links ADD COLUMN seen TEXT",
    f"CREATE TABLE {_FEEDS}",
)


@dataclass(frozen=True, slots=True, eq=False)
class _Waiting:
    """An operation that is to be done, and what comes of it."""

    work: Callable[[sqlite3.Connection], Any]
    done: Future[Any] = field(default_factory=Future)

    def outcome(self, db: sqlite3.Connection) -> Any:
        """Do it; return its result or its failure."""
        try:
            return self.work(db)
        except Exception as error:  # noqa: BLE001 - raised where it is awaited
            return error


class SqliteFile:
    """Does operations on one file, those that wait together in one transaction.

    Safe for several processes (WAL). An operation is a function of the connection that leaves no transaction
    open; it returns when its changes are on the disk.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._thread: Executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="link-store")
        self._waiting: deque[_Waiting] = deque()
        self._opened: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def exists(self) -> bool:
        """Whether the file is there; makes nothing. Raises `StoreUnavailable` where it could not be."""
        place = next(place for place in self._path.absolute().parents if place.exists())
        if not place.is_dir():
            raise StoreUnavailable("the SQLite link store cannot be used (a folder of its path is a file)")
        return self._path.exists()

    async def run[T](self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Do one operation, waiting no longer than a caller can. Raises `StoreUnavailable`."""
        waiting = _Waiting(work)
        self._waiting.append(waiting)
        self._thread.submit(self._work_off)
        try:
            async with asyncio.timeout(_LONGEST_WAIT_SECONDS):
                result: T = await asyncio.wrap_future(waiting.done)
                return result
        except (sqlite3.Error, OSError, TimeoutError) as error:
            what = getattr(error, "sqlite_errorname", type(error).__name__)
            raise StoreUnavailable(f"the SQLite link store cannot be used ({what})") from error

    async def close(self) -> None:
        """Close the file and end the thread; idempotent."""
        if self._opened is not None:
            await asyncio.get_running_loop().run_in_executor(self._thread, self._opened.close)
            self._opened = None
        self._thread.shutdown()

    def _work_off(self) -> None:
        """Do everything that waits now; what was given up meanwhile is left out."""
        waiting = [self._waiting.popleft() for _ in range(len(self._waiting))]
        together = [one for one in waiting if one.done.set_running_or_notify_cancel()]
        if not together:  # an earlier call has done it
            return
        try:
            outcomes = self._do(together)
        except Exception as error:  # noqa: BLE001 - nothing was stored, and everybody is told
            outcomes = [error] * len(together)
        for one, outcome in zip(together, outcomes, strict=True):
            if isinstance(outcome, Exception):
                one.done.set_exception(outcome)
            else:
                one.done.set_result(outcome)

    def _do(self, together: Sequence[_Waiting]) -> list[Any]:
        db = self._connection()
        if len(together) == 1:
            return [together[0].outcome(db)]
        db.execute("BEGIN IMMEDIATE")
        try:
            outcomes = []
            for one in together:
                outcomes.append(one.outcome(db))
                if not db.in_transaction:  # as on a full disk
                    raise sqlite3.OperationalError("SQLite itself has rolled back")  # noqa: TRY301 - as it would
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return outcomes

    def _connection(self) -> sqlite3.Connection:
        if self._opened is not None and _identity(self._path) != self._file:
            self._opened.close()
            self._opened = None
            raise sqlite3.OperationalError("the file was removed or replaced")
        if self._opened is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._opened = _open(self._path)
            self._file = _identity(self._path)
        return self._opened


def _identity(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from another one of the same name; None if there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _is_busy(error: Exception) -> bool:
    """Two processes that switch a new file to WAL at once get SQLITE_BUSY without SQLite's own wait."""
    return isinstance(error, sqlite3.OperationalError) and error.sqlite_errorcode == sqlite3.SQLITE_BUSY


@stamina.retry(on=_is_busy, timeout=_BUSY_SECONDS, wait_initial=0.02, wait_jitter=0.05)
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
        _grow(db)
    except BaseException:
        db.close()
        raise
    return db


def _grow(db: sqlite3.Connection) -> None:
    """Add what 0.1.0 did not have."""
    if db.execute(_IS_GROWN).fetchone()[0]:
        return
    db.execute("BEGIN IMMEDIATE")
    if not db.execute(_IS_GROWN).fetchone()[0]:  # else another process has just done it
        for statement in _GROWTH:
            db.execute(statement)
    db.execute("COMMIT")
