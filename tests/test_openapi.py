"""docs/openapi.yaml is OpenAPI, says what the code does, and every answer in the tests is held to it."""

import json
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import pytest_asyncio
from conftest import ROOT, Answer, App
from host_process import FUNCTION_KEY, MASTER_KEY, client_of_the_app
from openapi import Undocumented, check, conform, document, operations, raw_document
from store_fixtures import spoil

from contraforce_sentinel import VERSION
from contraforce_sentinel.bootstrap import current_app
from contraforce_sentinel.domain.errors import NotAnIncident
from contraforce_sentinel.domain.incidents import IncidentId
from contraforce_sentinel.domain.reasons import Code, Reason
from contraforce_sentinel.domain.records import LinkState
from contraforce_sentinel.domain.schedules import every_step
from contraforce_sentinel.edge.payloads import MAX_BODY_BYTES, parse_delivery
from functions_host.messages import HttpAnswer
from functions_host.server import AccessKeys, Server
from functions_host.worker import Worker
from sandbox import faults

SCHEMAS: Final = document()["components"]["schemas"]
JSON: Final = "application/json"
ARM_ID: Final = (
    "/subscriptions/11111111-2222-4333-8444-555555555555/resourceGroups/rg-secops-prod"
    "/providers/Microsoft.OperationalInsights/workspaces/law-sentinel-prod"
    "/providers/Microsoft.SecurityInsights/Incidents/3f1d9a52-7c0e-4b1b-9d5f-6a2f0e8c7b11"
)
ANSWERS: Final = [
    (operation_id, int(status))
    for operation_id, operation in operations().items()
    for status in operation.content["responses"]
]
KEYED: Final = [operation_id for operation_id, status in ANSWERS if status == HTTPStatus.UNAUTHORIZED]


def test_the_document_is_openapi() -> None:
    from openapi_spec_validator import validate  # noqa: PLC0415 - slow to import, and needed only here

    validate(raw_document())


def test_the_version_is_the_apps() -> None:
    assert document()["info"]["version"] == VERSION


def test_routes_methods_and_keys_are_those_of_the_app(worker: Worker) -> None:
    prefix = json.loads((ROOT / "host.json").read_text())["extensions"]["http"]["routePrefix"]
    assert {
        (
            operation_id,
            operation.path,
            operation.method,
            "function" if is_keyed(operation_id) else "anonymous",
        )
        for operation_id, operation in operations().items()
    } == {
        (
            f"head_{function.name}" if method == "HEAD" else function.name,
            f"/{prefix}/{function.route}",
            method,
            function.auth_level,
        )
        for function in worker.functions
        if function.is_http
        for method in function.methods
    }


def is_keyed(operation_id: str) -> bool:
    return bool(operations()[operation_id].content.get("security", document()["security"]))


