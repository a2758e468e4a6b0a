"""The deployment is the app that the code is, and gives nobody more rights than needed: one rule each.

Read from `infra/compiled` and `snapshots`, which `test_compiled.py` holds to the templates.
"""

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import compiler
import pytest
from compiler import TEMPLATES
from conftest import ROOT
from deployed import (
    INFRA,
    Deployment,
    compiled,
    every_template,
    guid,
    plain,
    resources,
    role_ids,
    snapshot,
    snapshots,
    strings,
)
from parameter_sets import (
    ACTION_GROUP,
    AUTH_CLIENT,
    CUSTOMER,
    GROUP,
    OFFER,
    ONBOARDERS,
    OPERATORS,
    OTHERWISE,
    SENTINEL,
    SETS,
    SUBSCRIPTION,
    TENANT,
    WORKSPACES,
)

from contraforce_sentinel.domain.customers import Customer
from contraforce_sentinel.domain.incidents import Incident, IncidentId, Severity, WorkspaceId
from contraforce_sentinel.settings import Settings
from contraforce_sentinel.stores.tables import TABLE_NAME
from contraforce_sentinel.use_cases.decision import skip_reason
from functions_host.worker import Worker

SITE = "Microsoft.Web/sites"
ASSIGNMENT = "Microsoft.Authorization/roleAssignments"
RULE = "Microsoft.SecurityInsights/automationRules"
SEVERITIES = [severity.name.capitalize() for severity in sorted(Severity)]
CUSTOMERS = "contraforcecustomers"
APP, PLAYBOOK = "ticketlink-app-identity", "ticketlink-playbook-identity"
FILES = sorted(path.name for path in INFRA.glob("*.bicep"))


def site(name: str) -> dict[str, Any]:
    return snapshot(name).one(SITE).properties


def suffix(deployed: Deployment) -> str:
    """Return what makes the names unique in the world."""
    return deployed.one(SITE).name.rpartition("-")[2]


def places() -> list[tuple[str, dict[str, Any]]]:
    """Return every compiled template, and those inside it."""
    return [found for name in TEMPLATES for found in every_template(compiled(name), name)]


# What is kept


def test_every_template_that_no_other_one_uses_is_kept_as_json() -> None:
    used = {name for file in FILES for name in re.findall(r"^module \w+ '(.+?)'", source(file), re.MULTILINE)}
    assert set(TEMPLATES.values()) == set(FILES) - used
    assert {path.stem for path in (INFRA / "compiled").iterdir()} == TEMPLATES.keys()


def test_every_parameter_set_is_kept_as_a_snapshot_and_each_template_is_in_one() -> None:
    kept = {path.name for path in compiler.SNAPSHOTS.iterdir()}
    assert kept == {f"{name}.{template}.json" for name, template in compiler.names()}
    assert {template for _, template in compiler.names()} == TEMPLATES.keys()


def source(file: str) -> str:
    return (INFRA / file).read_text()


# Settings


def needed_by_the_host(deployed: Deployment, name: str) -> dict[str, str]:
    """https://learn.microsoft.com/azure/azure-functions/functions-reference#connecting-to-host-storage-with-an-identity."""
    return {
        "AzureWebJobsStorage__accountName": f"link{suffix(deployed)}",
        "AzureWebJobsStorage__credential": "managedidentity",
        "AzureWebJobsStorage__clientId": f"[reference('{name}-app-identity').clientId]",
        "APPLICATIONINSIGHTS_CONNECTION_STRING": f"[reference('{name}-insights').ConnectionString]",
        "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": (
            f"[format('Authorization=AAD;ClientId={{0}}', reference('{name}-app-identity').clientId)]"
        ),
        "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY": "true",
        "PYTHON_APPLICATIONINSIGHTS_LOGGER_NAME": "contraforce_sentinel",
        "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": (
            "azure_sdk,django,fastapi,flask,psycopg2,requests,urllib,urllib3"
        ),
        "OTEL_TRACES_SAMPLER": "microsoft.fixed_percentage",
        "OTEL_TRACES_SAMPLER_ARG": "1.0",
    }


def of_other_resources(deployed: Deployment, name: str) -> dict[str, str]:
    return {
        "AZURE_CLIENT_ID": f"[reference('{name}-app-identity').clientId]",
        "CONTRAFORCE_CLIENT_SECRET": (
            "[format('@Microsoft.KeyVault(SecretUri={0})', format('{0}secrets/contraforce-client-secret', "
            f"reference('kv-app-{suffix(deployed)}').vaultUri))]"
        ),
        "LINK_STORE": f"[reference('link{suffix(deployed)}').primaryEndpoints.table]",
    }


def test_the_app_settings_are_the_settings_of_the_code_no_more_and_no_less() -> None:
    for name, deployed in snapshots().items():
        expected = {field.upper() for field in Settings.model_fields}
        if not {"workspaces", "workspacesFile"} & SETS[name]["main"].keys():
            expected.remove("WORKSPACES")  # no customers yet
        host = needed_by_the_host(deployed, "any").keys()
        assert deployed.settings().keys() == host | expected, name


