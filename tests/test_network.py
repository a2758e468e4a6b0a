"""Certificates and proxies of the environment: what is understood, and what becomes of what is not."""

import os
import re
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, Final

import certifi
import httpx
import pytest
import trustme
from conftest import App
from recording_proxy import Manner, RecordingProxy

from contraforce_sentinel.bootstrap import close_app, current_app
from contraforce_sentinel.contraforce import client as contraforce
from contraforce_sentinel.telemetry.events import EVENT_NAME
from contraforce_sentinel.transport import retries
from contraforce_sentinel.transport.connections import Connections
from contraforce_sentinel.transport.network import Network
from contraforce_sentinel.transport.ways import open_client
from sandbox import Sandbox, faults

SECRET: Final = "hunter2-of-the-proxy"
VARIABLES: Final = {f"{name}_PROXY" for name in ("HTTP", "HTTPS", "ALL", "NO")}


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.upper() in VARIABLES]:
        monkeypatch.delenv(name)


@pytest.fixture
async def proxy() -> AsyncIterator[RecordingProxy]:
    async with RecordingProxy.start() as started:
        yield started


def port(url: str) -> str:
    return url.rpartition(":")[2].partition("/")[0]


# Which proxy

TARGETS: Final = {
    "name": "https://login.corp.example/a",
    "v4": "https://10.1.2.3/",
    "v6": "https://[::1]:8443/",
    "short": "https://intranet/",
}


