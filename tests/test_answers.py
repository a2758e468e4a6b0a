"""Every row of the reference's table of answers, through the real worker and over TLS."""

import asyncio
import json
import logging
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import App

from contraforce_sentinel.domain import schedules
from contraforce_sentinel.domain.comments import comment_id
from contraforce_sentinel.domain.errors import Upstream, UpstreamNotFound
from contraforce_sentinel.domain.incidents import IncidentId
from contraforce_sentinel.domain.reasons import Reason
from contraforce_sentinel.edge.payloads import MAX_BODY_BYTES
from contraforce_sentinel.telemetry.events import EVENT_NAME
from contraforce_sentinel.transport import retries
from sandbox import Operation, SandboxIncident, faults

UPSTREAM_WRITES: tuple[Operation, ...] = ("contraforce.link", "arm.comment.put")
pytestmark = pytest.mark.usefixtures("no_backoff")


def incident_of(app: App, **facts: Any) -> SandboxIncident:
    return app.workspace.add_incident(**{"number": 3177, "title": "Suspicious sign-in", **facts})


async def test_200_linked_says_which_ticket_and_which_comment(app: App) -> None:
    incident = incident_of(app)
    answer = await app.post(incident)
    ticket = app.sandbox.contraforce.created[0]
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.json == {
        "status": "linked",
        "incident": {"armId": incident.arm_id, "number": 3177},
        "ticket": {
            "system": "Autotask",
            "number": ticket.number,
            "id": str(ticket.id),
            "title": "Incident 3177",
            "status": str(ticket.body["status"]),
        },
        "commentId": str(comment_id(IncidentId.parse(incident.arm_id))),
        "alreadyLinked": False,
        "reason": None,
        "retryAt": None,
        "contraforceRequestId": answer.json["contraforceRequestId"],
    }
    assert [comment.name for comment in incident.comments] == [answer.json["commentId"]]


async def test_200_already_linked_makes_no_upstream_call(app: App) -> None:
    incident = incident_of(app)
    first = await app.post(incident)
    app.sandbox.log.clear()
    second = await app.post(incident)
    assert (second.status, second.json["alreadyLinked"]) == (200, True)
    assert second.json | {"alreadyLinked": False} == first.json
    assert app.sandbox.log.all == []


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"status": "Closed", "labels": ("reDirected",)}, "redirected"),
        ({"status": "Closed"}, "closed"),
        ({"severity": "Low"}, "below-minimum-severity"),
    ],
)
@pytest.mark.parametrize("body", ["whole", "trimmed", "bare"])
async def test_200_skipped_says_why(
    app: App, monkeypatch: pytest.MonkeyPatch, facts: dict[str, Any], reason: str, body: str
) -> None:
    monkeypatch.setenv("MINIMUM_SEVERITY", "Medium")
    incident = incident_of(app, **facts)
    bodies = {
        "whole": incident.trigger_body(),
        "trimmed": incident.trimmed_body(),
        "bare": {"incidentArmId": incident.arm_id},
    }
    for _ in range(2):
        answer = await app.post(bodies[body])
        assert (answer.status, answer.json["status"], answer.json["reason"]) == (200, "skipped", reason)
        assert answer.json["ticket"] is answer.json["commentId"] is answer.json["retryAt"] is None
    assert not any(app.sandbox.log.count(operation) for operation in UPSTREAM_WRITES)


async def test_a_skipped_incident_that_is_reopened_is_linked(app: App) -> None:
    incident = incident_of(app, status="Closed")
    assert (await app.post(incident)).json["status"] == "skipped"
    incident.status = "Active"
    assert (await app.post(incident)).json["status"] == "linked"


async def test_a_linked_incident_that_is_closed_later_stays_linked(app: App) -> None:
    incident = incident_of(app)
    await app.post(incident)
    incident.status = "Closed"
    answer = await app.post(incident)
    assert (answer.json["status"], answer.json["alreadyLinked"]) == ("linked", True)


