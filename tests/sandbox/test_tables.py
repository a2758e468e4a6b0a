"""The stand-in of the table service: as Azurite is, and as the vendor's pages say where Azurite is not so."""

import asyncio
from collections.abc import AsyncIterator, Awaitable
from datetime import UTC, datetime, timedelta
from typing import Any, Self
from uuid import UUID

import httpx
import pytest
from azure.core import MatchConditions
from azure.core.credentials import AccessToken
from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.data.tables import EdmType, EntityProperty, UpdateMode
from azure.data.tables._table_batch import TableBatchOperations
from azure.data.tables.aio import TableClient
from store_fixtures import Tables, in_memory_transport

from contraforce_sentinel.azure.httpx_transport import HttpxTransport, open_azure_connections
from contraforce_sentinel.settings import Settings
from contraforce_sentinel.stores.tables import TableLinkStore
from contraforce_sentinel.transport.network import Network
from sandbox import Sandbox, faults
from sandbox.identity import IssuedToken
from sandbox.in_memory import InMemory
from sandbox.table_service import TableService

NOBODYS = "W/\"datetime'2020-01-01T00%3A00%3A00.0000000Z'\""
NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)


def entity(row: str = "a", **properties: Any) -> dict[str, Any]:
    return {"PartitionKey": "p", "RowKey": row, **properties}


def unchanged(etag: str) -> dict[str, Any]:
    return {"etag": etag, "match_condition": MatchConditions.IfNotModified}


async def outcome(work: Awaitable[Any]) -> str:
    """Status and error code of a call, or "done"."""
    try:
        await work
    except HttpResponseError as error:
        response: Any = error.response
        code = getattr(error, "error_code", None) or response.headers.get("x-ms-error-code")
        return f"{error.status_code} {getattr(code, 'value', code)}"
    return "done"


async def rows(table: TableClient, query: str, **options: Any) -> list[str]:
    return [found["RowKey"] async for found in table.query_entities(query, **options)]


@pytest.fixture
async def made(table: TableClient) -> TableClient:
    await table.create_table()
    return table


