"""The wiring: which store a setting opens, and that closing releases everything."""

import pytest
from conftest import App
from store_fixtures import AZURITE

from contraforce_sentinel.bootstrap import build, close_app, current_app
from contraforce_sentinel.settings import Settings
from contraforce_sentinel.stores.sqlite import SqliteLinkStore
from contraforce_sentinel.stores.tables import TableLinkStore


@pytest.mark.parametrize("kind", ["tables", AZURITE])
async def test_a_connection_string_opens_the_table_store_and_incidents_are_linked_with_it(
    kind: str, app: App, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = app.sandbox.tables.connection_string
    monkeypatch.setenv("LINK_STORE", served if kind == "tables" else request.getfixturevalue("azurite"))
    incident = app.workspace.add_incident()
    assert (await app.post(incident)).json["status"] == "linked"
    assert isinstance(current_app().store, TableLinkStore)
    await close_app()
    assert (await app.post(incident)).json["alreadyLinked"] is True
    found = app.workspace.add_incident()
    await app.reconcile()
    assert len(found.comments) == 1
    assert (await app.status()).json["lastTimerRun"]["linked"] == 1


async def test_an_account_url_opens_the_table_store_as_the_managed_identity(app: App) -> None:
    environment = {**app.sandbox.environment(), "LINK_STORE": "https://stlinks.table.core.windows.net"}
    built = build(Settings.from_environment({**environment, "WEBSITE_SITE_NAME": "func-links"}))
    assert isinstance(built.store, TableLinkStore)
    await built.close()


async def test_closing_twice_is_harmless_and_the_next_call_builds_a_new_app(app: App) -> None:
    first = current_app()
    assert isinstance(first.store, SqliteLinkStore)
    await close_app()
    await close_app()
    assert current_app() is not first
