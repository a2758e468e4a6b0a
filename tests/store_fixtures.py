"""Every link store: over SQLite, over the sandbox's stand-in of the table service, and over Azurite.

The stand-in answers in the same process, without a socket. What needs Azurite is marked `azurite`, and is
skipped where that is not installed.
"""

import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import httpx
import pytest
from azure.data.tables import UpdateMode
from azure.data.tables.aio import TableClient

from contraforce_sentinel.azure.httpx_transport import HttpxTransport, open_azure_connections
from contraforce_sentinel.domain.incidents import IncidentId, WorkspaceId
from contraforce_sentinel.domain.runs import TimerRun
from contraforce_sentinel.stores.entities import key, link_row
from contraforce_sentinel.stores.link_store import LinkStore
from contraforce_sentinel.stores.sqlite import SqliteLinkStore
from contraforce_sentinel.stores.tables import READ_SECONDS, TableLinkStore
from contraforce_sentinel.transport.connections import Connections
from contraforce_sentinel.transport.network import Network
from sandbox.identity import ManagedIdentity
from sandbox.in_memory import InMemory
from sandbox.table_service import TableService

ROOT = Path(__file__).parent.parent
START_SECONDS = 20
# Azurite's documented account, the same on every machine.
ACCOUNT = "devstoreaccount1"
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


