"""Each kind of fault as the client sees it, and what the service did meanwhile."""

import asyncio
import time
from typing import Literal, cast
from uuid import uuid4

import aiohttp
import httpx
import pytest
import trustme
from azure.core.exceptions import DecodeError, IncompleteReadError, ServiceRequestError, ServiceResponseError
from azure.mgmt.securityinsight.aio import SecurityInsights
from azure.mgmt.securityinsight.models import IncidentComment

from sandbox import Operation, Sandbox, SandboxIncident, SandboxWorkspace, faults
from sandbox.faults import Fault


async def link(sandbox: Sandbox, web: httpx.AsyncClient, incident: SandboxIncident) -> httpx.Response:
    workspace_id = incident.workspace.contraforce_id
    body = {"id": incident.name, "source": "Sentinel", "workspaceId": workspace_id, "number": "7"}
    return await web.post(
        f"{sandbox.contraforce.api_url}/workspaces/{workspace_id}/tickets/link",
        json={"incident": body},
        auth=(sandbox.contraforce.client_id, sandbox.contraforce.client_secret),
    )


DISCONNECTED = (httpx.ReadError, httpx.RemoteProtocolError)


@pytest.mark.parametrize(
    ("fault", "errors", "tickets"),
    [
        (faults.reset("before"), DISCONNECTED, 0),
        (faults.reset("after"), DISCONNECTED, 1),
        (faults.reset("mid-body"), DISCONNECTED, 1),
        (faults.hang(), (httpx.ReadTimeout,), 1),
    ],
)
async def test_broken_connections(
    sandbox: Sandbox, web: httpx.AsyncClient, fault: Fault, errors: tuple[type[Exception], ...], tickets: int
) -> None:
    web.timeout = httpx.Timeout(0.3)
    incident = sandbox.add_workspace().add_incident()
    sandbox.faults.plan("contraforce.link", fault)
    with pytest.raises(errors):
        await link(sandbox, web, incident)
    assert len(sandbox.contraforce.created) == tickets
    assert [request.status for request in sandbox.log.of("contraforce.link")] == [None]
    assert (await link(sandbox, web, incident)).status_code == 200


async def put(sentinel: SecurityInsights, incident: SandboxIncident) -> None:
    place = (incident.workspace.resource_group, incident.workspace.name, incident.name, str(uuid4()))
    await sentinel.incident_comments.create_or_update(*place, IncidentComment(message="x"))


@pytest.mark.parametrize(("when", "comments"), [("before", 0), ("after", 1)])
async def test_aiohttp_sends_a_put_twice_before_the_sdk_sees_a_reset(
    sandbox: Sandbox,
    sentinel: SecurityInsights,
    workspace: SandboxWorkspace,
    when: Literal["before", "after"],
    comments: int,
) -> None:
    """Its client repeats an idempotent request once by itself, below every retry policy."""
    incident = workspace.add_incident()
    sandbox.faults.plan("arm.comment.put", faults.reset(when), times=2)
    with pytest.raises((ServiceRequestError, ServiceResponseError)):
        await put(sentinel, incident)
    assert sandbox.log.count("arm.comment.put") == 2
    assert len(incident.comments) == comments


@pytest.mark.parametrize("layers", [1, 2])
async def test_a_bomb_is_small_until_it_is_unpacked(
    sandbox: Sandbox, web: httpx.AsyncClient, layers: int
) -> None:
    sandbox.faults.plan("contraforce.link", faults.bomb(4, layers=layers))
    answer = await link(sandbox, web, sandbox.add_workspace().add_incident())
    assert len(answer.content) == 4 * 2**20
    assert answer.num_bytes_downloaded < 5000
    assert sandbox.contraforce.created == []


@pytest.mark.parametrize("what", ["headers", "hints", "body"])
async def test_an_endless_answer_comes_after_the_work_and_goes_on(
    sandbox: Sandbox, web: httpx.AsyncClient, what: Literal["headers", "hints", "body"]
) -> None:
    web.timeout = httpx.Timeout(5)
    sandbox.faults.plan("contraforce.link", faults.endless(what))
    with pytest.raises((TimeoutError, httpx.RemoteProtocolError)):  # httpx collects headers up to 100 KB
        async with asyncio.timeout(0.3):
            await link(sandbox, web, sandbox.add_workspace().add_incident())
    assert len(sandbox.contraforce.created) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (faults.reset("mid-body"), IncompleteReadError),
        (faults.not_json(), DecodeError),
        (faults.garbage(), UnicodeDecodeError),
    ],
)
async def test_broken_answers_as_the_azure_sdk_sees_them(
    sandbox: Sandbox,
    sentinel: SecurityInsights,
    workspace: SandboxWorkspace,
    fault: Fault,
    error: type[Exception],
) -> None:
    sandbox.faults.plan("arm.comment.put", fault)
    with pytest.raises(error):
        await put(sentinel, workspace.add_incident())
    assert sandbox.log.count("arm.comment.put") == 1


