"""Settings: what is accepted, that every bad one is named at once, and that no message holds a value."""

import codecs
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from library_words import library_words

from contraforce_sentinel.domain.errors import SettingsError
from contraforce_sentinel.domain.incidents import Severity, WorkspaceId
from contraforce_sentinel.settings import Settings

MARKER = "pLaNtEd-42xyz"
SECRET = "s3cr3t-of-the-service-account"
ARM_ID = (
    "/subscriptions/11111111-2222-4333-8444-555555555555/resourceGroups/rg-secops-prod"
    "/providers/Microsoft.OperationalInsights/workspaces/law-sentinel-prod"
)
CUSTOMER = {"workspace": ARM_ID, "contraforceWorkspaceId": "9a7c1c3e-5b7d-4f0e-8f66-0c1d2e3f4a5b"}
REQUIRED = {
    "CONTRAFORCE_CLIENT_ID": "svc-sentinel-link",
    "CONTRAFORCE_CLIENT_SECRET": SECRET,
}
WORKSPACES = json.dumps([CUSTOMER])
NAMES = [name.upper() for name in Settings.model_fields]


def read(**changes: str) -> Settings:
    return Settings.from_environment({**REQUIRED, "WORKSPACES": WORKSPACES, **changes})


def problems(**changes: str) -> dict[str, str]:
    """Return the problems of an environment that is refused."""
    with pytest.raises(SettingsError) as caught:
        read(**changes)
    assert all(name in str(caught.value) for name in caught.value.problems)
    return caught.value.problems


def read_or_refusal(**changes: str) -> Settings | SettingsError:
    try:
        return read(**changes)
    except SettingsError as error:
        return error


def chain(error: BaseException | None) -> str:
    """Return every text that a log of the error or of its causes could show."""
    texts = []
    while error is not None:
        texts += [str(error), repr(error), repr(error.args)]
        error = error.__cause__ or error.__context__
    return "\n".join(texts)


# What is accepted


def test_the_defaults() -> None:
    found = read()

    assert found.contraforce_api_url == "https://portal.contraforce.com/api/v2"
    assert found.arm_endpoint == "https://management.azure.com"
    assert found.sqlite_path == Path(".data/links.db")
    assert found.azure_client_id is None
    assert found.minimum_severity is Severity.INFORMATIONAL
    assert found.reconcile_schedule == "0 */5 * * * *"
    assert found.reconcile_lookback_hours == 24
    assert found.ticket_url_templates == {}


def test_every_setting_is_read() -> None:
    found = read(
        CONTRAFORCE_API_URL="https://eu.platform.contraforce.com/api/v2/",
        LINK_STORE="sqlite:////var/lib/links/links.db",
        ARM_ENDPOINT="https://management.usgovcloudapi.net",
        AZURE_CLIENT_ID="66666666-7777-4888-8999-000000000000",
        MINIMUM_SEVERITY="high",
        RECONCILE_SCHEDULE="30 */10 * * * *",
        RECONCILE_LOOKBACK_HOURS="48",
        TICKET_URL_TEMPLATES='{"Jira": "https://acme.atlassian.net/browse/{number}"}',
    )

    assert found.contraforce_api_url == "https://eu.platform.contraforce.com/api/v2"
    assert found.contraforce_client_id == "svc-sentinel-link"
    assert found.contraforce_client_secret.get_secret_value() == SECRET
    assert found.workspaces[0].workspace == WorkspaceId.parse(ARM_ID)
    assert found.workspaces[0].contraforce_workspace_id == UUID(CUSTOMER["contraforceWorkspaceId"])
    assert found.sqlite_path == Path("/var/lib/links/links.db")
    assert found.arm_endpoint == "https://management.usgovcloudapi.net"
    assert found.azure_client_id == "66666666-7777-4888-8999-000000000000"
    assert found.minimum_severity is Severity.HIGH
    assert found.reconcile_schedule == "30 */10 * * * *"
    assert found.reconcile_lookback_hours == 48
    assert found.ticket_url_templates == {"Jira": "https://acme.atlassian.net/browse/{number}"}