class TestAsAzurite:
    """The same calls of the real SDK, over both."""

    async def test_a_table_is_made_once_and_gone_when_it_is_deleted(self, table: TableClient) -> None:
        assert await outcome(table.get_entity("p", "a")) == "404 TableNotFound"
        assert await outcome(table.create_entity(entity())) == "404 TableNotFound"
        assert await outcome(table.submit_transaction([("create", entity())])) == "404 TableNotFound"
        assert await outcome(table.create_table()) == "done"
        assert await outcome(table.create_table()) == "409 TableAlreadyExists"
        await table.create_entity(entity())
        await table.delete_table()
        assert await outcome(table.get_entity("p", "a")) == "404 TableNotFound"
        await table.create_table()
        assert await outcome(table.get_entity("p", "a")) == "404 ResourceNotFound"

    async def test_every_type_comes_back_as_it_went(self, made: TableClient) -> None:
        properties: dict[str, Any] = {
            "text": "Анмельдунг 日本語 \U0001f6a8 'x' \"y\"",
            "number": 7,
            "large": EntityProperty(2**40, EdmType.INT64),
            "real": 1.5,
            "truth": False,
            "moment": datetime(2026, 1, 2, 3, 4, 5, 678_901, tzinfo=UTC),
            "bytes": b"\x00\xff",
            "guid": UUID("11111111-2222-4333-8444-555555555555"),
        }
        await made.create_entity(entity(**properties, nothing=None))

        found = await made.get_entity("p", "a")
        assert found == {**entity(), **properties}
        written: Any = found.metadata["timestamp"]
        assert abs(written - datetime.now(UTC)) < timedelta(minutes=5)

    async def test_every_write_changes_the_etag(self, made: TableClient) -> None:
        etags = [(await made.create_entity(entity()))["etag"]]
        for _ in range(3):
            etags.append((await made.upsert_entity(entity()))["etag"])
            etags.append((await made.update_entity(entity(), mode=UpdateMode.REPLACE))["etag"])
            done = await made.submit_transaction([("update", entity(), unchanged(etags[-1]))])
            etags.append(done[0]["etag"])
        assert len(set(etags)) == len(etags)
        assert (await made.get_entity("p", "a")).metadata["etag"] == etags[-1]

    async def test_conditions(self, made: TableClient) -> None:
        """Of single calls and of transactions, on an entity that is there, and on one that is not."""
        etag = (await made.create_entity(entity()))["etag"]
        for mode in UpdateMode:
            assert await outcome(made.update_entity(entity("z"), mode=mode)) == "404 ResourceNotFound"
            condition = unchanged(NOBODYS)
            refused = "412 UpdateConditionNotSatisfied"
            assert await outcome(made.update_entity(entity(), mode=mode, **condition)) == refused
            changes: list[Any] = [("update", entity(), {"mode": mode, **condition})]
            assert await outcome(made.submit_transaction(changes)) == refused
            changes = [("update", entity("z"), {"mode": mode, **condition})]
            assert await outcome(made.submit_transaction(changes)) == "404 ResourceNotFound"
        assert await outcome(made.create_entity(entity())) == "409 EntityAlreadyExists"
        assert await outcome(made.delete_entity("p", "a", **unchanged(NOBODYS))) == (
            "412 UpdateConditionNotSatisfied"
        )
        assert await outcome(made.delete_entity("p", "a", **unchanged(etag))) == "done"
        assert await outcome(made.delete_entity("p", "a")) == "done"  # the SDK takes a 404 for that
        changes = [("delete", entity())]
        assert await outcome(made.submit_transaction(changes)) == "404 ResourceNotFound"

    async def test_replacing_forgets_what_merging_keeps(self, made: TableClient) -> None:
        moment = NOW + timedelta(microseconds=1)
        await made.create_entity(entity(x=moment, y=1))
        await made.upsert_entity(entity(y=2))
        assert await made.get_entity("p", "a") == entity(x=moment, y=2)
        await made.upsert_entity(entity(x="text"))
        assert await made.get_entity("p", "a") == entity(x="text", y=2)
        await made.upsert_entity(entity(z=3), mode=UpdateMode.REPLACE)
        assert await made.get_entity("p", "a") == entity(z=3)

    async def test_select(self, made: TableClient) -> None:
        await made.create_entity(entity(x=NOW, y=1))
        assert await made.get_entity("p", "a", select=["RowKey", "x"]) == {"RowKey": "a", "x": NOW}
        found = [one async for one in made.query_entities("y eq 1", select=["y"])]
        assert found == [{"y": 1}]

    @pytest.mark.parametrize(
        ("fault", "refused", "index"),
        [
            (("create", entity("b")), "409 EntityAlreadyExists", 2),
            (("delete", entity("z")), "404 ResourceNotFound", 2),
            (("update", entity("b"), unchanged(NOBODYS)), "412 UpdateConditionNotSatisfied", 2),
            (("upsert", entity("new")), "400 InvalidDuplicateRow", 2),
        ],
    )
    async def test_a_transaction_that_fails_changes_nothing_and_names_the_operation(
        self, made: TableClient, fault: Any, refused: str, index: int
    ) -> None:
        await made.create_entity(entity("a", x=1))
        await made.create_entity(entity("b", x=1))
        before = [(one, one.metadata["etag"]) async for one in made.list_entities()]

        changes = [("create", entity("new")), ("upsert", entity("a", x=2)), fault, ("upsert", entity("c"))]
        with pytest.raises(HttpResponseError) as caught:
            await made.submit_transaction(changes)

        assert getattr(caught.value, "index", None) == index
        assert f"{caught.value.status_code} {_code(caught.value)}" == refused
        assert [(one, one.metadata["etag"]) async for one in made.list_entities()] == before

    async def test_a_transaction_may_have_100_operations(self, made: TableClient) -> None:
        every = [entity(f"r{number}") for number in range(100)]
        await made.submit_transaction([("upsert", one) for one in every])
        assert len(await rows(made, "")) == 100
        await made.submit_transaction([("delete", one) for one in every])
        assert await rows(made, "") == []

    async def test_a_transaction_is_done_whole_and_in_order(self, made: TableClient) -> None:
        await made.create_entity(entity("gone"))
        done = await made.submit_transaction(
            [
                ("create", entity("new", x=1)),
                ("delete", entity("gone")),
                ("upsert", entity("more"), {"mode": UpdateMode.REPLACE}),
            ]
        )
        assert [("etag" in each and each["etag"] is not None) for each in done] == [True, False, True]
        assert await rows(made, "") == ["more", "new"]

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("PartitionKey eq 'p' and RowKey ge 'b' and RowKey lt 'd'", "b c"),
            ("RowKey gt 'b' and RowKey le 'd'", "c d"),
            ("RowKey eq 'a' or RowKey eq 'e'", "a e"),
            ("RowKey ne 'a'", "b c d e"),
            ("number gt 2", "c d e"),
            ("number ge -1 and number lt 2", "a"),
            ("large eq 1099511627776L", "b"),
            ("truth eq true", "a c e"),
            ("truth eq false and not (number eq 2)", "d"),
            ("text eq 'it''s'", "b"),
            ("text eq 'a and b or (c)'", "c"),
            ("moment ge datetime'2026-11-23T13:00:00.000000Z'", "b c d e"),
            ("moment lt datetime'2026-11-23T13:00:00Z'", "a"),
            ("(RowKey eq 'a' or RowKey eq 'b') and (number eq 2 or number eq 3)", "b"),
            ("RowKey eq 'a' or RowKey eq 'b' and number eq 9", "a"),
            ("state eq 'x'", ""),
            ("real gt 1.5", "d e"),
        ],
    )
    async def test_filters(self, made: TableClient, query: str, expected: str) -> None:
        texts = {"b": "it's", "c": "a and b or (c)"}
        for number, row in enumerate("dbeca"):
            value = "abcde".index(row) + 1
            await made.create_entity(
                entity(
                    row,
                    number=value,
                    truth=bool(value % 2),
                    text=texts.get(row, row),
                    large=EntityProperty(2**40 if row == "b" else number, EdmType.INT64),
                    moment=NOW + timedelta(hours=value - 1),
                    real=value / 2 - 0.25,
                )
            )
        assert await rows(made, query) == expected.split()

    @pytest.mark.parametrize("query", ["RowKey eq", "(RowKey eq 'a'", "RowKey eq 'a' and"])
    async def test_a_filter_that_is_none_is_refused(self, made: TableClient, query: str) -> None:
        with pytest.raises(HttpResponseError) as caught:
            await rows(made, query)
        assert caught.value.status_code == 400

    async def test_pages_come_in_order_and_miss_and_repeat_nothing(self, made: TableClient) -> None:
        names = [f"r-{number:02}'é" for number in range(23)]
        for name in reversed(names):
            await made.create_entity(entity(name))
        await made.create_entity({"PartitionKey": "q", "RowKey": "x"})

        pages = made.query_entities("RowKey ge 'r'", results_per_page=10).by_page()
        assert [[one["RowKey"] async for one in page] async for page in pages] == [
            names[:10],
            names[10:20],
            [*names[20:], "x"],
        ]

    async def test_a_wrong_key_is_refused(self, tables: Tables) -> None:
        wrong = tables.connection.replace(tables.key, "d3Jvbmc=")
        transport: Any = tables.open_transport()
        async with TableClient.from_connection_string(wrong, tables.name, transport=transport) as table:
            with pytest.raises(HttpResponseError) as caught:
                await table.create_table()
        assert caught.value.status_code == 403


