"""Resolving workspaces: once for all concurrent deliveries, for an hour, over connections that stay open."""

import asyncio
from typing import Any

import pytest
from conftest import App

from contraforce_sentinel import workspaces
from contraforce_sentinel.bootstrap import current_app
from contraforce_sentinel.incidents import IncidentId
from contraforce_sentinel.retries import deadline
from sandbox import faults

pytestmark = pytest.mark.usefixtures("no_backoff")


async def test_concurrent_first_deliveries_make_one_workspace_request(app: App) -> None:
    app.sandbox.faults.plan("arm.workspace", faults.slow(0.2))
    incidents = [app.workspace.add_incident() for _ in range(20)]
    answers = await asyncio.gather(*(app.post(incident) for incident in incidents))
    assert {answer.json["status"] for answer in answers} == {"linked"}
    assert app.sandbox.log.count("arm.workspace") == 1
    await app.post(app.workspace.add_incident())
    assert app.sandbox.log.count("arm.workspace") == 1


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


async def test_one_waiter_that_gives_up_does_not_fail_the_others(app: App) -> None:
    app.sandbox.faults.plan("arm.workspace", faults.slow(0.3))
    found = current_app().workspaces
    mapping = found.require(IncidentId.parse(app.workspace.add_incident().arm_id).workspace)
    now = asyncio.get_running_loop().time()
    hasty, patient = await asyncio.gather(
        found.resolve(mapping, until=now + 0.05),
        found.resolve(mapping, until=deadline()),
        return_exceptions=True,
    )
    assert str(hasty) == "resource-manager: no answer within the time of this request"
    assert str(getattr(patient, "customer_id", None)) == app.workspace.customer_id


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
