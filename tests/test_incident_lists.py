"""What Sentinel's lists may say of dates and of further pages: nothing of it stops an incident."""

import asyncio
import gc
import json
import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Literal

import pytest
from conftest import App

from contraforce_sentinel.azure import lists, sentinel
from contraforce_sentinel.bootstrap import close_app, current_app
from contraforce_sentinel.domain.incidents import IncidentId, WorkspaceId
from contraforce_sentinel.telemetry.events import EVENT_NAME
from contraforce_sentinel.use_cases import reconcile
from sandbox import SandboxIncident, faults
from sandbox.faults import Fault

pytestmark = pytest.mark.usefixtures("no_backoff")

NO_DATES: Final[dict[str, Any]] = {
    "the first of all days": "0001-01-01T00:00:00",
    "the first of all days, in UTC": "0001-01-01T00:00:00Z",
    "a day before the first of all": "0001-01-01T00:00:00+14:00",
    "the last of all days": "9999-12-31T23:59:59.9999999Z",
    "nonsense": "yesterday",
    "a month too many": "2026-13-01T00:00:00Z",
    "nothing": "",
    "null": None,
    "a number": 1_790_000_000,
    "a number without end": math.inf,
    "a boolean": True,
    "an object": {"value": "2026-10-11T09:31:05Z"},
}
DATES: Final = {
    "2026-10-11T09:31:05Z": 0,
    "2026-10-11T09:31:05": 0,
    "2026-10-11T09:31:05.1": 100_000,
    "2026-10-11T09:31:05.1Z": 100_000,
    "2026-10-11T09:31:05.1234567": 123_456,
    "2026-10-11T09:31:05.123456789Z": 123_456,
    "2026-10-11T11:31:05.1234567+02:00": 123_456,
}
OF_NO_USE: Final = ("firstActivityTimeUtc", "lastActivityTimeUtc")


def told(caplog: pytest.LogCaptureFixture, *names: str) -> list[dict[str, Any]]:
    return [vars(record) for record in caplog.records if vars(record).get(EVENT_NAME) in names]


def hosts_with_a_token(app: App) -> set[str]:
    requests = [request for request in app.sandbox.log.all if request.operation != "contraforce.link"]
    return {request.headers["Host"] for request in requests if "Authorization" in request.headers}


def recently(hours: float) -> datetime:
    return datetime.now(UTC) - timedelta(hours=hours)


def many(app: App, count: int) -> list[SandboxIncident]:
    """Make incidents that are skipped, created one after the other."""
    start = recently(10)
    return [
        app.workspace.add_incident(status="Closed", created=start + timedelta(seconds=number))
        for number in range(count)
    ]


async def kept(app: App, incidents: list[SandboxIncident]) -> int:
    """Return how many of them have a record."""
    ids = [IncidentId.parse(incident.arm_id) for incident in incidents]
    return len(await current_app().store.glimpse(ids))


