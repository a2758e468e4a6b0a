"""The templates deploy the app that the code is, and give nobody more rights than needed."""

import json
import re
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from bicep_templates import (
    INFRA,
    NO_DEFAULT,
    Expression,
    Parameter,
    parse,
    read,
    resolved,
    role_ids,
    strings,
)
from conftest import ROOT

from contraforce_sentinel.domain.customers import Customer
from contraforce_sentinel.domain.incidents import Incident, IncidentId, Severity, WorkspaceId
from contraforce_sentinel.settings import Settings
from contraforce_sentinel.stores.tables import TABLE_NAME
from contraforce_sentinel.use_cases.decision import skip_reason
from functions_host.worker import Worker

TEMPLATES = sorted(path.name for path in INFRA.glob("*.bicep"))
NEEDED_BY_THE_HOST = {
    # https://learn.microsoft.com/azure/azure-functions/functions-reference#connecting-to-host-storage-with-an-identity
    "AzureWebJobsStorage__accountName": "storage.name",
    "AzureWebJobsStorage__credential": "managedidentity",
    "AzureWebJobsStorage__clientId": "identity.properties.clientId",
    "APPLICATIONINSIGHTS_CONNECTION_STRING": "applicationInsights.properties.ConnectionString",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": (
        "'Authorization=AAD;ClientId=${identity.properties.clientId}'"
    ),
    "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY": "true",
    "PYTHON_APPLICATIONINSIGHTS_LOGGER_NAME": "contraforce_sentinel",
    "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": (
        "azure_sdk,django,fastapi,flask,psycopg2,requests,urllib,urllib3"
    ),
    "OTEL_TRACES_SAMPLER": "microsoft.fixed_percentage",
    "OTEL_TRACES_SAMPLER_ARG": "1.0",
}
OF_OTHER_RESOURCES = {
    "AZURE_CLIENT_ID": "identity.properties.clientId",
    "CONTRAFORCE_CLIENT_SECRET": "'@Microsoft.KeyVault(SecretUri=${credentialUri})'",
    "LINK_STORE": "storage.properties.primaryEndpoints.table",
}


def properties(template: str, resource: str) -> dict[str, Any]:
    """Return what a template says of a resource, its variables filled in."""
    found = read(template)
    value = resolved(found, found.resources[resource].body["properties"])
    assert isinstance(value, dict)
    return value


def app_settings() -> dict[str, Any]:
    template = read("app.bicep")
    assert properties("app.bicep", "app")["siteConfig"]["appSettings"] == "concat(settings, ofCustomers)"
    assert template.variables["ofCustomers"] == (
        "empty(workspaces) ? [] : [{ name: 'WORKSPACES', value: workspaces }]"
    )
    listed = [*template.variables["settings"], {"name": "WORKSPACES", "value": "workspaces"}]
    assert len({item["name"] for item in listed}) == len(listed)
    return {item["name"]: item["value"] for item in listed}


def test_the_app_settings_are_the_settings_of_the_code_no_more_and_no_less() -> None:
    """Each comes from the parameter of its name, but for what other resources know."""
    parameters = {
        name.upper(): "".join([first, *(word.capitalize() for word in words)])
        for name in Settings.model_fields
        for first, *words in [name.split("_")]
    }
    found = app_settings()
    assert found.keys() == NEEDED_BY_THE_HOST.keys() | parameters.keys()
    known = NEEDED_BY_THE_HOST | OF_OTHER_RESOURCES
    assert {name: value for name, value in found.items() if name in known} == known
    for name in found.keys() - known.keys():
        assert found[name] in {parameters[name], f"string({parameters[name]})"}, name


