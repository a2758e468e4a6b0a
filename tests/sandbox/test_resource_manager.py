"""Resource Manager and managed identity, through the real Azure SDKs."""

import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from azure.core.exceptions import (
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceNotFoundError,
)
from azure.identity import CredentialUnavailableError
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.securityinsight.aio import SecurityInsights
from azure.mgmt.securityinsight.models import IncidentComment

from sandbox import PLANTED_SECRET, Sandbox, SandboxIncident, SandboxWorkspace, SentinelLimits, faults

START = datetime(2026, 10, 9, 2, 14, 7, 445566, tzinfo=UTC)


async def put(sentinel: SecurityInsights, incident: SandboxIncident, name: str, message: str) -> Any:
    place = (incident.workspace.resource_group, incident.workspace.name, incident.name, name)
    return await sentinel.incident_comments.create_or_update(*place, IncidentComment(message=message))


async def bearer(credential: ManagedIdentityCredential, sandbox: Sandbox) -> dict[str, str]:
    token = await credential.get_token(f"{sandbox.arm.base_url}/.default")
    return {"Authorization": f"Bearer {token.token}"}


async def test_identity_issues_a_planted_token(
    credential: ManagedIdentityCredential, sandbox: Sandbox
) -> None:
    token = await credential.get_token(f"{sandbox.arm.base_url}/.default")
    assert PLANTED_SECRET in token.token
    assert sandbox.identity.tokens[token.token].resource == sandbox.arm.base_url
    (request,) = sandbox.log.of("identity.token")
    assert request.headers["x-identity-header"] == sandbox.identity.header
    assert request.query["client_id"] == sandbox.identity.client_ids[0]


@pytest.mark.parametrize(
    ("changes", "header", "status"),
    [
        ({}, "wrong", 401),
        ({"client_id": str(uuid4())}, None, 400),
        ({"resource": ""}, None, 400),
        ({"api-version": "2017-09-01"}, None, 400),
        ({}, None, 200),
    ],
)
async def test_identity_refuses_what_azure_refuses(
    sandbox: Sandbox, web: httpx.AsyncClient, changes: dict[str, str], header: str | None, status: int
) -> None:
    query = {"api-version": "2019-08-01", "resource": "https://vault.azure.net", **changes}
    headers = {"X-IDENTITY-HEADER": header or sandbox.identity.header}
    answer = await web.get(sandbox.identity.endpoint, params=query, headers=headers)
    assert answer.status_code == status


async def test_an_unknown_client_id_is_an_unavailable_credential(
    credential: ManagedIdentityCredential, sandbox: Sandbox
) -> None:
    sandbox.identity.client_ids = [str(uuid4())]
    with pytest.raises((CredentialUnavailableError, ClientAuthenticationError)):
        await credential.get_token(f"{sandbox.arm.base_url}/.default")


async def test_workspace_get(
    sandbox: Sandbox,
    workspace: SandboxWorkspace,
    credential: ManagedIdentityCredential,
    web: httpx.AsyncClient,
) -> None:
    url = f"{sandbox.arm.base_url}{workspace.arm_id.upper()}"
    headers = await bearer(credential, sandbox)
    answer = await web.get(url, params={"api-version": "2025-07-01"}, headers=headers)
    assert answer.status_code == 200
    assert answer.json()["properties"]["customerId"] == workspace.customer_id
    assert answer.json()["location"] == "westeurope"
    assert (await web.get(url, headers=headers)).json()["error"]["code"] == "MissingApiVersionParameter"
    gone = await web.get(url + "x", params={"api-version": "2025-07-01"}, headers=headers)
    assert (gone.status_code, gone.json()["error"]["code"]) == (404, "ResourceNotFound")


async def test_incident_get(sentinel: SecurityInsights, workspace: SandboxWorkspace) -> None:
    incident = workspace.add_incident(number=3177, labels=["ContraForce"], created=START)
    found: Any = await sentinel.incidents.get(
        workspace.resource_group, workspace.name.upper(), incident.name.upper()
    )
    assert found.id == incident.arm_id
    assert found.incident_number == 3177
    assert found.labels[0].label_name == "ContraForce"
    assert found.created_time_utc == START
    incident.delete()
    with pytest.raises(ResourceNotFoundError):
        await sentinel.incidents.get(workspace.resource_group, workspace.name, incident.name)