@pytest.mark.parametrize("empty", ["", " ", "\t\n"])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in REQUIRED])
def test_an_empty_setting_counts_as_not_set(name: str, empty: str) -> None:
    assert Settings.from_environment({**REQUIRED, name: empty}) == Settings.from_environment(REQUIRED)


def test_what_is_not_ours_is_none_of_our_business() -> None:
    others = {"PATH": "/bin", "AzureWebJobsStorage": "x", "AZURE_TENANT_ID": "x", "WORKSPACE": "x"}

    assert read(**others) == read()


@pytest.mark.parametrize(
    "url",
    [
        "http://localhost:7071",
        "http://127.0.0.1:9000/api",
        "http://[::1]:1",
        "http://LOCALHOST",
        "https://x.example",
    ],
)
@pytest.mark.parametrize("name", ["CONTRAFORCE_API_URL", "ARM_ENDPOINT"])
def test_https_goes_anywhere_and_plain_http_to_this_machine(name: str, url: str) -> None:
    assert read(**{name: url}).model_dump(by_alias=False)[name.lower()] == url


def test_no_customers_is_a_deployment_too(tmp_path: Path) -> None:
    (tmp_path / "none.json").write_text("[]")
    for none in ("", "[]", f"@{tmp_path}/none.json"):
        assert read(WORKSPACES=none) == Settings.from_environment(REQUIRED)
        assert read(WORKSPACES=none).customers == ()


def test_workspaces_may_come_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "workspaces.json"
    file.write_text(WORKSPACES, encoding="utf-8")

    assert read(WORKSPACES=f"@{file}") == read()


@pytest.mark.parametrize("name", ["WORKSPACES", "TICKET_URL_TEMPLATES"])
def test_a_file_after_the_at_sign_may_begin_with_a_byte_order_mark(tmp_path: Path, name: str) -> None:
    text = {"WORKSPACES": WORKSPACES, "TICKET_URL_TEMPLATES": '{"Jira": "https://x.example/{id}"}'}[name]
    (tmp_path / "marked.json").write_bytes(codecs.BOM_UTF8 + text.encode())

    assert read(**{name: f"@{tmp_path}/marked.json"}) == read(**{name: text})


def test_a_value_may_begin_with_a_byte_order_mark() -> None:
    assert read(WORKSPACES="\ufeff" + WORKSPACES) == read()


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_file_in_utf_16_is_refused_and_the_problem_says_so(tmp_path: Path, encoding: str) -> None:
    """The redirection `>` of Windows PowerShell writes UTF-16."""
    file = tmp_path / "workspaces.json"
    file.write_bytes(WORKSPACES.encode(encoding))

    assert problems(WORKSPACES=f"@{file}") == {
        "WORKSPACES": "the file named after @ is in UTF-16, and has to be in UTF-8"
    }


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://stlinks.table.core.windows.net",
        "https://stlinks.table.core.usgovcloudapi.net/",
        "https://stlinks.table.core.chinacloudapi.cn",
        "https://stlinks.z3.table.storage.azure.net",
        "https://stlinks.z07.table.storage.azure.net/",
        "https://stlinks.z50.table.storage.azure.net",
    ],
)
def test_the_link_store_may_be_a_table_endpoint_in_a_dns_zone_or_a_sovereign_cloud(endpoint: str) -> None:
    found = read(LINK_STORE=endpoint)

    assert found.table_endpoint == endpoint.rstrip("/")
    assert found.sqlite_path is None


@pytest.mark.parametrize("severity", ["Informational", "low", "MEDIUM", "High"])
def test_the_minimum_severity_comes_in_any_letter_case(severity: str) -> None:
    assert read(MINIMUM_SEVERITY=severity).minimum_severity.name == severity.upper()


# What is refused, by name


