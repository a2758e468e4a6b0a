"""Resource Manager's code decides what an error means: a lost delegation or a lock is no incident's fault."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
from conftest import App

from contraforce_sentinel.azure.refusals import read_code
from contraforce_sentinel.bootstrap import current_app
from contraforce_sentinel.domain.customers import Customer
from contraforce_sentinel.domain.incidents import IncidentId
from contraforce_sentinel.telemetry.events import EVENT_NAME
from sandbox import Operation, SandboxIncident, faults
from sandbox.faults import Fault
from sandbox.refusals import REFUSALS

pytestmark = pytest.mark.usefixtures("no_backoff")

SECRET: Final = "planted jane.doe@contoso.com"


def told(caplog: pytest.LogCaptureFixture, name: str) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if vars(record).get(EVENT_NAME) == name]


async def record(app: App, incident: SandboxIncident) -> Any:
    return (await app.record(incident.name, workspace=app.workspace.arm_id)).json


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("has_ticket", [False, True])
async def test_whatever_azure_shuts_every_incident_waits_for_it_and_is_linked_once_it_is_open_again(
    app: App, caplog: pytest.LogCaptureFixture, code: str, *, has_ticket: bool
) -> None:
    """Before the first incident of the workspace, and after its ticket is known."""
    incident = app.workspace.add_incident()
    if has_ticket:
        app.sandbox.faults.plan("arm.comment.put", faults.status(503), times=4)
        await app.post(incident)
    app.sandbox.arm.refused = {app.workspace.subscription: code}
    for _ in range(7):
        answer = await app.post({"incidentArmId": incident.arm_id})
        assert answer.status == 202
        wait = datetime.fromisoformat(answer.json["retryAt"]) - datetime.now(UTC)
        assert timedelta(minutes=11) < wait < timedelta(minutes=18)
    assert (await record(app, incident))["code"] == code
    assert {event["code"] for event in told(caplog, "upstream.unauthorized")} == {code}
    assert all(
        event["advice"] and event["levelname"] == "ERROR" for event in told(caplog, "upstream.unauthorized")
    )
    app.sandbox.arm.refused = {}
    assert (await app.post(incident)).json["status"] == "linked"
    assert app.sandbox.log.count("contraforce.link") == 1


async def test_a_lost_delegation_fails_the_customers_discovery_with_what_to_do_and_no_other_customers(
    app: App, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = app.sandbox.add_workspace(name="law-other", subscription="22222222-2222-4333-8444-555555555555")
    monkeypatch.setenv("WORKSPACES", app.sandbox.environment()["WORKSPACES"])
    mine, theirs = app.workspace.add_incident(), other.add_incident()
    app.sandbox.arm.refused = {app.workspace.subscription: "SubscriptionNotFound"}
    await app.reconcile()
    assert (len(mine.comments), len(theirs.comments)) == (0, 1)
    (failed,) = told(caplog, "reconcile.workspace-failed")
    assert "Lighthouse" in failed["advice"]
    app.sandbox.arm.refused = {}
    await app.reconcile()
    assert len(mine.comments) == 1


@pytest.mark.parametrize(
    ("operation", "fault", "advice"),
    [
        ("arm.workspace", faults.arm_error(404, "SubscriptionNotFound"), "Lighthouse"),
        ("arm.workspace", faults.arm_error(404, "ResourceNotFound"), "moved, renamed or deleted"),
        ("arm.workspace", faults.html(404), "moved, renamed or deleted"),
        ("arm.workspace", faults.arm_error(401, "InvalidAuthenticationTokenTenant"), "another tenant"),
        ("arm.workspace", faults.arm_error(403, "AuthorizationFailed"), "grant the app's identity the role"),
        ("arm.comment.put", faults.arm_error(401, "InvalidAuthenticationTokenTenant"), "another tenant"),
        ("arm.comment.put", faults.arm_error(409, "ScopeLocked"), "az lock list"),
        ("arm.comment.put", faults.arm_error(409, "MissingSubscriptionRegistration"), "az provider register"),
        ("arm.comment.put", faults.arm_error(400, "NoRegisteredProviderFound"), "az provider register"),
        ("arm.comment.put", faults.arm_error(403, "RequestDisallowedByPolicy"), "Azure Policy"),
        ("arm.comment.put", faults.arm_error(403, "ReadOnlyDisabledSubscription"), "disabled"),
        ("arm.incident", faults.arm_error(404, "ResourceGroupNotFound"), "moved, renamed or deleted"),
        ("arm.incident", faults.arm_error(409, "Conflict"), "look the code up"),
    ],
)
async def test_what_to_do_is_chosen_by_the_code(
    app: App, caplog: pytest.LogCaptureFixture, operation: Operation, fault: Fault, advice: str
) -> None:
    app.sandbox.faults.plan(operation, fault, times=None)
    await app.post({"incidentArmId": app.workspace.add_incident().arm_id})
    (loud,) = told(caplog, "upstream.unauthorized")
    assert advice in loud["advice"]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"error": {"code": "ScopeLocked", "message": SECRET}}, "ScopeLocked"),
        ({"Error": {"Code": "ScopeLocked"}}, "ScopeLocked"),
        ({"code": "ScopeLocked", "message": SECRET}, "ScopeLocked"),
        ({"error": {"error": {"code": "ScopeLocked"}}}, "ScopeLocked"),
        ({"error": {"code": "BadRequest", "innererror": {"code": "ScopeLocked"}}}, "ScopeLocked"),
        (
            {"error": {"code": "Failed", "details": [{"code": "Other"}, {"code": "ScopeLocked"}]}},
            "ScopeLocked",
        ),
        ({"error": {"code": "Failed", "details": [None, 7]}}, "Failed"),
        ({"error": {"code": "scopelocked"}}, "scopelocked"),
        ({"error": {"code": SECRET}}, None),
        ({"error": {"code": "x" * 101}}, None),
        ({"error": {"code": "Jos\u00e9"}}, None),
        ({"error": {"code": 7}}, None),
        ({"error": {"code": ["ScopeLocked"]}}, None),
        ({"error": {"message": SECRET}}, None),
        ({"error": SECRET}, None),
        ({"error": None}, None),
        ({}, None),
        ([{"code": "ScopeLocked"}], None),
        ("ScopeLocked", None),
    ],
)
def test_only_a_word_is_taken_for_a_code_wherever_the_body_has_it(body: Any, code: str | None) -> None:
    assert read_code(json.dumps(body).encode()) == code


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe{", b"{" * 9, b"[" * 100_000, b'{"a":' * 100_000])
def test_a_body_that_is_no_json_has_no_code(body: bytes) -> None:
    assert read_code(body) is None


def test_a_code_deep_within_an_error_is_not_looked_for_for_ever() -> None:
    body: Any = {"code": "ScopeLocked"}
    for _ in range(100):
        body = {"error": body}
    assert read_code(json.dumps(body).encode()) is None


@pytest.mark.parametrize("operation", ["arm.workspace", "arm.incident", "arm.comment.put"])
@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=403, body=b"\x00\x01", content_type="application/octet-stream"),
        Fault(status=403, body=b"<a", content_type="application/xml"),
        Fault(status=403, body=b"{", content_type="application/json"),
        Fault(status=403, body=b'{"error": 7}', content_type="application/json; charset=nonsense"),
        faults.arm_error(403, SECRET, SECRET),
    ],
)
async def test_an_error_is_what_its_status_says_whatever_its_body_is_and_nothing_of_it_is_told(
    app: App, caplog: pytest.LogCaptureFixture, operation: Operation, fault: Fault
) -> None:
    incident = app.workspace.add_incident()
    app.sandbox.faults.plan(operation, fault, times=None)
    answer = await app.post({"incidentArmId": incident.arm_id})
    assert answer.json["reason"].endswith("-unauthorized")
    assert (await record(app, incident))["code"] is None
    assert not any("jane" in str(vars(one)) for one in caplog.records)


async def test_the_code_of_a_conflict_on_a_comment_that_is_not_there_is_kept(app: App) -> None:
    incident = app.workspace.add_incident()
    app.sandbox.faults.plan("arm.comment.put", faults.arm_error(409, "Conflict"))
    assert (await app.post(incident)).json["reason"] == "sentinel-unavailable"
    assert (await record(app, incident))["code"] == "Conflict"


async def test_whether_a_workspace_is_there_is_asked_anew_and_only_a_workspace_that_is_shown_is(
    app: App,
) -> None:
    workspaces = current_app().workspaces
    mapping: Customer = workspaces.require(IncidentId.parse(app.workspace.add_incident().arm_id).workspace)
    until = asyncio.get_running_loop().time() + 10
    await workspaces.resolve(mapping, until=until)
    assert await workspaces.is_there(mapping, until=until)
    assert app.sandbox.log.count("arm.workspace") == 2
    for fault in (faults.arm_error(404, "ResourceNotFound"), faults.status(503), faults.arm_error(403, "x")):
        app.sandbox.faults.plan("arm.workspace", fault, times=4)
        assert not await workspaces.is_there(mapping, until=until)
        assert not workspaces.is_resolved(mapping)
        app.sandbox.faults.clear()
    assert await workspaces.is_there(mapping, until=until)
    assert workspaces.is_resolved(mapping)