def test_each_setting_comes_from_the_parameter_of_its_name_or_from_its_resource() -> None:
    """Where no parameter has its default."""
    deployed, name = snapshot("sovereign"), str(OTHERWISE["name"])
    found = {key: plain(value) for key, value in deployed.settings().items()}
    known = needed_by_the_host(deployed, name) | of_other_resources(deployed, name)
    assert {key: value for key, value in found.items() if key in known} == known
    given = SETS["sovereign"]["main"]
    for key in found.keys() - known.keys():
        value = given[camel(key)]
        assert deployed.settings()[key] == (value if isinstance(value, str) else as_text(value)), key


def camel(setting: str) -> str:
    first, *words = setting.lower().split("_")
    return "".join([first, *(word.capitalize() for word in words)])


def as_text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


def test_the_customers_are_the_parameter_or_a_file_of_the_package() -> None:
    assert snapshot("tokens").settings()["WORKSPACES"] == as_text(WORKSPACES)
    assert snapshot("always-ready").settings()["WORKSPACES"] == "@/home/site/wwwroot/workspaces.json"


def test_the_defaults_of_the_templates_are_those_of_the_code() -> None:
    parameters, code = compiled()["parameters"], Settings.model_fields
    for name in (
        "contraforceApiUrl", "reconcileSchedule", "reconcileLookbackHours", "linkRetentionDays",
        "ticketUrlTemplates",
    ):  # fmt: skip
        assert parameters[name]["defaultValue"] == code[snake(name)].default, name
    assert parameters["minimumSeverity"]["defaultValue"] == code["minimum_severity"].default.name.capitalize()
    assert parameters["armEndpoint"]["defaultValue"] == "[environment().resourceManager]"
    assert parameters["workspaces"]["defaultValue"] == list(code["workspaces"].default) == []
    assert code["contraforce_client_id"].is_required()
    assert required(parameters) == {"contraforceClientId"}


def snake(parameter: str) -> str:
    return re.sub("(?=[A-Z])", "_", parameter).lower()


@pytest.mark.parametrize("parameter", ["reconcileLookbackHours", "linkRetentionDays"])
def test_the_bounds_of_the_templates_are_those_of_the_code(parameter: str) -> None:
    bounds = {
        name: value
        for item in Settings.model_fields[snake(parameter)].metadata
        for name in ("ge", "le")
        if (value := getattr(item, name, None)) is not None
    }
    declared = compiled()["parameters"][parameter]
    assert bounds == {"ge": declared["minValue"], "le": declared["maxValue"]}


def test_the_type_of_a_customer_has_the_keys_of_the_code() -> None:
    declared = compiled()["definitions"]["workspaceMapping"]["properties"]
    fields = {field.alias or name: field for name, field in Customer.model_fields.items()}
    assert list(declared) == list(fields)
    for name, field in fields.items():
        assert declared[name].get("nullable", False) is not field.is_required(), name
    assert set(declared["minimumSeverity"]["allowedValues"]) == set(SEVERITIES)
    sample = json.loads(json.loads((ROOT / "local.settings.sample.json").read_text())["Values"]["WORKSPACES"])
    assert list(sample[0]) == [name for name, field in fields.items() if field.is_required()]


def test_the_sample_of_parameters_fits_the_template() -> None:
    text = source("main.sample.bicepparam")
    given = set(re.findall(r"^param (\w+) = ", text, re.MULTILINE))
    parameters = compiled()["parameters"]
    assert given <= parameters.keys()
    assert required(parameters) <= given
    assert "param contraforceClientSecret = readEnvironmentVariable('CONTRAFORCE_CLIENT_SECRET', '')" in text


def required(parameters: dict[str, Any]) -> set[str]:
    return {name for name, found in parameters.items() if "defaultValue" not in found}


# Severity, rule and routes


def rule(name: str) -> dict[str, Any]:
    return snapshot(name, "customer").one(RULE).properties


def test_one_severity_holds_for_app_and_rule() -> None:
    for template in ("main", "customer"):
        parameter = compiled(template)["parameters"]["minimumSeverity"]
        assert (parameter["allowedValues"], parameter["defaultValue"]) == (SEVERITIES, SEVERITIES[0])
    assert snapshot("defaults").settings()["MINIMUM_SEVERITY"] == SEVERITIES[0]
    for name, lowest in (("defaults", SEVERITIES[0]), ("lighthouse", "Medium")):
        [condition] = rule(name)["triggeringLogic"]["conditions"]
        assert condition == {
            "conditionType": "Property",
            "conditionProperties": {
                "propertyName": "IncidentSeverity",
                "operator": "Equals",
                "propertyValues": linked(lowest),
            },
        }, f"the rule of {name} runs for other incidents than the app links"


def linked(minimum: str) -> list[str]:
    """Return the severities of the incidents that the app links."""
    workspace = WorkspaceId("11111111-2222-4333-8444-555555555555", "rg", "law-1")
    mapping = {
        "workspace": workspace.arm_id,
        "contraforceWorkspaceId": UUID(int=1),
        "minimumSeverity": Severity[minimum.upper()],
    }
    customer = Customer.model_validate(mapping)
    incident = IncidentId(workspace, "a")
    return [
        name for name in SEVERITIES if skip_reason(Incident(incident, "1", name, "New"), customer) is None
    ]