def test_the_defaults_of_the_templates_are_those_of_the_code() -> None:
    parameters, code = read("main.bicep").parameters, Settings.model_fields
    assert parameters["contraforceApiUrl"].default == code["contraforce_api_url"].default
    assert parameters["minimumSeverity"].default == code["minimum_severity"].default.name.capitalize()
    assert parameters["reconcileSchedule"].default == code["reconcile_schedule"].default
    assert parameters["reconcileLookbackHours"].default == code["reconcile_lookback_hours"].default
    assert parameters["linkRetentionDays"].default == code["link_retention_days"].default
    assert parameters["ticketUrlTemplates"].default == code["ticket_url_templates"].default == {}
    assert parameters["armEndpoint"].default == "environment().resourceManager"
    assert parameters["contraforceClientId"].default is NO_DEFAULT
    assert code["contraforce_client_id"].is_required()
    assert parameters["workspaces"].default == list(code["workspaces"].default) == []


@pytest.mark.parametrize(
    ("parameter", "setting"),
    [("reconcileLookbackHours", "reconcile_lookback_hours"), ("linkRetentionDays", "link_retention_days")],
)
def test_the_bounds_of_the_templates_are_those_of_the_code(parameter: str, setting: str) -> None:
    decorators = read("main.bicep").parameters[parameter].decorators
    bounds = {
        name: value
        for item in Settings.model_fields[setting].metadata
        for name in ("ge", "le")
        if (value := getattr(item, name, None)) is not None
    }
    assert bounds == {"ge": decorators["minValue"], "le": decorators["maxValue"]}


def test_the_mapping_of_workspaces_has_the_keys_of_the_code() -> None:
    sample = json.loads(json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]["WORKSPACES"])
    declared = re.search(
        r"type workspaceMapping = \{(.+?)\n\}", (INFRA / "main.bicep").read_text(), re.DOTALL
    )
    assert declared is not None
    assert re.findall(r"^  (\w+): string$", declared[1], re.MULTILINE) == list(sample[0])
    names = [field.alias or name for name, field in Customer.model_fields.items()]
    assert re.findall(r"^  (\w+): ", declared[1], re.MULTILINE) == names
    optional = [
        field.alias or name for name, field in Customer.model_fields.items() if not field.is_required()
    ]
    assert re.findall(r"^  (\w+): .+\?$", declared[1], re.MULTILINE) == optional
    severities = " | ".join(f"'{severity.name.capitalize()}'" for severity in sorted(Severity))
    assert f"minimumSeverity: ({severities})?" in declared[1]


def test_one_severity_holds_for_app_and_rule() -> None:
    names = [severity.name.capitalize() for severity in sorted(Severity)]
    template = read("customer.bicep")
    for parameter in (
        template.parameters["minimumSeverity"],
        read("main.bicep").parameters["minimumSeverity"],
    ):
        assert parameter.decorators["allowed"] == names
        assert parameter.default == names[0]
    assert template.variables["severities"] == names
    conditions = properties("customer.bicep", "rule")["triggeringLogic"]["conditions"]
    assert conditions == [
        {
            "conditionType": "Property",
            "conditionProperties": {
                "propertyName": "IncidentSeverity",
                "operator": "Equals",
                "propertyValues": "skip(severities, indexOf(severities, minimumSeverity))",
            },
        }
    ]
    workspace = WorkspaceId("11111111-2222-4333-8444-555555555555", "rg", "law-1")
    for lowest, minimum in enumerate(sorted(Severity)):
        linked = [
            name
            for name in names
            if skip_reason(
                Incident(IncidentId(workspace, "a"), "1", name, "New"),
                Customer.model_validate(
                    {
                        "workspace": workspace.arm_id,
                        "contraforceWorkspaceId": UUID(int=1),
                        "minimumSeverity": minimum,
                    }
                ),
            )
            is None
        ]
        assert linked == names[lowest:]


def test_the_rule_runs_the_playbook_for_created_incidents_only() -> None:
    rule = properties("customer.bicep", "rule")
    assert rule["triggeringLogic"]["triggersOn"] == "Incidents"
    assert rule["triggeringLogic"]["triggersWhen"] == "Created"
    assert rule["actions"] == [
        {
            "order": 1,
            "actionType": "RunPlaybook",
            "actionConfiguration": {"logicAppResourceId": "playbookId", "tenantId": "playbookTenantId"},
        }
    ]