@pytest.mark.parametrize(
    ("entries", "direct"),
    [
        ("", ""),
        (" , ,, ", ""),
        ("*", "name v4 v6 short"),
        ("a.example, *", "name v4 v6 short"),
        ("corp.example", "name"),
        (".corp.example", "name"),
        ("*.corp.example", "name"),
        ("CORP.Example.", "name"),
        ("login.corp.example", "name"),
        ("login.corp.example:443", "name"),
        ("login.corp.example:8443", ""),
        ("https://login.corp.example", "name"),
        ("ogin.corp.example", ""),
        ("corp", ""),
        ("example", "name"),
        ("10.1.2.3", "v4"),
        ("10.0.0.0/8", "v4"),
        ("10.1.2.9/24", "v4"),
        ("11.0.0.0/8", ""),
        ("1.2.3", ""),
        ("2.3", ""),
        ("::1", "v6"),
        ("[::1]", "v6"),
        ("[::1]:8443", "v6"),
        ("[::1]:443", ""),
        ("::1/128", "v6"),
        ("[::1]/128", "v6"),
        ("fe80::/10", ""),
        ("::/0", "v6"),
        ("0:0:0:0:0:0:0:1", "v6"),
        ("intranet", "short"),
        ("a.example intranet\t10.0.0.0/8", "short v4"),
        ("[", ""),
        ("10.0.0.0/99,intranet", "short"),
        ("intranet:port", ""),
        (".", ""),
        ("*.", ""),
    ],
)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_no_proxy_means_what_it_means_to_curl(
    monkeypatch: pytest.MonkeyPatch, name: str, entries: str, direct: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv(name, entries)
    network = Network()
    found = {target for target, url in TARGETS.items() if network.proxy_for(url) is None}
    assert found == set(direct.split())


@pytest.mark.parametrize(
    ("environment", "http", "https"),
    [
        ({}, None, None),
        ({"HTTPS_PROXY": "http://a:1"}, None, "http://a:1"),
        ({"https_proxy": "http://a:1", "HTTPS_PROXY": "http://b:1"}, None, "http://a:1"),
        ({"http_proxy": "a:1"}, "http://a:1", None),
        ({"ALL_PROXY": "https://u:p@a", "http_proxy": " http://b "}, "http://b", "https://u:p@a"),
        ({"all_proxy": "http://[::1]:3128"}, "http://[::1]:3128", "http://[::1]:3128"),
        ({"HTTPS_PROXY": "", "ALL_PROXY": "http://a"}, "http://a", "http://a"),
    ],
)
def test_a_proxy_is_chosen_by_scheme(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], http: str | None, https: str | None
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    network = Network()
    found = [network.proxy_for(f"{scheme}://service.example/") for scheme in ("http", "https")]
    assert [proxy and proxy.url for proxy in found] == [http, https]


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize("exceptions", ["[::1]", "::1/128,10.0.0.0/8", "*.corp,fe80::/10", "  , ", "a b"])
async def test_what_httpx_cannot_read_of_no_proxy_keeps_no_incident_waiting(
    app: App, proxy: RecordingProxy, monkeypatch: pytest.MonkeyPatch, exceptions: str
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", exceptions)
    assert (await app.post(app.workspace.add_incident())).json["status"] == "linked"
    assert (await app.post(app.workspace.add_incident())).json["status"] == "linked"
    assert (await app.health()).status == 200
    services = (app.sandbox.arm.base_url, app.sandbox.contraforce.base_url)
    assert sorted(proxy.targets()) == sorted(f"localhost:{port(url)}" for url in services)  # once each


async def test_an_https_proxy_is_trusted_by_the_certificates_of_the_environment(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    app.sandbox.ca.issue_cert("127.0.0.1").configure_cert(context)
    async with RecordingProxy.start(tls=context) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        assert (await app.post(app.workspace.add_incident())).json["status"] == "linked"
        assert proxy.asked


# The identity


@pytest.mark.parametrize("exceptions", ["", "elsewhere.example"])
async def test_the_managed_identity_is_never_asked_through_a_proxy(
    app: App, proxy: RecordingProxy, monkeypatch: pytest.MonkeyPatch, exceptions: str
) -> None:
    """Its endpoint is this machine's own, and the secret in the header is not for others."""
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.setenv("NO_PROXY", exceptions)
    assert (await app.post(app.workspace.add_incident())).json["status"] == "linked"
    assert app.sandbox.log.count("identity.token") == 1
    assert proxy.asked
    assert all(head.startswith("CONNECT ") for head in proxy.asked)
    assert not any(port(app.sandbox.identity.base_url) in target for target in proxy.targets())
    assert app.sandbox.identity.header not in "".join(proxy.asked)


@pytest.mark.parametrize(
    "endpoint", ["IDENTITY_ENDPOINT", "MSI_ENDPOINT", "IMDS_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST"]
)
def test_no_endpoint_of_the_managed_identity_is_behind_a_proxy(
    monkeypatch: pytest.MonkeyPatch, endpoint: str
) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv(endpoint, "http://Localhost:8081/msi/token")
    network = Network()
    assert network.proxy_for("http://localhost:8081/msi/token?resource=x") is None
    assert network.proxy_for("http://169.254.169.254/metadata/identity/oauth2/token") is None
    assert network.proxy_for("http://localhost:8082/") is not None


# What cannot be used

BROKEN: Final[dict[str, dict[str, str]]] = {
    "certificates that are not there": {"SSL_CERT_FILE": f"/nowhere/{SECRET}.pem"},
    "certificates that are a folder": {"SSL_CERT_FILE": "/"},
    "certificates that are none": {"SSL_CERT_FILE": __file__},
    "a folder that is not there": {"SSL_CERT_FILE": "", "SSL_CERT_DIR": f"/nowhere/{SECRET}"},
    "a log of keys that cannot be written": {"SSLKEYLOGFILE": f"/nowhere/{SECRET}.log"},
    "a log of keys beside certificates": {
        "SSLKEYLOGFILE": f"/nowhere/{SECRET}.log",
        "SSL_CERT_FILE": certifi.where(),
    },
    "a SOCKS proxy": {"ALL_PROXY": f"socks5://user:{SECRET}@127.0.0.1:1"},
    "a SOCKS proxy in lower case": {"https_proxy": f"socks5h://user:{SECRET}@127.0.0.1:1"},
    "a proxy without a host": {"HTTPS_PROXY": f"http://user:{SECRET}@"},
    "a password with a sign": {"HTTPS_PROXY": f"http://user:{SECRET}#@127.0.0.1:1"},
    "a proxy of half an address": {"HTTPS_PROXY": f"http://user:{SECRET}@[::1"},
    "a proxy of no address": {"HTTPS_PROXY": f"http://user:{SECRET}@999.1.1.1:1"},
    "a proxy of another grammar": {"HTTPS_PROXY": f"http://user:{SECRET}@[v1.x]:1"},
    "a proxy without a port that can be": {"HTTPS_PROXY": f"http://user:{SECRET}@127.0.0.1:99999"},
    "a proxy with a blank": {"HTTPS_PROXY": f"http://user:{SECRET} @127.0.0.1:1"},
    "an identity that has no URL": {"IDENTITY_ENDPOINT": f"http://[{SECRET}"},
}


def variable(environment: dict[str, str]) -> str:
    return next(name for name, value in environment.items() if value)


@pytest.mark.parametrize("kind", BROKEN)
async def test_what_cannot_be_used_is_named_everywhere_and_leaves_the_incident_due_again(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    before = dict(os.environ)
    for name, value in BROKEN[kind].items():
        monkeypatch.setenv(name, value)
    culprit, incident = variable(BROKEN[kind]), app.workspace.add_incident()

    answer = await app.post(incident)
    assert (answer.status, answer.json["status"]) == (202, "pending")
    assert answer.json["reason"] in {"identity-unavailable", "resource-manager-unavailable"}
    assert datetime.fromisoformat(answer.json["retryAt"]) > datetime.now(UTC)
    health = await app.status()
    assert (health.status, list(health.json["settingProblems"])) == (503, [culprit])
    assert (health.json["settings"], health.json["network"], health.json["store"]) == ("ok", "unusable", "ok")
    seen = await app.health()
    assert (seen.status, seen.json["network"]) == (503, "unusable")
    assert culprit not in str(seen.json)
    told = [vars(record) for record in caplog.records if EVENT_NAME in vars(record)]
    (failed,) = [event for event in told if event[EVENT_NAME] == "upstream.unavailable"]
    assert f"({culprit} " in failed["error"]
    assert culprit in failed["advice"]
    assert SECRET not in f"{told}{answer.json}{health.json}"

    for name in BROKEN[kind]:
        monkeypatch.delenv(name)
        if name in before:
            monkeypatch.setenv(name, before[name])
    await close_app()
    assert (await app.post(incident)).json["status"] == "linked"


@pytest.mark.parametrize("kind", ["certificates that are not there", "a SOCKS proxy"])
async def test_with_tables_what_cannot_be_used_is_named_at_once(
    app: App, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """There is nothing that could be recorded, and no use in trying again for ten seconds."""
    monkeypatch.setenv("LINK_STORE", app.sandbox.tables.connection_string)
    for name, value in BROKEN[kind].items():
        monkeypatch.setenv(name, value)
    answer = await app.post(app.workspace.add_incident())
    assert (answer.status, answer.json["code"]) == (503, "store-unavailable")
    assert f"({variable(BROKEN[kind])} " in answer.json["detail"]
    health = await app.status()
    assert (health.status, health.json["store"]) == (503, "unavailable")
    assert list(health.json["settingProblems"]) == [variable(BROKEN[kind])]
    assert SECRET not in f"{answer.json}{health.json}"


async def test_a_connection_string_that_lacks_a_part_is_a_setting_that_is_refused(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINK_STORE", "AccountName=stlinks;EndpointSuffix=core.windows.net")
    answer = await app.post(app.workspace.add_incident())
    assert (answer.status, answer.json["code"]) == (503, "settings-refused")
    assert list((await app.status()).json["settingProblems"]) == ["LINK_STORE"]


@pytest.mark.usefixtures("no_backoff")
async def test_an_identity_that_refuses_its_environment_leaves_the_incident_due_again(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """azure-identity does so where the credential is made."""
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER", "AZURE_CLIENT_ID"):
        monkeypatch.delenv(name)
    for name in ("AZURE_AUTHORITY_HOST", "AZURE_TENANT_ID", "AZURE_FEDERATED_TOKEN_FILE"):
        monkeypatch.setenv(name, "x")
    answer = await app.post(app.workspace.add_incident())
    assert (answer.status, answer.json["reason"]) == (202, "identity-unavailable")


async def test_without_the_certificates_of_the_package_nothing_was_sent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """So nobody is told that tickets/link may have had its effect."""
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(certifi, "where", lambda: "/nowhere/cacert.pem")
    connections = Connections(lambda: open_client(network=Network(), timeout=httpx.Timeout(5)))
    with pytest.raises(httpx.ConnectError):
        await connections.send("POST", "https://localhost:1/", most_bytes=1)


# A proxy that is in the way


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize("manner", ["refuse", "hang", "cut", "garble"])
async def test_what_a_proxy_did_not_let_through_has_surely_not_linked(
    app: App,
    proxy: RecordingProxy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    manner: Manner,
) -> None:
    monkeypatch.setattr(contraforce, "_TIMEOUT", httpx.Timeout(0.2, connect=5))
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", f"localhost:{port(app.sandbox.arm.base_url)}")
    proxy.manner = manner
    answer = await app.post(app.workspace.add_incident())
    assert (answer.status, answer.json["reason"]) == (202, "contraforce-unavailable")
    assert proxy.targets() == [f"localhost:{port(app.sandbox.contraforce.base_url)}"] * 4
    assert all("may_have_linked" not in vars(record) for record in caplog.records)


async def test_time_that_ends_before_a_proxy_lets_through_has_surely_not_linked(
    app: App, proxy: RecordingProxy, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(retries, "DEADLINE_SECONDS", 1.0)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    monkeypatch.setenv("NO_PROXY", f"localhost:{port(app.sandbox.arm.base_url)}")
    proxy.manner = "hang"
    answer = await app.post(app.workspace.add_incident())
    assert (answer.status, answer.json["reason"]) == (202, "contraforce-unavailable")
    assert len(proxy.asked) == 1
    assert all("may_have_linked" not in vars(record) for record in caplog.records)


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize("manner", ["refuse", "cut", "garble"])
async def test_azure_behind_a_proxy_that_is_in_the_way_leaves_the_incident_due_again(
    app: App, proxy: RecordingProxy, monkeypatch: pytest.MonkeyPatch, manner: Manner
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    proxy.manner = manner
    incident = app.workspace.add_incident()
    answer = await app.post(incident)
    assert (answer.status, answer.json["reason"]) == (202, "resource-manager-unavailable")
    proxy.manner = "pass"
    assert (await app.post(incident)).json["status"] == "linked"


# Certificates that are not trusted


@pytest.fixture
async def stranger() -> AsyncIterator[Sandbox]:
    """Give services whose certificates the app does not trust."""
    async with Sandbox.start(ca=trustme.CA()) as started:
        yield started


UPSTREAMS: Final = {
    "IDENTITY_ENDPOINT": "identity",
    "ARM_ENDPOINT": "resource-manager",
    "CONTRAFORCE_API_URL": "contraforce",
}


@pytest.mark.parametrize("name", UPSTREAMS)
async def test_an_upstream_that_is_not_trusted_is_told_with_the_reason_and_what_to_do(
    app: App,
    stranger: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    upstream = UPSTREAMS[name]
    others = {"ARM_ENDPOINT": stranger.arm.base_url, "CONTRAFORCE_API_URL": stranger.contraforce.api_url}
    monkeypatch.setenv(name, others.get(name, f"{stranger.arm.base_url}/msi/token"))
    answer = await app.post(app.workspace.add_incident())
    assert (answer.status, answer.json["reason"]) == (202, f"{upstream}-unavailable")
    assert_refusal_is_told(caplog, upstream)


async def test_sentinel_that_is_not_trusted_is_told_with_the_reason_and_what_to_do(
    app: App, stranger: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    """Resource Manager's certificate changes between the ticket and its comment."""
    app.sandbox.faults.plan("arm.comment.put", faults.arm_error(403, "AuthorizationFailed"))
    incident = app.workspace.add_incident()
    assert (await app.post(incident)).json["reason"] == "sentinel-unauthorized"
    running = current_app()
    running.network.__dict__["tls"] = stranger.client_context()
    connections: Any = running.resource_manager._transport
    await connections.close()
    assert (await app.post(incident)).json["reason"] == "sentinel-unavailable"
    assert_refusal_is_told(caplog, "sentinel")


async def test_tables_that_are_not_trusted_are_told_with_the_reason_and_what_to_do(
    app: App, stranger: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINK_STORE", stranger.tables.connection_string)
    answer = await app.post(app.workspace.add_incident())
    assert (answer.status, answer.json["code"]) == (503, "store-unavailable")
    assert "(TLS: CERTIFICATE_VERIFY_FAILED); " in answer.json["detail"]
    assert "SSL_CERT_FILE" in answer.json["detail"]
    assert "certificate verify failed" not in answer.json["detail"]


def assert_refusal_is_told(caplog: pytest.LogCaptureFixture, upstream: str) -> None:
    (event,) = [
        vars(record) for record in caplog.records if vars(record).get(EVENT_NAME) == "upstream.unavailable"
    ]
    assert event["upstream"] == upstream
    assert re.fullmatch(rf"{upstream}: [a-z ]+ \(TLS: CERTIFICATE_VERIFY_FAILED\)", event["error"])
    assert "SSL_CERT_FILE" in event["advice"]
    assert event.get("may_have_linked") is None
