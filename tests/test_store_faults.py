"""Why the table service does not do its work: each cause is told with its remedy, in our own words."""

import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, Final, Literal
from uuid import uuid4

import pytest
from azure.data.tables.aio import TableClient
from conftest import App
from store_fixtures import in_memory_transport, no_host, table_transport

from contraforce_sentinel.azure.httpx_transport import HttpxTransport, open_azure_connections
from contraforce_sentinel.azure.identity import Identity
from contraforce_sentinel.domain.errors import StoreFault, StoreUnavailable
from contraforce_sentinel.domain.incidents import IncidentId, WorkspaceId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.runs import Feed
from contraforce_sentinel.stores.link_store import LinkStore
from contraforce_sentinel.stores.tables import TABLE_NAME, TableLinkStore
from contraforce_sentinel.telemetry.events import EVENT_NAME
from contraforce_sentinel.transport.network import Network
from sandbox import Sandbox, faults
from sandbox.table_errors import ERRORS
from sandbox.table_service import TableService

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
WORKSPACE = WorkspaceId("11111111-2222-4333-8444-555555555555", "rg-secops", "law-one")
LINK = Link(incident_id=IncidentId(WORKSPACE, "a"), next_try_at=NOW, created_at=NOW, updated_at=NOW)
SERVICE_WORDS: Final = {message.rstrip(".") for _, message in ERRORS.values()}
CALLS: Final[dict[str, Callable[[LinkStore], Awaitable[object]]]] = {
    "get": lambda store: store.get(LINK.incident_id),
    "insert": lambda store: store.insert(LINK),
    "due": lambda store: store.due(WORKSPACE, now=NOW, limit=10),
    "repair": lambda store: store.repair(WORKSPACE, after=""),
    "exists": lambda store: store.exists(),
}

type Credential = Literal["key", "identity"]


async def refused(work: Awaitable[object]) -> StoreUnavailable:
    """Return what is told of a call that fails, free of the service's words."""
    with pytest.raises(StoreUnavailable) as caught:
        await work
    told = str(caught.value)
    assert not any(words in told for words in SERVICE_WORDS)
    return caught.value


@pytest.fixture
async def stores(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[dict[str, TableLinkStore]]:
    """Two stores in use, one by the account's key, one as the app's identity."""
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
        monkeypatch.setenv(name, sandbox.environment()[name])
    transport = HttpxTransport(
        open_azure_connections(Network(tls=sandbox.client_context()), read_seconds=5.0)
    )
    identity = Identity(client_id=sandbox.identity.client_ids[0], transport=transport)
    found = {
        "key": TableLinkStore.from_connection_string(sandbox.tables.connection_string, transport=transport),
        "identity": TableLinkStore.from_endpoint(sandbox.tables.endpoint, identity, transport=transport),
    }
    for store in found.values():
        await store.check()
    yield found
    await identity.close()
    for store in found.values():
        await store.close()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("off", "credential", "told"),
    [
        ("lets_network_in", "identity", (StoreFault.NETWORK, "network rules")),
        ("lets_network_in", "key", (StoreFault.NETWORK, "network rules")),
        ("has_role", "identity", (StoreFault.ROLE, "grant it the role Storage Table Data Contributor")),
        ("is_in_tenant", "identity", (StoreFault.TENANT, "of the tenant that the account is in")),
        ("admits_keys", "key", (StoreFault.KEYS_OFF, "set LINK_STORE to https://<account>.table")),
        ("is_enabled", "identity", (StoreFault.DISABLED, "look at the account and its subscription")),
    ],
)
async def test_each_reason_for_which_an_account_admits_nobody_has_its_own_remedy(  # noqa: PLR0917 - a table
    sandbox: Sandbox,
    stores: dict[str, TableLinkStore],
    off: str,
    credential: Credential,
    told: tuple[StoreFault, str],
    call: str,
) -> None:
    setattr(sandbox.tables.admission, off, False)
    error = await refused(CALLS[call](stores[credential]))
    assert error.fault is told[0]
    assert told[1] in str(error)
    setattr(sandbox.tables.admission, off, True)
    await CALLS[call](stores[credential])


