"""What each failure of each upstream leads to, through the real worker: answer, record, calls made."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import trustme
from conftest import App
from pydantic import SecretStr

from contraforce_sentinel.azure import identity
from contraforce_sentinel.bootstrap import current_app
from contraforce_sentinel.contraforce.client import open_contraforce_connections
from contraforce_sentinel.contraforce.ticket_systems import NAMES
from contraforce_sentinel.telemetry.events import EVENT_NAME
from contraforce_sentinel.transport.network import Network
from sandbox import Operation, faults
from sandbox.faults import Fault

pytestmark = pytest.mark.usefixtures("no_backoff")

MINUTE, QUARTER, HOUR = timedelta(minutes=1), timedelta(minutes=15), timedelta(hours=1)
JIRA = {"id": "10001", "number": "SEC-1", "summary": "A"}
SERVICE_NOW = {"id": "a1", "number": "INC1", "shortDescription": "B"}


def envelope(**data: Any) -> Fault:
    return faults.json(200, {"data": data, "meta": {"requestId": "req-1", "timestamp": "x"}})


# fault of tickets/link -> reason, first wait (None: dead), calls within the request
CONTRAFORCE: dict[str, tuple[Fault, str, timedelta | None, int]] = {
    "503": (faults.status(503), "contraforce-unavailable", MINUTE, 4),
    "429": (faults.status(429), "contraforce-unavailable", MINUTE, 4),
    "408": (faults.status(408), "contraforce-unavailable", MINUTE, 4),
    "429 asking for an hour": (faults.status(429, retry_after="3600"), "contraforce-unavailable", HOUR, 1),
    "500, which may come after the work": (faults.status(500), "contraforce-unavailable", MINUTE, 1),
    "502 with a gateway's HTML": (faults.html(502), "contraforce-unavailable", MINUTE, 1),
    "504 with a gateway's HTML": (faults.html(504), "contraforce-unavailable", MINUTE, 1),
    "503 with problem details": (
        faults.problem(503, problem_code="UNAVAILABLE"),
        "contraforce-unavailable",
        MINUTE,
        4,
    ),
    "reset before the work": (faults.reset("before"), "contraforce-unavailable", MINUTE, 1),
    "reset after the work": (faults.reset("after"), "contraforce-unavailable", MINUTE, 1),
    "reset in the middle of the answer": (faults.reset("mid-body"), "contraforce-unavailable", MINUTE, 1),
    "a redirect, which is never followed": (
        Fault(status=307, headers={"Location": "https://example.org/"}),
        "contraforce-unavailable",
        MINUTE,
        1,
    ),
    "400 without a code": (faults.html(400), "contraforce-unavailable", MINUTE, 1),
    "409, which is not documented": (faults.problem(409), "contraforce-unavailable", MINUTE, 1),
    "401": (faults.problem(401), "contraforce-unauthorized", QUARTER, 1),
    "401 without a body": (faults.status(401), "contraforce-unauthorized", QUARTER, 1),
    "403 for the role": (
        faults.problem(403, problem_code="INSUFFICIENT_WORKSPACE_ROLE"),
        "contraforce-unauthorized",
        QUARTER,
        1,
    ),
    "403 of the older shape": (faults.older_error(403, "FORBIDDEN"), "contraforce-unauthorized", QUARTER, 1),
    "404": (faults.problem(404, problem_code="NOT_FOUND"), "not-ingested-yet", MINUTE, 1),
    "404 of the older shape": (faults.older_error(404, "NOT_FOUND"), "not-ingested-yet", MINUTE, 1),
    "404 of a gateway, as of a wrong base URL": (faults.html(404), "contraforce-unavailable", MINUTE, 1),
    "524, which may come after the work": (faults.status(524), "contraforce-unavailable", MINUTE, 1),
    "isTicketSet false": (envelope(jiraTicket=JIRA, isTicketSet=False), "no-ticket-yet", 5 * MINUTE, 1),
    "no ticket object": (envelope(isTicketSet=True), "no-ticket-yet", 5 * MINUTE, 1),
    "no ticket at all": (envelope(), "no-ticket-yet", 5 * MINUTE, 1),
    "400 VALIDATION_ERROR": (
        faults.problem(400, problem_code="VALIDATION_ERROR"),
        "contraforce-rejected",
        None,
        1,
    ),
    "400 BAD_REQUEST": (faults.problem(400, problem_code="BAD_REQUEST"), "contraforce-rejected", None, 1),
    "400 of the older shape": (faults.older_error(400, "BAD_REQUEST"), "contraforce-rejected", None, 1),
    "400 with an unknown code": (
        faults.problem(400, problem_code="NEW_ONE"),
        "contraforce-rejected",
        None,
        1,
    ),
    "200 with HTML": (faults.html(200), "contraforce-malformed", None, 1),
    "200 with half a JSON": (faults.not_json(), "contraforce-malformed", None, 1),
    "200 that is not UTF-8": (faults.garbage(), "contraforce-malformed", None, 1),
    "502 whose encoding is broken": (
        Fault(status=502, headers={"Content-Encoding": "gzip"}, body=b"not gzip"),
        "contraforce-unavailable",
        MINUTE,
        1,
    ),
    "200 with a list": (faults.json(200, []), "contraforce-malformed", None, 1),
    "200 without data": (faults.json(200, {"meta": {}}), "contraforce-malformed", None, 1),
    "200 with data null": (faults.json(200, {"data": None}), "contraforce-malformed", None, 1),
    "204": (faults.status(204), "contraforce-malformed", None, 1),
    "a ticket without a number": (envelope(jiraTicket={"id": "1"}), "contraforce-malformed", None, 1),
    "a ticket whose number is blank": (
        envelope(jiraTicket={"number": "\u202e\n "}),
        "contraforce-malformed",
        None,
        1,
    ),
    **{
        f"a ticket whose number is the JSON {word}": (
            Fault(status=200, body=b'{"data": {"jiraTicket": {"number": %s}}}' % word.encode()),
            "contraforce-malformed",
            None,
            1,
        )
        for word in ("NaN", "Infinity", "-Infinity", "1e999")
    },
    "a ticket whose number is a formula": (
        envelope(jiraTicket={"number": "=1+1"}),
        "contraforce-malformed",
        None,
        1,
    ),
    "a ticket that is a list": (envelope(jiraTicket=[1]), "contraforce-malformed", None, 1),
    "two tickets and no word which": (
        envelope(jiraTicket=JIRA, serviceNowTicket=SERVICE_NOW),
        "contraforce-malformed",
        None,
        1,
    ),
    "2 MB of JSON": (faults.json(200, {"data": "x" * 2_000_000}), "contraforce-malformed", None, 1),
    "JSON nested 100,000 deep": (Fault(status=200, body=b"[" * 100_000), "contraforce-malformed", None, 1),
    "an encoding that is broken": (
        Fault(status=200, headers={"Content-Encoding": "gzip"}, body=b"not gzip"),
        "contraforce-malformed",
        None,
        1,
    ),
}


async def test_what_json_has_no_number_for_is_nothing_in_the_other_fields_of_a_ticket(app: App) -> None:
    body = b'{"data": {"jiraTicket": {"number": "SEC-421", "id": NaN, "summary": Infinity}}}'
    app.sandbox.faults.plan("contraforce.link", Fault(status=200, body=body))
    answer = await app.post(app.workspace.add_incident(number=7))
    ticket = answer.json["ticket"]
    assert (ticket["number"], ticket["id"], ticket["title"]) == ("SEC-421", None, None)


@pytest.mark.parametrize(
    ("odd", "title"),
    [(b'"caf\xe9"', "caf\ufffd"), (b"9" * 5000, None), (b"-" + b"9" * 5000, None), (b"1e999", None)],
    ids=["no UTF-8", "5,000 digits", "as many below zero", "too large"],
)
async def test_what_cannot_be_read_in_a_ticket_costs_itself_alone(
    app: App, odd: bytes, title: str | None
) -> None:
    """The ticket is there, and asking for it again could make a second one."""
    body = b'{"data": {"jiraTicket": {"number": "SEC-421", "id": "7", "summary": %b}}}' % odd
    app.sandbox.faults.plan("contraforce.link", Fault(status=200, body=body))
    answer = await app.post(app.workspace.add_incident(number=7))
    ticket = answer.json["ticket"]
    assert (ticket["number"], ticket["id"], ticket["title"]) == ("SEC-421", "7", title)


@pytest.mark.parametrize("name", CONTRAFORCE)
async def test_each_failure_of_contraforce_leads_where_the_design_says(app: App, name: str) -> None:
    fault, reason, wait, calls = CONTRAFORCE[name]
    incident = app.workspace.add_incident(number=7)
    app.sandbox.faults.plan("contraforce.link", fault, times=None)
    before = datetime.now(UTC)
    answer = await app.post(incident)
    assert (answer.status, answer.json["reason"]) == (202 if wait else 422, reason)
    assert app.sandbox.log.count("contraforce.link") == calls
    record = (await app.record(incident.name, workspace=app.workspace.name)).json
    assert record["status"] == ("pending" if wait else "dead")
    assert record["ticket"] is None
    assert incident.comments == []
    if wait:
        waits = datetime.fromisoformat(record["retryAt"]) - before
        assert 0.8 * wait <= waits <= 1.2 * wait + timedelta(seconds=10)
    else:
        assert record["retryAt"] is None


# status and code of Resource Manager -> reason, whatever was asked for
CODES_OF_AZURE = (
    (404, "SubscriptionNotFound", "workspace-not-found"),
    (404, "InvalidSubscriptionId", "workspace-not-found"),
    (400, "InvalidSubscriptionId", "workspace-not-found"),
    (404, "ResourceGroupNotFound", "workspace-not-found"),
    (404, "ResourceNotFound", "workspace-not-found"),
    (404, "ParentResourceNotFound", "workspace-not-found"),
    (404, "InvalidResourceNamespace", "workspace-not-found"),
    (404, "SUBSCRIPTIONNOTFOUND", "workspace-not-found"),
    (409, "ScopeLocked", "workspace-blocked"),
    (403, "ScopeLocked", "workspace-blocked"),
    (409, "MissingSubscriptionRegistration", "workspace-blocked"),
    (409, "ReadOnlyDisabledSubscription", "workspace-blocked"),
    (403, "ReadOnlyDisabledSubscription", "workspace-blocked"),
)
SENTINEL: dict[str, tuple[Fault, str, timedelta | None, int]] = {
    "503": (faults.status(503), "sentinel-unavailable", MINUTE, 4),
    "500": (faults.status(500), "sentinel-unavailable", MINUTE, 4),
    "429 asking for an hour": (
        faults.arm_error(429, "TooManyRequests", retry_after="3600"),
        "sentinel-unavailable",
        HOUR,
        1,
    ),
    "HTML of a gateway": (faults.html(502), "sentinel-unavailable", MINUTE, 4),
    "reset before the work": (faults.reset("before"), "sentinel-unavailable", MINUTE, 4),
    "reset after the work": (faults.reset("after"), "sentinel-unavailable", MINUTE, 4),
    "403": (faults.arm_error(403, "AuthorizationFailed"), "sentinel-unauthorized", QUARTER, 1),
    "401": (faults.arm_error(401, "InvalidAuthenticationToken"), "sentinel-unauthorized", QUARTER, 1),
    "404, not there yet or not any more": (faults.arm_error(404, "NotFound"), "incident-gone", MINUTE, 1),
    "404 of a gateway": (faults.html(404), "incident-gone", MINUTE, 1),
    "409 on a comment that is not there": (
        faults.arm_error(409, "Conflict"),
        "sentinel-unavailable",
        MINUTE,
        1,
    ),
    **{
        f"{status} {code}": (faults.arm_error(status, code), reason, QUARTER, 1)
        for status, code, reason in CODES_OF_AZURE
    },
    "400": (faults.arm_error(400, "InvalidComment"), "sentinel-rejected", None, 1),
    "201 that is not about a comment": (faults.json(201, {"x": 1}), "sentinel-unavailable", MINUTE, 1),
    "201 that is not JSON": (faults.not_json(201), "sentinel-unavailable", MINUTE, 1),
    "201 that is not UTF-8": (faults.garbage(201), "sentinel-unavailable", MINUTE, 1),
}


@pytest.mark.parametrize("name", SENTINEL)
async def test_each_failure_of_the_comment_leads_where_the_design_says(app: App, name: str) -> None:
    fault, reason, wait, calls = SENTINEL[name]
    incident = app.workspace.add_incident(number=7)
    app.sandbox.faults.plan("arm.comment.put", fault, times=None)
    before = datetime.now(UTC)
    answer = await app.post(incident)
    assert (answer.status, answer.json["reason"]) == (202 if wait else 422, reason)
    assert app.sandbox.log.count("arm.comment.put") == calls
    record = (await app.record(incident.name, workspace=app.workspace.name)).json
    assert record["status"] == ("ticketed" if wait else "dead")
    assert record["ticket"]["number"] == app.sandbox.contraforce.created[0].number
    if wait:
        waits = datetime.fromisoformat(record["retryAt"]) - before
        assert 0.8 * wait <= waits <= 1.2 * wait + timedelta(seconds=10)


OF_AZURE: tuple[Operation, ...] = ("arm.workspace", "arm.incident")
BEFORE_THE_TICKET: dict[str, tuple[Operation, Fault, str, int]] = {
    "workspace 503": ("arm.workspace", faults.status(503), "resource-manager-unavailable", 202),
    "workspace 403": (
        "arm.workspace",
        faults.arm_error(403, "AuthorizationFailed"),
        "resource-manager-unauthorized",
        202,
    ),
    "workspace 404": ("arm.workspace", faults.arm_error(404, "NotFound"), "workspace-not-found", 202),
    "workspace 404 of a gateway": ("arm.workspace", faults.html(404), "workspace-not-found", 202),
    "workspace in another tenant": (
        "arm.workspace",
        faults.arm_error(401, "InvalidAuthenticationTokenTenant"),
        "resource-manager-unauthorized",
        202,
    ),
    **{
        f"{operation} {status} {code}": (operation, faults.arm_error(status, code), reason, 202)
        for operation in OF_AZURE
        for status, code, reason in CODES_OF_AZURE
    },
    "incident 409": ("arm.incident", faults.arm_error(409, "Conflict"), "workspace-blocked", 202),
    "workspace 400": (
        "arm.workspace",
        faults.arm_error(400, "InvalidApiVersionParameter"),
        "resource-manager-rejected",
        422,
    ),
    "workspace 409, which is not documented": (
        "arm.workspace",
        faults.arm_error(409, "Conflict"),
        "workspace-blocked",
        202,
    ),
    "workspace of another shape": (
        "arm.workspace",
        faults.json(200, {"properties": []}),
        "resource-manager-unavailable",
        202,
    ),
    "workspace that is not JSON": ("arm.workspace", faults.html(200), "resource-manager-unavailable", 202),
    "incident 503": ("arm.incident", faults.status(503), "sentinel-unavailable", 202),
    "incident 404": ("arm.incident", faults.arm_error(404, "NotFound"), "incident-gone", 202),
    "incident 403": ("arm.incident", faults.arm_error(403, "Forbidden"), "sentinel-unauthorized", 202),
    "incident without a number": (
        "arm.incident",
        faults.json(200, {"properties": {"title": "x", "severity": "High", "status": "New"}}),
        "sentinel-unavailable",
        202,
    ),
    "incident of another shape": (
        "arm.incident",
        faults.json(200, {"properties": {"incidentNumber": {}}}),
        "sentinel-unavailable",
        202,
    ),
    "incident that is a list": ("arm.incident", faults.json(200, [1]), "sentinel-unavailable", 202),
    "identity 500": ("identity.token", faults.status(500), "identity-unavailable", 202),
    "identity 429": ("identity.token", faults.status(429), "identity-unavailable", 202),
    "identity not assigned": (
        "identity.token",
        faults.json(400, {"error": "invalid_request"}),
        "identity-unauthorized",
        202,
    ),
    "identity answers a list": ("identity.token", faults.json(200, [1]), "identity-unavailable", 202),
    "identity answers half": (
        "identity.token",
        faults.json(200, {"access_token": "x", "expires_on": "soon"}),
        "identity-unavailable",
        202,
    ),
    "identity resets": ("identity.token", faults.reset("before"), "identity-unavailable", 202),
}


@pytest.mark.parametrize("name", BEFORE_THE_TICKET)
async def test_each_failure_before_the_ticket_is_recorded_and_links_nothing(app: App, name: str) -> None:
    operation, fault, reason, status = BEFORE_THE_TICKET[name]
    incident = app.workspace.add_incident(number=7)
    app.sandbox.faults.plan(operation, fault, times=None)
    answer = await app.post({"incidentArmId": incident.arm_id})
    assert (answer.status, answer.json["reason"]) == (status, reason)
    assert app.sandbox.log.count("contraforce.link") == 0
    app.sandbox.faults.clear()
    if status == 202:
        assert (await app.post(incident)).json["status"] == "linked"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_never_followed_with_the_credential(app: App, status: int) -> None:
    elsewhere = f"{app.sandbox.contraforce.base_url}/elsewhere"
    app.sandbox.faults.plan("contraforce.link", Fault(status=status, headers={"Location": elsewhere}))
    assert (await app.post(app.workspace.add_incident())).json["reason"] == "contraforce-unavailable"
    assert app.sandbox.log.count("unknown") == 0


async def test_a_compressed_answer_of_azure_is_read(app: App) -> None:
    body = gzip.compress(json.dumps(app.workspace.to_rest()).encode())
    fault = Fault(status=200, headers={"Content-Encoding": "gzip"}, body=body)
    app.sandbox.faults.plan("arm.workspace", fault)
    assert (await app.post(app.workspace.add_incident())).json["status"] == "linked"


async def test_an_untrusted_certificate_is_told_as_such(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(str(other))
    await app.post(app.workspace.add_incident())  # Azure is reached, with the right certificate
    monkeypatch.setenv("SSL_CERT_FILE", str(other))
    monkeypatch.setattr(
        current_app().linking._contraforce,
        "_connections",
        open_contraforce_connections(Network(), client_id="a", client_secret=SecretStr("b")),
    )
    answer = await app.post(app.workspace.add_incident())
    assert answer.json["reason"] == "contraforce-unavailable"
    told = [str(vars(record).get("error")) for record in caplog.records]
    assert any("TLS: CERTIFICATE_VERIFY_FAILED" in error for error in told)


@pytest.mark.parametrize(
    "operation", ["identity.token", "arm.workspace", "contraforce.link", "arm.comment.put"]
)
async def test_retry_after_of_any_upstream_moves_the_next_try(app: App, operation: Operation) -> None:
    app.sandbox.faults.plan(operation, faults.status(429, retry_after="7200"), times=None)
    answer = await app.post(app.workspace.add_incident())
    assert answer.status == 202
    wait = datetime.fromisoformat(answer.json["retryAt"]) - datetime.now(UTC)
    assert timedelta(minutes=119) < wait <= timedelta(hours=2)
    assert app.sandbox.log.count(operation) == 1


async def test_an_identity_endpoint_that_hangs_is_not_taken_for_resource_manager(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(identity, "_TOKEN_SECONDS", 0.2)
    app.sandbox.faults.plan("identity.token", faults.hang(), times=None)
    assert (await app.post(app.workspace.add_incident())).json["reason"] == "identity-unavailable"


async def test_contraforce_answering_503_twice_is_linked_all_the_same(app: App) -> None:
    app.sandbox.faults.plan("contraforce.link", faults.status(503, retry_after="0"), times=2)
    assert (await app.post(app.workspace.add_incident())).json["status"] == "linked"
    assert app.sandbox.log.count("contraforce.link") == 3


async def test_contraforce_out_of_reach_is_pending_and_surely_not_linked(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CONTRAFORCE_API_URL", "https://127.0.0.1:1/api/v2")
    answer = await app.post(app.workspace.add_incident())
    assert (answer.status, answer.json["reason"]) == (202, "contraforce-unavailable")
    assert all("may_have_linked" not in vars(record) for record in caplog.records)


@pytest.mark.parametrize("fault", [faults.reset("after"), faults.status(504), faults.reset("mid-body")])
async def test_a_call_that_may_have_linked_says_so_and_is_not_repeated_in_the_request(
    app: App, fault: Fault, caplog: pytest.LogCaptureFixture
) -> None:
    app.sandbox.faults.plan("contraforce.link", fault)
    assert (await app.post(app.workspace.add_incident())).status == 202
    assert app.sandbox.log.count("contraforce.link") == 1
    failed = [
        vars(record) for record in caplog.records if vars(record).get(EVENT_NAME) == "upstream.unavailable"
    ]
    assert [event["may_have_linked"] for event in failed] == ["yes"]


@pytest.mark.parametrize(
    ("operation", "fault", "advice"),
    [
        ("contraforce.link", faults.problem(401), "CONTRAFORCE_CLIENT_SECRET"),
        ("contraforce.link", faults.problem(403), "a role on the workspace"),
        ("arm.comment.put", faults.arm_error(403, "AuthorizationFailed"), "Microsoft Sentinel Responder"),
        ("arm.workspace", faults.arm_error(403, "AuthorizationFailed"), "Microsoft Sentinel Responder"),
        ("identity.token", faults.json(400, {"error": "x"}), "AZURE_CLIENT_ID"),
    ],
)
async def test_a_missing_grant_is_a_loud_event_that_names_what_to_grant(
    app: App, operation: Operation, fault: Fault, advice: str, caplog: pytest.LogCaptureFixture
) -> None:
    app.sandbox.faults.plan(operation, fault, times=None)
    await app.post(app.workspace.add_incident())
    (loud,) = [record for record in caplog.records if vars(record).get(EVENT_NAME) == "upstream.unauthorized"]
    assert loud.levelname == "ERROR"
    assert advice in vars(loud)["advice"]


@pytest.mark.parametrize(
    ("stored", "status", "reason"),
    [
        ("ours", 200, None),
        ("another", 422, "comment-conflict"),
        ("nothing", 202, "sentinel-unavailable"),
        ("unreadable", 202, "sentinel-unavailable"),
    ],
)
async def test_after_a_409_the_comment_that_is_there_decides(
    app: App, stored: str, status: int, reason: str | None
) -> None:
    incident = app.workspace.add_incident()
    if stored == "ours":
        app.workspace.second_put = 409
        app.sandbox.faults.plan("arm.comment.put", faults.html(503).but(after_work=True))
    else:
        app.sandbox.faults.plan("arm.comment.put", faults.arm_error(409, "Conflict"), times=None)
    if stored in {"another", "unreadable"}:
        comment = {"properties": {"message": "<p>something else</p>"} if stored == "another" else {}}
        app.sandbox.faults.plan("arm.comment.get", faults.json(200, comment))
    answer = await app.post(incident)
    assert (answer.status, answer.json["reason"]) == (status, reason)
    assert len(incident.comments) == (1 if stored == "ours" else 0)


@pytest.mark.parametrize(
    ("document", "code", "request_id", "fields"),
    [
        (
            {
                "type": "https://x",
                "title": "t",
                "status": 400,
                "detail": "d",
                "instance": "i",
                "code": "VALIDATION_ERROR",
                "requestId": "req-1",
                "timestamp": "2026-11-23T00:00:00.0000000Z",
                "target": "incident",
                "errors": {"incident.id": ["bad"], "": ["whole"], "<b>": ["x"]},
            },
            "VALIDATION_ERROR",
            "req-1",
            ["incident.id", "body", "incident"],
        ),
        (
            {
                "error": {"code": "BAD", "message": "m", "target": "t", "details": []},
                "meta": {"requestId": "r"},
            },
            "BAD",
            "r",
            ["t"],
        ),
        ({"code": "BAD_REQUEST", "requestId": {"a": 1}, "errors": ["x"]}, "BAD_REQUEST", None, []),
        ({"code": "BAD_REQUEST", "errors": {f"f{i}": [] for i in range(99)}}, "BAD_REQUEST", None, None),
    ],
)
async def test_both_error_bodies_give_code_request_id_and_field_names(
    app: App, document: dict[str, Any], code: str, request_id: str | None, fields: list[str] | None
) -> None:
    app.sandbox.faults.plan("contraforce.link", faults.json(400, document))
    answer = await app.post(app.workspace.add_incident())
    assert (answer.json["code"], answer.json["requestId"]) == (code, request_id)
    assert len(answer.json["fields"]) <= 10
    assert fields is None or answer.json["fields"] == fields


async def test_a_code_that_is_not_a_word_reaches_neither_answer_nor_record(app: App) -> None:
    planted = "<script>alert(1)</script> jane.doe"
    app.sandbox.faults.plan(
        "contraforce.link", faults.json(403, {"code": planted, "requestId": planted}), times=None
    )
    incident = app.workspace.add_incident()
    seen = [await app.post(incident), await app.record(incident.name, workspace=app.workspace.name)]
    assert all("jane.doe" not in json.dumps(answer.json) for answer in seen)


@pytest.mark.parametrize("system", NAMES)
@pytest.mark.parametrize("digits", [False, True])
async def test_every_ticket_system_integers_as_digits_or_not(
    app: App, system: str, *, digits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = app.sandbox.add_workspace(name=f"law-{system.lower()}", system=system)
    monkeypatch.setenv("WORKSPACES", app.sandbox.environment()["WORKSPACES"])
    monkeypatch.setenv("TICKET_URL_TEMPLATES", json.dumps({system: "https://desk.example/{id}?n={number}"}))
    app.sandbox.contraforce.integers_as_strings = digits
    incident = workspace.add_incident(number=5, ticket_title="<b>Bold</b> & *starred*")
    answer = await app.post(incident)
    ticket = app.sandbox.contraforce.created[0]
    assert answer.json["ticket"]["system"] == system
    assert answer.json["ticket"]["title"] == "<b>Bold</b> & *starred*"
    (comment,) = incident.comments
    assert (
        f'<a href="https://desk.example/{ticket.id}?n={ticket.number}">{ticket.number}</a>' in comment.message
    )
    assert "<b>" not in comment.message