async def test_a_date_of_any_form_costs_nothing_in_a_field_that_is_not_needed(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    incidents = {name: app.workspace.add_incident() for name in [*NO_DATES, *DATES]}
    for name, incident in incidents.items():
        incident.odd = dict.fromkeys((*OF_NO_USE, "lastModifiedTimeUtc"), NO_DATES.get(name, name))
    await app.reconcile()
    assert {name: len(incident.comments) for name, incident in incidents.items()} == dict.fromkeys(
        incidents, 1
    )
    assert told(caplog, "discovery.unreadable", "reconcile.workspace-failed") == []


@pytest.mark.parametrize("second_put", [200, 409])
async def test_nothing_odd_that_a_comment_is_shown_with_keeps_its_link_waiting(
    app: App, second_put: Literal[200, 409]
) -> None:
    """The SDK reads the answer to the comment that was written."""
    app.workspace.second_put = second_put
    for name, date in [*NO_DATES.items(), *zip(DATES, DATES, strict=True)]:
        incident = app.workspace.add_incident()
        incident.odd_comments = {"createdTimeUtc": date, "lastModifiedTimeUtc": date, "author": date}
        app.sandbox.faults.plan("arm.comment.put", faults.status(503).but(after_work=True))
        assert (name, (await app.post(incident)).json["status"]) == (name, "linked")
        assert len(incident.comments) == 1


async def test_an_odd_creation_time_costs_that_time_alone_and_no_later_incident(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECONCILE_LOOKBACK_HOURS", "2160")
    await close_app()
    incidents = {name: app.workspace.add_incident(created=recently(5)) for name in [*NO_DATES, *DATES]}
    for name, incident in incidents.items():
        incident.odd = {"createdTimeUtc": NO_DATES.get(name, name)}
    incidents["of the future"] = app.workspace.add_incident()
    incidents["of the future"].odd = {"createdTimeUtc": "2099-01-01T00:00:00Z"}
    await app.reconcile()
    feed = await current_app().store.feed(WorkspaceId.parse(app.workspace.arm_id))
    assert feed is not None
    assert feed.watermark is not None
    assert feed.watermark <= datetime.now(UTC)
    incidents["a later one"] = app.workspace.add_incident()
    await app.reconcile()
    assert {name: len(incident.comments) for name, incident in incidents.items()} == dict.fromkeys(
        incidents, 1
    )


@pytest.fixture
def in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this machine be nine hours ahead of UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "JST-9")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("in_tokyo")
async def test_a_date_says_utc_where_it_says_no_zone_with_any_number_of_digits(app: App) -> None:
    incident = app.workspace.add_incident()
    for date, microseconds in DATES.items():
        incident.odd = {"createdTimeUtc": date, "lastModifiedTimeUtc": date}
        found = await read(incident)
        expected = datetime(2026, 10, 11, 9, 31, 5, microseconds, tzinfo=UTC)
        assert (found.created_at, found.changed_at) == (expected, expected), date
        assert found.created_at.utcoffset() == timedelta(), date


async def test_what_is_no_date_is_none_and_the_incident_is_read_all_the_same(app: App) -> None:
    incident = app.workspace.add_incident()
    for name, date in NO_DATES.items():
        incident.odd = {"createdTimeUtc": date, "lastModifiedTimeUtc": date}
        found = await read(incident)
        assert (found.number, found.created_at, found.changed_at) == (str(incident.number), None, None), name


async def read(incident: SandboxIncident) -> Any:
    until = asyncio.get_running_loop().time() + 10
    return await current_app().sentinel.get_incident(IncidentId.parse(incident.arm_id), until=until)


async def test_an_incident_is_read_with_its_provider_its_address_in_defender_and_how_it_was_closed(
    app: App,
) -> None:
    incident = app.workspace.add_incident(provider="Microsoft XDR", status="Closed")
    incident.classification, incident.classification_reason = "TruePositive", "SuspiciousActivity"
    incident.classification_comment = "Sam has looked into it"
    found = await read(incident)
    assert (found.provider, found.provider_id) == ("Microsoft XDR", str(45_000 + incident.number))
    assert found.defender_url.startswith(f"https://security.microsoft.com/incidents/{found.provider_id}")
    assert (found.classification, found.classification_reason) == ("TruePositive", "SuspiciousActivity")
    assert found.classification_comment == "Sam has looked into it"
    assert "Sam" not in repr(found)
    other = await read(app.workspace.add_incident())
    assert (other.provider, other.defender_url, other.classification) == ("Azure Sentinel", "", "")


@pytest.mark.parametrize(
    "odd",
    [
        {"severity": None, "status": None, "labels": None, "additionalData": None},
        {"severity": 3, "status": ["New"], "labels": "none", "additionalData": "none"},
        {"labels": [None, 7, {}, {"labelName": None}], "additionalData": {"providerIncidentUrl": 7}},
        {"additionalData": {"providerIncidentUrl": "javascript:alert(1)"}, "classification": {"a": 1}},
        {"title": "a torn emoji \ud83d"},
    ],
)
async def test_an_odd_field_costs_itself_alone(app: App, odd: dict[str, Any]) -> None:
    incidents = [app.workspace.add_incident() for _ in range(3)]
    incidents[1].odd = odd
    await app.reconcile()
    assert [len(incident.comments) for incident in incidents] == [1, 1, 1]
    assert (await read(incidents[1])).defender_url == ""


@pytest.mark.parametrize(
    "odd", [b"9" * 5000, b'"caf\xe9"', b'"\\ud83d"'], ids=["digits", "bytes", "half a sign"]
)
async def test_what_json_libraries_refuse_costs_no_incident_of_its_page(app: App, odd: bytes) -> None:
    incidents = [app.workspace.add_incident() for _ in range(3)]
    incidents[1].odd = {"classificationComment": "ODD"}
    page = json.dumps({"value": [incident.to_rest("2025-09-01") for incident in incidents]}).encode()
    app.sandbox.faults.plan("arm.incidents", Fault(status=200, body=page.replace(b'"ODD"', odd)), times=None)
    await app.reconcile()
    assert [len(incident.comments) for incident in incidents] == [1, 1, 1]


@pytest.mark.parametrize(
    "unusable",
    [
        None,
        7,
        [],
        {},
        {"name": "x"},
        {"name": "x", "properties": None},
        {"name": "x", "properties": {"incidentNumber": None}},
        {"name": "x", "properties": {"incidentNumber": "many"}},
        {"name": "x", "properties": {"incidentNumber": -1}},
        {"name": "a/../b", "properties": {"incidentNumber": 1}},
        {"name": 7, "properties": {"incidentNumber": 1}},
    ],
)
async def test_an_incident_that_cannot_be_used_is_told_and_left_out_and_the_others_of_its_page_go_on(
    app: App, caplog: pytest.LogCaptureFixture, unusable: Any
) -> None:
    incidents = [app.workspace.add_incident() for _ in range(2)]
    shown = [incidents[0].to_rest(), unusable, incidents[1].to_rest()]
    app.sandbox.faults.plan("arm.incidents", faults.json(200, {"value": shown}))
    await app.reconcile()
    assert [len(incident.comments) for incident in incidents] == [1, 1]
    assert len(told(caplog, "discovery.unreadable")) == 1


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let three incidents be a page, twenty pages a list; and a run, which would hide that, soon be over."""
    monkeypatch.setattr(sentinel, "PAGE_SIZE", 3)
    monkeypatch.setattr(lists, "MOST_PAGES", 20)
    monkeypatch.setattr(reconcile, "RUN_SECONDS", 5.0)


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("end", ["missing", "null", "empty"])
@pytest.mark.parametrize("empty_pages", [0, 3])
async def test_a_list_is_read_past_its_empty_pages_to_its_end_however_it_says_so(
    app: App, caplog: pytest.LogCaptureFixture, end: Any, empty_pages: int
) -> None:
    app.workspace.listing.end = end
    app.workspace.listing.empty_pages = empty_pages
    incidents = many(app, 8)
    await app.reconcile()
    assert await kept(app, incidents) == 8
    assert app.sandbox.log.count("arm.incidents") == 4
    assert told(caplog, "discovery.cut-short", "reconcile.workspace-failed") == []


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize(("trap", "requests"), [("self", 6), ("circle", 6), ("endless", 24)])
async def test_every_list_ends_and_one_that_does_not_by_itself_is_told(
    app: App, caplog: pytest.LogCaptureFixture, trap: Any, requests: int
) -> None:
    app.workspace.listing.trap = trap
    incidents = many(app, 8)
    await app.reconcile()
    assert requests <= app.sandbox.log.count("arm.incidents") <= requests + 1
    assert await kept(app, incidents) == 8
    (cut,) = told(caplog, "discovery.cut-short")
    assert cut["workspace"] == WorkspaceId.parse(app.workspace.arm_id).key
    assert told(caplog, "reconcile.workspace-failed") == []


def test_a_list_of_many_pages_ends_after_a_thousand() -> None:
    assert lists.MOST_PAGES == 1000


LINKS: Final = (
    "https://{elsewhere}/more",
    "http://{own}/more",
    "https://{own}@{elsewhere}/more",
    "https://user@{own}/more",
    "https://{own}.example.org/more",
    "https://{own_host}:1/more",
    "https://{own}\\@{elsewhere}/more",
    "//{elsewhere}/more",
    "/subscriptions/more",
    "more",
    " ",
    "https://[",
    "https://{own}/\n",
    "file:///etc/passwd",
    700_700,
    {"href": "https://{own}/more"},
)


async def test_no_request_and_no_token_goes_where_a_link_leads_away_from_the_endpoint(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    own = app.sandbox.arm.base_url.removeprefix("https://")
    elsewhere = app.sandbox.contraforce.base_url.removeprefix("https://")
    for number, form in enumerate(LINKS):
        link: Any = form
        if isinstance(form, str):
            link = form.format(own=own, own_host=own.split(":")[0], elsewhere=elsewhere)
        app.workspace.listing.link = link
        incident = app.workspace.add_incident()
        await app.reconcile()
        assert len(incident.comments) == 1, form
        assert len(told(caplog, "discovery.cut-short")) == number + 1, form
        assert app.sandbox.log.count("unknown") == 0, form
        assert hosts_with_a_token(app) == {own}, form
        assert link == " " or not any(str(link) in str(vars(record)) for record in caplog.records), form


@pytest.mark.usefixtures("small_pages")
async def test_a_link_that_spells_the_endpoint_in_another_way_is_followed(app: App) -> None:
    incidents = many(app, 8)
    shown = app.sandbox.arm.base_url
    app.sandbox.arm.base_url = shown.replace("https://localhost", "HTTPS://LOCALHOST")
    try:
        await app.reconcile()
    finally:
        app.sandbox.arm.base_url = shown
    assert await kept(app, incidents) == 8


@pytest.mark.usefixtures("small_pages")
async def test_incidents_are_asked_for_as_documented_with_every_page(app: App) -> None:
    many(app, 8)
    app.workspace.listing.empty_pages = 1
    await app.reconcile()
    await read(app.workspace.add_incident())
    calls = app.sandbox.log.of("arm.incidents")
    assert [call.query["api-version"] for call in calls] == ["2025-09-01"] * 4
    assert {call.query["$orderby"] for call in calls} == {"properties/lastModifiedTimeUtc asc"}
    assert {call.query["$top"] for call in calls} == {"3"}
    (call,) = app.sandbox.log.of("arm.incident")
    assert call.query == {"api-version": "2025-09-01"}


async def test_what_a_page_was_read_from_is_freed_while_its_incidents_are_worked_on(app: App) -> None:
    """The timer has a page of each workspace under way at once."""
    many(app, 100)
    place, until = WorkspaceId.parse(app.workspace.arm_id), asyncio.get_running_loop().time() + 10
    since = datetime.now(UTC) - timedelta(days=1)
    count = 0
    listed = current_app().sentinel.list_incidents(place, by=sentinel.CHANGED, since=since, until=until)
    async for page in listed:
        count += len(page.rows)
        gc.collect()
        documents = [one for one in gc.get_objects() if type(one) is dict and "incidentNumber" in one]
        assert len(documents) < len(page.rows)
    assert count == 100


async def test_a_page_over_the_limit_ends_that_customers_listing_with_an_event(
    app: App, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lists, "MAX_LIST_BYTES", 20_000)
    many(app, 100)
    await app.reconcile()
    assert len(told(caplog, "reconcile.workspace-failed")) == 1


@pytest.mark.parametrize("page", [[], {}, {"value": None}, {"value": {"name": "x"}}, {"value": "none"}, 7])
async def test_a_page_of_another_shape_is_no_page_without_incidents(
    app: App, caplog: pytest.LogCaptureFixture, page: Any
) -> None:
    app.sandbox.faults.plan("arm.incidents", faults.json(200, page))
    await app.reconcile()
    assert len(told(caplog, "reconcile.workspace-failed")) == 1


async def test_an_incident_is_found_by_its_number_behind_an_empty_page(app: App) -> None:
    wanted = [app.workspace.add_incident() for _ in range(3)][1]
    link = f"{app.sandbox.arm.base_url}{app.workspace.arm_id}/providers/Microsoft.SecurityInsights/incidents"
    further = f"{link}?api-version=2025-09-01&$filter=properties/incidentNumber eq {wanted.number}"
    app.sandbox.faults.plan("arm.incidents", faults.json(200, {"value": [], "nextLink": further}))
    place, until = WorkspaceId.parse(app.workspace.arm_id), asyncio.get_running_loop().time() + 10
    found = await current_app().sentinel.get_numbered(place, wanted.number, until=until)
    assert found is not None
    assert found.id.name == wanted.name
    assert await current_app().sentinel.get_numbered(place, 1, until=until) is None