def contents() -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield each content of requests and answers, with its place."""
    for operation_id, operation in operations().items():
        for kind, content in operation.content.get("requestBody", {}).get("content", {}).items():
            yield (operation_id, "requestBody", "content", kind), content
        for status, answer in operation.content["responses"].items():
            for kind, content in answer.get("content", {}).items():
                yield (operation_id, "responses", status, "content", kind), content


def test_every_content_has_examples_and_every_example_is_as_documented() -> None:
    for place, content in contents():
        assert content["examples"], place
        for example in content["examples"].values():
            conform(example["value"], *place)
            if "title" in example["value"]:
                assert example["value"]["title"] == HTTPStatus(int(place[2])).phrase, place


def test_every_example_of_a_request_is_accepted() -> None:
    examples = operations()["link_incident"].content["requestBody"]["content"][JSON]["examples"]
    for example in examples.values():
        delivery = parse_delivery(json.dumps(example["value"]).encode(), content_type=JSON)
        assert delivery.incident_id == IncidentId.parse(ARM_ID)


def with_properties(**changes: Any) -> dict[str, Any]:
    return {"object": {"id": ARM_ID, "properties": changes}}


BODIES: Final[list[Any]] = [
    *(
        json.loads(path.read_text())
        for path in sorted((ROOT / "tests" / "payloads").glob("*-trigger-*.json"))
    ),
    {"incidentArmId": ARM_ID},
    {"incidentArmId": ARM_ID.upper(), "object": None},
    {"incidentArmId": ARM_ID, "object": {"id": ARM_ID, "name": None}, "workspaceInfo": {}, "more": [1]},
    {"incidentArmId": ARM_ID, "ticketId": ""},
    {"incidentArmId": ARM_ID, "ticketId": "x" * 129},
    {"incidentArmId": ARM_ID, "ticketId": "two\nlines"},
    {"incidentArmId": ARM_ID, "ticketId": "two\u2028lines"},
    {"incidentArmId": ARM_ID, "ticketId": "SEC-421\n"},
    {"incidentArmId": ARM_ID, "ticketId": 29683012},
    {"incidentArmId": ARM_ID, "ticketId": -1},
    {"incidentArmId": ARM_ID, "ticketId": 1.5},
    {"incidentArmId": ARM_ID, "ticketId": True},
    {"incidentArmId": ARM_ID, "workspaceInfo": {"WorkspaceName": 1}},
    {"incidentArmId": ARM_ID, "workspaceId": 1},
    {"incidentArmId": ARM_ID, "object": {}},
    {"incidentArmId": 7},
    {"incidentArmId": None},
    {"incidentArmId": "/subscriptions/x"},
    {"incidentArmId": f"{ARM_ID}/comments/x"},
    {"object": {"name": "x"}},
    {"object": None},
    with_properties(
        incidentNumber=3177, severity="Medium", status="New", labels=["one", {"labelName": "two"}]
    ),
    with_properties(incidentNumber="3177", severity=None, status=None, labels=None),
    with_properties(createdTimeUtc=[7], providerIncidentId={"odd": True}),
    with_properties(incidentNumber="31.77"),
    with_properties(incidentNumber=-1),
    with_properties(incidentNumber=10**18),
    with_properties(incidentNumber=True),
    with_properties(severity=1),
    with_properties(status=1),
    with_properties(labels="one"),
    with_properties(labels=[1]),
    with_properties(labels=[{"labelName": 1}]),
    with_properties(labels=["x"] * 501),
    {},
    [],
    "text",
]


@pytest.mark.parametrize("body", BODIES, ids=lambda body: json.dumps(body)[-60:])
def test_a_body_is_documented_if_and_only_if_the_app_takes_it(body: Any) -> None:
    """Left to prose: letter case of keys, and bodies that contradict themselves."""
    try:
        parse_delivery(json.dumps(body).encode(), content_type=JSON)
    except NotAnIncident:
        with pytest.raises(Undocumented):
            conform(body, "link_incident", "requestBody", "content", JSON)
    else:
        conform(body, "link_incident", "requestBody", "content", JSON)


UNFAILED: Final = {Reason.IN_PROGRESS, Reason.REPLAYED}
WAITING: Final = {reason for reason, schedule in every_step() if schedule.give_up_after != timedelta(0)}
DYING: Final = {reason for reason, schedule in every_step() if schedule.give_up_after is not None} | {
    Reason.TICKET_REFUSED  # what some of them are called where a ticket was asked for
}
WORDS: Final[dict[str, tuple[dict[str, Any], Collection[str]]]] = {
    "codes": (SCHEMAS["Code"], set(Code)),
    "reasons of a skipped link": (
        SCHEMAS["SkipReason"],
        (set(Reason) - WAITING - DYING - UNFAILED) | {Reason.INCIDENT_GONE},
    ),
    "reasons of a pending link": (SCHEMAS["PendingReason"], WAITING | UNFAILED),
    "reasons of a dead link": (SCHEMAS["DeadReason"], DYING),
    "states of a link": (SCHEMAS["LinkRecord"]["properties"]["status"], set(LinkState)),
}


@pytest.mark.parametrize(("schema", "words"), WORDS.values(), ids=WORDS)
def test_the_words_are_those_of_the_code(schema: dict[str, Any], words: Collection[str]) -> None:
    assert sorted(schema["enum"]) == sorted(words)


@pytest_asyncio.fixture
async def http(app: App, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the app behind the host's keys."""
    monkeypatch.setenv("RECONCILE_SCHEDULE", "0 0 0 1 1 *")
    server = Server(app.worker, keys=AccessKeys(function=FUNCTION_KEY, master=MASTER_KEY))
    async with server.listen(port=0) as url, client_of_the_app(url) as client:
        yield client