def test_the_rule_runs_the_playbook_for_created_incidents_only() -> None:
    """Our own comment updates the incident, and an update rule would run again for it."""
    for name in snapshots("customer"):
        found = rule(name)
        assert found["triggeringLogic"]["triggersOn"] == "Incidents"
        assert found["triggeringLogic"]["triggersWhen"] == "Created"
        assert found["actions"] == [
            {
                "order": 1,
                "actionType": "RunPlaybook",
                "actionConfiguration": {"logicAppResourceId": CUSTOMER["playbookId"], "tenantId": TENANT},
            }
        ]
    assert (rule("defaults")["order"], rule("defaults")["triggeringLogic"]["isEnabled"]) == (100, True)
    assert (rule("restricted")["order"], rule("restricted")["triggeringLogic"]["isEnabled"]) == (7, False)


def test_routes_and_names_are_those_of_the_app(worker: Worker) -> None:
    prefix = json.loads((ROOT / "host.json").read_text())["extensions"]["http"]["routePrefix"]
    link, health = worker.function("link_incident"), worker.function("health")
    assert (link.auth_level, health.auth_level) == ("function", "anonymous")
    for deployed in snapshots().values():
        host = f"reference('{deployed.one(SITE).name}').defaultHostName"
        definition = deployed.one("Microsoft.Logic/workflows").properties["definition"]
        address = f"[format('https://{{0}}/{prefix}/{link.route}', {host})]"
        assert plain(definition["actions"]["Link_ticket"]["inputs"]["uri"]) == address
        open_to_all = deployed.one(f"{SITE}/config").properties["globalValidation"]["excludedPaths"]
        assert open_to_all == [f"/{prefix}/{health.route}"]
        assert plain(deployed.outputs["healthUrl"]) == f"[format('https://{{0}}{open_to_all[0]}', {host})]"
    [key] = snapshot("defaults", "function-key").of_type(f"{SITE}/functions/keys")
    assert key.name == "ticketlink-app/link_incident/playbook"


def test_the_tables_are_those_of_the_code() -> None:
    for deployed in snapshots().values():
        tables = deployed.of_type("Microsoft.Storage/storageAccounts/tableServices/tables")
        assert {found.name for found in tables} == {
            f"link{suffix(deployed)}/default/{name}" for name in (TABLE_NAME, CUSTOMERS)
        }


def test_the_timer_reads_its_schedule_from_the_setting_that_the_template_sets(worker: Worker) -> None:
    assert worker.function("reconcile").timer_schedule == "%RECONCILE_SCHEDULE%"
    assert "RECONCILE_SCHEDULE" in snapshot("defaults").settings()


# The app


def test_the_runtime_is_the_one_of_the_project() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    version = re.search(r'^requires-python = ">=(.+)"$', project, re.MULTILINE)
    assert version is not None
    for name, deployed in snapshots().items():
        assert site(name)["functionAppConfig"]["runtime"] == {"name": "python", "version": version[1]}
        plan = deployed.one("Microsoft.Web/serverfarms")
        assert plan.body["sku"] == {"name": "FC1", "tier": "FlexConsumption"}
        assert site(name)["serverFarmId"] == plan.id
        unknown_to_flex = {"FUNCTIONS_WORKER_RUNTIME", "FUNCTIONS_EXTENSION_VERSION"}
        assert not unknown_to_flex & deployed.settings().keys()


def test_the_app_scales_as_its_parameters_say() -> None:
    scale = {name: site(name)["functionAppConfig"]["scaleAndConcurrency"] for name in snapshots()}
    ready = {name: found["alwaysReady"] for name, found in scale.items() if found["alwaysReady"]}
    assert ready == {"always-ready": [{"name": "http", "instanceCount": 2}]}
    assert scale["sovereign"]["maximumInstanceCount"] == OTHERWISE["maximumInstances"]
    for found in scale.values():
        assert found["triggers"] == {"http": {"perInstanceConcurrency": 100}}
        assert found["instanceMemoryMB"] == 2048


def test_one_identity_of_the_app_does_everything() -> None:
    for name, deployed in snapshots().items():
        app = deployed.one(SITE)
        identity = deployed.one(
            "Microsoft.ManagedIdentity/userAssignedIdentities", app.name.split("-")[0] + "-app"
        )
        assert app.body["identity"] == {
            "type": "UserAssigned",
            "userAssignedIdentities": {identity.id: {}},
        }
        assert app.properties["keyVaultReferenceIdentity"] == identity.id
        package = app.properties["functionAppConfig"]["deployment"]["storage"]
        container = deployed.one("Microsoft.Storage/storageAccounts/blobServices/containers").name
        account, _, packages = container.split("/")
        assert account == f"link{suffix(deployed)}"
        assert (package["type"], package["authentication"]) == (
            "blobContainer",
            {"type": "UserAssignedIdentity", "userAssignedIdentityResourceId": identity.id},
        ), name
        address = f"[format('{{0}}{{1}}', reference('{account}').primaryEndpoints.blob, '{packages}')]"
        assert plain(package["value"]) == address


