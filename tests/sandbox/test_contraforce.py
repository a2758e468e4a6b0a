"""tickets/link: three systems, create-or-return, and every documented error."""

import json
import re
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from sandbox import PLANTED_SECRET, TICKET_SYSTEMS, Sandbox, SandboxIncident, SandboxWorkspace
from sandbox.ticket_systems.model import TicketSystem


def request_body(incident: SandboxIncident, **changes: Any) -> dict[str, Any]:
    return {
        "ticketId": None,
        "incident": {
            "id": incident.name,
            "source": "Sentinel",
            "workspaceId": incident.workspace.contraforce_id,
            "number": str(incident.number),
            **changes,
        },
    }


class Caller:
    """Calls tickets/link with valid credentials unless told otherwise."""

    def __init__(self, sandbox: Sandbox, web: httpx.AsyncClient) -> None:
        self.auth = (sandbox.contraforce.client_id, sandbox.contraforce.client_secret)
        self._api_url = sandbox.contraforce.api_url
        self._web = web

    async def __call__(self, workspace_id: str, body: Any) -> httpx.Response:
        url = f"{self._api_url}/workspaces/{workspace_id}/tickets/link"
        return await self._web.post(url, json=body, auth=self.auth)

    async def link(self, incident: SandboxIncident, ticket_id: str | None = None) -> httpx.Response:
        body = {**request_body(incident), "ticketId": ticket_id}
        return await self(incident.workspace.contraforce_id, body)


@pytest.fixture
def call(sandbox: Sandbox, web: httpx.AsyncClient) -> Caller:
    return Caller(sandbox, web)


