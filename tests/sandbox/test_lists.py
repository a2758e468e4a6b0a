"""Incidents as REST shows them: the documented shape, versions, and lists with something odd about them."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import httpx
import pytest
from conftest import ROOT
from sdk_fixtures import Rest

from sandbox import Sandbox, SandboxWorkspace

PAYLOADS: Final = ROOT / "tests" / "payloads"
START: Final = datetime(2026, 3, 2, 8, 0, 0, 1, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
INCIDENTS: Final = "/providers/Microsoft.SecurityInsights/incidents?api-version=2025-09-01"


def shape(document: Any) -> Any:
    """Return the keys of an object and of those in it."""
    return {key: shape(value) for key, value in document.items()} if isinstance(document, dict) else None


def payload(name: str) -> Any:
    return json.loads((PAYLOADS / name).read_text())


@pytest.mark.parametrize(
    ("provider", "documented"),
    [
        ("Microsoft XDR", payload("07-rest-incident-get-2025-09-01.json")),
        ("Azure Sentinel", payload("08-rest-incident-list-page.json")["value"][1]),
    ],
)
async def test_an_incident_has_the_documented_shape_alone_and_in_a_list(
    rest: Rest, workspace: SandboxWorkspace, provider: str, documented: Any
) -> None:
    incident = workspace.add_incident(provider=provider)
    alone = (await rest(incident.name)).json()
    assert (await rest()).json() == {"value": [alone]}
    documented["properties"]["additionalData"].setdefault("techniques", [])
    assert shape(alone) == shape(documented)


async def test_a_closed_incident_says_how_it_was_closed_and_each_when_it_was_changed(
    rest: Rest, workspace: SandboxWorkspace
) -> None:
    incident = workspace.add_incident(status="Closed")
    incident.classification, incident.classification_reason = "FalsePositive", "InaccurateData"
    incident.classification_comment = "nothing"
    incident.changed = datetime(2026, 10, 11, 9, 36, 18, 900_000, tzinfo=UTC)
    found = (await rest(incident.name)).json()["properties"]
    assert [found[f"classification{name}"] for name in ("", "Reason", "Comment")] == [
        "FalsePositive",
        "InaccurateData",
        "nothing",
    ]
    assert found["lastModifiedTimeUtc"] == "2026-10-11T09:36:18.9Z"


async def test_any_property_may_be_odd(rest: Rest, workspace: SandboxWorkspace) -> None:
    incident = workspace.add_incident()
    incident.odd = {"createdTimeUtc": "0001-01-01T00:00:00", "severity": None}
    found = (await rest(incident.name)).json()["properties"]
    assert (found["createdTimeUtc"], found["severity"]) == ("0001-01-01T00:00:00", None)


async def test_an_older_version_shows_no_provider_and_an_unknown_one_is_refused(
    rest: Rest, workspace: SandboxWorkspace, web: httpx.AsyncClient, sandbox: Sandbox
) -> None:
    incident = workspace.add_incident()
    await rest(incident.name)
    (call,) = sandbox.log.of("arm.incident")
    address = f"{sandbox.arm.base_url}{call.path}"
    headers = {"Authorization": call.headers["Authorization"]}
    old = (await web.get(address, params={"api-version": "2021-10-01"}, headers=headers)).json()
    assert not {"providerName", "providerIncidentId"} & old["properties"].keys()
    unknown = await web.get(address, params={"api-version": "2099-01-01"}, headers=headers)
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (400, "NoRegisteredProviderFound")


async def pages(rest: Rest, most: int) -> list[tuple[list[int], Any]]:
    """Return the numbers of the incidents on each page, and its link, for at most so many pages."""
    found: list[tuple[list[int], Any]] = []
    link = None
    while len(found) < most:
        page = (await rest(link=link, top="2", orderby="properties/createdTimeUtc asc")).json()
        link = page.get("nextLink", "missing")
        found.append(([one["properties"]["incidentNumber"] for one in page["value"]], link))
        if not link or link == "missing":
            break
    return found


@pytest.mark.parametrize(("end", "last"), [("missing", "missing"), ("null", None), ("empty", "")])
async def test_a_list_ends_in_one_of_three_ways(
    rest: Rest, workspace: SandboxWorkspace, end: Any, last: str | None
) -> None:
    workspace.listing.end = end
    for number in range(3):
        workspace.add_incident(number=number)
    found = await pages(rest, 9)
    assert [numbers for numbers, _ in found] == [[0, 1], [2]]
    assert found[-1][1] == last


async def test_empty_pages_come_before_each_page_but_the_first(
    rest: Rest, workspace: SandboxWorkspace
) -> None:
    workspace.listing.empty_pages = 2
    for number in range(3):
        workspace.add_incident(number=number)
    assert [numbers for numbers, _ in await pages(rest, 9)] == [[0, 1], [], [], [2]]


@pytest.mark.parametrize(
    ("trap", "numbers", "links"),
    [
        ("self", [[0, 1]] * 6, 1),
        ("circle", [[0, 1], [2], [0, 1], [2], [0, 1], [2]], 2),
        ("endless", [[0, 1], [2], [], [], [], []], 6),
    ],
)
async def test_a_list_may_never_end(
    rest: Rest, workspace: SandboxWorkspace, trap: Any, numbers: list[list[int]], links: int
) -> None:
    workspace.listing.trap = trap
    for number in range(3):
        workspace.add_incident(number=number)
    found = await pages(rest, 6)
    assert [numbers for numbers, _ in found] == numbers
    assert len({link for _, link in found}) == links


async def test_a_link_may_lead_anywhere(rest: Rest, workspace: SandboxWorkspace) -> None:
    workspace.listing.link = "https://elsewhere.example/more"
    workspace.add_incident()
    ((_, link),) = await pages(rest, 1)
    assert link == "https://elsewhere.example/more"


@pytest.mark.parametrize("name", ["createdTimeUtc", "lastModifiedTimeUtc"])
async def test_lists_are_filtered_and_ordered_by_either_time(
    rest: Rest, workspace: SandboxWorkspace, name: str
) -> None:
    for number, minute in enumerate((3, 1, 0, 2)):
        moment = START + minute * MINUTE
        created, changed = (moment, START + HOUR) if name == "createdTimeUtc" else (START, moment)
        workspace.add_incident(number=number, created=created, changed=changed)
    second, third = (f"{START + minutes * MINUTE:%FT%T.%fZ}" for minutes in (1, 2))
    name = f"properties/{name}"
    for condition, expected in {
        f"{name} ge {second}": [1, 3, 0],
        f"{name} gt {second}": [3, 0],
        f"{name} le {second}": [2, 1],
        f"{name} lt {second}": [2],
        f"{name} ge {second} and {name} le {third}": [1, 3],
        f"{name} ge {second} and properties/createdTimeUtc le {third} and {name} lt {third}": [1],
    }.items():
        assert await numbers(rest, filter=condition, orderby=f"{name} asc") == expected, condition
        assert await numbers(rest, filter=condition, orderby=name) == expected, condition
        assert await numbers(rest, filter=condition, orderby=f"{name} desc") == expected[::-1], condition


async def numbers(rest: Rest, *, link: str | None = None, **query: str) -> list[int]:
    """Return the numbers of the incidents that a list shows, all its pages together."""
    found: list[int] = []
    while True:
        page = (await rest(link=link, **query)).json()
        found += [one["properties"]["incidentNumber"] for one in page["value"]]
        if not (link := page.get("nextLink")):
            return found


@pytest.mark.parametrize("top", [1000, 300, 250])
async def test_one_list_gives_at_most_a_thousand_incidents_and_does_not_tell(
    rest: Rest, workspace: SandboxWorkspace, top: int
) -> None:
    for number in range(1001):
        workspace.add_incident(number=number, created=START + number * MINUTE)
    order = "properties/lastModifiedTimeUtc asc"
    assert await numbers(rest, top=str(top), orderby=order) == list(range(1000))
    last = f"properties/lastModifiedTimeUtc ge {START + 999 * MINUTE:%FT%T.%fZ}"
    assert await numbers(rest, top=str(top), orderby=order, filter=last) == [999, 1000]


@pytest.mark.parametrize(
    ("what", "expected"),
    [
        ("nothing", [0, 1, 2, 3, 4]),
        ("one that was seen is deleted", [0, 1, 3, 4]),
        ("one that was seen is changed", [0, 1, 3, 4, 0]),
        ("one that was not seen is changed", [0, 1, 3, 4, 2]),
        ("another arrives late", [0, 1, 2, 3, 4, 5]),
    ],
)
async def test_what_changes_between_two_pages_shifts_the_following_page(
    rest: Rest, workspace: SandboxWorkspace, what: str, expected: list[int]
) -> None:
    made = [workspace.add_incident(number=number, created=START + number * MINUTE) for number in range(5)]
    changes: dict[str, Callable[[], object]] = {
        "nothing": lambda: None,
        "one that was seen is deleted": made[0].delete,
        "one that was seen is changed": made[0].touch,
        "one that was not seen is changed": made[2].touch,
        "another arrives late": lambda: workspace.arrive_late(created=START - HOUR),
    }
    workspace.listing.after(1, changes[what])
    assert await numbers(rest, top="2", orderby="properties/lastModifiedTimeUtc asc") == expected


async def test_a_plan_is_carried_out_once_after_so_many_calls_from_then_on(
    rest: Rest, sandbox: Sandbox, workspace: SandboxWorkspace
) -> None:
    incident, other = workspace.add_incident(), sandbox.add_workspace(name="law-other")
    done: list[str] = []
    await rest()
    workspace.listing.after(2, lambda: done.append("second"))
    workspace.listing.after(1, lambda: done.append("first"))
    workspace.listing.after(1, lambda: workspace.listing.after(3, lambda: done.append("planned by a plan")))
    other.listing.after(1, lambda: done.append("of another workspace"))
    assert done == []
    await rest(incident.name)
    await rest(top="0")
    seen = []
    for _ in range(5):
        await rest()
        seen.append(len(done))
    assert (done, seen) == (["first", "second", "planned by a plan"], [1, 2, 2, 3, 3])


async def test_the_log_counts_the_list_calls_of_each_workspace(
    rest: Rest, sandbox: Sandbox, workspace: SandboxWorkspace
) -> None:
    longer = sandbox.add_workspace(name=f"{workspace.name}-2")
    elsewhere = sandbox.add_workspace(name=workspace.name, resource_group="rg-elsewhere")
    for _ in range(3):
        incident = workspace.add_incident()
    await numbers(rest, top="2")
    await rest(incident.name)
    await numbers(rest, link=f"{sandbox.arm.base_url}{longer.arm_id.upper()}{INCIDENTS}")
    counts = [sandbox.log.count("arm.incidents", under=one.arm_id) for one in (workspace, longer, elsewhere)]
    assert (counts, sandbox.log.count("arm.incidents")) == ([2, 1, 0], 3)
    assert sandbox.log.of("arm.incident", under=workspace.arm_id) == sandbox.log.of("arm.incident")
