"""How the app is: little for everybody, everything with a key; and a record by its incident's number."""

import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from conftest import App
from host_process import FUNCTION_KEY, MASTER_KEY, client_of_the_app

from contraforce_sentinel.bootstrap import close_app
from contraforce_sentinel.telemetry.events import EVENT_NAME
from functions_host.server import AccessKeys, Server
from sandbox import SandboxIncident, faults

pytestmark = pytest.mark.usefixtures("no_backoff")
WRONG_URLS = '{"Jira": "http://planted.example/{id}", "Autotask": "https://desk.example/{id}"}'


@pytest_asyncio.fixture
async def http(app: App, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app behind the host's keys."""
    monkeypatch.setenv("RECONCILE_SCHEDULE", "0 0 0 1 1 *")
    server = Server(app.worker, keys=AccessKeys(function=FUNCTION_KEY, master=MASTER_KEY))
    async with server.listen(port=0) as url, client_of_the_app(url) as client:
        yield client


# Health, which is anonymous and says little


async def test_health_says_status_version_and_which_part_is_wrong_and_nothing_else(app: App) -> None:
    await app.reconcile()
    answer = await app.health()
    assert answer.status == 200
    assert answer.json == {
        "status": "ok",
        "version": "0.1.0",
        "settings": "ok",
        "network": "ok",
        "store": "ok",
    }


async def test_health_says_that_settings_are_refused_and_not_which(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIMUM_SEVERITY", "planted")
    answer = await app.health()
    assert (answer.status, answer.json) == (
        503,
        {
            "status": "unavailable",
            "version": "0.1.0",
            "settings": "refused",
            "network": "unknown",
            "store": "unknown",
        },
    )


async def test_health_says_that_the_link_store_is_out_of_reach(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINK_STORE", f"sqlite:///{tmp_path}")
    answer = await app.health()
    assert (answer.status, answer.json) == (
        503,
        {
            "status": "unavailable",
            "version": "0.1.0",
            "settings": "ok",
            "network": "ok",
            "store": "unavailable",
        },
    )


async def test_health_answers_head_as_it_answers_get_and_without_a_key(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    del http.headers["x-functions-key"]
    got, head = await http.get("/api/health"), await http.head("/api/health")
    assert (head.status_code, head.content) == (got.status_code, b"") == (200, b"")
    assert head.headers["Content-Type"] == got.headers["Content-Type"]
    await close_app()
    monkeypatch.setenv("MINIMUM_SEVERITY", "planted")
    assert (await http.head("/api/health")).status_code == 503


# Wrong ticket URLs only decorate


async def test_wrong_ticket_urls_are_a_warning_and_stop_no_delivery(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKET_URL_TEMPLATES", WRONG_URLS)
    incident = app.workspace.add_incident()
    assert (await app.post(incident)).json["status"] == "linked"
    assert "https://desk.example/" in incident.comments[0].message
    health, status = await app.health(), await app.status()
    assert (health.status, health.json["status"], health.json["settings"]) == (200, "ok", "warning")
    assert (status.status, status.json["settings"]) == (200, "warning")
    assert status.json["settingProblems"] == {
        "TICKET_URL_TEMPLATES": "needs an https URL with {id} or {number} and no other braces for Jira"
    }


async def test_wrong_ticket_urls_are_told_in_one_event(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "contraforce_sentinel")
    monkeypatch.setenv("TICKET_URL_TEMPLATES", WRONG_URLS)
    monkeypatch.setenv("TICKET_URL_TEMPLATE", "x")
    for _ in range(3):
        await app.post(app.workspace.add_incident())
        await app.health()
    told = [vars(record) for record in caplog.records if vars(record)[EVENT_NAME] == "setting.left-out"]
    assert [event["setting"] for event in told] == ["TICKET_URL_TEMPLATE", "TICKET_URL_TEMPLATES"]
    assert told[1]["error"] == "needs an https URL with {id} or {number} and no other braces for Jira"
    assert {event["levelname"] for event in told} == {"WARNING"}


# Status: everything, with a key


async def test_status_needs_a_key_and_health_needs_none(http: httpx.AsyncClient) -> None:
    del http.headers["x-functions-key"]
    assert (await http.get("/api/status")).status_code == 401
    assert (await http.get("/api/status", headers={"x-functions-key": "wrong"})).status_code == 401
    assert (await http.get("/api/status", headers={"x-functions-key": FUNCTION_KEY})).status_code == 200
    assert (await http.get("/api/health")).status_code == 200


async def test_status_says_everything(app: App) -> None:
    first = await app.status()
    assert (first.status, first.json) == (
        200,
        {
            "status": "ok",
            "version": "0.1.0",
            "settings": "ok",
            "network": "ok",
            "store": "ok",
            "settingProblems": {},
            "storeProblem": None,
            "customers": {"total": 1},
            "lastTimerRun": None,
            "oldestDueSeconds": None,
            "dead": None,
            "unreadable": None,
        },
    )
    app.sandbox.faults.plan("contraforce.link", faults.problem(400, problem_code="VALIDATION_ERROR"))
    await app.post(app.workspace.add_incident())
    await app.reconcile()
    status = (await app.status()).json
    assert (status["dead"], status["unreadable"], status["oldestDueSeconds"]) == (1, 0, None)
    counted = {"tried", "linked", "discovered", "leftToBackfill", "failedWorkspaces"}
    assert set(status["lastTimerRun"]) == {"finishedAt", *counted}


@pytest.mark.parametrize("none", [None, "[]"])
async def test_without_customers_the_app_is_well_and_says_so(
    app: App, none: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if none is None:
        monkeypatch.delenv("WORKSPACES")
    else:
        monkeypatch.setenv("WORKSPACES", none)
    assert (await app.health()).status == 200
    refused = await app.post(app.workspace.add_incident())
    assert (refused.status, refused.json["code"]) == (403, "workspace-not-configured")
    await app.reconcile()
    assert app.sandbox.log.all == []
    status = await app.status()
    assert (status.status, status.json["status"], status.json["customers"]) == (200, "ok", {"total": 0})
    ran = status.json["lastTimerRun"]
    assert (ran["tried"], ran["discovered"], ran["failedWorkspaces"]) == (0, 0, 0)


async def test_status_names_every_refused_setting_and_what_is_wrong_with_it(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKSPACES", "planted-value")
    monkeypatch.delenv("CONTRAFORCE_CLIENT_SECRET")
    monkeypatch.setenv("TICKET_URL_TEMPLATES", "[]")
    answer = await app.status()
    assert (answer.status, answer.json["settings"], answer.json["store"]) == (503, "refused", "unknown")
    assert answer.json["customers"] is None
    assert answer.json["settingProblems"] == {
        "WORKSPACES": "is not valid JSON",
        "CONTRAFORCE_CLIENT_SECRET": "is required",
        "TICKET_URL_TEMPLATES": "must be a JSON object",
    }


async def test_status_says_why_the_link_store_is_out_of_reach(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINK_STORE", f"sqlite:///{tmp_path}")
    answer = await app.status()
    assert (answer.status, answer.json["store"]) == (503, "unavailable")
    assert answer.json["storeProblem"].startswith("the SQLite link store cannot be used")


# A record by its incident's number


@pytest.fixture
def incident(app: App) -> SandboxIncident:
    return app.workspace.add_incident(number=3177)


async def test_a_record_is_found_by_the_incidents_number(app: App, incident: SandboxIncident) -> None:
    await app.post(incident)
    found = await app.record("3177", workspace=app.workspace.name.upper())
    assert (found.status, found.json) == (
        200,
        (await app.record(incident.name, workspace=app.workspace.name)).json,
    )


async def test_a_number_that_no_incident_has_is_404(app: App, incident: SandboxIncident) -> None:
    await app.post(incident)
    answer = await app.record("3178", workspace=app.workspace.name)
    assert (answer.status, answer.json["code"]) == (404, "no-incident")


async def test_the_number_of_an_incident_without_a_record_is_404(app: App, incident: SandboxIncident) -> None:
    answer = await app.record(str(incident.number), workspace=app.workspace.name)
    assert (answer.status, answer.json["code"]) == (404, "no-link")


async def test_an_incident_whose_name_is_a_number_is_found_without_asking_sentinel(app: App) -> None:
    """Incidents made through the API have whatever name their maker gave them."""
    await app.post(app.workspace.add_incident(name="3177", number=1))
    app.sandbox.log.clear()
    found = await app.record("3177", workspace=app.workspace.name)
    assert (found.status, found.json["incident"]["number"]) == (200, 1)
    assert app.sandbox.log.all == []


async def test_a_number_in_a_workspace_that_is_not_configured_is_404_and_asks_nobody(app: App) -> None:
    answer = await app.record("3177", workspace="law-of-nobody")
    assert (answer.status, answer.json["code"]) == (404, "no-workspace")
    assert app.sandbox.log.all == []


async def test_a_number_of_two_workspaces_of_one_name_is_asked_for_by_arm_id(
    app: App, incident: SandboxIncident, monkeypatch: pytest.MonkeyPatch
) -> None:
    twin = app.sandbox.add_workspace(name=app.workspace.name, resource_group="rg-twin")
    monkeypatch.setenv("WORKSPACES", app.sandbox.environment()["WORKSPACES"])
    other = twin.add_incident(number=incident.number)
    for one in (incident, other):
        await app.post(one)
    assert (await app.record("3177", workspace=twin.name)).status == 400
    assert "rg-twin" in (await app.record("3177", workspace=twin.arm_id)).json["incident"]["armId"]


FAILURES: dict[str, tuple[Any, Any, str]] = {
    "Sentinel does not admit the app": (
        "arm.incidents",
        faults.arm_error(403, "AuthorizationFailed"),
        "sentinel: status 403 AuthorizationFailed; grant the app's identity the role",
    ),
    "Sentinel is down": ("arm.incidents", faults.status(503), "sentinel: status 503"),
    "the workspace is out of sight": (
        "arm.incidents",
        faults.arm_error(404, "ResourceGroupNotFound"),
        "sentinel: status 404 ResourceGroupNotFound",
    ),
    "no token": ("identity.token", faults.status(400), "identity: "),
}


@pytest.mark.parametrize(("operation", "fault", "detail"), FAILURES.values(), ids=FAILURES)
async def test_a_number_that_sentinel_cannot_tell_is_502_and_says_what_to_grant(
    app: App, incident: SandboxIncident, operation: Any, fault: Any, detail: str
) -> None:
    await app.post(incident)
    app.sandbox.identity.tokens.clear()
    await close_app()
    app.sandbox.faults.plan(operation, fault, times=None)
    answer = await app.record("3177", workspace=app.workspace.name)
    assert (answer.status, answer.json["code"]) == (502, "upstream-failed")
    assert answer.json["detail"].startswith(detail)