REFUSED = {
    "CONTRAFORCE_API_URL": [
        f"http://{MARKER}.example",
        f"http://localhost.{MARKER}.example",
        f"http://127.0.0.1@{MARKER}.example",
        f"ftp://{MARKER}",
        f"//{MARKER}",
        MARKER,
        f"https:{MARKER}",
        f"https://x.example/?{MARKER}",
        f"https://x.example/#{MARKER}",
        f"https://{MARKER}@x.example",
        f"https://:{MARKER}@x.example",
        f"https://x.example:{MARKER}",
        f"https://[{MARKER}",
    ],
    "ARM_ENDPOINT": [f"http://{MARKER}.example", MARKER, f"https://x.example:99999/{MARKER}"],
    "CONTRAFORCE_CLIENT_ID": [f"{MARKER}:x", f"{MARKER}\nx", f"\x00{MARKER}", f"{MARKER}\ud800"],
    "WORKSPACES": [
        MARKER,
        f'"{MARKER}"',
        "{}",
        "null",
        f'["{MARKER}"]',
        f'[{{"workspace": "{MARKER}", "contraforceWorkspaceId": "{MARKER}"}}]',
        f'[{{"workspace": "{ARM_ID}/{MARKER}", "contraforceWorkspaceId": "{UUID(int=1)}"}}]',
        f'[{{"workspace": "{ARM_ID}"}}]',
        f'[{{"workspace": 1, "contraforceWorkspaceId": "{UUID(int=1)}"}}]',
        json.dumps([CUSTOMER, CUSTOMER]),
        json.dumps([CUSTOMER, {**CUSTOMER, "workspace": ARM_ID.upper()}]),
        f"@/nowhere/{MARKER}.json",
        "@",
        f"@{MARKER}\x00",
        f"@{MARKER * 500}",
    ],
    "LINK_STORE": [
        f"postgres://{MARKER}",
        f"sqlite://{MARKER}",
        MARKER,
        "sqlite:///",
        f"SQLITE:///{MARKER}",
        f"sqlite:///a\n{MARKER}",
        "https://stlinks.z.table.storage.azure.net",
        "https://stlinks.y01.table.storage.azure.net",
        "https://stlinks.z01.blob.storage.azure.net",
        "https://z01.table",
    ],
    "MINIMUM_SEVERITY": [MARKER, "0", "Critical"],
    "RECONCILE_SCHEDULE": [
        MARKER,
        "*/5 * * * *",
        "0 0 */5 * * * *",
        "0  */5 * * * *",
        f"0 */5 * * * *\n{MARKER}",
    ],
    "RECONCILE_LOOKBACK_HOURS": [MARKER, "0", "-1", "1.5", "2161", "1e3", "9" * 5_000, "nan"],
}
CASES = [(name, value) for name, values in REFUSED.items() for value in values]
LEFT_OUT = [
    MARKER,
    "[]",
    f'{{"Zendesk{MARKER}": "https://x.example/{{id}}"}}',
    f'{{"Jira": "http://{MARKER}/{{id}}"}}',
    f'{{"Jira": "https://{MARKER}/"}}',
    f'{{"Jira": "https://{MARKER}/{{key}}"}}',
    f'{{"Jira": "https://{MARKER}/{{id}}{{key}}"}}',
    f'{{"Jira": "https://{MARKER}/{{id}}\\"><b>"}}',
    f'{{"Jira": "https://{MARKER}/{{id}} x"}}',
    f'{{"Jira": "javascript:{MARKER}{{id}}"}}',
    f'{{"Jira": ["{MARKER}"]}}',
    '{"Jira": null}',
    f"@/nowhere/{MARKER}.json",
    "[" * 100_000,
    "@Microsoft.KeyVault(SecretUri=https://x.vault.azure.net/secrets/x)",
]