@pytest.mark.parametrize("system", TICKET_SYSTEMS, ids=lambda system: system.name)
async def test_each_system_answers_with_its_own_ticket_object(
    sandbox: Sandbox, call: Caller, system: TicketSystem
) -> None:
    """That it has every published field, `test_ticket_systems` holds."""
    workspace = sandbox.add_workspace(system=system.name)
    first = workspace.add_incident(number=7)
    second = workspace.add_incident(ticket_title="<script>|*_")
    answers = [(await call.link(incident)).json() for incident in (first, second)]
    data = answers[0]["data"]
    fields = {each.field for each in TICKET_SYSTEMS}
    assert set(data) == {*fields, "ticketingSystemType", "isTicketSet"}
    assert all(data[other] is None for other in fields if other != system.field)
    assert (data["ticketingSystemType"], data["isTicketSet"]) == (system.name, True)
    objects = [answer["data"][system.field] for answer in answers]
    assert objects == [ticket.body for ticket in sandbox.contraforce.created]
    assert objects[0]["number"] != objects[1]["number"]
    assert "Incident 7" in objects[0].values()
    assert "<script>|*_" in objects[1].values()
    assert answers[0]["meta"]["requestId"] != answers[1]["meta"]["requestId"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{7}Z", answers[0]["meta"]["timestamp"])


def test_a_ticket_system_that_the_sandbox_has_not_is_refused_by_name(sandbox: Sandbox) -> None:
    with pytest.raises(ValueError, match="Zendesk is no ticket system of the sandbox; it has Autotask"):
        sandbox.add_workspace(system="Zendesk")


async def test_an_incident_keeps_its_ticket(
    sandbox: Sandbox, call: Caller, workspace: SandboxWorkspace
) -> None:
    incident = workspace.add_incident()
    first = await call.link(incident)
    shouted = request_body(incident, id=incident.name.upper())
    second = await call(workspace.contraforce_id.upper(), shouted)
    assert first.json()["data"] == second.json()["data"]
    assert sandbox.contraforce.created == [incident.ticket]
    (logged, _) = sandbox.log.of("contraforce.link")
    assert logged.key == incident.name
    assert logged.headers["authorization"].startswith("Basic ")
    assert logged.body["incident"]["number"] == str(incident.number)


async def test_the_same_incident_name_in_two_workspaces_is_two_incidents(
    sandbox: Sandbox, call: Caller
) -> None:
    name = str(uuid4())
    workspaces = [sandbox.add_workspace(name="law-a"), sandbox.add_workspace(name="law-b")]
    for each in workspaces:
        await call.link(each.add_incident(name=name))
    assert len(sandbox.contraforce.created) == 2
    assert {workspace for workspace, _ in sandbox.contraforce.links} == {w.contraforce_id for w in workspaces}


async def test_an_existing_ticket_can_be_linked(
    sandbox: Sandbox, call: Caller, workspace: SandboxWorkspace
) -> None:
    incident, ticket = workspace.add_incident(), workspace.add_ticket()
    answer = await call.link(incident, str(ticket.id))
    assert answer.json()["data"]["autotaskTicket"]["id"] == ticket.id
    assert incident.ticket == ticket
    assert sandbox.contraforce.created == []
    unknown = await call.link(incident, "4711")
    assert unknown.status_code == 400
    assert (unknown.json()["code"], unknown.json()["target"]) == ("VALIDATION_ERROR", "ticketId")


async def test_not_ingested_yet(call: Caller, workspace: SandboxWorkspace) -> None:
    counted, held = workspace.add_incident(title="Planted title"), workspace.add_incident()
    counted.hold_back(2)
    held.hold_back()
    assert [(await call.link(counted)).status_code for _ in range(3)] == [404, 404, 200]
    answers = [await call.link(held) for _ in range(3)]
    assert {(answer.status_code, answer.json()["code"]) for answer in answers} == {(404, "NOT_FOUND")}
    held.ingest()
    assert (await call.link(held)).status_code == 200


async def test_no_ticket_yet(sandbox: Sandbox, call: Caller, workspace: SandboxWorkspace) -> None:
    incident = workspace.add_incident()
    incident.withhold_ticket()
    data = (await call.link(incident)).json()["data"]
    assert data["isTicketSet"] is False
    assert data["autotaskTicket"] is None
    assert sandbox.contraforce.created == []
    incident.grant_ticket()
    assert (await call.link(incident)).json()["data"]["isTicketSet"] is True


async def test_integers_may_be_strings(sandbox: Sandbox, call: Caller, workspace: SandboxWorkspace) -> None:
    sandbox.contraforce.integers_as_strings = True
    data = (await call.link(workspace.add_incident())).json()["data"]
    assert data["autotaskTicket"]["id"] == "29683001"
    assert data["isTicketSet"] is True


async def test_credentials_are_checked_and_can_be_rotated(
    sandbox: Sandbox, call: Caller, workspace: SandboxWorkspace
) -> None:
    incident, old = workspace.add_incident(), call.auth
    new = (old[0], f"{PLANTED_SECRET}-second")
    call.auth = new
    refused = await call.link(incident)
    assert refused.status_code == 401
    assert refused.headers["Content-Type"] == "application/problem+json"
    sandbox.contraforce.credentials.add(new)
    assert (await call.link(incident)).status_code == 200
    call.auth = old
    assert (await call.link(incident)).status_code == 200
    sandbox.contraforce.credentials.remove(old)
    assert (await call.link(incident)).status_code == 401


@pytest.mark.parametrize("header", [b"", b"Basic", b"Basic %%%", b"Basic /w==", b"Basic \xe9", b"Bearer abc"])
async def test_a_malformed_authorization_is_401(
    sandbox: Sandbox, web: httpx.AsyncClient, workspace: SandboxWorkspace, header: bytes
) -> None:
    url = f"{sandbox.contraforce.api_url}/workspaces/{workspace.contraforce_id}/tickets/link"
    assert (await web.post(url, json={}, headers={b"Authorization": header})).status_code == 401


async def test_unknown_workspace_is_403_and_a_malformed_one_400(
    call: Caller, workspace: SandboxWorkspace
) -> None:
    body = request_body(workspace.add_incident())
    unknown = await call(str(uuid4()), body)
    assert (unknown.status_code, unknown.json()["code"]) == (403, "INSUFFICIENT_WORKSPACE_ROLE")
    malformed = await call("law-sentinel-prod", body)
    assert (malformed.status_code, malformed.json()["code"]) == (400, "VALIDATION_ERROR")
    assert set(malformed.json()["errors"]) == {"workspaceId"}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"id": ""}, "incident.id"),
        ({"id": None}, "incident.id"),
        ({"source": "sentinel"}, "incident.source"),
        ({"source": "QRadar"}, "incident.source"),
        ({"number": 3177}, "incident.number"),
        ({"workspaceId": "00000000-0000-0000-0000-000000000000"}, "incident.workspaceId"),
    ],
)
async def test_invalid_fields_are_named(
    call: Caller, workspace: SandboxWorkspace, changes: dict[str, Any], field: str
) -> None:
    body = request_body(workspace.add_incident(), **changes)
    answer = await call(workspace.contraforce_id, body)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (400, "VALIDATION_ERROR")
    assert list(problem["errors"]) == [field]
    assert {"type", "title", "status", "detail", "instance", "requestId", "timestamp"} <= set(problem)