async def answer(  # noqa: C901, PLR0911, PLR0912 - a table
    app: App, operation_id: str, status: int, patch: pytest.MonkeyPatch, folder: Path
) -> Answer:
    """Get an answer of this status."""
    incident = app.workspace.add_incident()
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        patch.setenv("LINK_STORE", f"sqlite:///{folder}")
    elif status == HTTPStatus.INTERNAL_SERVER_ERROR:
        for method in ("get", "insert", "check"):
            patch.setattr(current_app().store, method, None)  # which nobody can call
    match operation_id, status:
        case "link_incident", 200 | 500 | 503:
            return await app.post(incident)
        case "link_incident", 202:
            app.sandbox.faults.plan("contraforce.link", faults.status(503), times=None)
            return await app.post(incident)
        case "link_incident", 400:
            return await app.post(b"{}")
        case "link_incident", 403:
            return await app.post(app.sandbox.add_workspace(name="law-stranger").add_incident())
        case "link_incident", 409:
            await app.post(incident)
            return await app.post({**incident.trimmed_body(), "ticketId": "other"})
        case "link_incident", 413:
            return await app.post(b" " * (MAX_BODY_BYTES + 1))
        case "link_incident", 415:
            return await app.post(incident, content_type="text/plain")
        case "link_incident", 422:
            app.sandbox.faults.plan("contraforce.link", faults.problem(400, problem_code="VALIDATION_ERROR"))
            return await app.post(incident)
        case "get_link", 200:
            await app.post(incident)
        case "get_link", 400:
            return await app.record(incident.name)
        case "get_link", 422:
            await app.post(incident)
            await spoil(current_app().store, IncidentId.parse(incident.arm_id))
        case "health" | "head_health", 200 | 500 | 503:
            return await app.health()
        case "status", 200 | 500 | 503:
            return await app.status()
        case "get_link", 502:
            app.sandbox.faults.plan("arm.incidents", faults.arm_error(403, "AuthorizationFailed"), times=None)
            return await app.record("1", workspace=app.workspace.name)
        case "get_link", 404 | 500 | 503:
            pass
        case _:
            pytest.fail("nobody gets this answer: add a row")
    return await app.record(incident.name, workspace=app.workspace.name)


@pytest.mark.usefixtures("no_backoff")
@pytest.mark.parametrize(
    ("operation_id", "status"), [one for one in ANSWERS if one[1] != HTTPStatus.UNAUTHORIZED]
)
async def test_every_documented_answer_is_one_that_the_app_gives(
    app: App, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, operation_id: str, status: int
) -> None:
    assert (await answer(app, operation_id, status, monkeypatch, tmp_path)).status == status


def test_what_has_a_key_and_nothing_else_answers_401() -> None:
    assert [operation_id for operation_id in operations() if is_keyed(operation_id)] == KEYED


@pytest.mark.parametrize("operation_id", KEYED)
async def test_without_a_documented_key_the_answer_is_401(http: httpx.AsyncClient, operation_id: str) -> None:
    async def ask(**keys: dict[str, str]) -> int:
        operation, headers = operations()[operation_id], {"x-functions-key": "", **keys.get("header", {})}
        answer = await http.request(
            operation.method, operation.path, headers=headers, params=keys.get("query", {})
        )
        return answer.status_code

    assert await ask() == 401
    for name in (name for scheme in document()["security"] for name in scheme):
        scheme = document()["components"]["securitySchemes"][name]
        assert await ask(**{scheme["in"]: {scheme["name"]: "wrong"}}) == 401
        assert await ask(**{scheme["in"]: {scheme["name"]: FUNCTION_KEY}}) in {200, 400, 415}


