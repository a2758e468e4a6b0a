"""The playbook sends what the app reads, and keeps nothing of it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from bicep_templates import read, resolved
from conftest import ROOT

from contraforce_sentinel.edge.payloads import parse_delivery

TRIGGER_BODIES = sorted((ROOT / "tests" / "payloads").glob("*-trigger-*.json"))
_TRIGGER_VALUE = re.compile(r"@triggerBody\(\)((?:\?\['\w+'\])+)")


def definition() -> dict[str, Any]:
    playbook = read("playbook.bicep")
    found = resolved(playbook, playbook.resources["playbook"].body["properties"]["definition"])
    assert isinstance(found, dict)
    return found


def link_inputs() -> dict[str, Any]:
    playbook = read("playbook.bicep")
    assert definition()["actions"]["Link_ticket"]["inputs"] == (
        "union(linkInputs, empty(authClientId) ? {} : token)"
    )
    inputs = resolved(playbook, playbook.variables["linkInputs"])
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
    template = read("playbook.bicep")
    body = template.resources["playbook"].body
    assert body["identity"]["userAssignedIdentities"] == {"'${identity.id}'": {}}
    connection = body["properties"]["parameters"]["$connections"]["value"]["azuresentinel"]
    assert connection["connectionId"] == "connection.id"
    assert connection["connectionProperties"] == {
        "authentication": {"type": "ManagedServiceIdentity", "identity": "identity.id"}
    }
    assert template.resources["connection"].body["properties"]["parameterValueType"] == "Alternative"


def test_the_key_comes_from_the_vault_and_the_token_from_the_identity() -> None:
    get_key, inputs = definition()["actions"]["Get_function_key"], link_inputs()
    assert get_key["inputs"]["uri"] == "'${functionKeyUri}?api-version=7.4'"
    assert get_key["inputs"]["authentication"] == {
        "type": "ManagedServiceIdentity",
        "identity": "identity.id",
        "audience": "'https://${skip(environment().suffixes.keyvaultDns, 1)}'",
    }
    assert inputs["headers"]["x-functions-key"] == "@body('Get_function_key')?['value']"
    assert inputs["method"] == "POST"
    assert inputs["uri"] == "incidentsUrl"
    assert read("playbook.bicep").variables["token"] == {
        "authentication": {
            "type": "ManagedServiceIdentity",
            "identity": "identity.id",
            "audience": "'api://${authClientId}'",
        }
    }


def test_the_playbook_repeats_a_bounded_number_of_times_and_polls_for_nothing() -> None:
    link = definition()["actions"]["Link_ticket"]
    policy = link_inputs()["retryPolicy"]
    assert (policy["type"], policy["count"]) == ("exponential", 4)
    assert link["operationOptions"] == "DisableAsyncPattern"
    assert link["runAfter"] == {"Get_function_key": ["Succeeded"]}


def test_failed_runs_can_be_seen() -> None:
    runs = read("playbook.bicep").resources["runs"].body
    assert runs["scope"] == "playbook"
    assert runs["properties"]["metrics"] == [{"category": "AllMetrics", "enabled": True}]
    assert runs["properties"]["logs"] == [{"category": "WorkflowRuntime", "enabled": True}]