def test_routes_and_names_are_those_of_the_app(worker: Worker) -> None:
    prefix = json.loads((ROOT / "host.json").read_text())["extensions"]["http"]["routePrefix"]
    link = worker.function("link_incident")
    incidents = f"/{prefix}/{link.route}"
    assert link.auth_level == "function"
    assert read("main.bicep").modules["playbook"].body["params"]["incidentsUrl"] == (
        f"'https://${{app.outputs.hostName}}{incidents}'"
    )
    health = worker.function("health")
    assert health.auth_level == "anonymous"
    validation = properties("app.bicep", "tokens")["globalValidation"]
    assert validation["excludedPaths"] == [f"/{prefix}/{health.route}"]
    assert read("main.bicep").outputs["healthUrl"] == (
        f"'https://${{app.outputs.hostName}}{validation['excludedPaths'][0]}'"
    )
    assert read("function-key.bicep").resources["linkIncident"].body == {"name": "link_incident"}
    assert read("storage.bicep").resources["links"].body["name"] == TABLE_NAME


def test_the_timer_reads_its_schedule_from_the_setting_that_the_template_sets(worker: Worker) -> None:
    assert worker.function("reconcile").timer_schedule == "%RECONCILE_SCHEDULE%"
    assert "RECONCILE_SCHEDULE" in app_settings()