@pytest.mark.parametrize(("name", "value"), CASES)
def test_a_bad_setting_is_named_without_its_value(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read(**{name: value})

    assert list(caught.value.problems) == [name]
    assert MARKER.lower() not in chain(caught.value).lower()
    assert SECRET not in chain(caught.value)
    assert ARM_ID not in chain(caught.value)


@pytest.mark.parametrize("value", LEFT_OUT, ids=lambda value: value[:40])
def test_wrong_ticket_urls_only_decorate_so_they_are_told_and_left_out_and_stop_nothing(value: str) -> None:
    found = read(TICKET_URL_TEMPLATES=value)

    assert found.ticket_url_templates == {}
    assert list(found.left_out) == ["TICKET_URL_TEMPLATES"]
    assert MARKER.lower() not in str(found.left_out).lower()


def customers_of(*changes: Mapping[str, object], **others: str) -> Settings:
    """Read two customers, each changed so."""
    first, second = [*changes, {}][:2]
    other = {**CUSTOMER, "workspace": ARM_ID.replace("law-sentinel-prod", "law-other")}
    return read(WORKSPACES=json.dumps([{**CUSTOMER, **first}, {**other, **second}]), **others)


def test_what_a_customer_does_not_say_of_itself_the_settings_say() -> None:
    own = {"minimumSeverity": "low", "ticketUrlTemplates": {"Jira": "https://own.example/{number}"}}
    everybodys = {"Jira": "https://all.example/{number}", "Autotask": "https://all.example/{id}"}
    found = customers_of(own, MINIMUM_SEVERITY="High", TICKET_URL_TEMPLATES=json.dumps(everybodys)).customers
    assert [one.minimum_severity for one in found] == [Severity.LOW, Severity.HIGH]
    assert [one.ticket_url_templates for one in found] == [own["ticketUrlTemplates"], everybodys]


@pytest.mark.parametrize("value", LEFT_OUT, ids=lambda value: value[:40])
def test_wrong_ticket_urls_of_a_customer_are_told_with_its_place_and_left_out(value: str) -> None:
    templates: object = value
    with suppress(ValueError, RecursionError):
        templates = json.loads(value)
    found = customers_of({}, {"ticketUrlTemplates": templates})
    assert [one.ticket_url_templates for one in found.customers] == [{}, {}]
    assert found.left_out["WORKSPACES"].startswith("1.ticketUrlTemplates ")
    assert MARKER.lower() not in str(found.left_out).lower()


@pytest.mark.parametrize("severity", [MARKER, "", 2, None, ["High"]])
def test_a_bad_minimum_of_a_customer_is_refused_with_its_place(severity: object) -> None:
    found = problems(WORKSPACES=json.dumps([{**CUSTOMER, "minimumSeverity": severity}]))
    assert found == {"WORKSPACES": "0.minimumSeverity must be Informational, Low, Medium or High"}


def test_of_several_ticket_urls_the_good_ones_stay() -> None:
    found = read(
        TICKET_URL_TEMPLATES=json.dumps(
            {
                "Jira": "https://x.example/{number}",
                "Autotask": "http://x.example/{id}",
                "ServiceNow": "https://desk.example/{id}",
                "Zendesk": "https://x.example/{id}",
            }
        )
    )

    assert found.ticket_url_templates == {
        "Jira": "https://x.example/{number}",
        "ServiceNow": "https://desk.example/{id}",
    }
    told = found.left_out["TICKET_URL_TEMPLATES"]
    assert "for Autotask" in told
    assert "a key that is not" in told
    assert "Jira:" not in told


@pytest.mark.parametrize("name", ["TICKET_URL_TEMPLATE", "TICKET_URL_X", "TICKETS_URL_TEMPLATES"])
def test_a_misspelt_name_of_a_setting_that_only_decorates_stops_nothing_either(name: str) -> None:
    found = read(**{name: '{"Jira": "https://x.example/{id}"}'})

    assert list(found.left_out) == [name]
    assert found.left_out[name].startswith("is not a setting of this app")


def test_what_is_left_out_is_told_beside_what_is_refused() -> None:
    found = problems(TICKET_URL_TEMPLATES="[]", MINIMUM_SEVERITY="x")

    assert set(found) == {"TICKET_URL_TEMPLATES", "MINIMUM_SEVERITY"}


def test_where_nothing_is_wrong_nothing_is_left_out() -> None:
    assert read().left_out == {}


def test_a_key_inside_of_a_value_is_not_repeated_either() -> None:
    """What is pasted into the wrong setting may be a secret, wherever in the JSON it ends up."""
    found = problems(WORKSPACES=json.dumps([{**CUSTOMER, MARKER: 1}]))

    assert list(found) == ["WORKSPACES"]
    assert MARKER not in str(found)
    assert MARKER not in str(read(TICKET_URL_TEMPLATES=json.dumps({MARKER: 1})).left_out)


def test_a_key_that_is_there_twice_in_a_value_is_named_as_such() -> None:
    """Of two ContraForce workspaces of one customer, the second one would get his incidents."""
    twice = f'[{json.dumps(CUSTOMER)[:-1]}, "contraforceWorkspaceId": "{UUID(int=7)}"}}]'

    assert problems(WORKSPACES=twice) == {"WORKSPACES": "has an object with a key that is there twice"}
    templates = '{"Jira": "https://a.example/{id}", "Jira": "https://b.example/{id}"}'
    assert "twice" in read(TICKET_URL_TEMPLATES=templates).left_out["TICKET_URL_TEMPLATES"]


def test_json_that_is_nested_too_deeply_is_a_bad_setting_like_any_other() -> None:
    assert set(problems(WORKSPACES="[" * 100_000)) == {"WORKSPACES"}


@pytest.mark.parametrize(
    "url",
    [
        "https://x.exa\nmple/api",
        "https://x.example/a\tb",
        "https://x.example/a b",
        "https://x.example/\x7f",
        "https://x example",
        "https://x.example?",
        "https://x.example/#",
        "https://x.example\\api",
        "https://%[::]}",
        "https://x.ex%ample",
        "https://{x}.example",
    ],
)
@pytest.mark.parametrize("name", ["CONTRAFORCE_API_URL", "ARM_ENDPOINT"])
def test_a_url_that_cannot_be_a_base_is_refused(name: str, url: str) -> None:
    """It would otherwise fail every request instead of the start."""
    assert set(problems(**{name: url})) == {name}


@pytest.mark.parametrize(
    "url", ["https://x.example/api\n", " https://x.example/api", "https://x.example/api/ "]
)
@pytest.mark.parametrize("name", ["CONTRAFORCE_API_URL", "ARM_ENDPOINT"])
def test_space_around_a_pasted_url_never_gets_into_a_request(name: str, url: str) -> None:
    """Refused or taken off, as long as no client is built with it."""
    outcome = read_or_refusal(**{name: url})

    if isinstance(outcome, SettingsError):
        assert set(outcome.problems) == {name}
    else:
        assert outcome.model_dump()[name.lower()] == "https://x.example/api"


@pytest.mark.parametrize("hidden", ["\\n\\n", "\\t", "\\u0000", "\\u007f", "\\ud800", "\\u202e"])
def test_a_ticket_url_has_no_control_characters(hidden: str) -> None:
    """A blank line in it would end the comment's HTML for a reader of Markdown."""
    template = f'{{"Jira": "https://x.example/{hidden}{{id}}"}}'

    assert read(TICKET_URL_TEMPLATES=template).ticket_url_templates == {}


def test_all_bad_settings_are_named_at_once() -> None:
    bad = {name: values[0] for name, values in REFUSED.items()} | {"CONTRAFORCE_CLIENT_SECRET": ""}

    assert set(problems(**bad)) == {*REFUSED, "CONTRAFORCE_CLIENT_SECRET"}


def test_what_is_required_is_named() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({})

    assert caught.value.problems == dict.fromkeys(REQUIRED, "is required")


@pytest.mark.parametrize("name", REQUIRED)
@pytest.mark.parametrize("empty", ["", "  "])
def test_what_is_required_may_not_be_empty(name: str, empty: str) -> None:
    assert problems(**{name: empty}) == {name: "is required"}


@pytest.mark.parametrize(
    "name",
    [
        "CONTRAFORCE_URL",
        "CONTRAFORCE_API_KEY",
        "CONTRAFORCE_",
        "LINK_STORE_URL",
        "RECONCILE_HOURS",
        "WORKSPACES_FILE",
    ],
)
def test_an_unknown_setting_of_ours_is_refused(name: str) -> None:
    assert problems(**{name: MARKER})[name].startswith("is not a setting of this app")


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("MINIMUM_SEVERTY", "MINIMUM_SEVERITY"),
        ("ARM_ENDPOINTS", "ARM_ENDPOINT"),
        ("AZURE_CLIENTID", "AZURE_CLIENT_ID"),
        ("LINKSTORE", "LINK_STORE"),
    ],
)
def test_a_name_that_is_nearly_a_settings_is_refused_and_the_setting_named(name: str, meant: str) -> None:
    environment = {key: value for key, value in REQUIRED.items() if key != meant}
    with pytest.raises(SettingsError) as refused:
        Settings.from_environment({**environment, name: "x"})
    assert refused.value.problems == {name: f"is not a setting of this app; {meant} is"}


