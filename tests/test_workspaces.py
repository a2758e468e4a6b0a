"""Resolving workspaces: for an hour, by each delivery for itself, over connections that stay open."""

import asyncio
from typing import Any

import pytest
from conftest import App

from contraforce_sentinel.azure import workspaces
from contraforce_sentinel.bootstrap import close_app
from sandbox import faults

pytestmark = pytest.mark.usefixtures("no_backoff")


async def test_a_workspace_is_asked_for_by_the_first_deliveries_and_by_no_later_one(app: App) -> None:
    incidents = [app.workspace.add_incident() for _ in range(20)]
    answers = await asyncio.gather(*(app.post(incident) for incident in incidents))
    assert {answer.json["status"] for answer in answers} == {"linked"}
    asked = app.sandbox.log.count("arm.workspace")
    assert asked <= 20
    await app.post(app.workspace.add_incident())
    assert app.sandbox.log.count("arm.workspace") == asked


async def test_a_workspace_is_kept_for_an_hour_and_then_asked_for_again(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert workspaces.CACHE_SECONDS == 3600
    monkeypatch.setattr(workspaces, "CACHE_SECONDS", 0.05)
    await app.post(app.workspace.add_incident())
    await asyncio.sleep(0.1)
    await app.post(app.workspace.add_incident())
    assert app.sandbox.log.count("arm.workspace") == 2


async def test_a_failed_resolution_is_not_kept(app: App) -> None:
    app.sandbox.faults.plan("arm.workspace", faults.arm_error(403, "AuthorizationFailed"))
    incident = app.workspace.add_incident()
    assert (await app.post(incident)).json["reason"] == "resource-manager-unauthorized"
    assert (await app.post(incident)).json["status"] == "linked"


async def test_promise_h_nobody_waits_for_a_workspace_request_that_began_in_an_outage(app: App) -> None:
    await app.post(app.workspace.add_incident())  # a token
    await close_app()
    app.sandbox.faults.plan("arm.workspace", faults.hang())
    first = asyncio.create_task(app.post(app.workspace.add_incident()))
    while app.sandbox.faults.left("arm.workspace"):  # noqa: ASYNC110 - the sandbox offers no event
        await asyncio.sleep(0.01)
    async with asyncio.timeout(10):
        assert (await app.post(app.workspace.add_incident())).json["status"] == "linked"
    assert not first.done()
    first.cancel()
    await asyncio.wait([first])


async def test_the_workspace_request_is_the_documented_one(app: App) -> None:
    await app.post(app.workspace.add_incident())
    (call,) = app.sandbox.log.of("arm.workspace")
    assert call.path.lower() == app.workspace.arm_id.lower()
    assert call.query == {"api-version": "2025-07-01"}
    assert call.headers["Authorization"].startswith("Bearer ")


async def test_the_token_is_asked_for_the_right_audience_and_identity_once(app: App) -> None:
    for _ in range(3):
        await app.post(app.workspace.add_incident())
    (call,) = app.sandbox.log.of("identity.token")
    query: Any = call.query
    assert query["resource"] == app.sandbox.arm.base_url
    assert query["client_id"] == app.sandbox.environment()["AZURE_CLIENT_ID"]
