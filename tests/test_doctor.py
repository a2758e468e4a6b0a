"""Doctor: every fault is named once, with its fix, and nothing else is; and nothing is ever written."""

import asyncio
import contextlib
import json
import os
import sqlite3
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
import trustme
from cli_process import environment, run
from conftest import ROOT
from host_process import FUNCTION_KEY, run_host
from store_fixtures import no_host

from contraforce_sentinel.domain.errors import StoreFault
from contraforce_sentinel.domain.runs import TimerRun
from contraforce_sentinel.settings import Settings
from contraforce_sentinel.stores.sqlite import SqliteLinkStore
from operators_tool import check_health, session
from operators_tool.check_azure import _matches, _object_id
from operators_tool.check_store import fix_of
from operators_tool.doctor import examine
from operators_tool.findings import Finding, Status
from sandbox import PLANTED_SECRET, Sandbox, faults
from sandbox.bodies import problem_details
from sandbox.identity import IssuedToken

NOBODY = "https://localhost:1"
NEVER = "0 0 0 1 1 *"
CHECKS = [
    "settings",
    "identity",
    "resource manager",
    *(f"{what} {name}" for name in ("law-a", "law-b") for what in ("workspace", "incidents", "comments")),
    "contraforce",
    "contraforce credential",
    "contraforce role law-a",
    "contraforce role law-b",
    "link store",
    "clock",
]


@dataclass
class SetUp:
    """A healthy set-up of two customers, for a test to break."""

    sandbox: Sandbox
    monkeypatch: pytest.MonkeyPatch
    directory: Path

    def set(self, name: str, value: str) -> None:
        self.monkeypatch.setenv(name, value)

    def forge(self, operation: str, fault: faults.Fault, *, of: str = "") -> None:
        """Let every request of an operation whose path names `of` end in a fault."""
        self.sandbox.faults.plan(operation, fault, times=None, where=lambda request: of in request.path)  # type: ignore[arg-type]

    @property
    def store_file(self) -> Path:
        return self.directory / "links.db"

    async def examine(self, app_url: str | None = None) -> list[Finding]:
        return await examine(os.environ, app_url=app_url)