async def listed(
    sentinel: SecurityInsights, workspace: SandboxWorkspace, **options: Any
) -> AsyncIterator[int]:
    incidents: Any = sentinel.incidents.list(workspace.resource_group, workspace.name, **options)
    async for incident in incidents:  # the SDK's annotation says pages, but it yields incidents
        yield incident.incident_number


async def test_incidents_are_filtered_ordered_and_paged(
    sentinel: SecurityInsights, sandbox: Sandbox, workspace: SandboxWorkspace
) -> None:
    for minute in reversed(range(12)):
        workspace.add_incident(number=100 + minute, created=START + timedelta(minutes=minute))
    since = (START + timedelta(minutes=2)).isoformat().replace("+00:00", "Z")
    options = {
        "filter": f"properties/createdTimeUtc ge {since}",
        "orderby": "properties/createdTimeUtc asc",
        "top": 3,
    }
    numbers = [number async for number in listed(sentinel, workspace, **options)]
    assert numbers == list(range(102, 112))
    requests = sandbox.log.of("arm.incidents")
    assert len(requests) == 4
    assert ["$skipToken" in request.query for request in requests] == [False, True, True, True]
    assert {request.query["$filter"] for request in requests} == {options["filter"]}


async def test_the_default_page_has_fifty_and_the_link_is_absolute(
    sandbox: Sandbox,
    workspace: SandboxWorkspace,
    credential: ManagedIdentityCredential,
    web: httpx.AsyncClient,
) -> None:
    for _ in range(51):
        workspace.add_incident()
    url = f"{sandbox.arm.base_url}{workspace.arm_id}/providers/Microsoft.SecurityInsights/Incidents"
    headers = await bearer(credential, sandbox)
    first = (await web.get(url, params={"api-version": "2025-09-01"}, headers=headers)).json()
    assert len(first["value"]) == 50
    assert first["nextLink"].startswith(sandbox.arm.base_url)
    second = (await web.get(first["nextLink"], headers=headers)).json()
    assert len(second["value"]) == 1
    assert "nextLink" not in second


@pytest.mark.parametrize(
    "options",
    [
        {"top": 1001},
        {"filter": "properties/title eq 'x'"},
        {"filter": "properties/createdTimeUtc ge yesterday"},
        {"orderby": "properties/title asc"},
        {"skip_token": "nonsense"},
    ],
)
async def test_a_bad_query_is_a_bad_request(
    sentinel: SecurityInsights, workspace: SandboxWorkspace, options: dict[str, Any]
) -> None:
    with pytest.raises(HttpResponseError) as caught:
        [number async for number in listed(sentinel, workspace, **options)]
    assert caught.value.status_code == 400


async def test_filter_takes_an_upper_end(sentinel: SecurityInsights, workspace: SandboxWorkspace) -> None:
    for minute in range(3):
        workspace.add_incident(number=minute, created=START + timedelta(minutes=minute))
    name, low, high = "properties/createdTimeUtc", "2026-10-09T02:14:00Z", "2026-10-09T02:16:00Z"
    options = {"filter": f"{name} gt {low} and {name} lt {high}", "orderby": f"{name} desc"}
    assert [number async for number in listed(sentinel, workspace, **options)] == [1, 0]


async def test_comment_is_created_then_updated_and_kept_verbatim(
    sentinel: SecurityInsights, sandbox: Sandbox, workspace: SandboxWorkspace
) -> None:
    incident, name = workspace.add_incident(), str(uuid4())
    message = "Ticket <b>T1</b>\n\u00e9\U0001f600"
    await put(sentinel, incident, name, message)
    assert [comment.message for comment in incident.comments] == [message]
    await put(sentinel, incident, name.upper(), "again")
    assert [comment.message for comment in incident.comments] == ["again"]
    assert [request.status for request in sandbox.log.of("arm.comment.put")] == [201, 200]
    assert {request.key for request in sandbox.log.of("arm.comment.put")} == {incident.name}
    place = (workspace.resource_group, workspace.name, incident.name)
    assert (await sentinel.incident_comments.get(*place, name)).message == "again"
    comments: Any = sentinel.incident_comments.list(*place)
    assert [comment.message async for comment in comments] == ["again"]


