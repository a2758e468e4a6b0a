"""HTTP functions over the local host: routing, keys, pass-through, failures, the admin endpoint."""

import os
import uuid
from collections.abc import Iterator

import httpx
import pytest
from host_process import FUNCTION_KEY, MASTER_KEY, HostProcess, run_sample, wait_until

pytestmark = pytest.mark.slow

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HostProcess]:
    with run_sample(tmp_path_factory.mktemp("sample")) as process:
        yield process


@pytest.fixture(scope="module")
def client(host: HostProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=host.base_url, trust_env=False, timeout=30) as client:
        yield client


def test_route_parameters_and_query_reach_the_function(client: httpx.Client) -> None:
    answer = client.put("/v1/items/a%2Fb%20c?color=red&color=blue&empty=")

    assert answer.json() == {
        "function": "item",
        "params": {"id": "a/b c"},
        "query": {"color": "red,blue"},
        "method": "PUT",
    }


def test_the_most_specific_route_wins(client: httpx.Client) -> None:
    assert client.get("/v1/Items/SPECIAL/").json() == {"function": "special"}


def test_a_constraint_and_an_optional_parameter_are_followed(client: httpx.Client) -> None:
    thing = str(uuid.uuid4())

    assert client.get(f"/v1/things/{thing}").json()["params"] == {"id": thing}
    assert client.patch(f"/v1/things/{thing}/x").json()["params"] == {"id": thing, "part": "x"}
    assert client.get("/v1/things/not-a-guid").status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "/v1/unknown"),
        ("GET", "/items/1"),
        ("GET", "/api/items/1"),
        ("GET", "/v1/items"),
        ("DELETE", "/v1/items/1"),
        ("HEAD", "/v1/items/1"),
        ("GET", "/admin/functions/yearly"),
    ],
)
def test_unknown_paths_and_other_methods_are_empty_404s(client: httpx.Client, method: str, path: str) -> None:
    answer = client.request(method, path)

    assert (answer.status_code, answer.content) == (404, b"")


@pytest.mark.parametrize("key", [None, "wrong", "", b"schl\xfcssel"])
def test_without_the_right_key_the_answer_is_an_empty_401(
    client: httpx.Client, key: str | bytes | None
) -> None:
    raw = key.encode() if isinstance(key, str) else key
    answer = client.get("/v1/locked", headers={} if raw is None else {b"x-functions-key": raw})

    assert (answer.status_code, answer.content) == (401, b"")
    assert client.get("/v1/locked", params={"code": "wrong"}).status_code == 401


@pytest.mark.parametrize("key", [FUNCTION_KEY, MASTER_KEY])
def test_a_key_opens_in_the_header_and_in_the_query(client: httpx.Client, key: str) -> None:
    assert client.get("/v1/locked", headers={"x-functions-key": key}).status_code == 200
    assert client.get("/v1/locked", params={"code": key}).status_code == 200


def test_admin_level_takes_the_master_key_only(client: httpx.Client) -> None:
    assert client.get("/v1/very-locked", headers={"x-functions-key": FUNCTION_KEY}).status_code == 401
    assert client.get("/v1/very-locked", headers={"x-functions-key": MASTER_KEY}).status_code == 200


def test_a_large_binary_body_passes_unchanged_both_ways(client: httpx.Client) -> None:
    body = os.urandom(5 * 1024 * 1024)

    answer = client.post("/v1/echo", content=body, headers={"X-Question": "42"})

    assert answer.status_code == 201
    assert answer.content == body
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-answer"] == "42"
    assert answer.headers["set-cookie"] == "taste=sweet; Path=/; HttpOnly"


def test_a_compressed_body_is_not_unpacked_and_an_empty_one_is_empty(client: httpx.Client) -> None:
    assert (
        client.post("/v1/echo", content=b"\x00raw", headers={"Content-Encoding": "gzip"}).content
        == b"\x00raw"
    )
    assert client.post("/v1/echo").content == b""


def test_trace_headers_reach_the_context(client: httpx.Client) -> None:
    seen = client.get("/v1/context?a=1", headers={"TraceParent": TRACEPARENT, "tracestate": "k=v"}).json()

    assert seen["traceparent"] == TRACEPARENT
    assert seen["tracestate"] == "k=v"
    assert seen["headers"]["traceparent"] == TRACEPARENT
    assert seen["url"] == f"{client.base_url}/v1/context?a=1"
    assert seen["retries"] == 0


@pytest.mark.parametrize("traceparent", [None, "nonsense", f"00-{'0' * 32}-b7ad6b7169203331-01"])
def test_without_a_usable_trace_every_call_starts_its_own(
    client: httpx.Client, traceparent: str | None
) -> None:
    headers = {} if traceparent is None else {"traceparent": traceparent}
    first, second = (client.get("/v1/context", headers=headers).json() for _ in range(2))

    assert len({first["traceparent"], second["traceparent"], traceparent}) == 3
    assert first["invocation"] != second["invocation"]


def test_structured_fields_are_shown_in_the_log(client: httpx.Client, host: HostProcess) -> None:
    invocation = client.get("/v1/context").json()["invocation"]

    expected = f'INFO    sample: asked for the context  ticket="T-1" invocation="{invocation}"'
    wait_until(lambda: expected in host.stderr, what="the log line")


def test_a_failure_is_an_empty_500_and_logged_with_its_stack(client: httpx.Client, host: HostProcess) -> None:
    answer = client.get("/v1/failure")

    assert (answer.status_code, answer.content) == (500, b"")
    wait_until(lambda: "executed failure (failed): ValueError: on purpose" in host.stderr, what="the message")
    assert 'raise ValueError("on purpose")' in host.stderr


def test_the_admin_endpoint_runs_a_timer(client: httpx.Client, host: HostProcess) -> None:
    before = len(host.lines("yearly"))

    answer = client.post(
        "/admin/functions/yearly", json={"input": ""}, headers={"x-functions-key": MASTER_KEY}
    )

    assert answer.status_code == 202
    wait_until(lambda: len(host.lines("yearly")) == before + 1, what="the run")
    assert host.lines("yearly")[-1] == "past due: False"


def test_the_admin_endpoint_runs_other_functions_with_the_input(
    client: httpx.Client, host: HostProcess
) -> None:
    headers = {"x-functions-key": MASTER_KEY}

    assert client.post("/admin/functions/queued", json={"input": "hello"}, headers=headers).status_code == 202
    assert client.post("/admin/functions/slow", json={"input": "x"}, headers=headers).status_code == 202

    wait_until(lambda: host.lines("queued") == ["hello"], what="the queue function")
    wait_until(lambda: host.lines("slow"), what="the HTTP function")


@pytest.mark.parametrize(
    ("name", "key", "content", "status"),
    [
        ("yearly", "", "{}", 401),
        ("yearly", FUNCTION_KEY, "{}", 401),
        ("unknown", "", "{}", 401),
        ("unknown", MASTER_KEY, "{}", 404),
        ("yearly", MASTER_KEY, "not json", 400),
        ("yearly", MASTER_KEY, "[]", 400),
    ],
)
def test_the_admin_endpoint_refuses(
    client: httpx.Client, name: str, key: str, content: str, status: int
) -> None:
    answer = client.post(f"/admin/functions/{name}", content=content, headers={"x-functions-key": key})

    assert answer.status_code == status


def test_keys_in_the_query_are_not_logged(client: httpx.Client, host: HostProcess) -> None:
    client.get("/v1/locked", params={"code": FUNCTION_KEY})

    wait_until(lambda: "executed locked" in host.stderr, what="the log line")
    assert FUNCTION_KEY not in host.stderr