@pytest.mark.parametrize(
    ("body", "code", "fields"),
    [
        ([], "VALIDATION_ERROR", {""}),
        ({}, "VALIDATION_ERROR", {"incident"}),
        ({"ticketId": 7, "incident": None}, "VALIDATION_ERROR", {"incident", "ticketId"}),
        (None, "BAD_REQUEST", set()),
    ],
)
async def test_bodies_of_the_wrong_shape(
    call: Caller, workspace: SandboxWorkspace, body: Any, code: str, fields: set[str]
) -> None:
    problem = (await call(workspace.contraforce_id, body)).json()
    assert (problem["status"], problem["code"], set(problem.get("errors", {}))) == (400, code, fields)


async def test_unknown_paths_are_logged_and_404(sandbox: Sandbox, web: httpx.AsyncClient) -> None:
    for base in (sandbox.contraforce.api_url, sandbox.arm.base_url, sandbox.identity.base_url):
        assert (await web.delete(f"{base}/nowhere")).status_code == 404
    assert sandbox.log.count("unknown") == 3


def test_settings_point_at_the_sandbox(sandbox: Sandbox, workspace: SandboxWorkspace) -> None:
    settings = sandbox.environment()
    assert settings["CONTRAFORCE_API_URL"].endswith("/api/v2")
    assert json.loads(settings["WORKSPACES"]) == [
        {"workspace": workspace.arm_id, "contraforceWorkspaceId": workspace.contraforce_id}
    ]
    assert Path(settings["SSL_CERT_FILE"]).is_file()
    assert [name for name, value in settings.items() if PLANTED_SECRET in value] == [
        "CONTRAFORCE_CLIENT_SECRET",
        "IDENTITY_HEADER",
    ]


def test_trigger_bodies(workspace: SandboxWorkspace) -> None:
    incident = workspace.add_incident(number=3177, labels=["Redirected"])
    full, trimmed = incident.trigger_body(), incident.trimmed_body()
    assert "/Incidents/" in full["object"]["id"]
    assert full["object"]["id"].lower() == incident.arm_id.lower()
    assert full["workspaceId"] == workspace.customer_id
    assert full["object"]["properties"]["alerts"][0]["properties"]["additionalData"]["Query"]
    assert set(trimmed["object"]["properties"]) == {
        "incidentNumber",
        "severity",
        "status",
        "labels",
        "createdTimeUtc",
        "providerIncidentId",
    }
    assert len(json.dumps(trimmed)) < len(json.dumps(full)) / 4
    xdr = workspace.add_incident(provider="Microsoft XDR").trigger_body("Update")
    assert "description" not in xdr["object"]["properties"]
    assert "incidentUpdates" in xdr


async def test_an_incident_is_read_only_by_who_may_and_only_if_it_has_a_ticket(
    web: httpx.AsyncClient, sandbox: Sandbox, workspace: SandboxWorkspace
) -> None:
    incident = workspace.add_incident()
    path = f"workspaces/{workspace.contraforce_id}/incidents/Sentinel/{incident.name}"
    foreign = f"workspaces/{uuid4()}/incidents/Sentinel/{incident.name}"
    good = (sandbox.contraforce.client_id, sandbox.contraforce.client_secret)

    async def get(which: str, auth: tuple[str, str]) -> httpx.Response:
        return await web.get(f"{sandbox.contraforce.api_url}/{which}", auth=auth)

    assert (await get(path, ("nobody", "x"))).status_code == 401
    assert (await get(foreign, good)).json()["code"] == "INSUFFICIENT_WORKSPACE_ROLE"
    assert (await get(path, good)).json()["code"] == "NOT_FOUND"
    sandbox.contraforce.links[incident.key] = workspace.add_ticket()
    assert (await get(path, good)).json()["data"]["incident"]["id"] == incident.name