@pytest_asyncio.fixture
async def setup(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[SetUp]:
    for name in ("law-a", "law-b"):
        sandbox.add_workspace(name=name)
    for name in set(os.environ) - set(environment(None)):
        monkeypatch.delenv(name)
    for name, value in environment(sandbox, LINK_STORE=f"sqlite:///{tmp_path}/links.db").items():
        monkeypatch.setenv(name, value)
    yield SetUp(sandbox, monkeypatch, tmp_path)
    assert {request.method for request in sandbox.log.all} <= {"GET"}, "doctor has written to a service"


def bad(findings: list[Finding]) -> list[Finding]:
    return [finding for finding in findings if finding.status in {Status.FAILED, Status.UNSURE}]


def setting_missing(setup: SetUp) -> None:
    setup.monkeypatch.delenv("CONTRAFORCE_CLIENT_ID")


def setting_misspelt(setup: SetUp) -> None:
    setup.set("RECONCILE_SHEDULE", NEVER)


def setting_malformed(setup: SetUp) -> None:
    setup.set("WORKSPACES", '[{"workspace": "law-a"')


def setting_unresolved(setup: SetUp) -> None:
    setup.set(
        "CONTRAFORCE_CLIENT_SECRET", "@Microsoft.KeyVault(SecretUri=https://kv.vault.azure.net/secrets/x)"
    )


def identity_endpoint_down(setup: SetUp) -> None:
    setup.set("IDENTITY_ENDPOINT", "http://localhost:1/msi/token")


def identity_unknown(setup: SetUp) -> None:
    setup.set("AZURE_CLIENT_ID", str(uuid4()))


def identity_header_wrong(setup: SetUp) -> None:
    setup.set("IDENTITY_HEADER", "another app's")


def resource_manager_down(setup: SetUp) -> None:
    setup.set("ARM_ENDPOINT", NOBODY)


def resource_manager_unwell(setup: SetUp) -> None:
    setup.forge("arm.workspace", faults.status(503))


def workspace_unknown(setup: SetUp) -> None:
    setup.set("WORKSPACES", os.environ["WORKSPACES"].replace("law-b", "law-x"))


def workspace_without_role(setup: SetUp) -> None:
    setup.sandbox.arm.forbidden.add("law-b")


def workspace_in_another_tenant(setup: SetUp) -> None:
    setup.sandbox.arm.refused["law-b"] = "InvalidAuthenticationTokenTenant"


def subscription_out_of_sight(setup: SetUp) -> None:
    setup.sandbox.arm.refused["law-b"] = "SubscriptionNotFound"


def provider_not_registered(setup: SetUp) -> None:
    setup.sandbox.arm.refused["law-b"] = "MissingSubscriptionRegistration"


def workspace_unwell(setup: SetUp) -> None:
    setup.forge("arm.workspace", faults.arm_error(500, "InternalServerError"), of="law-b")


def incidents_forbidden(setup: SetUp) -> None:
    setup.forge("arm.incidents", faults.arm_error(403, "AuthorizationFailed"), of="law-b")


def incidents_unwell(setup: SetUp) -> None:
    setup.forge("arm.incidents", faults.status(502), of="law-b")


def sentinel_not_enabled(setup: SetUp) -> None:
    setup.forge("arm.incidents", faults.arm_error(400, "BadRequest"), of="law-b")


def permissions(setup: SetUp, actions: list[str], not_actions: list[str], **more: object) -> None:
    entry = {"actions": actions, "notActions": not_actions, "dataActions": [], "notDataActions": []}
    setup.forge("arm.permissions", faults.json(200, {"value": [entry], **more}), of="law-b")


def comment_write_missing(setup: SetUp) -> None:
    permissions(setup, ["Microsoft.SecurityInsights/*/READ"], [])


def comment_write_taken_away(setup: SetUp) -> None:
    permissions(setup, ["*"], ["Microsoft.SecurityInsights/incidents/*/write"])


def permissions_on_another_page(setup: SetUp) -> None:
    permissions(setup, ["*/read"], [], nextLink="https://management.azure.com/more")


def permissions_hidden(setup: SetUp) -> None:
    setup.forge("arm.permissions", faults.arm_error(403, "AuthorizationFailed"), of="law-b")


def permissions_of_another_shape(setup: SetUp) -> None:
    setup.forge("arm.permissions", faults.json(200, {"value": "all"}), of="law-b")


def contraforce_down(setup: SetUp) -> None:
    setup.set("CONTRAFORCE_API_URL", NOBODY)


def contraforce_unwell(setup: SetUp) -> None:
    setup.forge("contraforce.incident", faults.html(502))


def contraforce_elsewhere(setup: SetUp) -> None:
    setup.forge("contraforce.incident", faults.html(200))


def contraforce_not_found(setup: SetUp) -> None:
    setup.forge("contraforce.incident", faults.html(404))


def credential_expired(setup: SetUp) -> None:
    setup.sandbox.contraforce.credentials.clear()


def contraforce_role_missing(setup: SetUp) -> None:
    of_b = next(w for w in setup.sandbox.arm.workspaces.values() if w.name == "law-b")
    del setup.sandbox.contraforce.workspaces[of_b.contraforce_id.lower()]


def of_b(setup: SetUp) -> str:
    return next(w.contraforce_id for w in setup.sandbox.arm.workspaces.values() if w.name == "law-b")


def contraforce_scope_missing(setup: SetUp) -> None:
    setup.forge("contraforce.incident", faults.problem(403, problem_code="SOME_SCOPE"), of=of_b(setup))


def contraforce_busy_for_one(setup: SetUp) -> None:
    setup.forge("contraforce.incident", faults.status(503), of=of_b(setup))


def store_in_a_file(setup: SetUp) -> None:
    (setup.directory / "file").write_text("")
    setup.set("LINK_STORE", f"sqlite:///{setup.directory}/file/links.db")


def store_is_no_database(setup: SetUp) -> None:
    setup.store_file.write_text("no database, but longer than the head of one\n" * 100)


def store_of_a_newer_version(setup: SetUp) -> None:
    with contextlib.closing(sqlite3.connect(setup.store_file)) as database:
        database.execute("PRAGMA user_version = 99")


def store_account_down(setup: SetUp) -> None:
    setup.set(
        "LINK_STORE",
        "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;AccountKey=a2V5;"
        "TableEndpoint=http://localhost:1/devstoreaccount1;",
    )


def store_of_the_sandbox(setup: SetUp) -> None:
    setup.set("LINK_STORE", setup.sandbox.tables.connection_string)


def store_behind_a_firewall(setup: SetUp) -> None:
    store_of_the_sandbox(setup)
    setup.sandbox.tables.admission.lets_network_in = False


def store_with_a_wrong_key(setup: SetUp) -> None:
    text = setup.sandbox.tables.connection_string
    setup.set("LINK_STORE", text.replace(setup.sandbox.tables.admission.key, "d3Jvbmc="))


def store_without_keys(setup: SetUp) -> None:
    store_of_the_sandbox(setup)
    setup.sandbox.tables.admission.admits_keys = False


def store_account_disabled(setup: SetUp) -> None:
    store_of_the_sandbox(setup)
    setup.sandbox.tables.admission.is_enabled = False


def store_of_half_a_string(setup: SetUp) -> None:
    setup.set("LINK_STORE", f"AccountKey={PLANTED_SECRET};EndpointSuffix=core.windows.net")


def store_account_unknown(setup: SetUp) -> None:
    no_host(setup.monkeypatch, "stgone")
    setup.set("LINK_STORE", "AccountName=stgone;AccountKey=a2V5;EndpointSuffix=core.windows.net;")


def clock_ten_minutes_off(setup: SetUp) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
    body = problem_details(404, code="NOT_FOUND", detail="")
    setup.forge("contraforce.incident", faults.json(404, body, headers={"Date": date}))


def certificates_missing(setup: SetUp) -> None:
    setup.set("SSL_CERT_FILE", str(setup.directory / "nowhere.pem"))


def certificates_folder_missing(setup: SetUp) -> None:
    setup.monkeypatch.delenv("SSL_CERT_FILE")
    setup.set("SSL_CERT_DIR", str(setup.directory / "nowhere"))


def proxy_of_socks(setup: SetUp) -> None:
    setup.set("ALL_PROXY", f"socks5://user:{PLANTED_SECRET}@localhost:1")


def proxy_that_is_no_url(setup: SetUp) -> None:
    setup.set("https_proxy", f"http://user:{PLANTED_SECRET}#@localhost:1")


EXPORT, AZURE_ROLE = "export ", "az role assignment create --assignee "
FAULTS: list[tuple[Callable[[SetUp], None], str, str]] = [
    (setting_missing, "setting CONTRAFORCE_CLIENT_ID", "export CONTRAFORCE_CLIENT_ID="),
    (setting_misspelt, "setting RECONCILE_SHEDULE", "export RECONCILE_SHEDULE="),
    (setting_malformed, "setting WORKSPACES", "az functionapp config appsettings set"),
    (setting_unresolved, "setting CONTRAFORCE_CLIENT_SECRET", "--settings CONTRAFORCE_CLIENT_SECRET="),
    (certificates_missing, "setting SSL_CERT_FILE", "export SSL_CERT_FILE="),
    (certificates_folder_missing, "setting SSL_CERT_DIR", "export SSL_CERT_DIR="),
    (proxy_of_socks, "setting ALL_PROXY", "export ALL_PROXY="),
    (proxy_that_is_no_url, "setting https_proxy", "--settings https_proxy="),
    (identity_endpoint_down, "identity", "az functionapp restart"),
    (identity_unknown, "identity", "az functionapp identity assign"),
    (identity_header_wrong, "identity", "az functionapp identity assign"),
    (resource_manager_down, "resource manager", f"curl -sS -o /dev/null -w '%{{http_code}}\\n' {NOBODY}"),
    (resource_manager_unwell, "resource manager", "curl"),
    (workspace_unknown, "workspace law-x", "az monitor log-analytics workspace list --subscription 1111"),
    (workspace_without_role, "workspace law-b", AZURE_ROLE),
    (workspace_in_another_tenant, "workspace law-b", "(Azure Lighthouse)"),
    (subscription_out_of_sight, "workspace law-b", "by its delegation (Azure Lighthouse)"),
    (
        provider_not_registered,
        "incidents law-b",
        "az provider register --namespace Microsoft.SecurityInsights",
    ),
    (workspace_unwell, "workspace law-b", "contraforce-sentinel doctor"),
    (incidents_forbidden, "incidents law-b", AZURE_ROLE),
    (incidents_unwell, "incidents law-b", "contraforce-sentinel doctor"),
    (sentinel_not_enabled, "incidents law-b", "az sentinel onboarding-state create"),
    (comment_write_missing, "comments law-b", AZURE_ROLE),
    (comment_write_taken_away, "comments law-b", AZURE_ROLE),
    (contraforce_down, "contraforce", f"curl -sS -o /dev/null -w '%{{http_code}}\\n' {NOBODY}"),
    (contraforce_unwell, "contraforce", "curl"),
    (contraforce_elsewhere, "contraforce", "export CONTRAFORCE_API_URL="),
    (contraforce_not_found, "contraforce", "export CONTRAFORCE_API_URL="),
    (credential_expired, "contraforce credential", "export CONTRAFORCE_CLIENT_ID="),
    (contraforce_role_missing, "contraforce role law-b", "assign it to workspace "),
    (contraforce_busy_for_one, "contraforce role law-b", "contraforce-sentinel doctor"),
    (store_in_a_file, "link store", "ls -ld "),
    (store_is_no_database, "link store", "ls -ld "),
    (store_of_a_newer_version, "link store", "ls -ld "),
    (store_of_half_a_string, "link store", "export LINK_STORE="),
    (store_account_down, "link store", "export LINK_STORE="),
    (store_behind_a_firewall, "link store", "az storage account show --name stsandboxlinks --query network"),
    (store_with_a_wrong_key, "link store", "az storage account keys list --account-name stsandboxlinks"),
    (store_without_keys, "link store", "export LINK_STORE=https://stsandboxlinks.table.core.windows.net "),
    (store_account_disabled, "link store", "az storage account show --name stsandboxlinks --query '[status"),
    (store_account_unknown, "link store", "az storage account list --query '[].name'"),
    (clock_ten_minutes_off, "clock", "sudo timedatectl set-ntp true"),
]
UNSEEN = [
    (permissions_on_another_page, "comments law-b"),
    (permissions_hidden, "comments law-b"),
    (permissions_of_another_shape, "comments law-b"),
    (contraforce_scope_missing, "contraforce role law-b"),
]


async def test_ticket_urls_that_are_left_out_are_named_and_are_no_failure(
    setup: SetUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TICKET_URL_TEMPLATES", "[]")
    (found,) = bad(await setup.examine())
    assert (found.check, found.status) == ("setting TICKET_URL_TEMPLATES", Status.UNSURE)
    assert found.seen == "must be a JSON object"
    assert found.fix.startswith("export TICKET_URL_TEMPLATES=")


async def test_a_healthy_set_up_is_all_green(setup: SetUp) -> None:
    findings = await setup.examine()
    assert [finding.check for finding in findings] == CHECKS
    assert {finding.status for finding in findings} == {Status.OK}


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize(("fault", "check", "fix"), FAULTS, ids=[fault[0].__name__ for fault in FAULTS])
async def test_each_fault_is_named_with_its_fix_and_nothing_else(
    setup: SetUp, fault: Callable[[SetUp], None], check: str, fix: str
) -> None:
    fault(setup)
    found = bad(await setup.examine())
    assert [(finding.check, finding.status) for finding in found] == [(check, Status.FAILED)]
    assert found[0].seen
    assert found[0].meaning
    assert found[0].fix.startswith(fix) or f"{fix}" in found[0].fix
    assert PLANTED_SECRET not in repr(found)


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize(("fault", "check"), UNSEEN, ids=[fault[0].__name__ for fault in UNSEEN])
async def test_what_cannot_be_seen_is_said_to_be_unsure_and_is_no_failure(
    setup: SetUp, fault: Callable[[SetUp], None], check: str
) -> None:
    fault(setup)
    found = bad(await setup.examine())
    assert [(finding.check, finding.status) for finding in found] == [(check, Status.UNSURE)]
    assert found[0].fix


@pytest.mark.parametrize("none", [None, "[]"])
async def test_that_there_are_no_customers_is_told_and_is_no_failure(setup: SetUp, none: str | None) -> None:
    if none is None:
        setup.monkeypatch.delenv("WORKSPACES")
    else:
        setup.set("WORKSPACES", none)
    findings = await setup.examine()
    told = {finding.check: finding.seen for finding in findings if finding.status is not Status.OK}
    assert told == {
        "settings": "accepted; there are no customers",
        "resource manager": "needs a customer, whose workspace it is asked for",
        "contraforce": "needs a customer, whose workspace is read",
        "contraforce credential": "needs a customer, whose workspace is read",
        "clock": "needs an answer of ContraForce that says the time",
    }
    assert findings[0].status is Status.UNSURE
    assert "answered with 403" in findings[0].meaning


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize("check", ["identity", "resource manager", "contraforce", "link store"])
async def test_a_certificate_that_is_not_trusted_is_named_with_what_makes_it_trusted(
    setup: SetUp, check: str
) -> None:
    async with Sandbox.start(ca=trustme.CA()) as stranger:
        others = {
            "identity": ("IDENTITY_ENDPOINT", stranger.arm.base_url),
            "resource manager": ("ARM_ENDPOINT", stranger.arm.base_url),
            "contraforce": ("CONTRAFORCE_API_URL", stranger.contraforce.api_url),
            "link store": ("LINK_STORE", stranger.tables.connection_string),
        }
        setup.set(*others[check])
        found = bad(await setup.examine())
    assert [finding.check for finding in found] == [check]
    assert "CERTIFICATE_VERIFY_FAILED" in found[0].seen
    assert "SSL_CERT_FILE" in found[0].fix


async def test_no_link_store_is_made(setup: SetUp) -> None:
    await setup.examine()
    assert not setup.store_file.exists()


async def test_a_link_store_that_is_there_stays_as_it_is(setup: SetUp) -> None:
    store = SqliteLinkStore(setup.store_file)
    await store.check()
    await store.close()
    before = setup.store_file.read_bytes()
    findings = await setup.examine()
    assert findings[CHECKS.index("link store")].seen == "can be read and locked"
    assert setup.store_file.read_bytes() == before


def put_az(setup: SetUp, *, token: str = PLANTED_SECRET, seconds: float = 0) -> None:
    """Let `az` give a token after so many seconds, and no managed identity be there."""
    resource, expires = next(iter(setup.sandbox.arm.audiences)), datetime.now(UTC) + timedelta(hours=1)
    setup.sandbox.identity.tokens[token] = IssuedToken("", resource, expires.timestamp())
    answer = {"accessToken": token, "expires_on": int(expires.timestamp()), "tokenType": "Bearer"}
    az = setup.directory / "bin" / "az"
    az.parent.mkdir()
    az.write_text(f"#!/bin/sh\nsleep {seconds}\necho '{json.dumps(answer)}'\n")
    az.chmod(0o700)
    setup.set("PATH", f"{az.parent}{os.pathsep}{os.environ['PATH']}")
    setup.monkeypatch.delenv("IDENTITY_ENDPOINT")


@pytest.mark.slow
async def test_a_sign_in_of_the_azure_cli_is_used_where_there_is_no_managed_identity(setup: SetUp) -> None:
    """The real azure-identity runs `az`; this one stands in for Azure's command, and knows one token."""
    claims = "eyJvaWQiOiAiYWFhYWFhYWEtMDAwMC00MDAwLTgwMDAtMDAwMDAwMDAwMDAxIn0"
    put_az(setup, token=f"e30.{claims}.{PLANTED_SECRET}")
    workspace_without_role(setup)

    findings = await setup.examine()

    assert "not the app's" in findings[CHECKS.index("identity")].seen
    (found,) = bad(findings)
    assert found.fix.startswith(f"{AZURE_ROLE}aaaaaaaa-0000-4000-8000-000000000001 ")
    assert PLANTED_SECRET not in repr(findings)


@pytest.mark.slow
async def test_a_slow_azure_cli_is_waited_for(setup: SetUp) -> None:
    """Thirteen seconds were seen; what is waited for by default is ten."""
    put_az(setup, seconds=11)
    findings = await setup.examine()
    assert bad(findings) == []
    assert "signed in" in findings[CHECKS.index("identity")].seen


@pytest.mark.slow
async def test_an_azure_cli_that_is_too_slow_is_named_and_nobody_is_told_to_sign_in(
    setup: SetUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "CLI_SECONDS", 0.5)
    put_az(setup, seconds=5)
    (found,) = bad(await setup.examine())
    assert (found.check, found.fix.split(",")[0]) == ("identity", "run az account get-access-token")
    assert "the Azure CLI took more than" in found.seen


async def test_nobody_signed_in_is_told_to_sign_in(setup: SetUp) -> None:
    setup.monkeypatch.delenv("IDENTITY_ENDPOINT")
    setup.set("PATH", str(setup.directory))
    (found,) = bad(await setup.examine())
    assert (found.check, found.fix.split(" --")[0]) == ("identity", "az login")


@pytest.mark.usefixtures("no_backoff")
async def test_the_role_of_an_account_url_is_named_with_its_scope(setup: SetUp) -> None:
    """The proxy that would lead to the account is not there."""
    setup.set("HTTPS_PROXY", "http://localhost:1")
    setup.set("NO_PROXY", "localhost")
    setup.set("LINK_STORE", "https://stlinks.table.core.windows.net")
    (found,) = bad(await setup.examine())
    assert found.check == "link store"
    assert found.fix == (
        f"{AZURE_ROLE}{os.environ['AZURE_CLIENT_ID']}"
        ' --role "Storage Table Data Contributor"'
        ' --scope "$(az storage account show --name stlinks --query id --output tsv)"'
    )


@pytest.mark.parametrize(
    ("fault", "fix"),
    [
        (StoreFault.ROLE, f"{AZURE_ROLE}someone"),
        (None, f"{AZURE_ROLE}someone"),
        (StoreFault.NETWORK, "az storage account show --name stlinks --query networkRuleSet"),
        (StoreFault.TENANT, "az login --tenant"),
        (StoreFault.ADDRESS, "export LINK_STORE=…   (https://stlinks.table.core.windows.net"),
        (StoreFault.NO_TABLE, "az storage table create --name contraforcelinks --account-name stlinks"),
        (StoreFault.REMOVAL, "contraforce-sentinel doctor"),
    ],
)
def test_each_fault_of_an_account_url_has_its_fix(setup: SetUp, fault: StoreFault | None, fix: str) -> None:
    setup.set("LINK_STORE", "https://stlinks.table.core.windows.net")
    settings = Settings.from_environment(os.environ)
    assert fix_of(fault, settings, assignee="someone").startswith(fix)


async def test_a_link_store_that_needs_the_identity_is_not_blamed_for_it(setup: SetUp) -> None:
    setup.set("LINK_STORE", "https://stlinks.table.core.windows.net")
    identity_unknown(setup)
    findings = await setup.examine()
    assert [finding.check for finding in bad(findings)] == ["identity"]
    assert findings[CHECKS.index("link store")].status is Status.SKIPPED


@pytest.mark.parametrize(
    ("pattern", "holds"),
    [
        ("*", True),
        ("Microsoft.SecurityInsights/incidents/*", True),
        ("microsoft.securityinsights/*/WRITE", True),
        ("Microsoft.SecurityInsights/incidents/comments/write", True),
        ("Microsoft.SecurityInsights/incidents/write", False),
        ("Microsoft.SecurityInsights/*/read", False),
        ("MicrosoftXSecurityInsights/incidents/comments/write", False),
        ("**", True),
        ("*incidents*write", True),
        ("*comments*incidents*", False),
        ("Microsoft.SecurityInsights/incidents/comments/write*write", False),
        ("*/comments/writ", False),
        ("*/comments/write/*", False),
        ("", False),
    ],
)
def test_azures_wildcards_stand_for_anything(pattern: str, holds: bool) -> None:  # noqa: FBT001 - a table
    assert _matches([pattern], "Microsoft.SecurityInsights/incidents/comments/write") is holds


@pytest.mark.parametrize("token", ["", "a.b", "a.!.c", "a.e30.c", "a.W10.c", "a.eyJvaWQiOiAiOyBybSJ9.c"])
def test_a_token_that_does_not_say_whose_it_is_names_nobody(token: str) -> None:
    assert _object_id(token) is None


@pytest.mark.slow
class TestDeployedApp:
    """`--app-url`, against the app in a host of its own."""

    async def health(self, setup: SetUp, *, key: str = FUNCTION_KEY, **settings: str) -> list[Finding]:
        defaults = {"RECONCILE_SCHEDULE": NEVER, **settings}
        with run_host(ROOT, setup.directory, settings=defaults) as host:
            url = await asyncio.to_thread(lambda: host.base_url)
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("APP_FUNCTION_KEY", key)
                return await setup.examine(url)

    async def last_ran(self, setup: SetUp, **ago: float) -> None:
        at = datetime.now(UTC) - timedelta(**ago)
        store = SqliteLinkStore(setup.store_file)
        await store.save_run(TimerRun(started_at=at, finished_at=at))
        await store.close()

    async def test_an_app_that_is_up_and_whose_timer_runs_is_green(self, setup: SetUp) -> None:
        await self.last_ran(setup, minutes=4)
        findings = await self.health(setup)
        assert [finding.check for finding in findings] == [*CHECKS, "deployed app", "deployed timer"]
        assert {finding.status for finding in findings} == {Status.OK}

    async def test_a_timer_that_has_stopped_is_named(self, setup: SetUp) -> None:
        await self.last_ran(setup, hours=2)
        (found,) = bad(await self.health(setup))
        assert (found.check, found.seen) == ("deployed timer", "last ran 120 min ago")
        assert "RECONCILE_SCHEDULE" in found.fix

    async def test_a_timer_that_has_not_run_yet_is_no_failure(self, setup: SetUp) -> None:
        (found,) = bad(await self.health(setup))
        assert (found.check, found.status) == ("deployed timer", Status.UNSURE)

    async def test_settings_that_the_deployed_app_refuses_are_named(self, setup: SetUp) -> None:
        (found,) = bad(await self.health(setup, MINIMUM_SEVERITY="Lowest"))
        assert (found.check, found.fix.split(" ")[-1]) == ("deployed app", "MINIMUM_SEVERITY=…")

    async def test_a_link_store_that_the_deployed_app_cannot_use_is_named(self, setup: SetUp) -> None:
        (setup.directory / "file").write_text("")
        (found,) = bad(await self.health(setup, LINK_STORE=f"sqlite:///{setup.directory}/file/links.db"))
        assert found.check == "deployed app"
        assert found.seen == (
            "link store unavailable: the SQLite link store cannot be used (FileExistsError)"
        )
        assert "az functionapp log tail" in found.fix

    async def test_settings_that_the_deployed_app_leaves_out_are_named_and_are_no_failure(
        self, setup: SetUp
    ) -> None:
        await self.last_ran(setup, minutes=4)
        (found,) = bad(await self.health(setup, TICKET_URL_TEMPLATES="[]"))
        assert (found.check, found.status) == ("deployed app", Status.UNSURE)
        assert found.seen == "TICKET_URL_TEMPLATES: must be a JSON object"

    async def test_an_app_without_customers_is_green_and_says_so(self, setup: SetUp) -> None:
        setup.set("WORKSPACES", "[]")
        app, _ = (await self.health(setup))[-2:]
        assert app.status is Status.OK
        assert app.seen.endswith("its settings and link store are fine; it has no customers")

    async def test_without_a_key_health_is_asked_and_the_timer_is_not_seen(self, setup: SetUp) -> None:
        await self.last_ran(setup, hours=2)
        app, timer = (await self.health(setup, key=""))[-2:]
        assert (app.check, app.status) == ("deployed app", Status.OK)
        assert (timer.check, timer.status) == ("deployed timer", Status.SKIPPED)
        assert timer.seen == "needs a function key in APP_FUNCTION_KEY"

    async def test_without_a_key_refused_settings_are_told_without_their_names(self, setup: SetUp) -> None:
        (found,) = bad(await self.health(setup, key="", MINIMUM_SEVERITY="Lowest"))
        assert (found.check, found.seen) == ("deployed app", "settings are refused")
        assert "APP_FUNCTION_KEY" in found.fix

    async def test_a_wrong_key_is_named(self, setup: SetUp) -> None:
        (found,) = bad(await self.health(setup, key="wrong"))
        assert (found.check, found.seen) == ("deployed app", "the function key is refused")
        assert "az functionapp function keys list" in found.fix

    @pytest.mark.parametrize("key", ["schl\u00fcssel", "two\nlines", "\udcff"])
    async def test_a_key_that_no_header_can_carry_is_named_before_anything_is_asked(self, key: str) -> None:
        found = bad(await check_health.check_app(NOBODY, key=key))
        assert [(one.check, one.seen) for one in found] == [("deployed app", "the function key is refused")]

    async def test_a_proxy_that_the_deployed_app_cannot_use_is_named(self, setup: SetUp) -> None:
        await self.last_ran(setup, minutes=4)
        (found,) = bad(await self.health(setup, HTTPS_PROXY="socks5://localhost:1"))
        assert (found.check, found.fix.split(" ")[-1]) == ("deployed app", "HTTPS_PROXY=…")
        assert "pending" in found.meaning

    @pytest.mark.parametrize("fault", [faults.endless("body"), faults.bomb(1)], ids=["endless", "too large"])
    async def test_a_health_answer_that_is_too_long_or_without_an_end_is_none(
        self, setup: SetUp, fault: faults.Fault
    ) -> None:
        setup.monkeypatch.setattr(check_health, "_TIMEOUT_SECONDS", 1.0)
        setup.sandbox.faults.plan("unknown", fault)
        async with asyncio.timeout(20):
            (found,) = bad(await setup.examine(setup.sandbox.arm.base_url))
        assert found.check == "deployed app"

    @pytest.mark.parametrize("what", ["nobody", "no URL", "no port", "another service"])
    async def test_no_app_at_the_url_is_named(self, setup: SetUp, what: str) -> None:
        urls = {
            "nobody": NOBODY,
            "no URL": "https://[",
            "no port": "https://localhost:65536",
            "another service": setup.sandbox.identity.base_url,
        }
        (found,) = bad(await setup.examine(urls[what]))
        assert found.check == "deployed app"
        assert "az functionapp show" in found.fix


@pytest.mark.slow
class TestCommand:
    """`contraforce-sentinel doctor` as a process."""

    def environment(self, setup: SetUp) -> dict[str, str]:
        return environment(setup.sandbox, LINK_STORE=f"sqlite:///{setup.store_file}")

    async def test_all_green_is_exit_code_0_and_plain_text_when_piped(self, setup: SetUp) -> None:
        done = await run("doctor", env=self.environment(setup))
        assert (done.code, done.err) == (0, "")
        assert done.out.endswith("\n15 of 15 checks are fine.\n")
        assert "\x1b" not in done.out

    async def test_a_fault_is_exit_code_1_with_meaning_and_fix_below_it(self, setup: SetUp) -> None:
        workspace_without_role(setup)
        done = await run("doctor", env=self.environment(setup))
        lines = done.out.splitlines()
        at = next(number for number, line in enumerate(lines) if line.startswith("✗ workspace law-b "))
        assert (done.code, lines[-1]) == (1, "12 of 15 checks are fine, 1 failed.")
        assert lines[at + 2].startswith(f"  fix: {AZURE_ROLE}{os.environ['AZURE_CLIENT_ID']} --role ")

    async def test_the_json_document_has_this_shape(self, setup: SetUp) -> None:
        credential_expired(setup)
        done = await run("doctor", "--json", env=self.environment(setup))
        assert (done.code, done.err, set(done.json)) == (1, "", {"ok", "checks"})
        assert done.json["ok"] is False
        for check in done.json["checks"]:
            assert {name: type(value) for name, value in check.items()} == dict.fromkeys(
                ("check", "status", "seen", "meaning", "fix"), str
            )
        statuses = {check["check"]: check["status"] for check in done.json["checks"]}
        assert statuses["contraforce credential"] == "failed"
        assert statuses["contraforce role law-a"] == "skipped"

    async def test_a_terminal_that_knows_ascii_only_gets_words_for_marks(self, setup: SetUp) -> None:
        workspace_without_role(setup)
        ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
        done = await run("doctor", env={**self.environment(setup), **ascii_only})
        assert "\nfailed workspace law-b " in done.out
        assert done.out.isascii()