def _code(error: HttpResponseError) -> str:
    code: Any = getattr(error, "error_code", None)
    return str(getattr(code, "value", code))


@pytest.fixture
async def alone(table_service: TableService) -> AsyncIterator[TableClient]:
    """A table of the stand-in only."""
    transport: Any = in_memory_transport(table_service)
    async with TableClient.from_connection_string(
        table_service.connection_string, "links", transport=transport
    ) as table:
        await table.create_table()
        yield table


@pytest.fixture
async def made_alone(alone: TableClient, table_service: TableService) -> TableService:
    """The stand-in, its table made."""
    assert alone.table_name in table_service.tables
    return table_service


class TestBeyondAzurite:
    """What tests need, and what the vendor's pages say that Azurite does not do."""

    async def test_pages_are_as_short_as_a_test_wants(
        self, alone: TableClient, table_service: TableService
    ) -> None:
        table_service.entities_per_page = 2
        await alone.submit_transaction([("create", entity(row)) for row in "abcde"])
        pages = alone.list_entities().by_page()
        assert [[one["RowKey"] async for one in page] async for page in pages] == [
            ["a", "b"],
            ["c", "d"],
            ["e"],
        ]

    async def test_a_page_may_be_empty_and_not_the_last_one(
        self, alone: TableClient, table_service: TableService
    ) -> None:
        # https://learn.microsoft.com/rest/api/storageservices/query-timeout-and-pagination
        table_service.looks_per_page = 2
        await alone.submit_transaction([("create", entity(row, x=row in "ae")) for row in "abcde"])
        pages = alone.query_entities("x eq true").by_page()
        assert [[one["RowKey"] async for one in page] async for page in pages] == [["a"], [], ["e"]]

    async def test_a_clock_of_a_test_makes_timestamps_and_still_every_etag_is_new(
        self, alone: TableClient, table_service: TableService
    ) -> None:
        table_service.clock = lambda: datetime(2030, 1, 2, 3, 4, 5, 6, tzinfo=UTC)
        etags = [(await alone.upsert_entity(entity(x=number)))["etag"] for number in range(3)]
        assert etags == [
            f"W/\"datetime'2030-01-02T03%3A04%3A05.00000{digits}Z'\"" for digits in ("60", "61", "62")
        ]
        assert (await alone.get_entity("p", "a")).metadata["timestamp"] == table_service.clock()

    async def test_what_lasts_is_told_and_nothing_else(
        self, alone: TableClient, table_service: TableService
    ) -> None:
        told: list[tuple[str, bool]] = []
        table_service.watch = lambda key, found: told.append((key[1], found is not None))
        await alone.submit_transaction([("create", entity("a")), ("create", entity("b"))])
        await outcome(alone.submit_transaction([("delete", entity("a")), ("create", entity("b"))]))
        await alone.delete_entity("p", "b")
        assert told == [("a", True), ("b", True), ("b", False)]

    @pytest.mark.parametrize("key", ["a/b", "a\\b", "a#b", "a?b", "a\tb", "x" * 1025])
    async def test_a_key_that_is_none_is_refused(self, alone: TableClient, key: str) -> None:
        # https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model
        assert await outcome(alone.create_entity(entity(key))) == "400 OutOfRangeInput"

    @pytest.mark.parametrize(
        ("properties", "refused"),
        [
            ({"x": "é" * 32_768}, "done"),
            ({"x": "é" * 32_769}, "400 PropertyValueTooLarge"),
            ({"x": b"x" * 65_537}, "400 PropertyValueTooLarge"),
            ({f"x{number}": "y" * 32_000 for number in range(33)}, "400 EntityTooLarge"),
            ({f"x{number}": 1 for number in range(252)}, "done"),
            ({f"x{number}": 1 for number in range(253)}, "400 TooManyProperties"),
            ({"x" * 256: 1}, "400 PropertyNameTooLong"),
            ({"x": ("yesterday", EdmType.DATETIME)}, "400 InvalidInput"),
        ],
    )
    async def test_entities_have_limits(
        self, alone: TableClient, properties: dict[str, Any], refused: str
    ) -> None:
        assert await outcome(alone.create_entity(entity(**properties))) == refused

    async def test_a_transaction_has_at_most_4_mib(self, alone: TableClient) -> None:
        changes = [("create", entity(f"{n}", x="y" * 32_000, z="y" * 32_000)) for n in range(70)]
        assert (await outcome(alone.submit_transaction(changes))).startswith("413")
        assert await rows(alone, "") == []

    async def test_a_transaction_has_at_most_100_operations(self, alone: TableClient) -> None:
        changes = [("upsert", entity(f"r{number}")) for number in range(101)]
        assert await outcome(alone.submit_transaction(changes)) == "400 InvalidInput"
        assert await rows(alone, "") == []

    async def test_an_etag_that_is_none_is_refused(self, alone: TableClient) -> None:
        await alone.create_entity(entity())
        assert await outcome(alone.update_entity(entity(), **unchanged("x"))) == "400 InvalidInput"

    async def test_a_transaction_stays_in_its_partition(
        self, alone: TableClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The SDK refuses it too, so its own check is turned off."""
        monkeypatch.setattr(TableBatchOperations, "_verify_partition_key", lambda *_: None)
        changes = [("create", entity("a")), ("create", {"PartitionKey": "q", "RowKey": "b"})]
        refused = "400 CommandsInBatchActOnDifferentPartitions"
        assert await outcome(alone.submit_transaction(changes)) == refused
        assert await rows(alone, "") == []

    async def test_a_filter_has_at_most_15_comparisons_and_no_other_grammar(self, alone: TableClient) -> None:
        # https://learn.microsoft.com/rest/api/storageservices/querying-tables-and-entities
        assert await rows(alone, " or ".join(["x eq 1"] * 15)) == []
        for query in (" or ".join(["x eq 1"] * 16), "RowKey eq 'a", "RowKey like 'a'", "eq eq eq"):
            with pytest.raises(HttpResponseError) as caught:
                await rows(alone, query)
            assert caught.value.status_code == 400

    @pytest.mark.parametrize("metadata", ["no", "minimal", "full"])
    async def test_annotations_are_as_the_caller_asks(
        self, alone: TableClient, table_service: TableService, metadata: str
    ) -> None:
        await alone.create_entity(entity("o'clock", x=NOW, y=1))
        token = _issue(table_service, "https://storage.azure.com")
        async with httpx.AsyncClient(transport=InMemory(table_service)) as web:
            answer = await web.get(
                f"{table_service.endpoint}/links(PartitionKey='p',RowKey='o%27%27clock')",
                headers={
                    "Accept": f"application/json;odata={metadata}metadata",
                    "Authorization": f"Bearer {token}",
                },
            )
        body = answer.json()
        assert body["RowKey"] == "o'clock"
        assert ("x@odata.type" in body, "odata.etag" in body) == (metadata != "no",) * 2
        assert ("odata.editLink" in body) == (metadata == "full")

    @pytest.mark.parametrize(
        ("header", "refused"),
        [
            ("", "401 NoAuthenticationInformation"),
            ("Bearer nobody", "401 InvalidAuthenticationInfo"),
            ("Bearer {management}", "401 InvalidAuthenticationInfo"),
            ("Bearer {storage}", "404 ResourceNotFound"),
            ("SharedKey stsandboxlinks:AAAA", "403 AuthenticationFailed"),
            ("Basic AAAA", "403 AuthenticationFailed"),
        ],
    )
    async def test_who_is_not_admitted_is_told_so(
        self, made_alone: TableService, header: str, refused: str
    ) -> None:
        table_service = made_alone
        values = {
            name: _issue(table_service, f"https://{name}.azure.com") for name in ("storage", "management")
        }
        async with httpx.AsyncClient(transport=InMemory(table_service)) as web:
            answer = await web.get(
                f"{table_service.endpoint}/links(PartitionKey='p',RowKey='a')",
                headers={"Authorization": header.format(**values)} if header else {},
            )
        assert f"{answer.status_code} {answer.headers['x-ms-error-code']}" == refused
        assert answer.json()["odata.error"]["code"] == refused.split()[1]
        assert ("resource_id=https://storage.azure.com" in answer.headers.get("WWW-Authenticate", "")) == (
            answer.status_code == 401
        )

    @pytest.mark.parametrize(
        ("off", "header", "refused"),
        [
            ("lets_network_in", "Bearer {storage}", "403 AuthorizationFailure"),
            ("lets_network_in", "SharedKey stsandboxlinks:AAAA", "403 AuthorizationFailure"),
            ("is_enabled", "Bearer {storage}", "403 AccountIsDisabled"),
            ("is_in_tenant", "Bearer {storage}", "401 InvalidAuthenticationInfo"),
            ("has_role", "Bearer {storage}", "403 AuthorizationPermissionMismatch"),
            ("has_role", "SharedKey stsandboxlinks:AAAA", "403 AuthenticationFailed"),
            ("admits_keys", "SharedKey stsandboxlinks:AAAA", "403 KeyBasedAuthenticationNotPermitted"),
            ("admits_keys", "Bearer {storage}", "404 ResourceNotFound"),
        ],
    )
    async def test_what_the_account_does_not_allow_has_a_code_of_its_own(
        self, made_alone: TableService, off: str, header: str, refused: str
    ) -> None:
        # https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
        setattr(made_alone.admission, off, False)
        token = _issue(made_alone, "https://storage.azure.com")
        async with httpx.AsyncClient(transport=InMemory(made_alone)) as web:
            answer = await web.get(
                f"{made_alone.endpoint}/links(PartitionKey='p',RowKey='a')",
                headers={"Authorization": header.format(storage=token)},
            )
        assert f"{answer.status_code} {answer.headers['x-ms-error-code']}" == refused

    async def test_the_name_of_a_removed_table_is_not_free_at_once(
        self, alone: TableClient, table_service: TableService
    ) -> None:
        # https://learn.microsoft.com/rest/api/storageservices/delete-table
        await alone.delete_table()
        table_service.being_deleted.add("links")
        assert await outcome(alone.create_table()) == "409 TableBeingDeleted"
        assert await outcome(alone.get_entity("p", "a")) == "404 TableNotFound"
        table_service.being_deleted.clear()
        assert await outcome(alone.create_table()) == "done"

    async def test_the_identity_is_admitted_and_a_revoked_token_is_not(
        self, made_alone: TableService
    ) -> None:
        table_service = made_alone
        credential = _Credential(table_service)
        transport: Any = in_memory_transport(table_service)
        async with TableClient(
            table_service.endpoint, "links", credential=credential, transport=transport
        ) as table:
            assert await outcome(table.create_entity(entity())) == "done"
            table_service.admission._identity.tokens.clear()
            with pytest.raises(ClientAuthenticationError):
                await table.get_entity("p", "a")
        assert set(credential.asked) == {"https://storage.azure.com/.default"}


def _issue(service: TableService, resource: str) -> str:
    token = f"token-{resource}"
    service.admission._identity.tokens[token] = IssuedToken("id", resource, expires_at=9e9)
    return token


class _Credential:
    def __init__(self, service: TableService) -> None:
        self._token = _issue(service, "https://storage.azure.com")
        self.asked: list[str] = []

    async def get_token(self, *scopes: str, **_: Any) -> AccessToken:
        self.asked += scopes
        return AccessToken(self._token, 9_000_000_000)

    async def close(self) -> None:
        pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


class TestServed:
    """Over TLS, as the other services of the sandbox."""

    async def test_the_setting_that_it_gives_is_accepted_and_leads_to_it(self, sandbox: Sandbox) -> None:
        sandbox.add_workspace()
        text = sandbox.tables.connection_string
        settings = Settings.from_environment({**sandbox.environment(), "LINK_STORE": text})
        assert settings.link_store.get_secret_value() == text
        assert sandbox.tables.admission.key in sandbox.secrets()

        store = TableLinkStore.from_connection_string(text, transport=_transport(sandbox))
        assert await store.exists() is False
        await store.check()
        assert await store.exists() is True
        await store.close()
        operations = [request.operation for request in sandbox.log.all]
        assert operations == ["tables.get", "tables.create", "tables.get", "tables.get"]

    async def test_faults_can_be_planned(self, sandbox: Sandbox) -> None:
        text = sandbox.tables.connection_string
        async with TableClient.from_connection_string(
            text, "links", transport=_transport(sandbox), retry_total=0
        ) as table:
            await table.create_table()
            sandbox.faults.plan("tables.batch", faults.status(503), faults.reset("after"))
            assert (await outcome(table.submit_transaction([("create", entity())]))).startswith("503")
            with pytest.raises(AzureError):
                await table.submit_transaction([("create", entity())])
            assert await rows(table, "") == ["a"]

    async def test_many_at_once_have_one_winner(self, sandbox: Sandbox) -> None:
        text = sandbox.tables.connection_string
        async with TableClient.from_connection_string(text, "links", transport=_transport(sandbox)) as table:
            await table.create_table()
            done = await asyncio.gather(*(outcome(table.create_entity(entity())) for _ in range(10)))
        assert sorted(done) == ["409 EntityAlreadyExists"] * 9 + ["done"]


def _transport(sandbox: Sandbox) -> Any:
    return HttpxTransport(open_azure_connections(Network(tls=sandbox.client_context()), read_seconds=5.0))