async def test_second_put_may_be_a_conflict(sentinel: SecurityInsights, workspace: SandboxWorkspace) -> None:
    workspace.second_put = 409
    incident, name = workspace.add_incident(), str(uuid4())
    await put(sentinel, incident, name, "first")
    with pytest.raises(ResourceExistsError, match=name):
        await put(sentinel, incident, name, "second")
    assert incident.comments[0].message == "first"


async def test_put_with_etag_is_optimistic(sentinel: SecurityInsights, workspace: SandboxWorkspace) -> None:
    workspace.second_put = 409
    incident, name = workspace.add_incident(), str(uuid4())
    first = await put(sentinel, incident, name, "first")
    place = (workspace.resource_group, workspace.name, incident.name, name)
    with_etag = IncidentComment(message="second", etag=first.etag)
    await sentinel.incident_comments.create_or_update(*place, with_etag)
    with pytest.raises(ResourceExistsError):
        await sentinel.incident_comments.create_or_update(*place, with_etag)


async def test_comments_have_sentinels_bounds(
    sentinel: SecurityInsights, workspace: SandboxWorkspace
) -> None:
    incident = workspace.add_incident()
    await put(sentinel, incident, str(uuid4()), "x" * 30_000)
    with pytest.raises(HttpResponseError, match="too long"):
        await put(sentinel, incident, str(uuid4()), "x" * 30_001)
    for _ in range(99):
        await put(sentinel, incident, str(uuid4()), "x")
    with pytest.raises(HttpResponseError, match=re.escape(incident.title)):
        await put(sentinel, incident, str(uuid4()), "one too many")
    incident.delete()
    with pytest.raises(ResourceNotFoundError):
        await put(sentinel, incident, str(uuid4()), "gone")


async def test_limits_are_per_subscription_and_end_with_the_window(
    sentinel: SecurityInsights, sandbox: Sandbox, workspace: SandboxWorkspace
) -> None:
    now = 1000.0
    sandbox.arm.limits = SentinelLimits(clock=lambda: now)
    incident = workspace.add_incident()
    for _ in range(75):
        await put(sentinel, incident, "11111111-1111-4111-8111-111111111111", "x")
    now += 100
    with pytest.raises(HttpResponseError) as caught:
        await put(sentinel, incident, str(uuid4()), "x")
    assert caught.value.status_code == 429
    response: Any = caught.value.response
    assert response.headers["Retry-After"] == "200"
    assert sandbox.arm.limits.take("another", "comment PUT") == 0
    assert sandbox.arm.limits.take(workspace.subscription, "comment GET") == 0
    now += 200
    await put(sentinel, incident, str(uuid4()), "x")


@pytest.mark.parametrize("place", ["subscription", "name", "arm_id", "operation"])
async def test_missing_role(
    sentinel: SecurityInsights, sandbox: Sandbox, workspace: SandboxWorkspace, place: str
) -> None:
    incident = workspace.add_incident()
    sandbox.arm.forbidden.add(getattr(workspace, place, "arm.comment.put"))
    with pytest.raises(HttpResponseError, match="AuthorizationFailed") as caught:
        await put(sentinel, incident, str(uuid4()), "x")
    assert caught.value.status_code == 403


async def test_revoked_token(
    sentinel: SecurityInsights, sandbox: Sandbox, workspace: SandboxWorkspace
) -> None:
    incident = workspace.add_incident()
    await put(sentinel, incident, str(uuid4()), "x")
    sandbox.identity.tokens.clear()
    with pytest.raises(ClientAuthenticationError, match="InvalidAuthenticationToken"):
        await put(sentinel, incident, str(uuid4()), "x")