# Roles


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


def assignments(deployed: Deployment) -> set[tuple[str, str, str]]:
    """Return the scope, role and principal of every role assignment: the ends of their ids."""
    names = {identifier: name for name, identifier in role_ids().items()}
    found = set()
    for assignment in deployed.of_type(ASSIGNMENT):
        principal = assignment.properties["principalId"]
        kind = "Group" if principal == ONBOARDERS else "ServicePrincipal"
        assert assignment.properties["principalType"] == kind
        assert "condition" not in assignment.body
        role = assignment.properties["roleDefinitionId"].rpartition("/")[2]
        whose = re.fullmatch(r"\[reference\('([\w-]+)'\)\.principalId\]", plain(principal))
        found.add(
            (assignment.scope.rpartition("/")[2], names.get(role, role), whose[1] if whose else principal)
        )
    assert len(found) == len(deployed.of_type(ASSIGNMENT))
    return found


def test_every_role_assignment_is_on_the_one_resource_that_needs_it() -> None:
    for name, deployed in snapshots().items():
        unique, prefix = suffix(deployed), deployed.one(SITE).name.split("-")[0]
        app, playbook = f"{prefix}-app-identity", f"{prefix}-playbook-identity"
        own = {
            (f"link{unique}", "Storage Blob Data Owner", app),
            (TABLE_NAME, "Storage Table Data Contributor", app),
            (CUSTOMERS, "Storage Table Data Reader", app),
            (f"kv-app-{unique}", "Key Vault Secrets User", app),
            (f"{prefix}-insights", "Monitoring Metrics Publisher", app),
            (f"kv-play-{unique}", "Key Vault Secrets User", playbook),
        }
        if "onboardersGroupId" in SETS[name]["main"]:
            own.add((CUSTOMERS, "Storage Table Data Contributor", ONBOARDERS))
        assert assignments(deployed) - of_sentinel() == own, name


def of_sentinel() -> set[tuple[str, str, str]]:
    """Return Sentinel's own grant, which it only honours on the playbook's resource group."""
    return {(GROUP, "Microsoft Sentinel Automation Contributor", SENTINEL)}


def test_sentinel_gets_its_grant_on_the_group_where_its_principal_is_given() -> None:
    with_it = {name for name, deployed in snapshots().items() if assignments(deployed) & of_sentinel()}
    assert with_it == {name for name in snapshots() if "securityInsightsPrincipalId" in SETS[name]["main"]}
    assert with_it == {"tokens"}


def test_app_and_playbook_get_their_roles_on_the_customers_workspace_unless_they_are_delegated() -> None:
    workspace, app = CUSTOMER["workspaceName"], CUSTOMER["appPrincipalId"]
    reads = (workspace, "Microsoft Sentinel Reader", CUSTOMER["playbookPrincipalId"])
    own_role = guid(workspace_id(), "contraforce-ticket-link")
    assert {name: assignments(deployed) for name, deployed in snapshots("customer").items()} == {
        "defaults": {(workspace, "Microsoft Sentinel Responder", app), reads},
        "lighthouse": set(),
        "restricted": {(workspace, own_role, app), reads},
    }
    for deployed in snapshots("customer").values():
        for found in [*deployed.of_type(ASSIGNMENT), *deployed.of_type(RULE)]:
            assert found.scope == workspace_id()


def workspace_id() -> str:
    group = f"/subscriptions/{SUBSCRIPTION}/resourceGroups/{GROUP}"
    return f"{group}/providers/Microsoft.OperationalInsights/workspaces/{CUSTOMER['workspaceName']}"


def test_the_names_of_role_assignments_follow_from_what_they_say() -> None:
    """So that a second deployment finds them, and a second app does not."""
    for deployed in [*snapshots().values(), *snapshots("customer").values()]:
        for found in deployed.of_type(ASSIGNMENT):
            principal = found.properties["principalId"]
            role = found.properties["roleDefinitionId"].rpartition("/")[2]
            if principal.startswith("["):
                assert found.name == f"[guid('{found.scope}', {principal[1:-1]}, '{role}')]"
            else:
                custom = "contraforce-ticket-link" if role not in role_ids().values() else role
                assert found.name == guid(found.scope, principal, custom)


def test_nothing_is_deployed_beside_our_own_names() -> None:
    """Every name begins with ours, but for what is found by a guid, and no resource is there twice."""
    for name, deployed in snapshots().items():
        unique, prefix = suffix(deployed), deployed.one(SITE).name.split("-")[0]
        assert len({found.id for found in deployed.resources}) == len(deployed.resources), name
        tops = {
            found.name.split("/")[0]
            for found in deployed.resources
            if "providers/Microsoft.Authorization" not in found.id
        }
        ours = (f"{prefix}-", f"link{unique}", f"kv-app-{unique}", f"kv-play-{unique}")
        others = {top for top in tops if not top.startswith(ours)}
        diagnostics = {found.name for found in deployed.of_type("Microsoft.Insights/diagnosticSettings")}
        made = {found.name for found in deployed.of_type("Microsoft.Insights/workbooks")}
        made |= {found.name for found in deployed.of_type(ASSIGNMENT)}
        assert {
            top for top in others - diagnostics if not any(item.startswith(top) for item in made)
        } == set()


