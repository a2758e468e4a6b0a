"""A fault in a template fails the rule that is about it, although JSON and snapshots were recorded anew."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import compiler
import pytest
import test_rules as rules
from deployed import instead
from test_compiled import compiler_or_skip

pytestmark = pytest.mark.deep


@dataclass(frozen=True)
class Fault:
    """A text of a template, what stands there instead, the set that shows it, and the rule that fails."""

    file: str
    text: str
    instead: str
    shows: tuple[str, str]
    rule: Callable[[], None]


DEFAULTS = ("defaults", "main")
CUSTOMER = compiler.TEMPLATES["customer"]
FAULTS = {
    "wrong property": Fault(
        "app.bicep",
        "      minTlsVersion: '1.2'",
        "      minimumTlsVersion: '1.2'",
        DEFAULTS,
        rules.test_everything_speaks_tls_1_2_or_later,
    ),
    "missing role": Fault(
        "roles.bicep",
        "resource appTelemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {",
        "resource appTelemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (false) {",
        DEFAULTS,
        rules.test_every_role_assignment_is_on_the_one_resource_that_needs_it,
    ),
    "role on the group instead of the resource": Fault(
        "roles.bicep",
        "  scope: appVault\n",
        "  scope: resourceGroup()\n",
        DEFAULTS,
        rules.test_every_role_assignment_is_on_the_one_resource_that_needs_it,
    ),
    "scope": Fault(
        CUSTOMER,
        "  scope: workspace\n  name: guid(workspace.id, appPrincipalId, roleIds",
        "  name: guid(workspace.id, appPrincipalId, roleIds",
        ("defaults", "customer"),
        rules.test_app_and_playbook_get_their_roles_on_the_customers_workspace_unless_they_are_delegated,
    ),
    "severity": Fault(
        CUSTOMER,
        "skip(severities, indexOf(severities, minimumSeverity))",
        "skip(severities, indexOf(severities, minimumSeverity) + 1)",
        ("lighthouse", "customer"),
        rules.test_one_severity_holds_for_app_and_rule,
    ),
    "setting missing": Fault(
        "app.bicep",
        "{ name: 'AZURE_CLIENT_ID', value: identity.properties.clientId }\n",
        "",
        DEFAULTS,
        rules.test_the_app_settings_are_the_settings_of_the_code_no_more_and_no_less,
    ),
    "shared keys on": Fault(
        "storage.bicep",
        "allowSharedKeyAccess: false",
        "allowSharedKeyAccess: true",
        DEFAULTS,
        rules.test_nobody_reaches_storage_with_a_shared_key_or_without_any,
    ),
    "audience": Fault(
        "playbook.bicep",
        "audience: 'api://${authClientId}'",
        "audience: authClientId",
        ("tokens", "main"),
        rules.test_the_playbook_s_token_is_for_the_audience_that_the_app_takes,
    ),
    "condition turned round": Fault(
        "app.bicep",
        "restrictInbound ? 'Deny' : 'Allow'",
        "restrictInbound ? 'Allow' : 'Deny'",
        ("restricted", "main"),
        rules.test_restricted_to_logic_apps_nobody_else_gets_in,
    ),
    "table name": Fault(
        "storage.bicep",
        "'contraforcelinks'",
        "'contraforcelink'",
        DEFAULTS,
        rules.test_the_tables_are_those_of_the_code,
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_fails_the_rule_that_is_about_it(name: str, tmp_path: Path) -> None:
    """Only the set that shows it is recorded anew; the other ones are those without a fault."""
    compiler_or_skip()
    fault = FAULTS[name]
    infra = Path(shutil.copytree(compiler.INFRA, tmp_path / "infra"))
    snapshots = Path(shutil.copytree(compiler.SNAPSHOTS, tmp_path / "snapshots"))
    fault.rule()
    template = infra / fault.file
    before = template.read_text()
    assert fault.text in before, "what the fault would replace is not there any more"
    template.write_text(before.replace(fault.text, fault.instead, 1))
    template_name = fault.shows[1]
    made = compiler.build_one(template_name, infra, strict=False)
    (infra / "compiled" / f"{template_name}.json").write_text(made)
    recorded = compiler.snapshot(*fault.shows, infra, strict=False)
    kept = snapshots / f"{'.'.join(fault.shows)}.json"
    assert recorded != kept.read_text(), "no snapshot shows it"
    kept.write_text(recorded)
    with instead(infra / "compiled", snapshots), pytest.raises(AssertionError):
        fault.rule()