def changed(**changes: Any) -> Callable[[HttpAnswer], HttpAnswer]:
    """Return a change of an answer's body."""
    return lambda answer: replace(answer, body=json.dumps(json.loads(answer.body) | changes).encode())


PLANTED: Final[dict[str, Callable[[HttpAnswer], HttpAnswer]]] = {
    "one field more": changed(more=1),
    "a word that is not documented": changed(store="full"),
    "a field inside": changed(lastTimerRun={"finishedAt": "2026-11-23T02:15:01Z"}),
    "another body under this status": changed(status="unavailable"),
    "one field less": lambda answer: replace(answer, body=b'{"status": "ok"}'),
    "a status that is not documented": lambda answer: replace(answer, status=418),
    "another content type": lambda answer: replace(answer, headers={"Content-Type": "text/plain"}),
}


@pytest.mark.parametrize("caller", ["App", "client_of_the_app"])
@pytest.mark.parametrize("plant", PLANTED.values(), ids=PLANTED)
async def test_a_test_that_gets_another_answer_fails(
    app: App,
    http: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    plant: Callable[[HttpAnswer], HttpAnswer],
    caller: str,
) -> None:
    """Shown with the status answer; the app's is changed on its way."""
    ask: dict[str, Callable[[], Any]] = {
        "App": app.status,
        "client_of_the_app": lambda: http.get("/api/status"),
    }
    await ask[caller]()
    invoke = app.worker.invoke_http

    async def invoke_and_change(name: str, **request: Any) -> HttpAnswer:
        return plant(await invoke(name, **request))

    monkeypatch.setattr(app.worker, "invoke_http", invoke_and_change)
    with pytest.raises(Undocumented):
        await ask[caller]()


def example(operation_id: str, status: str, name: str) -> Any:
    ((_, content),) = operations()[operation_id].content["responses"][status]["content"].items()
    return content["examples"][name]["value"]


@pytest.mark.parametrize(
    ("status", "name", "changes"),
    [
        ("200", "linked", {"ticket": None}),
        ("200", "linked", {"commentId": "e2792f10"}),
        ("200", "linked", {"status": "skipped"}),
        ("200", "linked", {"more": 1}),
        ("200", "skipped", {"reason": "in-progress"}),
        ("202", "noTicketYet", {"retryAt": "tomorrow"}),
        ("202", "noTicketYet", {"reason": "no-such-reason"}),
        ("409", "another", {"code": "record-unreadable"}),
        ("422", "refused", {"code": "two words"}),
        ("422", "refused", {"more": 1}),
        ("422", "unreadable", {"fields": []}),
        ("422", "unreadable", {"status": 500}),
        ("503", "store", {"code": "unexpected"}),
    ],
)
def test_the_schemas_are_strict(status: str, name: str, changes: dict[str, Any]) -> None:
    found = example("link_incident", status, name)
    kind = JSON if int(status) < 300 else "application/problem+json"
    headers = {"content-type": f"{kind}; charset=utf-8", "retry-after": "30"}
    check("link_incident", int(status), headers, json.dumps(found))
    with pytest.raises(Undocumented):
        check("link_incident", int(status), headers, json.dumps(found | changes))


@pytest.mark.parametrize("wait", [{}, {"Retry-After": "soon"}, {"Retry-After": "0"}])
def test_a_503_is_not_without_retry_after(wait: dict[str, str]) -> None:
    body = json.dumps(example("get_link", "503", "store"))
    with pytest.raises(Undocumented, match="Retry-After"):
        check("get_link", 503, {"Content-Type": "application/problem+json", **wait}, body)


def test_a_401_has_no_body() -> None:
    check("get_link", 401, {}, b"")
    with pytest.raises(Undocumented):
        check("get_link", 401, {"Content-Type": JSON}, b"{}")