def test_an_unknown_setting_does_not_hide_a_bad_one() -> None:
    assert set(problems(CONTRAFORCE_URL="x", MINIMUM_SEVERITY="x")) == {"CONTRAFORCE_URL", "MINIMUM_SEVERITY"}


@pytest.mark.parametrize("name", [name for name in NAMES if name != "TICKET_URL_TEMPLATES"])
def test_a_key_vault_reference_that_was_not_resolved_is_named_as_such(name: str) -> None:
    reference = f"@Microsoft.KeyVault(SecretUri=https://{MARKER}.vault.azure.net/secrets/x)"

    found = problems(**{name: reference})

    assert list(found) == [name]
    assert "Key Vault reference was not resolved" in found[name]
    assert MARKER not in found[name]


def test_a_bad_customer_is_named_by_its_place() -> None:
    bad = {**CUSTOMER, "workspace": "/subscriptions/x"}

    found = problems(WORKSPACES=json.dumps([CUSTOMER, CUSTOMER, bad]))

    assert "2.workspace" in found["WORKSPACES"]


def test_a_workspace_that_is_named_twice_in_two_letter_cases_is_refused() -> None:
    doubled = json.dumps([CUSTOMER, {**CUSTOMER, "workspace": ARM_ID.upper()}])

    assert "twice" in problems(WORKSPACES=doubled)["WORKSPACES"]