def test_the_runtime_is_the_one_of_the_project() -> None:
    config = properties("app.bicep", "app")["functionAppConfig"]
    required = re.search(r'^requires-python = ">=(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert required is not None
    assert config["runtime"] == {"name": "python", "version": required[1]}
    scale = config["scaleAndConcurrency"]
    assert scale["triggers"] == {"http": {"perInstanceConcurrency": 100}}
    assert scale["maximumInstanceCount"] == "maximumInstances"
    assert "alwaysReadyInstances" in scale["alwaysReady"]
    plan = read("app.bicep").resources["plan"].body
    assert plan["sku"] == {"name": "FC1", "tier": "FlexConsumption"}
    assert not {"FUNCTIONS_WORKER_RUNTIME", "FUNCTIONS_EXTENSION_VERSION"} & app_settings().keys()


def test_every_role_is_the_one_its_name_says() -> None:
    """The ids of https://learn.microsoft.com/azure/role-based-access-control/built-in-roles."""
    assert role_ids() == {
        "Key Vault Secrets User": "4633458b-17de-408a-b874-0445c86b69e6",
        "Managed Services Registration Assignment Delete": "91c1777a-f3dc-4fae-b103-61d183457e46",
        "Microsoft Sentinel Automation Contributor": "f4c81013-99ee-4d62-a7ee-b3f1f648599a",
        "Microsoft Sentinel Reader": "8d289c81-5878-46d4-8554-54e1e3d8b5cb",
        "Microsoft Sentinel Responder": "3e150937-b8fe-4cfb-8069-0eaf05ecd056",
        "Monitoring Metrics Publisher": "3913510d-42f4-4e42-8a64-420c390055eb",
        "Storage Blob Data Owner": "b7e6dc6d-f1e8-4753-8033-0f276bb0955b",
        "Storage Table Data Contributor": "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3",
        "Storage Table Data Reader": "76199698-9eea-4c19-bc75-cec21354c6b6",
    }


def assignments(template: str) -> set[tuple[str, str, str, str | None]]:
    """Return scope, role, principal and condition of every role assignment, each checked for its form."""
    found = read(template)
    listed = set()
    for assignment in found.of_type("Microsoft.Authorization/roleAssignments").values():
        body = assignment.body
        scope, principal = body["scope"], body["properties"]["principalId"]
        kind = "Group" if principal == "onboardersGroupId" else "ServicePrincipal"
        assert body["properties"]["principalType"] == kind
        role = re.fullmatch(
            r"subscriptionResourceId\(\s*'Microsoft\.Authorization/roleDefinitions',\s*"
            r"(?:roleIds\['(?P<named>.+)'\]|(?P<custom>\w+)\.name)\s*\)",
            body["properties"]["roleDefinitionId"],
        )
        assert role is not None, body
        marked = f"roleIds['{role['named']}']" if role["named"] else "'contraforce-ticket-link'"
        assert body["name"] == f"guid({scope}.id, {principal}, {marked})"
        if scope != "resourceGroup()":
            target = found.resources[scope]
            assert target.existing
        listed.add((str(scope), role["named"] or role["custom"], str(principal), assignment.condition))
    return listed


def test_every_role_assignment_is_on_the_one_resource_that_needs_it() -> None:
    """But for Sentinel's own grant, which it only honours on the playbook's resource group."""
    assert assignments("roles.bicep") == {
        ("storage", "Storage Blob Data Owner", "appPrincipalId", None),
        ("links", "Storage Table Data Contributor", "appPrincipalId", None),
        ("customers", "Storage Table Data Reader", "appPrincipalId", None),
        (
            "customers",
            "Storage Table Data Contributor",
            "onboardersGroupId",
            "(!empty(onboardersGroupId))",
        ),
        ("appVault", "Key Vault Secrets User", "appPrincipalId", None),
        ("applicationInsights", "Monitoring Metrics Publisher", "appPrincipalId", None),
        ("playbookVault", "Key Vault Secrets User", "playbookPrincipalId", None),
        (
            "resourceGroup()",
            "Microsoft Sentinel Automation Contributor",
            "securityInsightsPrincipalId",
            "(!empty(securityInsightsPrincipalId))",
        ),
    }
    assert assignments("customer.bicep") == {
        (
            "workspace",
            "leastPrivilege",
            "appPrincipalId",
            "(assignRoles && useLeastPrivilegeRole)",
        ),
        (
            "workspace",
            "Microsoft Sentinel Responder",
            "appPrincipalId",
            "(assignRoles && !useLeastPrivilegeRole)",
        ),
        ("workspace", "Microsoft Sentinel Reader", "playbookPrincipalId", "(assignRoles)"),
    }
    elsewhere = set(TEMPLATES) - {"roles.bicep", "customer.bicep"}
    assert not any(assignments(name) for name in elsewhere)


def test_the_names_in_roles_bicep_are_those_of_the_resources_it_means() -> None:
    found = read("roles.bicep").resources
    assert {name: body.body["name"] for name, body in found.items() if body.existing} == {
        "storage": "storageName",
        "tables": "default",
        "links": "linksTableName",
        "customers": "customersTableName",
        "appVault": "appVaultName",
        "playbookVault": "playbookVaultName",
        "applicationInsights": "applicationInsightsName",
    }
    assert read("customer.bicep").resources["workspace"].body == {"name": "workspaceName"}


def test_the_least_privilege_role_has_the_four_actions_of_the_reference() -> None:
    definition = read("customer.bicep").resources["leastPrivilege"]
    role = resolved(read("customer.bicep"), definition.body["properties"])
    assert definition.condition == "(assignRoles && useLeastPrivilegeRole)"
    assert role["assignableScopes"] == ["resourceGroup().id"]
    actions = [
        "Microsoft.OperationalInsights/workspaces/read",
        "Microsoft.SecurityInsights/incidents/read",
        "Microsoft.SecurityInsights/incidents/comments/read",
        "Microsoft.SecurityInsights/incidents/comments/write",
    ]
    assert role["permissions"] == [{"actions": actions, "notActions": []}]
    reference = (ROOT / "docs" / "reference.md").read_text()
    assert all(f"`{action}`" in reference for action in actions[:3])


@pytest.mark.parametrize("name", TEMPLATES)
def test_no_output_and_no_plain_setting_carries_a_secret(name: str) -> None:
    template = parse(INFRA / name)
    source = template.path.read_text()
    secure = {key for key, found in template.parameters.items() if found.decorators.get("secure")}
    assert not re.search(r"\blistKeys|\blistSecrets|\.list[A-Z]\w*\(|AccountKey|sharedKey\b", source)
    assert {
        key for key in template.parameters if re.search("secret|password|functionKey$", key, re.IGNORECASE)
    } <= (secure)
    for value in template.outputs.values():
        assert not any(re.search(rf"\b{key}\b", text) for key in secure for text in strings(value))
    for place, declared in {**template.resources, **template.modules}.items():
        for path in uses(declared.body, secure):
            sink = f"{declared.of.split('@')[0]}.{path}"
            assert sink in SINKS, f"{name}: {place}.{path}"


SINKS = {
    "vaults.bicep.params.contraforceClientSecret",
    "Microsoft.KeyVault/vaults/secrets.properties.value",
    "Microsoft.Web/sites/functions/keys.properties.value",
}
"""The only places that a secure parameter may go to."""


def uses(value: Any, names: set[str], path: str = "") -> list[str]:
    """Return the places in a resource where one of the parameters is named."""
    if isinstance(value, dict):
        return [found for key, item in value.items() for found in uses(item, names, f"{path}.{key}")]
    if isinstance(value, list):
        return [found for item in value for found in uses(item, names, path)]
    named = isinstance(value, Expression) and any(re.search(rf"\b{name}\b", value) for name in names)
    return [path.removeprefix(".")] if named else []


def test_nobody_reaches_storage_app_or_telemetry_with_a_shared_secret() -> None:
    account = properties("storage.bicep", "account")
    assert account == {
        "allowSharedKeyAccess": False,
        "defaultToOAuthAuthentication": True,
        "allowBlobPublicAccess": False,
        "allowCrossTenantReplication": False,
        "minimumTlsVersion": "TLS1_2",
        "supportsHttpsTrafficOnly": True,
        "networkAcls": {"defaultAction": "Allow", "bypass": "AzureServices"},
    }
    assert properties("storage.bicep", "packages") == {"publicAccess": "None"}
    assert properties("monitoring.bicep", "applicationInsights")["DisableLocalAuth"] is True
    assert properties("monitoring.bicep", "logAnalytics")["features"] == {"disableLocalAuth": True}
    for resource in ("noFtpPassword", "noScmPassword"):
        assert properties("app.bicep", resource) == {"allow": False}
    for vault in ("appVault", "playbookVault"):
        found = properties("vaults.bicep", vault)
        assert found["enableRbacAuthorization"] is True
        assert found["enablePurgeProtection"] is True


def test_everything_speaks_tls_1_2_or_later() -> None:
    site = properties("app.bicep", "app")
    assert site["httpsOnly"] is True
    assert site["siteConfig"]["minTlsVersion"] == site["siteConfig"]["scmMinTlsVersion"] == "1.2"
    assert properties("app.bicep", "tokens")["httpSettings"] == {"requireHttps": True}


def test_one_identity_of_the_app_does_everything() -> None:
    body = resolved(read("app.bicep"), read("app.bicep").resources["app"].body)
    site = body["properties"]
    assert body["identity"] == {
        "type": "UserAssigned",
        "userAssignedIdentities": {"'${identity.id}'": {}},
    }
    assert site["keyVaultReferenceIdentity"] == "identity.id"
    assert site["functionAppConfig"]["deployment"]["storage"] == {
        "type": "blobContainer",
        "value": "'${storage.properties.primaryEndpoints.blob}${packageContainerName}'",
        "authentication": {
            "type": "UserAssignedIdentity",
            "userAssignedIdentityResourceId": "identity.id",
        },
    }
    names = {key: found.body["name"] for key, found in read("app.bicep").resources.items() if found.existing}
    assert names == {
        "identity": "identityName",
        "storage": "storageName",
        "applicationInsights": "applicationInsightsName",
    }


def test_with_an_app_registration_only_the_playbook_gets_in() -> None:
    tokens = read("app.bicep").resources["tokens"]
    assert tokens.condition is None, "or taking authClientId away would not switch it off"
    assert tokens.body["name"] == "authsettingsV2"
    found = tokens.body["properties"]
    assert found["platform"] == {"enabled": "!empty(authClientId)"}
    assert found["globalValidation"]["requireAuthentication"] == "!empty(authClientId)"
    assert found["globalValidation"]["unauthenticatedClientAction"] == (
        "empty(authClientId) ? 'AllowAnonymous' : 'Return401'"
    )
    assert found["identityProviders"] == {
        "azureActiveDirectory": {
            "enabled": "!empty(authClientId)",
            "registration": {
                "clientId": "authClientId",
                "openIdIssuer": "'https://sts.windows.net/${tenant().tenantId}/'",
            },
            "validation": {
                "allowedAudiences": ["'api://${authClientId}'"],
                "defaultAuthorizationPolicy": {
                    "allowedPrincipals": {"identities": ["playbookPrincipalId"]},
                    "allowedApplications": ["playbookClientId"],
                },
            },
        }
    }


def test_restricted_to_logic_apps_nobody_else_gets_in() -> None:
    template = read("app.bicep")
    site = template.resources["app"].body["properties"]["siteConfig"]
    assert site["ipSecurityRestrictionsDefaultAction"] == "restrictInbound ? 'Deny' : 'Allow'"
    assert site["ipSecurityRestrictions"] == ("restrictInbound ? concat([logicApps], allowedRanges) : []")
    rule = template.variables["logicApps"]
    assert (rule["tag"], rule["ipAddress"], rule["action"]) == ("ServiceTag", "LogicApps", "Allow")
    assert "ipAddress: range" in template.variables["allowedRanges"]


def test_the_two_secrets_lie_in_vaults_of_their_own() -> None:
    template = read("vaults.bicep")
    secret = template.resources["contraforceSecret"]
    assert secret.condition == "(!empty(contraforceClientSecret))"
    assert secret.body["parent"] == "appVault"
    assert template.outputs["credentialUri"] == (
        f"'${{appVault.properties.vaultUri}}secrets/{secret.body['name']}'"
    )
    key = read("function-key.bicep").resources
    assert key["vault"].body == {"name": "playbookVaultName"}
    assert key["secret"].body["parent"] == "vault"
    assert key["secret"].body["dependsOn"] == ["key"]
    assert template.outputs["functionKeyUri"] == (
        f"'${{playbookVault.properties.vaultUri}}secrets/{key['secret'].body['name']}'"
    )
    assert (
        key["key"].body["properties"]["value"] == key["secret"].body["properties"]["value"] == "functionKey"
    )
    made = read("function-key.bicep").parameters["functionKey"]
    assert made.decorators["secure"]
    assert made.default == "'${newGuid()}${newGuid()}'"


def wiring(module: str) -> dict[str, Any]:
    found = read("main.bicep").modules[module]
    assert found.of == f"{module}.bicep"
    assert isinstance(found.body["params"], dict)
    return found.body["params"]


COMMON = {"location": "location", "tags": "tags"}
PASSED_ON = {name: name for name in ("contraforceApiUrl", "contraforceClientId", "minimumSeverity")} | {
    name: name
    for name in (
        "reconcileSchedule",
        "reconcileLookbackHours",
        "linkRetentionDays",
        "ticketUrlTemplates",
        "armEndpoint",
        "alwaysReadyInstances",
        "maximumInstances",
        "authClientId",
        "restrictInbound",
        "allowedIpRanges",
    )
}
WIRING: dict[str, dict[str, Any]] = {
    "storage": {"name": "'link${suffix}'", "redundancy": "storageRedundancy", **COMMON},
    "monitoring": {"name": "name", "retentionDays": "telemetryRetentionDays", **COMMON},
    "vaults": {
        "appVaultName": "'kv-app-${suffix}'",
        "playbookVaultName": "'kv-play-${suffix}'",
        "contraforceClientSecret": "contraforceClientSecret",
        "credentialExpiresOn": "credentialExpiresOn",
        "logAnalyticsId": "monitoring.outputs.logAnalyticsId",
        **COMMON,
    },
    "roles": {
        "storageName": "storage.outputs.name",
        "linksTableName": "storage.outputs.linksTableName",
        "customersTableName": "storage.outputs.customersTableName",
        "appVaultName": "vaults.outputs.appVaultName",
        "playbookVaultName": "vaults.outputs.playbookVaultName",
        "applicationInsightsName": "monitoring.outputs.applicationInsightsName",
        "appPrincipalId": "appIdentity.properties.principalId",
        "playbookPrincipalId": "playbookIdentity.properties.principalId",
        "securityInsightsPrincipalId": "securityInsightsPrincipalId",
        "onboardersGroupId": "onboardersGroupId",
    },
    "app": {
        "name": "'${name}-${suffix}'",
        "identityName": "appIdentity.name",
        "storageName": "storage.outputs.name",
        "packageContainerName": "storage.outputs.packageContainerName",
        "applicationInsightsName": "monitoring.outputs.applicationInsightsName",
        "credentialUri": "vaults.outputs.credentialUri",
        "workspaces": "customers",
        "playbookPrincipalId": "playbookIdentity.properties.principalId",
        "playbookClientId": "playbookIdentity.properties.clientId",
        "playbookId": "resourceId('Microsoft.Logic/workflows', playbookName)",
        **PASSED_ON,
        **COMMON,
    },
    "playbook": {
        "name": "playbookName",
        "identityName": "playbookIdentity.name",
        "incidentsUrl": "'https://${app.outputs.hostName}/api/incidents'",
        "functionKeyUri": "vaults.outputs.functionKeyUri",
        "authClientId": "authClientId",
        "logAnalyticsId": "monitoring.outputs.logAnalyticsId",
        **COMMON,
    },
    "workbook": {
        "name": "name",
        "logAnalyticsName": "monitoring.outputs.logAnalyticsName",
        **COMMON,
    },
    "alerts": {
        "name": "name",
        "logAnalyticsId": "monitoring.outputs.logAnalyticsId",
        "actionGroupIds": "actionGroupIds",
        **COMMON,
    },
}


def test_each_part_gets_what_is_its_own() -> None:
    assert read("main.bicep").modules.keys() == WIRING.keys()
    assert {module: wiring(module) for module in WIRING} == WIRING
    for module in ("app", "playbook"):
        assert read("main.bicep").modules[module].body["dependsOn"] == ["roles"]


@pytest.mark.parametrize(
    ("module", "parameter"),
    [("storage", "name"), ("vaults", "appVaultName"), ("vaults", "playbookVaultName"), ("app", "name")],
)
def test_the_longest_name_is_short_enough(module: str, parameter: str) -> None:
    """`uniqueString` is 13 characters; Azure's limits are 24, and for an app's host name 60."""
    longest = {
        "${suffix}": 13 * "x",
        "${name}": read("main.bicep").parameters["name"].decorators["maxLength"] * "x",
    }
    name = wiring(module)[parameter].strip("'")
    for part, text in longest.items():
        name = name.replace(part, text)
    limit = parse(INFRA / f"{module}.bicep").parameters[parameter].decorators.get("maxLength", 60)
    assert re.fullmatch(r"[a-z0-9-]+", name)
    assert len(name) <= limit


def test_an_alert_for_each_finding_names_a_column_of_its_query() -> None:
    for alert in read("alerts.bicep").variables["alerts"]:
        query = (INFRA / "alerts" / f"{alert['name']}.kql").read_text()
        for dimension in alert["each"]:
            assert re.search(rf"\b{dimension['name']} = ", query)
            assert (dimension["operator"], dimension["values"]) == ("Include", ["*"])


def test_the_outputs_are_the_parameters_of_what_is_deployed_next() -> None:
    outputs = read("main.bicep").outputs
    assert outputs == {
        "functionAppName": "app.outputs.name",
        "healthUrl": "'https://${app.outputs.hostName}/api/health'",
        "appVaultName": "vaults.outputs.appVaultName",
        "playbookVaultName": "vaults.outputs.playbookVaultName",
        "playbookId": "playbook.outputs.id",
        "appPrincipalId": "appIdentity.properties.principalId",
        "playbookPrincipalId": "playbookIdentity.properties.principalId",
        "tenantId": "tenant().tenantId",
    }
    needed = {
        name
        for file in ("customer.bicep", "function-key.bicep")
        for name, parameter in read(file).parameters.items()
        if parameter.default is NO_DEFAULT
    }
    assert needed - {"workspaceName"} <= outputs.keys()


def test_every_parameter_and_output_is_described() -> None:
    for name in TEMPLATES:
        described: list[Parameter] = [*parse(INFRA / name).parameters.values()]
        assert all(str(found.decorators["description"]).strip() for found in described)
        text = (INFRA / name).read_text()
        outputs = len(re.findall(r"^output ", text, re.MULTILINE))
        assert len(re.findall(r"^@description\(.+\)\noutput ", text, re.MULTILINE)) == outputs


def test_the_sample_of_parameters_fits_the_template() -> None:
    text = (INFRA / "main.sample.bicepparam").read_text()
    given = set(re.findall(r"^param (\w+) = ", text, re.MULTILINE))
    parameters = read("main.bicep").parameters
    assert given <= parameters.keys()
    assert {name for name, found in parameters.items() if found.default is NO_DEFAULT} <= given
    assert "param contraforceClientSecret = readEnvironmentVariable('CONTRAFORCE_CLIENT_SECRET', '')" in text


def test_every_alert_has_its_query_and_every_query_its_alert() -> None:
    alerts = read("alerts.bicep").variables["alerts"]
    queries = {path.stem for path in (INFRA / "alerts").glob("*.kql")}
    assert {alert["name"] for alert in alerts} == queries
    for alert in alerts:
        assert alert["query"] == f"loadTextContent('alerts/{alert['name']}.kql')"
        assert alert["window"] in {"PT15M", "PT30M"}
    rule = read("alerts.bicep").resources["rules"].body["properties"]
    assert rule["scopes"] == ["logAnalyticsId"]
    assert rule["actions"] == {"actionGroups": "actionGroupIds"}
    [condition] = rule["criteria"]["allOf"]
    assert condition["query"] == "alert.query"
    assert condition["dimensions"] == "alert.each"
    assert (condition["timeAggregation"], condition["operator"], condition["threshold"]) == (
        "Count",
        "GreaterThan",
        0,
    )


def test_every_query_and_the_workbook_are_deployed_beside_the_telemetry() -> None:
    template = read("workbook.bicep")
    listed = template.variables["queries"]
    assert {found["name"] for found in listed} == {path.stem for path in (INFRA / "queries").glob("*.kql")}
    for found in listed:
        assert found["query"] == f"loadTextContent('queries/{found['name']}.kql')"
        title = (INFRA / "queries" / f"{found['name']}.kql").read_text().splitlines()[0]
        assert re.fullmatch(r"// [A-Z][^/]{5,60}", title)
    assert template.resources["searches"].body["parent"] == "logAnalytics"
    page = template.resources["workbook"].body["properties"]
    assert page["serializedData"] == "loadTextContent('workbook.json')"
    assert page["sourceId"] == "logAnalytics.id"


def test_the_linter_s_rules_are_errors() -> None:
    rules = json.loads((INFRA / "bicepconfig.json").read_text())["analyzers"]["core"]
    assert rules["enabled"] is True
    assert {rule["level"] for rule in rules["rules"].values()} == {"error"}


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_need_no_registry(name: str) -> None:
    template = parse(INFRA / name)
    for module in template.modules.values():
        assert (INFRA / module.of).is_file()
    assert "br/" not in template.path.read_text()


def test_every_template_is_said_in_the_documents() -> None:
    text = "".join((ROOT / name).read_text() for name in ("docs/deploy.md", "infra/main.bicep"))
    assert all(Path(name).name in text for name in TEMPLATES)