async def test_answers_in_place_of_the_service(
    sandbox: Sandbox, web: httpx.AsyncClient, workspace: SandboxWorkspace
) -> None:
    incident = workspace.add_incident()
    planned = [
        faults.status(503, retry_after="2"),
        faults.html(502),
        faults.garbage(),
        faults.json(200, {"data": None}),
        faults.problem(400, problem_code="VALIDATION_ERROR", errors={"incident.id": ["no"]}),
        faults.older_error(404, "NotFound"),
    ]
    sandbox.faults.plan("contraforce.link", *planned)
    answers = [await link(sandbox, web, incident) for _ in planned]
    assert [answer.status_code for answer in answers] == [503, 502, 200, 200, 400, 404]
    assert answers[0].headers["Retry-After"] == "2"
    assert answers[1].headers["Content-Type"].startswith("text/html")
    with pytest.raises(ValueError, match="codec can't decode"):
        answers[2].json()
    assert answers[4].json()["code"] == "VALIDATION_ERROR"
    assert answers[5].json()["error"]["code"] == "NotFound"
    assert sandbox.contraforce.created == []
    assert sandbox.faults.left("contraforce.link") == 0
    assert (await link(sandbox, web, incident)).status_code == 200


async def test_a_gateway_error_after_the_work(
    sandbox: Sandbox, web: httpx.AsyncClient, workspace: SandboxWorkspace
) -> None:
    sandbox.faults.plan("contraforce.link", faults.html(504).but(after_work=True))
    assert (await link(sandbox, web, workspace.add_incident())).status_code == 504
    assert len(sandbox.contraforce.created) == 1


async def test_slow_ends_well(sandbox: Sandbox, web: httpx.AsyncClient, workspace: SandboxWorkspace) -> None:
    sandbox.faults.plan("contraforce.link", faults.slow(0.2))
    started = time.monotonic()
    assert (await link(sandbox, web, workspace.add_incident())).status_code == 200
    assert time.monotonic() - started >= 0.2


async def test_plans_repeat_select_and_end(
    sandbox: Sandbox, web: httpx.AsyncClient, workspace: SandboxWorkspace
) -> None:
    bad, good = workspace.add_incident(), workspace.add_incident()
    sandbox.faults.plan(
        "contraforce.link", faults.status(500), times=None, where=lambda request: request.key == bad.name
    )
    sandbox.faults.plan("contraforce.link", faults.status(429), faults.status(502), times=2)
    assert [(await link(sandbox, web, bad)).status_code for _ in range(3)] == [500, 500, 500]
    statuses = [(await link(sandbox, web, good)).status_code for _ in range(5)]
    assert statuses == [429, 502, 429, 502, 200]
    sandbox.faults.clear()
    assert (await link(sandbox, web, bad)).status_code == 200


def test_a_plan_for_nothing_is_an_error() -> None:
    plans = faults.FaultPlans()
    with pytest.raises(ValueError, match="known operation"):
        plans.plan(cast("Operation", "contraforce.lnik"), faults.reset())
    with pytest.raises(ValueError, match="a fault"):
        plans.plan("contraforce.link")


async def test_a_running_sandbox_stops_while_a_request_hangs() -> None:
    async with httpx.AsyncClient(timeout=5) as web:
        async with Sandbox.start() as sandbox:
            sandbox.faults.plan("identity.token", faults.hang())
            hanging = asyncio.create_task(web.get(sandbox.identity.endpoint))
            while not sandbox.log.count("identity.token"):  # noqa: ASYNC110 - no event
                await asyncio.sleep(0.01)
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await hanging


async def test_a_ca_can_be_brought_along() -> None:
    ca = trustme.CA()
    async with Sandbox.start(ca=ca) as sandbox:
        assert sandbox.ca_file.read_bytes() == ca.cert_pem.bytes()
    assert not sandbox.ca_file.exists()


@pytest.mark.slow
async def test_a_thousand_requests_at_once(sandbox: Sandbox, workspace: SandboxWorkspace) -> None:
    """All of them are in the service at the same time: the latency would otherwise add up."""
    sandbox.contraforce.latency_seconds = 0.2
    url = f"{sandbox.contraforce.api_url}/workspaces/{workspace.contraforce_id}/tickets/link"
    auth = aiohttp.encode_basic_auth(sandbox.contraforce.client_id, sandbox.contraforce.client_secret)

    async def one(session: aiohttp.ClientSession, incident: SandboxIncident) -> int:
        body = {
            "id": incident.name,
            "source": "Sentinel",
            "workspaceId": workspace.contraforce_id,
            "number": str(incident.number),
        }
        async with session.post(url, json={"incident": body}, headers={"Authorization": auth}) as response:
            return response.status

    incidents = [workspace.add_incident() for _ in range(1000)]
    connector = aiohttp.TCPConnector(limit=0, ssl=sandbox.client_context())
    async with aiohttp.ClientSession(connector=connector) as session:
        statuses = await asyncio.gather(*(one(session, incident) for incident in incidents))
    assert statuses == [200] * 1000
    assert len({ticket.number for ticket in sandbox.contraforce.created}) == 1000