def _command() -> str | None:
    return shutil.which("azurite-table") or shutil.which(
        "azurite-table", path=str(ROOT / ".tools" / "node_modules" / ".bin")
    )


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def azurite() -> Iterator[str]:
    """Give a connection string."""
    command = _command()
    if command is None:
        if os.environ.get("REQUIRE_AZURITE"):
            pytest.fail("Azurite is not installed: make azurite")
        pytest.skip("Azurite is not installed: make azurite")
    port = _free_port()
    options = ["--skipApiVersionCheck", "--inMemoryPersistence", "--silent", "--disableTelemetry"]
    with subprocess.Popen(
        [command, *options, "--tableHost", "127.0.0.1", "--tablePort", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            _wait(port, process)
            yield (
                f"DefaultEndpointsProtocol=http;AccountName={ACCOUNT};AccountKey={KEY};"
                f"TableEndpoint=http://127.0.0.1:{port}/{ACCOUNT};"
            )
        finally:
            process.terminate()


def _wait(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("Azurite does not listen")


def table_transport() -> HttpxTransport:
    """Return the transport that the app's own store of tables has."""
    return HttpxTransport(
        open_azure_connections(Network(tls=ssl.create_default_context()), read_seconds=READ_SECONDS)
    )


def in_memory_transport(service: TableService) -> HttpxTransport:
    """Return the app's transport over a stand-in in this process."""
    return HttpxTransport(
        Connections(lambda: httpx.AsyncClient(transport=InMemory(service), trust_env=False))
    )


@dataclass(frozen=True)
class Tables:
    """A table service: how to reach it, and a table's name that nobody else has."""

    connection: str
    key: str
    open_transport: Callable[[], HttpxTransport]
    name: str

    def open(self) -> TableClient:
        """Return one more client of the one table."""
        transport: Any = self.open_transport()
        return TableClient.from_connection_string(self.connection, self.name, transport=transport)


@pytest.fixture
def table_service() -> TableService:
    service = TableService(ManagedIdentity())
    service.base_url = "https://tables.test"
    return service


def _tables(request: pytest.FixtureRequest, kind: str) -> Tables:
    name = f"t{uuid4().hex}"
    if kind == "azurite":
        return Tables(request.getfixturevalue("azurite"), KEY, table_transport, name)
    service: TableService = request.getfixturevalue("table_service")
    key = service.admission.key
    return Tables(service.connection_string, key, lambda: in_memory_transport(service), name)


AZURITE = pytest.param("azurite", marks=pytest.mark.azurite)


@pytest.fixture(params=["tables", AZURITE])
def tables(request: pytest.FixtureRequest) -> Tables:
    """Give the stand-in, and Azurite."""
    return _tables(request, request.param)


@pytest.fixture
async def table(tables: Tables) -> AsyncIterator[TableClient]:
    """Give a client of a table that is not made yet."""
    async with tables.open() as client:
        yield client


def no_host(monkeypatch: pytest.MonkeyPatch, name: str, code: int = socket.EAI_NONAME) -> None:
    """Let the machine's look-up of a host whose name begins so end with a code."""
    find = socket.getaddrinfo

    def find_none(host: Any, *args: Any, **options: Any) -> Any:
        if (host.decode() if isinstance(host, bytes) else str(host)).startswith(name):
            raise socket.gaierror(code, "pLaNtEd")
        return find(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", find_none)


NESTED: Final = "[" * 100_000


async def spoil(store: LinkStore, incident_id: IncidentId, record: str = NESTED) -> None:
    """Write something over a record that is no record, as nobody but a defect would."""
    if isinstance(store, SqliteLinkStore):
        update = "UPDATE links SET record = ? WHERE incident = ?"
        await store._file.run(lambda db: db.execute(update, (record, incident_id.key)))
    elif isinstance(store, TableLinkStore):
        keys = key(incident_id.workspace, link_row(incident_id))
        await store._table.update_entity({**keys, "record": record[:30_000]}, mode=UpdateMode.MERGE)


async def spoil_run(store: LinkStore, run: str | bytes) -> None:
    """Write something over the timer's last run."""
    await store.save_run(TimerRun(started_at=datetime.now(UTC), finished_at=datetime.now(UTC)))
    if isinstance(store, SqliteLinkStore):
        await store._file.run(lambda db: db.execute("UPDATE runs SET run = CAST(? AS TEXT)", (run,)))
    elif isinstance(store, TableLinkStore):
        entity = {"PartitionKey": "timer", "RowKey": "last-run", "run": run}
        await store._table.upsert_entity(entity, mode=UpdateMode.REPLACE)


async def spoil_feed(store: LinkStore, workspace_id: WorkspaceId, text: str | bytes) -> None:
    """Write something where it is kept how far a workspace was followed."""
    await store.check()
    if isinstance(store, SqliteLinkStore):
        insert = "INSERT OR REPLACE INTO feeds VALUES (?, 'v', CAST(? AS TEXT))"
        await store._file.run(lambda db: db.execute(insert, (workspace_id.key, text)))
    elif isinstance(store, TableLinkStore):
        entity = {**key(workspace_id, "feed"), "feed": text}
        await store._table.upsert_entity(entity, mode=UpdateMode.REPLACE)


async def spoil_watermark(store: LinkStore, workspace_id: WorkspaceId, text: str | bytes) -> None:
    """Write something as the watermark of 0.1.0; a moment as it wrote it is none that was spoilt."""
    await store.check()
    if isinstance(store, SqliteLinkStore):
        insert = "INSERT OR REPLACE INTO watermarks VALUES (?, CAST(? AS TEXT))"
        await store._file.run(lambda db: db.execute(insert, (workspace_id.key, text)))
    elif isinstance(store, TableLinkStore):
        entity = {**key(workspace_id, "watermark"), "created_at": text}
        await store._table.upsert_entity(entity, mode=UpdateMode.REPLACE)


type OpenStore = Callable[[], LinkStore]


@pytest.fixture(params=["sqlite", "tables", AZURITE])
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Return a function that opens one more store over the same data, as another instance would."""
    if request.param == "sqlite":

        def make() -> LinkStore:
            return SqliteLinkStore(tmp_path / "links.db")
    else:
        tables = _tables(request, request.param)

        def make() -> LinkStore:
            return TableLinkStore(tables.open())

    opened: list[LinkStore] = []

    def open_one() -> LinkStore:
        opened.append(make())
        return opened[-1]

    yield open_one
    for each in opened:
        await each.close()


@pytest.fixture
def store(open_store: OpenStore) -> LinkStore:
    return open_store()