def test_two_customers_may_share_a_contraforce_workspace() -> None:
    other = {**CUSTOMER, "workspace": f"{ARM_ID}-2"}

    assert len(read(WORKSPACES=json.dumps([CUSTOMER, other])).workspaces) == 2


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"{", f'["{MARKER}"]'.encode()])
def test_a_bad_file_of_workspaces_is_named_by_its_setting(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "workspaces.json"
    file.write_bytes(content)

    found = problems(WORKSPACES=f"@{file}")

    assert list(found) == ["WORKSPACES"]
    assert MARKER not in str(found)
    assert str(file) not in str(found)


def test_a_folder_is_no_file_of_workspaces(tmp_path: Path) -> None:
    assert "cannot be read" in problems(WORKSPACES=f"@{tmp_path}")["WORKSPACES"]


# Every problem is our own plain sentence


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("CONTRAFORCE_CLIENT_ID", "a:b", "must have no colon and no control characters"),
        ("AZURE_CLIENT_ID", "x", "must be a GUID"),
        ("RECONCILE_SCHEDULE", "*/5 * * * *", "must have six fields with one blank between them"),
        ("RECONCILE_LOOKBACK_HOURS", "1.5", "must be a whole number"),
        ("RECONCILE_LOOKBACK_HOURS", "0", "must be at least 1"),
        ("LINK_RETENTION_DAYS", "9999", "must be at most 3650"),
        ("WORKSPACES", "{}", "must be a JSON array"),
        ("WORKSPACES", "[1]", "0 must be a JSON object"),
        ("WORKSPACES", "[{}]", "0.workspace is missing, 0.contraforceWorkspaceId is missing"),
        ("WORKSPACES", json.dumps([{**CUSTOMER, "x": 1}]), "0 has a field that is not known"),
        (
            "WORKSPACES",
            json.dumps([{**CUSTOMER, "contraforceWorkspaceId": "x"}]),
            "0.contraforceWorkspaceId must be a GUID",
        ),
        (
            "WORKSPACES",
            json.dumps([{**CUSTOMER, "contraforceWorkspaceId": 1}]),
            "0.contraforceWorkspaceId must be a GUID",
        ),
    ],
)
def test_a_problem_says_in_plain_words_what_a_value_must_be(name: str, value: str, problem: str) -> None:
    assert problems(**{name: value}) == {name: problem}


