"""Every link store, with the real table service of Azurite; where that is not installed, it is skipped."""

import os
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from azure.data.tables.aio import TableClient

from contraforce_sentinel.azure_transport import HttpxTransport, open_azure_connections
from contraforce_sentinel.stores import LinkStore
from contraforce_sentinel.stores.sqlite import SqliteLinkStore
from contraforce_sentinel.stores.tables import READ_SECONDS, TableLinkStore

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
    return HttpxTransport(open_azure_connections(tls=ssl.create_default_context(), read_seconds=READ_SECONDS))


type OpenStore = Callable[[], LinkStore]


@pytest.fixture(params=["sqlite", pytest.param("tables", marks=pytest.mark.azurite)])
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Return a function that opens one more store over the same data, as another instance would."""
    if request.param == "tables":
        connection, name = request.getfixturevalue("azurite"), f"t{uuid4().hex}"

        def make() -> LinkStore:
            return TableLinkStore(
                TableClient.from_connection_string(connection, name, transport=table_transport())
            )
    else:

        def make() -> LinkStore:
            return SqliteLinkStore(tmp_path / "links.db")

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