@pytest.mark.parametrize("call", CALLS)
async def test_a_wrong_key_is_told_apart_from_a_missing_role(table_service: TableService, call: str) -> None:
    text = table_service.connection_string.replace(table_service.admission.key, "d3Jvbmc=")
    store = TableLinkStore.from_connection_string(text, transport=in_memory_transport(table_service))
    told = await refused(CALLS[call](store))
    assert told.fault is StoreFault.KEY
    assert "the key in LINK_STORE" in str(told)


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize("call", CALLS)
async def test_an_account_that_does_not_exist_is_named(monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    no_host(monkeypatch, "stgone")
    store = TableLinkStore.from_connection_string(
        "AccountName=stgone;AccountKey=a2V5;EndpointSuffix=core.windows.net;", transport=table_transport()
    )
    told = await refused(CALLS[call](store))
    assert told.fault is StoreFault.ACCOUNT
    assert "no host has the name of its account: correct LINK_STORE" in str(told)
    assert "pLaNtEd" not in str(told)
    await store.close()


@pytest.mark.usefixtures("no_backoff")
async def test_a_look_up_of_names_that_does_not_work_now_says_nothing_about_the_account(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    no_host(monkeypatch, "stthere", socket.EAI_AGAIN)
    store = TableLinkStore.from_connection_string(
        "AccountName=stthere;AccountKey=a2V5;EndpointSuffix=core.windows.net;", transport=table_transport()
    )
    assert (await refused(store.check())).fault is None
    await store.close()


@pytest.fixture
async def alone(table_service: TableService) -> AsyncIterator[TableClient]:
    transport: Any = in_memory_transport(table_service)
    text = table_service.connection_string
    async with TableClient.from_connection_string(
        text, f"t{uuid4().hex}", transport=transport, retry_total=0
    ) as client:
        yield client


@pytest.mark.parametrize("call", [name for name in CALLS if name != "exists"])
async def test_a_table_that_was_removed_is_named_and_so_is_one_that_is_still_being_removed(
    table_service: TableService, alone: TableClient, call: str
) -> None:
    store = TableLinkStore(alone)
    await store.check()
    await alone.delete_table()
    table_service.being_deleted.add(alone.table_name)
    told = await refused(CALLS[call](store))
    assert (told.fault, "the next call makes it anew" in str(told)) == (StoreFault.TABLE, True)
    for _ in range(2):
        told = await refused(CALLS[call](store))
        assert (told.fault, "in a minute" in str(told)) == (StoreFault.REMOVAL, True)
    table_service.being_deleted.clear()
    await CALLS[call](store)


@pytest.mark.parametrize("call", [name for name in CALLS if name != "exists"])
async def test_an_identity_that_may_not_make_tables_uses_the_one_that_is_there(
    sandbox: Sandbox, stores: dict[str, TableLinkStore], call: str
) -> None:
    """The template makes the tables, and gives the app a role on the one with the links."""
    sandbox.tables.admission.may_make_tables = False
    removed = sandbox.tables.tables.pop(TABLE_NAME)
    assert (await refused(CALLS[call](stores["identity"]))).fault is StoreFault.TABLE
    told = await refused(CALLS[call](stores["identity"]))
    assert (told.fault, "this identity may not make it" in str(told)) == (StoreFault.NO_TABLE, True)
    sandbox.tables.tables[TABLE_NAME] = removed
    await CALLS[call](stores["identity"])


@pytest.mark.parametrize("call", [*CALLS, "save_feed"])
async def test_an_address_without_tables_is_named(table_service: TableService, call: str) -> None:
    """What is not found there is no record: nobody may take it for one that is missing."""
    text = table_service.connection_string.replace("/stsandboxlinks;", "/another/place;")
    store = TableLinkStore.from_connection_string(text, transport=in_memory_transport(table_service))
    calls = CALLS | {"save_feed": lambda store: store.save_feed(WORKSPACE, Feed())}
    if call == "exists":
        assert await store.exists()  # of an address alone nobody can tell
        return
    told = await refused(calls[call](store))
    assert (told.fault, "correct LINK_STORE" in str(told)) == (StoreFault.ADDRESS, True)


@pytest.mark.parametrize(("status", "code"), [(401, "pLaNtEd"), (403, "pLaNtEd"), (403, None)])
async def test_a_refusal_of_another_kind_says_where_to_look(
    sandbox: Sandbox, stores: dict[str, TableLinkStore], status: int, code: str | None
) -> None:
    body = {"odata.error": {"code": code, "message": {"value": "pLaNtEd"}}}
    sandbox.faults.plan("tables.get", faults.json(status, body), times=None)
    told = await refused(stores["key"].get(LINK.incident_id))
    assert (told.fault, "roles, keys and network rules" in str(told)) == (None, True)
    assert "pLaNtEd" not in str(told)


class TestTheWholeApp:
    """The remedy is where people look: the answer, its event, the status."""

    @pytest.fixture(autouse=True)
    def in_tables(self, app: App, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("LINK_STORE", app.sandbox.tables.connection_string)
        app.sandbox.tables.admission.lets_network_in = False

    async def test_a_503_and_its_event_say_what_to_do(
        self, app: App, caplog: pytest.LogCaptureFixture
    ) -> None:
        answer = await app.post(app.workspace.add_incident())
        assert (answer.status, answer.json["code"]) == (503, "store-unavailable")
        assert "network rules" in answer.json["detail"]
        (event,) = [vars(one) for one in caplog.records if vars(one).get(EVENT_NAME) == "request.refused"]
        assert event["error"] == answer.json["detail"]

    async def test_status_says_what_to_do_and_nothing_once_it_is_done(self, app: App) -> None:
        health = await app.status()
        assert (health.status, health.json["store"]) == (503, "unavailable")
        assert "network rules" in health.json["storeProblem"]
        app.sandbox.tables.admission.lets_network_in = True
        health = await app.status()
        assert (health.status, health.json["store"], health.json["storeProblem"]) == (200, "ok", None)

    async def test_a_run_of_the_timer_that_could_not_be_made_says_what_to_do(
        self, app: App, caplog: pytest.LogCaptureFixture
    ) -> None:
        with pytest.raises(Exception, match="network rules"):
            await app.reconcile()
        (event,) = [vars(one) for one in caplog.records if vars(one).get(EVENT_NAME) == "reconcile.failed"]
        assert "network rules" in event["error"]