def test_the_least_privilege_role_has_the_four_actions_of_the_reference() -> None:
    made = {
        name: deployed.of_type("Microsoft.Authorization/roleDefinitions")
        for name, deployed in snapshots("customer").items()
    }
    assert [name for name, found in made.items() if found] == ["restricted"]
    [role] = made["restricted"]
    assert role.properties["assignableScopes"] == [workspace_id().partition("/providers/")[0]]
    actions = [
        "Microsoft.OperationalInsights/workspaces/read",
        "Microsoft.SecurityInsights/incidents/read",
        "Microsoft.SecurityInsights/incidents/comments/read",
        "Microsoft.SecurityInsights/incidents/comments/write",
    ]
    assert role.properties["permissions"] == [{"actions": actions, "notActions": []}]
    reference = (ROOT / "docs" / "reference.md").read_text()
    assert all(f"`{action}`" in reference for action in actions[:3])


def test_roles_are_there_before_what_needs_them() -> None:
    found = {item["name"]: item for item in resources(compiled()).values()}
    for module in ("app", "playbook"):
        assert "roles" in found[module]["dependsOn"]


DEFINITION = "Microsoft.ManagedServices/registrationDefinitions"
DELEGATION = "Microsoft.ManagedServices/registrationAssignments"


def delegated(name: str) -> set[tuple[str, str]]:
    """Return the principal and role of every authorization of an offer."""
    roles = {identifier: role for role, identifier in role_ids().items()}
    offer = snapshot(name, "lighthouse").one(DEFINITION).properties
    assert offer["managedByTenantId"] == TENANT
    assert all(found["principalIdDisplayName"] for found in offer["authorizations"])
    listed = [(found["principalId"], roles[found["roleDefinitionId"]]) for found in offer["authorizations"]]
    assert len(set(listed)) == len(listed)
    return set(listed)


def test_a_delegation_gives_two_groups_the_roles_of_a_customer_and_lets_the_provider_leave() -> None:
    app, playbook = OFFER["appGroupId"], OFFER["playbookGroupId"]
    needed = {
        (app, "Microsoft Sentinel Responder"),
        (playbook, "Microsoft Sentinel Reader"),
    }
    here = {role for _, role, _ in assignments(snapshot("defaults", "customer"))}
    assert {role for _, role in needed} == here
    leaves = "Managed Services Registration Assignment Delete"
    assert delegated("defaults") == {*needed, (app, leaves)}
    operators = {(OPERATORS, "Microsoft Sentinel Responder"), (OPERATORS, leaves)}
    assert delegated("lighthouse") == needed | operators


def test_a_delegation_is_of_the_groups_that_are_named_or_else_of_the_subscription() -> None:
    subscription = f"/subscriptions/{SUBSCRIPTION}"
    groups = [f"{subscription}/resourceGroups/{name}" for name in ("rg-others", "rg-secops")]
    for name, scopes in (("defaults", [subscription]), ("lighthouse", groups)):
        deployed = snapshot(name, "lighthouse")
        definition = deployed.one(DEFINITION)
        assert definition.scope == subscription
        assert sorted(found.scope for found in deployed.of_type(DELEGATION)) == scopes, name
        for found in deployed.of_type(DELEGATION):
            assert found.properties == {"registrationDefinitionId": definition.id}
            assert found.name == guid(found.scope, definition.id), "it would be made twice"
        offer = definition.properties["registrationDefinitionName"]
        assert definition.name == guid(subscription, TENANT, offer), "it would be made twice"


# Secrets and callers

SINKS = {
    "Microsoft.Resources/deployments.properties.parameters.contraforceClientSecret.value",
    "Microsoft.KeyVault/vaults/secrets.properties.value",
    "Microsoft.Web/sites/functions/keys.properties.value",
}
"""The only places that a secure parameter may go to."""


def test_no_output_and_no_plain_setting_carries_a_secret() -> None:
    for place, template in places():
        parameters = template.get("parameters", {})
        secure = {key for key, found in parameters.items() if found["type"].startswith("secure")}
        named = {key for key in parameters if re.search("secret$|password|functionKey$", key, re.IGNORECASE)}
        assert named <= secure, place
        for output in template.get("outputs", {}).values():
            assert not list(uses(output, secure)), place
        for resource in resources(template).values():
            own = {key: value for key, value in resource.items() if key not in {"condition", "dependsOn"}}
            for path in uses(own, secure):
                assert f"{resource['type']}{path}" in SINKS, f"{place}: {resource['name']}{path}"


