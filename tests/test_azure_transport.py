"""Azure's SDKs over httpx: what azure-core is told of every way in which an answer can fail to come."""

import gzip
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
from azure.core.exceptions import (
    DecodeError,
    HttpResponseError,
    ServiceRequestError,
    ServiceRequestTimeoutError,
    ServiceResponseError,
    ServiceResponseTimeoutError,
)
from azure.core.pipeline.transport import HttpRequest as OldRequest
from azure.core.rest import HttpRequest
from conftest import App

from contraforce_sentinel.azure import httpx_transport as azure_transport
from contraforce_sentinel.azure.httpx_transport import HttpxTransport, open_azure_connections
from contraforce_sentinel.transport.network import Network
from sandbox import Sandbox, faults
from sandbox.faults import Fault

BROKEN = {"Content-Encoding": "gzip"}


@pytest.fixture
async def sent(sandbox: Sandbox) -> AsyncIterator[HttpxTransport]:
    connections = open_azure_connections(Network(tls=sandbox.client_context()), read_seconds=5)
    async with HttpxTransport(connections) as transport:
        yield transport


def request(sandbox: Sandbox) -> HttpRequest:
    return HttpRequest("GET", f"{sandbox.arm.base_url}{sandbox.add_workspace().arm_id}")


@pytest.mark.parametrize("kind", [HttpRequest, OldRequest])
async def test_requests_of_both_generations_are_sent_and_answered(
    sandbox: Sandbox, sent: HttpxTransport, kind: Any
) -> None:
    asked = kind("PUT", f"{sandbox.arm.base_url}/nowhere?a=%2F", headers={"X-One": "1"})
    asked.set_json_body({"a": 1}) if kind is OldRequest else asked._set_body(json={"a": 1})
    answer = await sent.send(asked)
    (logged,) = sandbox.log.all
    assert (logged.method, logged.query, logged.body) == ("PUT", {"a": "/"}, {"a": 1})
    assert logged.headers["X-One"] == "1"
    assert (answer.status_code, answer.headers["CONTENT-TYPE"]) == (404, answer.content_type)
    assert answer.request is asked
    assert answer.body() == answer.content == await answer.read()
    assert b"message" in answer.content


@pytest.mark.parametrize("when", ["before", "after", "mid-body"])
async def test_a_reset_is_no_answer_whenever_it_comes_and_nothing_is_sent_twice(
    sandbox: Sandbox, sent: HttpxTransport, when: Any
) -> None:
    sandbox.faults.plan("arm.workspace", faults.reset(when))
    with pytest.raises(ServiceResponseError) as caught:
        await sent.send(request(sandbox))
    assert not isinstance(caught.value, HttpResponseError | ServiceResponseTimeoutError)
    assert sandbox.log.count("arm.workspace") == 1


async def test_an_answer_that_does_not_come_is_a_time_out(sandbox: Sandbox) -> None:
    sandbox.faults.plan("arm.workspace", faults.hang())
    async with HttpxTransport(
        open_azure_connections(Network(tls=sandbox.client_context()), read_seconds=0.2)
    ) as sent:
        with pytest.raises(ServiceResponseTimeoutError):
            await sent.send(request(sandbox))


async def test_no_connection_is_told_as_nothing_sent(sent: HttpxTransport) -> None:
    with pytest.raises(ServiceRequestError) as caught:
        await sent.send(HttpRequest("GET", "https://127.0.0.1:1/"))
    assert not isinstance(caught.value, ServiceRequestTimeoutError)


async def test_a_certificate_of_somebody_else_is_told_as_nothing_sent(sandbox: Sandbox) -> None:
    async with HttpxTransport(
        open_azure_connections(Network(tls=ssl.create_default_context()), read_seconds=5)
    ) as sent:
        with pytest.raises(ServiceRequestError):
            await sent.send(request(sandbox))
    assert sandbox.log.all == []


async def test_a_success_that_cannot_be_decoded_is_told_as_such(
    sandbox: Sandbox, sent: HttpxTransport
) -> None:
    sandbox.faults.plan("arm.workspace", Fault(status=200, headers=BROKEN, body=b"not gzip"))
    with pytest.raises(DecodeError) as caught:
        await sent.send(request(sandbox))
    assert caught.value.status_code == 200


async def test_an_error_that_cannot_be_decoded_is_an_error_without_a_body(
    sandbox: Sandbox, sent: HttpxTransport
) -> None:
    sandbox.faults.plan("arm.workspace", Fault(status=503, headers=BROKEN, body=b"not gzip"))
    answer = await sent.send(request(sandbox))
    assert (answer.status_code, answer.content) == (503, b"")


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
async def test_an_answer_over_the_limit_is_not_kept(
    sandbox: Sandbox, sent: HttpxTransport, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure_transport, "MAX_ANSWER_BYTES", 1_000_000)
    body = b" " * 1_000_001
    packed = gzip.compress(body) if encoding == "gzip" else body
    fault = Fault(status=200, headers={"Content-Encoding": encoding}, body=packed)
    sandbox.faults.plan("arm.workspace", fault, times=2)
    asked = request(sandbox)
    with pytest.raises(DecodeError):
        await sent.send(asked)
    monkeypatch.setattr(azure_transport, "MAX_ANSWER_BYTES", 1_000_001)
    assert (await sent.send(asked)).content == body


@pytest.mark.usefixtures("no_backoff")
async def test_an_answer_of_azure_over_the_limit_leaves_the_link_pending(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(azure_transport, "MAX_RESOURCE_BYTES", 100_000)
    app.sandbox.faults.plan("arm.comment.put", Fault(status=201, body=b" " * 100_001), times=None)
    incident = app.workspace.add_incident()
    assert (await app.post(incident)).json["reason"] == "sentinel-unavailable"
    app.sandbox.faults.clear()
    assert (await app.post(incident)).json["status"] == "linked"


@pytest.mark.parametrize("charset", ["punycode", "utf-16", "idna", "unicode_escape", "nonsense"])
async def test_an_answer_is_read_as_utf_8_whatever_its_header_says(
    sandbox: Sandbox, sent: HttpxTransport, charset: str
) -> None:
    """Punycode is read in quadratic time: a megabyte of it would stop everything for a minute."""
    fault = Fault(status=200, body='{"é": 1}'.encode(), content_type=f"application/json; charset={charset}")
    sandbox.faults.plan("arm.workspace", fault)
    assert (await sent.send(request(sandbox))).json() == {"é": 1}


async def test_bytes_that_are_no_utf_8_are_replaced(sandbox: Sandbox, sent: HttpxTransport) -> None:
    sandbox.faults.plan("arm.workspace", Fault(status=200, body=b'{"a": "caf\xe9"}'))
    assert (await sent.send(request(sandbox))).json() == {"a": "caf\ufffd"}


async def test_a_request_may_bring_a_limit_of_its_own(sandbox: Sandbox, sent: HttpxTransport) -> None:
    sandbox.faults.plan("arm.workspace", Fault(status=200, body=b" " * 1001), times=2)
    asked = request(sandbox)
    assert len((await sent.send(asked, most_bytes=1001)).content) == 1001
    with pytest.raises(DecodeError):
        await sent.send(asked, most_bytes=1000)


def test_the_limits_are_the_documented_ones() -> None:
    assert azure_transport.MAX_ANSWER_BYTES == 32 * 1024 * 1024
    assert azure_transport.MAX_LIST_BYTES == 8 * 1024 * 1024
    assert azure_transport.MAX_RESOURCE_BYTES == 1024 * 1024