async def test_202_pending_says_why_and_when_the_next_try_is(app: App) -> None:
    incident = incident_of(app)
    app.sandbox.faults.plan("contraforce.link", faults.status(503), times=None)
    before = datetime.now(UTC)
    answer = await app.post(incident)
    assert (answer.status, answer.json["status"]) == (202, "pending")
    assert answer.json["reason"] == "contraforce-unavailable"
    wait = datetime.fromisoformat(answer.json["retryAt"]) - before
    assert timedelta(seconds=48) <= wait <= timedelta(seconds=75)
    assert "Location" not in answer.headers  # Logic Apps would start to poll it
    record = await app.record(incident.name, workspace=app.workspace.name)
    assert (record.status, record.json["status"], record.json["attempts"]) == (200, "pending", 1)
    app.sandbox.faults.clear()
    assert (await app.post(incident)).json["status"] == "linked"


async def test_202_pending_shows_the_ticket_when_only_the_comment_is_owed(app: App) -> None:
    incident = incident_of(app)
    app.sandbox.faults.plan("arm.comment.put", faults.status(503), times=None)
    answer = await app.post(incident)
    ticket = app.sandbox.contraforce.created[0]
    assert (answer.status, answer.json["status"]) == (202, "pending")
    assert (answer.json["reason"], answer.json["ticket"]["number"]) == ("sentinel-unavailable", ticket.number)
    assert (await app.record(incident.name, workspace=app.workspace.name)).json["status"] == "ticketed"


async def test_202_in_progress_while_another_delivery_works_on_it(app: App) -> None:
    incident = incident_of(app)
    app.sandbox.faults.plan("contraforce.link", faults.slow(0.5))
    first = asyncio.create_task(app.post(incident))
    while not app.sandbox.log.count("contraforce.link"):  # noqa: ASYNC110 - the sandbox offers no event
        await asyncio.sleep(0.01)
    second = await app.post(incident)
    assert (second.status, second.json["reason"]) == (202, "in-progress")
    assert datetime.fromisoformat(second.json["retryAt"]) > datetime.now(UTC)
    assert (await first).json["status"] == "linked"
    assert app.sandbox.log.count("contraforce.link") == 1


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "the body is not valid JSON"),
        (b"{", "the body is not valid JSON"),
        (b"[]", "body: must be a JSON object"),
        (b"{}", "send the incident trigger's body, or incidentArmId"),
        (b'{"object": {"name": "x"}}', "object.id: is missing"),
        (
            b'{"incidentArmId": "/subscriptions/x"}',
            "incidentArmId: not the ARM id of a Microsoft Sentinel incident",
        ),
        (b'{"incidentArmId": 7}', "incidentArmId: must be a text"),
    ],
)
async def test_400_says_what_to_fix(app: App, body: bytes, detail: str) -> None:
    answer = await app.post(body)
    assert (answer.status, answer.headers["Content-Type"]) == (400, "application/problem+json")
    assert (answer.json["status"], answer.json["code"]) == (400, "not-an-incident")
    assert answer.json["detail"] == detail
    assert app.sandbox.log.all == []


async def test_the_arm_id_decides_whose_incident_it_is_whatever_workspace_id_the_body_claims(
    app: App,
) -> None:
    incident = incident_of(app)
    other = app.sandbox.add_workspace(name="law-other", system="Jira")
    answer = await app.post({**incident.trigger_body(), "workspaceId": other.customer_id})
    assert (answer.status, answer.json["status"]) == (200, "linked")
    (call,) = [one for one in app.sandbox.log.all if one.operation == "contraforce.link"]
    assert incident.workspace.contraforce_id in call.path


async def test_400_for_a_contradicting_body_leaves_an_earlier_record_due(app: App) -> None:
    incident = incident_of(app)
    app.sandbox.faults.plan("contraforce.link", faults.status(503), times=None)
    await app.post(incident)
    app.sandbox.faults.clear()
    wrong = {**incident.trigger_body(), "workspaceInfo": {"WorkspaceName": "law-other"}}
    assert (await app.post(wrong)).status == 400
    assert (await app.record(incident.name, workspace=app.workspace.name)).json["status"] == "pending"
    assert (await app.post(incident)).json["status"] == "linked"