def test_nothing_asks_azure_for_a_key() -> None:
    for name in TEMPLATES:
        for text in strings(compiled(name)):
            assert not re.search(r"\blist(Keys|Secrets|\w*Sas)\(|AccountKey|sharedKey\b", text), (
                f"{name}: {text}"
            )


def uses(value: Any, names: set[str], path: str = "") -> Iterator[str]:
    """Yield the places where one of the parameters is named, but for the templates inside."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key != "template":
                yield from uses(item, names, f"{path}.{key}")
    elif isinstance(value, list):
        for item in value:
            yield from uses(item, names, path)
    elif isinstance(value, str) and any(f"parameters('{name}')" in value for name in names):
        yield path


def test_nobody_reaches_storage_with_a_shared_key_or_without_any() -> None:
    for name, deployed in snapshots().items():
        account = deployed.one("Microsoft.Storage/storageAccounts").properties
        assert {
            "allowSharedKeyAccess": False,
            "defaultToOAuthAuthentication": True,
            "allowBlobPublicAccess": False,
            "allowCrossTenantReplication": False,
        }.items() <= account.items(), name
        container = deployed.one("Microsoft.Storage/storageAccounts/blobServices/containers")
        assert container.properties == {"publicAccess": "None"}


def test_telemetry_vaults_and_publishing_take_entra_only() -> None:
    for name, deployed in snapshots().items():
        assert deployed.one("Microsoft.Insights/components").properties["DisableLocalAuth"] is True, name
        logs = deployed.one("Microsoft.OperationalInsights/workspaces").properties
        assert logs["features"] == {"disableLocalAuth": True}
        passwords = deployed.of_type(f"{SITE}/basicPublishingCredentialsPolicies")
        assert {found.name.rpartition("/")[2]: found.properties for found in passwords} == {
            "ftp": {"allow": False},
            "scm": {"allow": False},
        }
        for vault in deployed.of_type("Microsoft.KeyVault/vaults"):
            assert vault.properties["enableRbacAuthorization"] is True
            assert vault.properties["enablePurgeProtection"] is True
            assert vault.properties["tenantId"] == TENANT


def test_everything_speaks_tls_1_2_or_later() -> None:
    for name, deployed in snapshots().items():
        account = deployed.one("Microsoft.Storage/storageAccounts").properties
        assert (account["minimumTlsVersion"], account["supportsHttpsTrafficOnly"]) == ("TLS1_2", True)
        assert site(name)["httpsOnly"] is True
        config = site(name)["siteConfig"]
        assert (config.get("minTlsVersion"), config.get("scmMinTlsVersion")) == ("1.2", "1.2"), name
        assert deployed.one(f"{SITE}/config").properties["httpSettings"] == {"requireHttps": True}


def test_with_an_app_registration_only_the_playbook_gets_in() -> None:
    """Deployed in any case, or taking authClientId away would not switch it off."""
    for name, deployed in snapshots().items():
        client = SETS[name]["main"].get("authClientId", "")
        wanted = bool(client)
        tokens = deployed.one(f"{SITE}/config", "/authsettingsV2")
        assert "condition" not in tokens.body
        found = tokens.properties
        assert found["platform"] == {"enabled": wanted}, name
        assert found["globalValidation"]["requireAuthentication"] is wanted
        answer = "Return401" if wanted else "AllowAnonymous"
        assert found["globalValidation"]["unauthenticatedClientAction"] == answer
        [(kind, provider)] = found["identityProviders"].items()
        assert (kind, provider["enabled"]) == ("azureActiveDirectory", wanted)
        assert provider["registration"] == {
            "clientId": client,
            "openIdIssuer": f"https://sts.windows.net/{TENANT}/",
        }
        assert provider["validation"]["allowedAudiences"] == [f"api://{client}"]
        principal = deployed.outputs["playbookPrincipalId"]
        policy = provider["validation"]["defaultAuthorizationPolicy"]
        assert policy == {
            "allowedPrincipals": {"identities": [principal]},
            "allowedApplications": [principal.replace("principalId", "clientId")],
        }


def test_the_playbook_s_token_is_for_the_audience_that_the_app_takes() -> None:
    for name, deployed in snapshots().items():
        definition = deployed.one("Microsoft.Logic/workflows").properties["definition"]
        token = definition["actions"]["Link_ticket"]["inputs"].get("authentication")
        identity = deployed.one("Microsoft.ManagedIdentity/userAssignedIdentities", playbook_of(deployed)).id
        assert token == (
            {"type": "ManagedServiceIdentity", "identity": identity, "audience": f"api://{AUTH_CLIENT}"}
            if name == "tokens"
            else None
        ), name


def playbook_of(deployed: Deployment) -> str:
    return deployed.one("Microsoft.Logic/workflows").name + "-identity"


def test_restricted_to_logic_apps_nobody_else_gets_in() -> None:
    for name in snapshots():
        config = site(name)["siteConfig"]
        restricted = SETS[name]["main"].get("restrictInbound", False)
        assert config["ipSecurityRestrictionsDefaultAction"] == ("Deny" if restricted else "Allow"), name
        admitted = [
            (found.get("tag"), found["ipAddress"], found["action"])
            for found in config["ipSecurityRestrictions"]
        ]
        assert admitted == (
            [
                ("ServiceTag", "LogicApps", "Allow"),
                (None, "192.0.2.0/24", "Allow"),
                (None, "198.51.100.7/32", "Allow"),
            ]
            if restricted
            else []
        ), name
        priorities = [found["priority"] for found in config["ipSecurityRestrictions"]]
        assert len(set(priorities)) == len(priorities)


def test_the_two_secrets_lie_in_vaults_of_their_own() -> None:
    for name, deployed in snapshots().items():
        secret = deployed.one("Microsoft.KeyVault/vaults/secrets")
        assert secret.name == f"kv-app-{suffix(deployed)}/contraforce-client-secret"
        assert secret.body["condition"] == "[not(empty(parameters('contraforceClientSecret')))]"
        assert secret.properties["value"] == "[parameters('contraforceClientSecret')]"
        assert secret.properties["contentType"]
        ends = SETS[name]["main"].get("credentialExpiresOn")
        end = {} if ends is None else {"exp": int(datetime.fromisoformat(ends).timestamp())}
        assert secret.properties["attributes"] == end
        assert deployed.outputs["appVaultName"] == secret.name.split("/")[0]
        assert deployed.outputs["playbookVaultName"] == f"kv-play-{suffix(deployed)}"


def test_the_playbook_s_key_is_made_in_the_deployment_and_set_in_the_app_first() -> None:
    deployed = snapshot("defaults", "function-key")
    secret = deployed.one("Microsoft.KeyVault/vaults/secrets")
    assert secret.name == "kv-play/playbook-function-key"
    key = deployed.one(f"{SITE}/functions/keys")
    assert secret.properties["contentType"]
    end = "[dateTimeToEpoch(dateTimeAdd(utcNow(), 'P1Y'))]"
    assert secret.properties["attributes"] == {"exp": end}
    made = "[format('{0}{1}', newGuid(), newGuid())]"
    assert key.properties["value"] == secret.properties["value"] == made
    parameter = compiled("function-key")["parameters"]["functionKey"]
    assert (parameter["type"], parameter["defaultValue"]) == ("securestring", made)
    [in_the_app, in_the_vault] = resources(compiled("function-key")).values()
    assert (in_the_app["type"], in_the_vault["type"]) == (key.type, secret.type)
    assert in_the_vault["dependsOn"], "the playbook must not read a key that the app does not know yet"


# Names, places, telemetry


def test_the_app_is_tagged_with_its_playbook() -> None:
    """The operators' tool finds it there."""
    for deployed in snapshots().values():
        playbook = deployed.one("Microsoft.Logic/workflows").id
        assert deployed.one(SITE).body["tags"]["contraforce-playbook"] == playbook


