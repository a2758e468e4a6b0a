"""Pure: what the automation rule's trigger says about an incident.

https://learn.microsoft.com/azure/sentinel/playbook-triggers-actions
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal
from uuid import NAMESPACE_URL, uuid4, uuid5

from sandbox.bodies import JsonObject, trimmed_time

if TYPE_CHECKING:  # incidents.py imports this module
    from sandbox.incidents import SandboxIncident, SandboxWorkspace

XDR: Final = "Microsoft XDR"
TENANT: Final = "66666666-7777-4888-8999-000000000000"
PERSON: Final = "jane.doe"
"""An account in every full trigger body: personal data that must not get into a log."""


def full(incident: SandboxIncident, event: Literal["Create", "Update"]) -> JsonObject:
    """Return the whole body: alerts with their queries, entities, comments."""
    alert_ids = [str(uuid5(NAMESPACE_URL, f"alert-{incident.name}"))]
    facts = {
        **properties(incident),
        "alerts": [_alert(incident, alert_id) for alert_id in alert_ids],
        "bookmarks": [],
        "relatedEntities": _entities(incident.workspace),
        "comments": [comment.to_rest() for comment in incident.comments],
    }
    body: JsonObject = {
        "eventUniqueId": str(uuid4()),
        "objectSchemaType": "Incident",
        "objectEventType": event,
        "workspaceInfo": _workspace_info(incident.workspace),
        "workspaceId": incident.workspace.customer_id,
        "object": {
            "id": incident.trigger_arm_id,
            "name": incident.name,
            "etag": incident.etag,
            "type": "Microsoft.SecurityInsights/Incidents",
            "properties": facts,
        },
    }
    if event == "Update":
        body["incidentUpdates"] = {"updatedBy": {"source": "User", "name": "Sam Analyst"}}
    return body


def trimmed(incident: SandboxIncident) -> JsonObject:
    """Only what the product needs."""
    found = properties(incident)
    return {
        "workspaceInfo": _workspace_info(incident.workspace),
        "workspaceId": incident.workspace.customer_id,
        "object": {
            "id": incident.trigger_arm_id,
            "name": incident.name,
            "properties": {
                "incidentNumber": incident.number,
                "severity": incident.severity,
                "status": incident.status,
                "labels": _labels(incident),
                "createdTimeUtc": found["createdTimeUtc"],
                "providerIncidentId": found["providerIncidentId"],
            },
        },
    }


def properties(incident: SandboxIncident) -> JsonObject:
    """Return what REST and trigger have in common; XDR incidents lack a description, and have a URL."""
    created = trimmed_time(incident.created)
    is_xdr = incident.provider == XDR
    provider_id = str(45_000 + incident.number if is_xdr else incident.number)
    provider_url = {
        "providerIncidentUrl": f"https://security.microsoft.com/incidents/{provider_id}?tid={TENANT}"
    }
    classification = {
        "classification": incident.classification,
        "classificationReason": incident.classification_reason,
        "classificationComment": incident.classification_comment,
    }
    return {
        "title": incident.title,
        **({} if is_xdr else {"description": f"Description of {incident.title}"}),
        "severity": incident.severity,
        "status": incident.status,
        **({name: text for name, text in classification.items() if text is not None}),
        "owner": dict.fromkeys(("objectId", "email", "assignedTo", "userPrincipalName")),
        "labels": _labels(incident),
        "firstActivityTimeUtc": created,
        "lastActivityTimeUtc": created,
        "lastModifiedTimeUtc": trimmed_time(incident.changed),
        "createdTimeUtc": created,
        "incidentNumber": incident.number,
        "additionalData": {
            "alertsCount": 1,
            "bookmarksCount": 0,
            "commentsCount": len(incident.comments),
            "alertProductNames": ["Azure Sentinel"],
            "tactics": ["CredentialAccess"],
            "techniques": ["T1110"],
            **(provider_url if is_xdr else {}),
        },
        "relatedAnalyticRuleIds": [],
        "incidentUrl": "https://portal.azure.com/#asset/Microsoft_Azure_Security_Insights/Incident"
        + incident.trigger_arm_id,
        "providerName": incident.provider,
        "providerIncidentId": provider_id,
    }


def _labels(incident: SandboxIncident) -> list[JsonObject]:
    return [{"labelName": label, "labelType": "User"} for label in incident.labels]


def _workspace_info(workspace: SandboxWorkspace) -> JsonObject:
    return {
        "SubscriptionId": workspace.subscription,
        "ResourceGroupName": workspace.resource_group,
        "WorkspaceName": workspace.name,
    }


def _alert(incident: SandboxIncident, alert_id: str) -> JsonObject:
    moment = trimmed_time(incident.created)
    workspace_id = incident.workspace.customer_id
    query = f"SigninLogs | where ResultType != 0 and UserPrincipalName startswith '{PERSON}'"
    facts = {
        "systemAlertId": alert_id,
        "tactics": ["CredentialAccess"],
        "alertDisplayName": incident.title,
        "description": f"Description of {incident.title}",
        "confidenceLevel": "Unknown",
        "severity": incident.severity,
        "vendorName": "Microsoft",
        "productName": "Azure Sentinel",
        "productComponentName": "Scheduled Alerts",
        "alertType": f"{workspace_id}_{uuid5(NAMESPACE_URL, 'rule')}",
        "processingEndTime": moment,
        "status": "New",
        "endTimeUtc": moment,
        "startTimeUtc": moment,
        "timeGenerated": moment,
        "providerAlertId": str(uuid5(NAMESPACE_URL, f"provider-{alert_id}")),
        "resourceIdentifiers": [{"type": "LogAnalytics", "workspaceId": workspace_id}],
        "additionalData": {"Query Period": "01:00:00", "Query": query, "ProcessedBySentinel": "True"},
        "friendlyName": incident.title,
    }
    return _entity(incident.workspace, alert_id, "SecurityAlert", facts)


def _entities(workspace: SandboxWorkspace) -> list[JsonObject]:
    account = {
        "accountName": PERSON,
        "upnSuffix": "contoso.com",
        "isDomainJoined": True,
        "friendlyName": PERSON,
    }
    address = {"address": "203.0.113.44", "friendlyName": "203.0.113.44"}
    return [
        _entity(
            workspace, str(uuid5(NAMESPACE_URL, "account")), "Account", {**account, "additionalData": {}}
        ),
        _entity(workspace, str(uuid5(NAMESPACE_URL, "ip")), "Ip", {**address, "additionalData": {}}),
    ]


def _entity(workspace: SandboxWorkspace, name: str, kind: str, facts: JsonObject) -> JsonObject:
    return {
        "id": f"{workspace.arm_id}/providers/Microsoft.SecurityInsights/Entities/{name}",
        "name": name,
        "type": "Microsoft.SecurityInsights/Entities",
        "kind": kind,
        "properties": facts,
    }
