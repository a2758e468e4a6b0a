"""The codes with which Resource Manager refuses, and incidents that Sentinel announces before it has them."""

from collections.abc import Awaitable, Callable

import httpx
import pytest
from azure.identity.aio import ManagedIdentityCredential

from sandbox import Sandbox, SandboxWorkspace
from sandbox.refusals import REFUSALS

type Ask = Callable[..., Awaitable[tuple[int, str | None]]]


@pytest.fixture
def ask(sandbox: Sandbox, web: httpx.AsyncClient, credential: ManagedIdentityCredential) -> Ask:
    """Send a request; returns its status and the code of the error."""

    async def send(method: str, path: str) -> tuple[int, str | None]:
        token = await credential.get_token(f"{sandbox.arm.base_url}/.default")
        answer = await web.request(
            method,
            f"{sandbox.arm.base_url}{path}",
            params={"api-version": "2021-10-01"},
            headers={"Authorization": f"Bearer {token.token}"},
            json={"properties": {"message": "x"}} if method == "PUT" else None,
        )
        return answer.status_code, answer.json().get("error", {}).get("code")

    return send


@pytest.mark.parametrize("code", REFUSALS)
@pytest.mark.parametrize("place", ["subscription", "name", "arm_id"])
async def test_a_code_holds_for_what_it_concerns_where_it_is_put_and_nowhere_else(
    ask: Ask, sandbox: Sandbox, workspace: SandboxWorkspace, code: str, place: str
) -> None:
    other = sandbox.add_workspace(name="law-other", subscription="22222222-2222-4333-8444-555555555555")
    sandbox.arm.refused = {getattr(workspace, place).upper(): code}
    incident, elsewhere = workspace.add_incident(), other.add_incident()
    asked = {
        "everything": ("GET", workspace.arm_id),
        "sentinel": ("GET", incident.arm_id),
        "writes": ("PUT", f"{incident.arm_id}/comments/a"),
    }
    refusal = REFUSALS[code]
    answers = {concern: await ask(*request) for concern, request in asked.items()}
    refused = {concern for concern, answer in answers.items() if answer == (refusal.status, code)}
    widest = {"everything": {*asked}, "sentinel": {"sentinel", "writes"}, "writes": {"writes"}}
    assert refused == widest[refusal.concerns]
    assert all(status in {200, 201} for status, _ in answers.values() if status != refusal.status)
    assert await ask("PUT", f"{elsewhere.arm_id}/comments/a") == (201, None)


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("11111111-", "99999999-", "SubscriptionNotFound"),
        ("rg-secops-prod", "rg-other", "ResourceGroupNotFound"),
        ("law-sentinel-prod", "law-other", "ResourceNotFound"),
    ],
)
async def test_what_is_not_there_is_told_by_the_widest_part_that_is_missing(
    ask: Ask, workspace: SandboxWorkspace, old: str, new: str, code: str
) -> None:
    incident = workspace.add_incident()
    for path in (workspace.arm_id, incident.arm_id, f"{incident.arm_id}/comments/a"):
        assert await ask("GET", path.replace(old, new)) == (404, code)


async def test_an_incident_may_be_listed_before_it_and_its_comments_are_there(
    ask: Ask, sandbox: Sandbox, workspace: SandboxWorkspace
) -> None:
    incident = workspace.add_incident()
    incident.late = 2
    assert await ask("GET", incident.arm_id) == (404, "NotFound")
    assert await ask("GET", workspace.arm_id + "/providers/Microsoft.SecurityInsights/incidents") == (
        200,
        None,
    )
    assert await ask("PUT", f"{incident.arm_id}/comments/a") == (404, "NotFound")
    assert await ask("PUT", f"{incident.arm_id}/comments/a") == (201, None)
    incident.late = None
    for _ in range(3):
        assert await ask("GET", incident.arm_id) == (404, "NotFound")
    assert len(incident.comments) == 1