async def test_a_refused_body_leaves_no_ticket_id_behind(app: App) -> None:
    incident = incident_of(app)
    app.sandbox.faults.plan("contraforce.link", faults.status(500))
    await app.post(incident)
    other = {"workspaceInfo": {"WorkspaceName": "law-other"}, "ticketId": "foreign"}
    assert (await app.post({**incident.trigger_body(), **other})).status == 400
    assert (await app.post(incident)).json["status"] == "linked"
    assert [call.body["ticketId"] for call in app.sandbox.log.of("contraforce.link")] == [None, None]


@pytest.mark.parametrize(
    "claimed",
    [{"status": "Closed"}, {"severity": "Informational"}, {"labels": [{"labelName": "Redirected"}]}],
)
async def test_a_skip_that_only_the_body_claims_is_confirmed_by_sentinel_first(
    app: App, monkeypatch: pytest.MonkeyPatch, claimed: dict[str, Any]
) -> None:
    monkeypatch.setenv("MINIMUM_SEVERITY", "Low")
    incident = incident_of(app, severity="High")
    body = incident.trigger_body()
    body["object"]["properties"] |= claimed
    assert (await app.post(body)).json["status"] == "linked"


async def test_a_skip_that_sentinel_cannot_confirm_now_is_recorded_and_tried_again(app: App) -> None:
    incident = incident_of(app, status="Closed")
    app.sandbox.faults.plan("arm.incident", faults.status(503), times=None)
    answer = await app.post(incident)
    assert (answer.status, answer.json["reason"]) == (202, "sentinel-unavailable")
    app.sandbox.faults.clear()
    assert (await app.post(incident)).json["status"] == "skipped"
    assert app.sandbox.log.count("contraforce.link") == 0


