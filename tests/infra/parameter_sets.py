"""The deployments that are pinned in `snapshots`: per set, the templates with their parameters."""

from collections.abc import Mapping
from typing import Any, Final

TENANT: Final = "11111111-1111-4111-8111-111111111111"
TENANTS: Final = {"lighthouse": "dddddddd-dddd-4ddd-8ddd-dddddddddddd"}
"""Sets that are deployed in another tenant than the playbook's."""
OF_SUBSCRIPTIONS: Final = {"lighthouse"}
"""Templates that are deployed to a subscription, and to no resource group."""
SUBSCRIPTION: Final = "22222222-2222-4222-8222-222222222222"
GROUP: Final = "rg-ticketlink"
_GROUP_ID: Final = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
REQUIRED: Final = {"contraforceClientId": "55555555-5555-4555-8555-555555555555"}
"""What main.bicep has no default for."""
CUSTOMER: Final = {
    "workspaceName": "law-sentinel",
    "playbookId": f"{_GROUP_ID}/providers/Microsoft.Logic/workflows/ticketlink-playbook",
    "appPrincipalId": "33333333-3333-4333-8333-333333333333",
    "playbookPrincipalId": "44444444-4444-4444-8444-444444444444",
}
SENTINEL: Final = "66666666-6666-4666-8666-666666666666"
"""Azure Security Insights, as it is called in the tenant."""
WORKSPACES: Final = [
    {
        "workspace": f"{_GROUP_ID}/providers/Microsoft.OperationalInsights/workspaces/law-sentinel",
        "contraforceWorkspaceId": "77777777-7777-4777-8777-777777777777",
        "minimumSeverity": "Low",
        "ticketUrlTemplates": {"Jira": "https://jira.example/browse/{number}"},
    }
]
AUTH_CLIENT: Final = "88888888-8888-4888-8888-888888888888"
ONBOARDERS: Final = "99999999-9999-4999-8999-999999999999"
ACTION_GROUP: Final = f"{_GROUP_ID}/providers/Microsoft.Insights/actionGroups/on-call"
OFFER: Final = {
    "managedByTenantId": TENANT,
    "appGroupId": "aaaaaaaa-aaaa-4aaa-8aaa-aaaaaaaaaaaa",
    "playbookGroupId": "bbbbbbbb-bbbb-4bbb-8bbb-bbbbbbbbbbbb",
}
OPERATORS: Final = "cccccccc-cccc-4ccc-8ccc-cccccccccccc"
OTHERWISE: Final = {
    "name": "twelveletter",
    "location": "usgovvirginia",
    "tags": {"owner": "secops"},
    "contraforceApiUrl": "https://contraforce.example/api/v2",
    "minimumSeverity": "High",
    "reconcileSchedule": "30 */10 * * * *",
    "reconcileLookbackHours": 48,
    "linkRetentionDays": 365,
    "ticketUrlTemplates": {"Autotask": "https://autotask.example/{id}"},
    "armEndpoint": "https://management.usgovcloudapi.net",
    "maximumInstances": 45,
    "actionGroupIds": [ACTION_GROUP],
    "storageRedundancy": "Standard_LRS",
    "telemetryRetentionDays": 120,
    "workspaces": WORKSPACES,
    "credentialExpiresOn": "2027-11-30T00:00:00Z",
    "onboardersGroupId": ONBOARDERS,
}
"""Nothing as by default, so that a parameter that is not passed on shows."""

SETS: Final[Mapping[str, Mapping[str, Mapping[str, Any]]]] = {
    "defaults": {
        "main": REQUIRED,
        "customer": CUSTOMER,
        "function-key": {"functionAppName": "ticketlink-app", "playbookVaultName": "kv-play"},
        "lighthouse": OFFER,
    },
    "lighthouse": {
        "lighthouse": {
            **OFFER,
            "offerName": "Tickets",
            "operatorsGroupId": OPERATORS,
            "resourceGroupNames": ["rg-secops", "rg-others"],
        },
        "customer": {
            **CUSTOMER,
            "assignRoles": False,
            "minimumSeverity": "Medium",
            "playbookTenantId": TENANT,
        },
    },
    "tokens": {
        "main": {
            **REQUIRED,
            "workspaces": WORKSPACES,
            "authClientId": AUTH_CLIENT,
            "securityInsightsPrincipalId": SENTINEL,
        },
    },
    "always-ready": {
        "main": {
            **REQUIRED,
            "location": "West US",
            "workspacesFile": "workspaces.json",
            "alwaysReadyInstances": 2,
        },
    },
    "restricted": {
        "main": {
            **REQUIRED,
            "workspaces": WORKSPACES,
            "restrictInbound": True,
            "allowedIpRanges": ["192.0.2.0/24", "198.51.100.7/32"],
        },
        "customer": {**CUSTOMER, "useLeastPrivilegeRole": True, "ruleEnabled": False, "ruleOrder": 7},
    },
    "sovereign": {"main": {**REQUIRED, **OTHERWISE}},
}