def test_the_longest_name_is_short_enough() -> None:
    """Azure's limits: 24 for an account and a vault; 60 for an app, and 43 where two share a host id."""
    assert len(str(OTHERWISE["name"])) == compiled()["parameters"]["name"]["maxLength"]
    limits = {"Microsoft.Storage/storageAccounts": 24, "Microsoft.KeyVault/vaults": 24, SITE: 60}
    deployed = snapshot("sovereign")
    for kind, limit in limits.items():
        for found in deployed.of_type(kind):
            assert len(found.name) <= limit, found.name
            assert re.fullmatch(r"[a-z0-9-]+", found.name)


def test_every_resource_is_in_the_region_and_has_the_tags_that_were_given() -> None:
    deployed = snapshot("sovereign")
    for found in deployed.resources:
        if "location" in found.body:
            assert found.body["location"] == OTHERWISE["location"], found.id
            assert OTHERWISE["tags"].items() <= found.body["tags"].items(), found.id  # type: ignore[attr-defined]
    assert sum("location" in found.body for found in deployed.resources) >= 12


def test_storage_and_telemetry_are_kept_as_the_parameters_say() -> None:
    deployed = snapshot("sovereign")
    account = deployed.one("Microsoft.Storage/storageAccounts").body
    assert account["sku"]["name"] == OTHERWISE["storageRedundancy"]
    without_zones = snapshot("always-ready").one("Microsoft.Storage/storageAccounts").body
    assert (without_zones["location"], without_zones["sku"]["name"]) == ("West US", "Standard_LRS")
    by_default = snapshot("defaults").one("Microsoft.Storage/storageAccounts").body
    assert by_default["sku"]["name"] == "Standard_ZRS"
    logs = deployed.one("Microsoft.OperationalInsights/workspaces").properties
    assert logs["retentionInDays"] == OTHERWISE["telemetryRetentionDays"]