@pytest.mark.parametrize("way", ["fields", "code", "not found"])
async def test_a_mistyped_ticket_id_is_refused_once_and_any_other_brings_the_link_back(
    app: App, way: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However ContraForce says that it does not know the ticket: that is not documented."""
    steps = dict(schedules._STEPS)
    steps[UpstreamNotFound, Upstream.CONTRAFORCE] = Reason.NOT_INGESTED_YET, schedules._AT_ONCE
    monkeypatch.setattr(schedules, "_STEPS", steps)  # the 404 has been answered for a day
    app.sandbox.contraforce.refuses_tickets_by = way
    incident, by_hand = incident_of(app), app.workspace.add_ticket()
    mistyped = {**incident.trigger_body(), "ticketId": "T2026-mistyped"}
    first, again = await app.post(mistyped), await app.post(mistyped)
    assert [one.json["reason"] for one in (first, again)] == ["ticket-refused"] * 2
    assert app.sandbox.log.count("contraforce.link") == 1
    record = await app.record(incident.name, workspace=app.workspace.name)
    assert record.json["requestedTicketId"] == "T2026-mistyped"
    right = await app.post({**incident.trigger_body(), "ticketId": str(by_hand.id)})
    assert (right.json["status"], right.json["ticket"]["number"]) == ("linked", by_hand.number)


@pytest.mark.parametrize("asked", ["while it is closed", "when it is reopened"])
async def test_another_ticket_id_takes_the_place_of_a_refused_one_of_an_incident_that_was_closed_meanwhile(
    app: App, asked: str
) -> None:
    incident, by_hand = incident_of(app), app.workspace.add_ticket()
    assert (await app.post({**incident.trigger_body(), "ticketId": "T2026-mistyped"})).status == 422
    incident.close()
    await app.reconcile()
    if asked == "when it is reopened":
        incident.reopen()
    answer = await app.post({**incident.trigger_body(), "ticketId": str(by_hand.id)})
    if asked == "while it is closed":
        assert answer.json["status"] == "skipped"
        incident.reopen()
        await app.reconcile()
    record = await app.record(incident.name, workspace=app.workspace.name)
    assert (record.json["status"], record.json["ticket"]["number"]) == ("linked", by_hand.number)


async def test_a_delivery_without_a_ticket_id_brings_back_a_link_whose_ticket_was_refused(app: App) -> None:
    incident = incident_of(app)
    assert (await app.post({**incident.trigger_body(), "ticketId": "T2026-mistyped"})).status == 422
    assert (await app.post(incident)).json["status"] == "linked"
    assert [call.body["ticketId"] for call in app.sandbox.log.of("contraforce.link")] == [
        "T2026-mistyped",
        None,
    ]


async def test_a_ticket_id_is_compared_without_case_and_spaces(app: App) -> None:
    incident = incident_of(app)
    content = {"data": {"jiraTicket": {"id": "10001", "number": "SEC-1"}}, "meta": {}}
    app.sandbox.faults.plan("contraforce.link", faults.json(200, content))
    assert (await app.post({**incident.trimmed_body(), "ticketId": "sec-1 "})).status == 200


async def test_a_ticket_id_given_while_an_upstream_asked_to_wait_is_remembered(app: App) -> None:
    incident = incident_of(app)
    app.sandbox.faults.plan("contraforce.link", faults.status(429, retry_after="7200"))
    first = await app.post(incident)
    second = await app.post({**incident.trimmed_body(), "ticketId": "10001"})
    assert (second.status, second.json["retryAt"]) == (202, first.json["retryAt"])
    third = await app.post({**incident.trimmed_body(), "ticketId": "10001"})
    assert third.status == 202


async def test_an_empty_ticket_id_is_none(app: App) -> None:
    answer = await app.post({**incident_of(app).trimmed_body(), "ticketId": ""})
    assert answer.json["status"] == "linked"


async def test_a_body_with_a_million_mistakes_gets_a_short_answer(app: App) -> None:
    body = incident_of(app).trimmed_body()
    body["object"]["properties"]["labels"] = [1] * 1_000_000
    answer = await app.post(body)
    assert answer.status == 400
    assert len(json.dumps(answer.json)) < 1000


async def test_413_for_a_body_over_4_mib(app: App) -> None:
    answer = await app.post(b" " * (MAX_BODY_BYTES + 1))
    assert (answer.status, answer.json["code"]) == (413, "body-too-large")


async def test_megabytes_of_alerts_are_accepted(app: App) -> None:
    body = incident_of(app).trigger_body()
    alert = body["object"]["properties"]["alerts"][0]
    room = MAX_BODY_BYTES - len(json.dumps(body)) - 100
    body["object"]["properties"]["alerts"] *= room // (len(json.dumps(alert)) + 2)
    assert (await app.post(body)).json["status"] == "linked"


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_415_for_a_content_type_that_is_not_json(app: App, content_type: str) -> None:
    answer = await app.post(json.dumps(incident_of(app).trigger_body()).encode(), content_type=content_type)
    assert (answer.status, answer.json["code"]) == (415, "not-json")


async def test_403_for_a_workspace_that_is_not_configured(app: App) -> None:
    stranger = app.sandbox.add_workspace(name="law-stranger")
    answer = await app.post(stranger.add_incident())
    assert (answer.status, answer.json["code"]) == (403, "workspace-not-configured")
    assert app.sandbox.log.all == []


async def test_409_says_which_ticket_the_incident_is_linked_to(app: App) -> None:
    incident = incident_of(app)
    linked = await app.post(incident)
    answer = await app.post({**incident.trimmed_body(), "ticketId": "other"})
    assert (answer.status, answer.json["code"]) == (409, "ticket-conflict")
    assert answer.json["ticketId"] == linked.json["ticket"]["id"]
    same = await app.post({**incident.trimmed_body(), "ticketId": linked.json["ticket"]["id"]})
    assert (same.status, same.json["alreadyLinked"]) == (200, True)


async def test_409_when_contraforce_has_linked_the_incident_to_another_ticket(app: App) -> None:
    """The comment shows the ticket that ContraForce named, which is the truth; the caller is told."""
    incident = incident_of(app)
    ticket = {"id": "10001", "number": "SEC-1"}
    content = {"data": {"jiraTicket": ticket, "isTicketSet": True}, "meta": {"requestId": "r"}}
    app.sandbox.faults.plan("contraforce.link", faults.json(200, content))
    answer = await app.post({**incident.trimmed_body(), "ticketId": "10002"})
    assert (answer.status, answer.json["ticketId"]) == (409, "10001")
    assert "SEC-1" in incident.comments[0].message


async def test_409_for_another_ticket_while_a_delivery_is_not_finished(app: App) -> None:
    incident = incident_of(app)
    app.sandbox.faults.plan("contraforce.link", faults.slow(0.5))
    first = asyncio.create_task(app.post(incident))
    while not app.sandbox.log.count("contraforce.link"):  # noqa: ASYNC110 - the sandbox offers no event
        await asyncio.sleep(0.01)
    answer = await app.post({**incident.trimmed_body(), "ticketId": "other"})
    assert (answer.status, answer.json["ticketId"]) == (409, None)
    assert (await first).json["status"] == "linked"


async def test_a_given_ticket_id_links_that_ticket_and_creates_none(app: App) -> None:
    incident = incident_of(app)
    ticket = app.workspace.add_ticket("Already there")
    answer = await app.post({"incidentArmId": incident.arm_id, "ticketId": str(ticket.id)})
    assert (answer.status, answer.json["ticket"]["number"]) == (200, ticket.number)
    assert app.sandbox.contraforce.created == []


async def test_a_ticket_id_given_with_a_later_delivery_is_remembered(app: App) -> None:
    incident = incident_of(app)
    ticket = app.workspace.add_ticket("Already there")
    app.sandbox.faults.plan("contraforce.link", faults.status(503), times=None)
    await app.post(incident)
    await app.post({**incident.trimmed_body(), "ticketId": str(ticket.id)})
    app.sandbox.faults.clear()
    assert (await app.post(incident)).json["ticket"]["number"] == ticket.number


async def test_422_says_code_request_id_and_fields(app: App) -> None:
    incident = incident_of(app)
    refusal = faults.problem(400, problem_code="VALIDATION_ERROR", errors={"incident.number": ["bad"]})
    app.sandbox.faults.plan("contraforce.link", refusal)
    answer = await app.post(incident)
    assert (answer.status, answer.headers["Content-Type"]) == (422, "application/problem+json")
    assert (answer.json["code"], answer.json["reason"]) == ("VALIDATION_ERROR", "contraforce-rejected")
    assert answer.json["fields"] == ["incident.number"]
    assert answer.json["requestId"]
    again = await app.post(incident)
    assert again.json == answer.json
    assert app.sandbox.log.count("contraforce.link") == 1


async def test_503_with_retry_after_when_nothing_can_be_recorded(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINK_STORE", f"sqlite:///{tmp_path}")  # a folder
    answer = await app.post(incident_of(app))
    assert (answer.status, answer.json["code"]) == (503, "store-unavailable")
    assert int(answer.headers["Retry-After"]) > 0
    assert app.sandbox.log.all == []


async def test_503_names_every_bad_setting_and_no_value(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORKSPACES", "planted-value")
    monkeypatch.delenv("CONTRAFORCE_CLIENT_SECRET")
    answer = await app.post(incident_of(app))
    assert (answer.status, answer.json["code"]) == (503, "settings-refused")
    assert {"WORKSPACES", "CONTRAFORCE_CLIENT_SECRET"} <= set(answer.json["detail"].replace(":", "").split())
    assert "planted-value" not in json.dumps(answer.json)


async def test_a_bare_arm_id_reads_the_incident_from_sentinel_first(app: App) -> None:
    incident = incident_of(app)
    answer = await app.post({"incidentArmId": incident.arm_id.upper()})
    assert (answer.status, answer.json["incident"]["number"]) == (200, 3177)
    assert app.sandbox.log.count("arm.incident") == 1
    assert app.sandbox.log.of("contraforce.link")[0].body["incident"]["number"] == "3177"


async def test_the_request_to_contraforce_is_the_documented_one(app: App) -> None:
    incident = incident_of(app)
    await app.post(incident)
    (call,) = app.sandbox.log.of("contraforce.link")
    assert call.path == f"/api/v2/workspaces/{app.workspace.contraforce_id}/tickets/link"
    assert call.headers["Authorization"].startswith("Basic ")
    assert call.body == {
        "ticketId": None,
        "incident": {
            "id": incident.name,
            "source": "Sentinel",
            "workspaceId": app.workspace.contraforce_id,
            "number": "3177",
        },
    }


async def test_the_answer_comes_in_time_when_an_upstream_hangs(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Shown with a deadline of half a second in place of 20 s."""
    monkeypatch.setattr(retries, "DEADLINE_SECONDS", 0.5)
    incident = incident_of(app)
    app.sandbox.faults.plan("contraforce.link", faults.hang())
    started = asyncio.get_running_loop().time()
    answer = await app.post(incident)
    assert (answer.status, answer.json["reason"]) == (202, "contraforce-unavailable")
    assert asyncio.get_running_loop().time() - started < 5


async def test_a_record_is_found_by_incident_and_workspace_name_and_404_otherwise(app: App) -> None:
    incident = incident_of(app)
    await app.post(incident)
    found = await app.record(incident.name.upper(), workspace=app.workspace.name.upper())
    assert (found.status, found.json["status"], found.json["alreadyLinked"]) == (200, "linked", True)
    assert (await app.record(incident.name, workspace="law-unknown")).status == 404
    assert (await app.record("unknown", workspace=app.workspace.name)).status == 404


@pytest.mark.parametrize(
    ("name", "workspace"), [("..", "w"), ("a/b", "w"), ("a", None), ("1", None), ("", "w")]
)
async def test_a_record_asked_for_in_another_way_is_400(app: App, name: str, workspace: str | None) -> None:
    assert (await app.record(name, workspace=workspace)).status == 400


async def test_a_record_of_two_workspaces_of_one_name_is_asked_for_by_arm_id(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GUID of an incident repeats across workspaces in practice."""
    twin = app.sandbox.add_workspace(name=app.workspace.name, resource_group="rg-twin")
    monkeypatch.setenv("WORKSPACES", app.sandbox.environment()["WORKSPACES"])
    for workspace in (app.workspace, twin):
        await app.post(workspace.add_incident(name="3f1d9a52-7c0e-4b1b-9d5f-6a2f0e8c7b11", number=1))
    name = "3f1d9a52-7c0e-4b1b-9d5f-6a2f0e8c7b11"
    assert (await app.record(name, workspace=twin.name)).status == 400
    found = await app.record(name, workspace=twin.arm_id)
    assert "rg-twin" in found.json["incident"]["armId"]


async def test_every_event_of_a_delivery_carries_the_callers_correlation(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "contraforce_sentinel")
    headers = {
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "x-ms-client-tracking-id": "08584-tracking",
        "x-ms-workflow-run-id": "bad id\nwith a second line",
    }
    await app.post(incident_of(app), headers=headers)
    events = [record for record in caplog.records if record.name == "contraforce_sentinel"]
    assert [vars(record)[EVENT_NAME] for record in events] == ["link.linked"]
    assert vars(events[0])["traceparent"] == headers["traceparent"]
    assert vars(events[0])["client_tracking_id"] == "08584-tracking"
    assert "workflow_run_id" not in vars(events[0])


async def test_the_app_is_built_from_the_environment_once(app: App) -> None:
    await app.health()
    os.environ["CONTRAFORCE_CLIENT_ID"] = "changed"
    assert (await app.post(incident_of(app))).status == 200