async def test_token_must_be_there_current_and_for_this_audience(
    sandbox: Sandbox,
    workspace: SandboxWorkspace,
    credential: ManagedIdentityCredential,
    web: httpx.AsyncClient,
) -> None:
    url = f"{sandbox.arm.base_url}{workspace.arm_id}?api-version=2025-07-01"
    missing = await web.get(url)
    other = await credential.get_token("https://storage.azure.com/.default")
    wrong = await web.get(url, headers={"Authorization": f"Bearer {other.token}"})
    sandbox.identity.lifetime_seconds = -1
    query = {"api-version": "2019-08-01", "resource": sandbox.arm.base_url}
    identity = {"X-IDENTITY-HEADER": sandbox.identity.header}
    late = (await web.get(sandbox.identity.endpoint, params=query, headers=identity)).json()["access_token"]
    expired = await web.get(url, headers={"Authorization": f"Bearer {late}"})
    assert [answer.status_code for answer in (missing, wrong, expired)] == [401, 401, 401]
    assert [answer.json()["error"]["code"] for answer in (missing, wrong, expired)] == [
        "AuthenticationFailed",
        "InvalidAuthenticationTokenAudience",
        "ExpiredAuthenticationToken",
    ]
    assert "Bearer" in missing.headers["WWW-Authenticate"]


async def test_planned_arm_error_reaches_the_sdk(
    sentinel: SecurityInsights, sandbox: Sandbox, workspace: SandboxWorkspace
) -> None:
    incident = workspace.add_incident()
    sandbox.faults.plan("arm.comment.put", faults.arm_error(503, "ServerBusy", retry_after="7"))
    with pytest.raises(HttpResponseError, match="ServerBusy"):
        await put(sentinel, incident, str(uuid4()), "x")
    assert incident.comments == []
    await put(sentinel, incident, str(uuid4()), "x")
    assert len(incident.comments) == 1


async def test_permissions_are_those_of_the_role_less_what_is_forbidden(
    web: httpx.AsyncClient,
    credential: ManagedIdentityCredential,
    sandbox: Sandbox,
    workspace: SandboxWorkspace,
) -> None:
    url = f"{sandbox.arm.base_url}{workspace.arm_id}/providers/Microsoft.Authorization/permissions"

    async def get() -> httpx.Response:
        headers = await bearer(credential, sandbox)
        return await web.get(url, params={"api-version": "2022-04-01"}, headers=headers)

    (permission,) = (await get()).json()["value"]
    assert "Microsoft.SecurityInsights/incidents/*" in permission["actions"]
    assert permission["notActions"] == ["Microsoft.SecurityInsights/incidents/*/Delete"]
    sandbox.arm.forbidden = {"arm.comment.put"}
    (permission,) = (await get()).json()["value"]
    assert "Microsoft.SecurityInsights/incidents/comments/write" in permission["notActions"]
    sandbox.arm.forbidden = {workspace.name}
    assert (await get()).status_code == 403


async def test_a_role_assignment_lifts_what_was_forbidden_on_its_workspace_only(
    web: httpx.AsyncClient,
    credential: ManagedIdentityCredential,
    sandbox: Sandbox,
    workspace: SandboxWorkspace,
) -> None:
    sandbox.arm.forbidden = {workspace.name, "another"}
    unknown = workspace.arm_id.replace(workspace.name, "unknown")
    statuses = []
    for scope in (unknown, workspace.arm_id):
        answer = await web.put(
            f"{sandbox.arm.base_url}{scope}/providers/Microsoft.Authorization/roleAssignments/{uuid4()}",
            params={"api-version": "2022-04-01"},
            headers=await bearer(credential, sandbox),
            json={"properties": {}},
        )
        statuses.append((answer.status_code, set(sandbox.arm.forbidden)))
    assert statuses == [(404, {workspace.name, "another"}), (201, {"another"})]


async def test_incidents_are_found_by_their_number(
    sentinel: SecurityInsights, workspace: SandboxWorkspace
) -> None:
    wanted = [workspace.add_incident() for _ in range(3)][1]
    listed: Any = sentinel.incidents.list(
        workspace.resource_group,
        workspace.name,
        filter=f"properties/incidentNumber eq {wanted.number}",
    )
    assert [found.name async for found in listed] == [wanted.name]