def test_all_telemetry_goes_to_one_workspace() -> None:
    for deployed in snapshots().values():
        logs = deployed.one("Microsoft.OperationalInsights/workspaces").id
        assert deployed.one("Microsoft.Insights/components").properties["WorkspaceResourceId"] == logs
        audited = {}
        for found in deployed.of_type("Microsoft.Insights/diagnosticSettings"):
            assert found.properties["workspaceId"] == logs
            audited[found.scope.rpartition("/")[2]] = [log["category"] for log in found.properties["logs"]]
        assert audited == {
            f"kv-app-{suffix(deployed)}": ["AuditEvent"],
            f"kv-play-{suffix(deployed)}": ["AuditEvent"],
            deployed.one("Microsoft.Logic/workflows").name: ["WorkflowRuntime"],
        }


def test_every_alert_has_its_query_and_every_query_its_alert() -> None:
    for name, deployed in snapshots().items():
        alerts = deployed.of_type("Microsoft.Insights/scheduledQueryRules")
        files = {path.stem for path in (INFRA / "alerts").glob("*.kql")}
        prefix = deployed.one(SITE).name.split("-")[0]
        assert {found.name.removeprefix(f"{prefix}-") for found in alerts} == files
        for found in alerts:
            alert = found.properties
            assert alert["windowSize"] in {"PT15M", "PT30M"}
            assert (alert["enabled"], alert["evaluationFrequency"]) == (True, "PT5M")
            assert alert["scopes"] == [deployed.one("Microsoft.OperationalInsights/workspaces").id]
            whom = SETS[name]["main"].get("actionGroupIds", [])
            assert alert["actions"] == {"actionGroups": whom}, name
            [condition] = alert["criteria"]["allOf"]
            assert condition["query"] == f"<alerts/{found.name.removeprefix(f'{prefix}-')}.kql>"
            assert (condition["timeAggregation"], condition["operator"], condition["threshold"]) == (
                "Count",
                "GreaterThan",
                0,
            )
    assert SETS["sovereign"]["main"]["actionGroupIds"] == [ACTION_GROUP]


def test_an_alert_for_each_finding_names_a_column_of_its_query() -> None:
    split = 0
    for found in snapshot("defaults").of_type("Microsoft.Insights/scheduledQueryRules"):
        [condition] = found.properties["criteria"]["allOf"]
        query = (INFRA / condition["query"].strip("<>")).read_text()
        for dimension in condition["dimensions"]:
            split += 1
            assert re.search(rf"\b{dimension['name']} = ", query), found.name
            assert (dimension["operator"], dimension["values"]) == ("Include", ["*"])
    assert split >= 2


def test_every_query_and_the_workbook_are_deployed_beside_the_telemetry() -> None:
    for deployed in snapshots().values():
        logs = deployed.one("Microsoft.OperationalInsights/workspaces")
        searches = deployed.of_type(f"{logs.type}/savedSearches")
        assert {found.properties["query"] for found in searches} == {
            f"<queries/{path.name}>" for path in (INFRA / "queries").glob("*.kql")
        }
        for found in searches:
            assert found.name.startswith(f"{logs.name}/")
            title = (INFRA / found.properties["query"].strip("<>")).read_text().splitlines()[0]
            assert re.fullmatch(r"// [A-Z][^/]{5,60}", title)
            assert found.properties["displayName"] == title.removeprefix("// ")
        page = deployed.one("Microsoft.Insights/workbooks").properties
        assert (page["serializedData"], page["sourceId"]) == ("<workbook.json>", logs.id)


# What the templates say of themselves


def test_the_outputs_are_the_parameters_of_what_is_deployed_next() -> None:
    outputs = snapshot("defaults").outputs
    assert outputs.keys() == {
        "functionAppName", "healthUrl", "appVaultName", "playbookVaultName", "playbookId", "appPrincipalId",
        "playbookPrincipalId", "tenantId",
    }  # fmt: skip
    assert outputs["functionAppName"] == snapshot("defaults").one(SITE).name
    assert outputs["playbookId"] == snapshot("defaults").one("Microsoft.Logic/workflows").id
    assert outputs["tenantId"] == TENANT
    assert plain(outputs["appPrincipalId"]) == f"[reference('{APP}').principalId]"
    assert plain(outputs["playbookPrincipalId"]) == f"[reference('{PLAYBOOK}').principalId]"
    needed = required(compiled("customer")["parameters"]) | required(compiled("function-key")["parameters"])
    assert needed - {"workspaceName"} <= outputs.keys()


def test_every_parameter_and_output_is_described() -> None:
    for place, template in places():
        for kind in ("parameters", "outputs"):
            for name, found in template.get(kind, {}).items():
                assert found.get("metadata", {}).get("description", "").strip(), f"{place}: {name}"


def test_the_linter_s_rules_are_errors() -> None:
    rules = json.loads((INFRA / "bicepconfig.json").read_text())["analyzers"]["core"]
    assert rules["enabled"] is True
    assert {found["level"] for found in rules["rules"].values()} == {"error"}


@pytest.mark.parametrize("name", FILES)
def test_templates_need_no_registry(name: str) -> None:
    assert not re.search(r"'(?:br|ts)[:/]", source(name))


def test_every_template_is_said_in_the_documents() -> None:
    text = "".join((ROOT / name).read_text() for name in ("docs/deploy.md", "infra/main.bicep"))
    assert all(Path(name).name in text for name in FILES)