@pytest.mark.parametrize(("name", "value"), CASES)
def test_no_word_of_the_validating_library_is_in_a_problem(name: str, value: str) -> None:
    assert library_words(str(problems(**{name: value}))) == []


# In Azure


@pytest.mark.parametrize("sign", ["WEBSITE_SITE_NAME", "WEBSITE_SKU"])
@pytest.mark.parametrize("store", ["", "sqlite:///links.db", "sqlite:////home/data/links.db"])
def test_in_azure_a_link_store_is_required_and_sqlite_is_refused(sign: str, store: str) -> None:
    found = problems(**{sign: "func-sentinel-link", "LINK_STORE": store})

    assert found == {"LINK_STORE": "is required in Azure, and SQLite is refused there"}


def test_outside_of_azure_sqlite_is_the_default() -> None:
    assert read(WEBSITE_SITE_NAME="").sqlite_path == Path(".data/links.db")


# Nothing shows a secret


@pytest.mark.parametrize("show", [repr, str, "{}".format, lambda found: str(found.model_dump_json())])
def test_settings_never_show_the_secret(show: object) -> None:
    assert callable(show)

    assert SECRET not in show(read())


PIECES = st.text(st.characters(), max_size=150)
TEXTS = st.tuples(PIECES, PIECES).map(MARKER.join)
SHAPES = st.sampled_from(
    [
        "{}",
        "@{}",
        '["{}"]',
        '{{"Jira": "{}"}}',
        '[{{"workspace": "{}"}}]',
        "https://{}",
        "sqlite:///{}",
        "http://x/{}",
        "@Microsoft.KeyVault({})",
        '{{"{}": 1}}',
        '[{{"{}": 1}}]',
    ]
)


@given(
    st.lists(st.tuples(st.sampled_from(NAMES), SHAPES, TEXTS), min_size=1, max_size=6),
    st.sampled_from([{}, {"WEBSITE_SITE_NAME": "func"}]),
)
@settings(max_examples=500, deadline=None)
def test_any_values_are_read_or_refused_without_repeating_them(
    drawn: list[tuple[str, str, str]], around: dict[str, str]
) -> None:
    """Whatever is in the environment ends in settings or in one `SettingsError`."""
    outcome = read_or_refusal(**around, **{name: shape.format(text) for name, shape, text in drawn})

    if isinstance(outcome, SettingsError):
        assert set(outcome.problems) <= set(NAMES)
        assert SECRET not in str(outcome)
        assert MARKER not in str(outcome)
        assert library_words(str(outcome)) == []
    else:
        assert MARKER not in str(outcome.left_out)
        assert library_words(str(outcome.left_out)) == []
