"""The playbook sends what the app reads, and keeps nothing of it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from deployed import Resource, plain, snapshot

from contraforce_sentinel.edge.payloads import parse_delivery

TRIGGER_BODIES = sorted((ROOT / "tests" / "payloads").glob("*-trigger-*.json"))
IDENTITY = "Microsoft.ManagedIdentity/userAssignedIdentities"
_TRIGGER_VALUE = re.compile(r"@triggerBody\(\)((?:\?\['\w+'\])+)")


def playbook() -> Resource:
    return snapshot("tokens").one("Microsoft.Logic/workflows")


def definition() -> dict[str, Any]:
    found = playbook().properties["definition"]
    assert isinstance(found, dict)
    return found


def link_inputs() -> dict[str, Any]:
    inputs = definition()["actions"]["Link_ticket"]["inputs"]
    assert isinstance(inputs, dict)
    return inputs


def evaluate(value: Any, trigger_body: Any) -> Any:
    """Evaluate a template as Logic Apps does: an absent property of `?[]` is null.

    https://learn.microsoft.com/azure/logic-apps/workflow-definition-language-functions-reference
    """
    if isinstance(value, dict):
        return {key: evaluate(item, trigger_body) for key, item in value.items()}
    expression = _TRIGGER_VALUE.fullmatch(value)
    assert expression, value
    found = trigger_body
    for name in re.findall(r"\w+", expression[1]):
        found = found.get(name) if isinstance(found, dict) else None
    return found


@pytest.mark.parametrize("payload", TRIGGER_BODIES, ids=lambda path: path.stem)
def test_the_trimmed_body_means_the_same_as_the_whole_one(payload: Path) -> None:
    whole = payload.read_bytes()
    inputs = link_inputs()
    trimmed = json.dumps(evaluate(inputs["body"], json.loads(whole))).encode()
    content_type = inputs["headers"]["Content-Type"]
    delivery = parse_delivery(trimmed, content_type=content_type)
    assert delivery == parse_delivery(whole, content_type="application/json")
    assert delivery.incident is not None, "the app would have to read the incident first"


def test_there_are_payloads_to_trim() -> None:
    assert len(TRIGGER_BODIES) >= 4


def test_no_content_of_the_incident_leaves_the_playbook() -> None:
    sent = json.dumps(link_inputs()["body"])
    names = set(re.findall(r"'(\w+)'", sent))
    assert names == {
        "object", "id", "name", "properties", "incidentNumber", "severity", "status", "labels",
        "createdTimeUtc", "providerIncidentId", "workspaceInfo", "workspaceId",
    }  # fmt: skip


def test_neither_key_nor_incident_stays_in_the_run_history() -> None:
    found = definition()
    secured = {"secureData": {"properties": ["inputs", "outputs"]}}
    assert {name: action["runtimeConfiguration"] for name, action in found["actions"].items()} == {
        "Get_function_key": secured,
        "Link_ticket": secured,
    }
    [trigger] = found["triggers"].values()
    assert trigger["runtimeConfiguration"] == {"secureData": {"properties": ["outputs"]}}


def test_the_playbook_is_run_for_incidents_as_its_own_identity() -> None:
    [trigger] = definition()["triggers"].values()
    assert trigger["type"] == "ApiConnectionWebhook"
    assert trigger["inputs"] == {
        "host": {"connection": {"name": "@parameters('$connections')['azuresentinel']['connectionId']"}},
        "body": {"callback_url": "@{listCallbackUrl()}"},
        "path": "/incident-creation",
    }
    identity = snapshot("tokens").one(IDENTITY, "playbook-identity")
    assert playbook().body["identity"]["userAssignedIdentities"] == {identity.id: {}}
    connection = playbook().properties["parameters"]["$connections"]["value"]["azuresentinel"]
    made = snapshot("tokens").one("Microsoft.Web/connections")
    assert connection["connectionId"] == made.id
    assert connection["id"] == made.properties["api"]["id"]
    assert connection["id"].endswith("/locations/westeurope/managedApis/azuresentinel")
    assert connection["connectionProperties"] == {
        "authentication": {"type": "ManagedServiceIdentity", "identity": identity.id}
    }
    assert made.properties["parameterValueType"] == "Alternative"


def test_the_key_comes_from_the_vault_as_the_playbook_s_identity() -> None:
    identity = snapshot("tokens").one(IDENTITY, "playbook-identity")
    vault = snapshot("tokens").outputs["playbookVaultName"]
    get_key = definition()["actions"]["Get_function_key"]["inputs"]
    assert plain(get_key["uri"]) == (
        f"[format('{{0}}?api-version=7.4', format('{{0}}secrets/playbook-function-key', "
        f"reference('{vault}').vaultUri))]"
    )
    assert get_key["authentication"] == {
        "type": "ManagedServiceIdentity",
        "identity": identity.id,
        "audience": "[format('https://{0}', skip(environment().suffixes.keyvaultDns, 1))]",
    }
    assert link_inputs()["headers"]["x-functions-key"] == "@body('Get_function_key')?['value']"
    assert link_inputs()["method"] == "POST"


def test_the_playbook_repeats_a_bounded_number_of_times_and_polls_for_nothing() -> None:
    link = definition()["actions"]["Link_ticket"]
    policy = link_inputs()["retryPolicy"]
    assert (policy["type"], policy["count"]) == ("exponential", 4)
    assert link["operationOptions"] == "DisableAsyncPattern"
    assert link["runAfter"] == {"Get_function_key": ["Succeeded"]}


def test_failed_runs_can_be_seen() -> None:
    runs = snapshot("tokens").one("Microsoft.Insights/diagnosticSettings", "runs")
    assert runs.scope == playbook().id
    assert runs.properties["metrics"] == [{"category": "AllMetrics", "enabled": True}]
    assert runs.properties["logs"] == [{"category": "WorkflowRuntime", "enabled": True}]
