"""How incidents change: what moves the time of the last change, and what each command does."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import pytest
from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError
from azure.mgmt.securityinsight.aio import SecurityInsights
from azure.mgmt.securityinsight.models import IncidentComment
from sdk_fixtures import Rest

from sandbox import Sandbox, SandboxIncident, SandboxWorkspace, oddities

START: Final = datetime(2026, 10, 9, 2, 14, 7, 445_566, tzinfo=UTC)
PINNED: Final = datetime(2026, 10, 9, 9, 0, 0, 1, tzinfo=UTC)
COMMANDS: Final[dict[str, Callable[..., None]]] = {
    "raised": lambda incident, **at: incident.set_severity("High", **at),
    "lowered": lambda incident, **at: incident.set_severity("Low", **at),
    "closed": lambda incident, **at: incident.close(**at),
    "reopened": lambda incident, **at: incident.reopen(**at),
    "merged away": lambda incident, **at: incident.merge_away(**at),
    "touched": lambda incident, **at: incident.touch(**at),
}


class Clock:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.now = START

    def __call__(self) -> datetime:
        return self.now

    def forward(self) -> None:
        self.now += timedelta(seconds=1, microseconds=1)


@pytest.fixture
def clock(sandbox: Sandbox) -> Clock:
    found = Clock()
    sandbox.clock = found
    return found


async def shown(rest: Rest, incident: SandboxIncident) -> dict[str, Any]:
    """Return the properties, in which REST, alone and in a list, and the trigger agree."""
    alone = (await rest(incident.name)).json()
    (listed,) = [one for one in (await rest(top="1000")).json()["value"] if one["name"] == incident.name]
    of_trigger = incident.trigger_body("Update")["object"]["properties"]
    properties: dict[str, Any] = alone["properties"]
    assert listed == alone
    assert properties.items() <= of_trigger.items()
    return properties


async def changed(rest: Rest, incident: SandboxIncident) -> datetime:
    return datetime.fromisoformat((await shown(rest, incident))["lastModifiedTimeUtc"])


async def put_comment(sentinel: SecurityInsights, incident: SandboxIncident, name: str) -> None:
    place = (incident.workspace.resource_group, incident.workspace.name, incident.name, name)
    await sentinel.incident_comments.create_or_update(*place, IncidentComment(message="Ticket T1"))


async def test_an_incident_that_was_never_changed_shows_its_creation(
    rest: Rest, workspace: SandboxWorkspace, clock: Clock
) -> None:
    older = START - timedelta(days=2)
    assert await changed(rest, workspace.add_incident(created=older)) == older
    assert await changed(rest, workspace.add_incident()) == clock.now


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_moves_the_time_of_the_last_change_and_the_etag(
    rest: Rest, workspace: SandboxWorkspace, clock: Clock, command: str
) -> None:
    incident = workspace.add_incident()
    etags = {incident.etag}
    for moves in range(1, 3):
        clock.forward()
        COMMANDS[command](incident)
        etags.add(incident.etag)
        assert await changed(rest, incident) == clock.now == START + moves * timedelta(seconds=1.000001)
    assert len(etags) == 3
    assert incident.created == START


@pytest.mark.parametrize("command", COMMANDS)
async def test_a_change_may_be_pinned_to_a_moment(
    rest: Rest, workspace: SandboxWorkspace, command: str
) -> None:
    incident = workspace.add_incident()
    COMMANDS[command](incident, at=PINNED)
    assert await changed(rest, incident) == PINNED


async def test_any_number_of_incidents_may_have_one_time_of_the_last_change(
    rest: Rest, workspace: SandboxWorkspace
) -> None:
    for number in range(900):
        workspace.add_incident(number=number, created=START, changed=PINNED)
    found = (await rest(top="1000", filter=f"properties/lastModifiedTimeUtc ge {PINNED:%FT%T.%fZ}")).json()
    assert len(found["value"]) == 900
    assert {one["properties"]["lastModifiedTimeUtc"] for one in found["value"]} == {
        "2026-10-09T09:00:00.000001Z"
    }


async def test_our_own_comment_moves_it_when_created_and_when_overwritten(
    rest: Rest, sentinel: SecurityInsights, workspace: SandboxWorkspace, clock: Clock
) -> None:
    incident, name = workspace.add_incident(), str(uuid4())
    etags = {incident.etag}
    for _ in range(2):
        clock.forward()
        await put_comment(sentinel, incident, name)
        (comment,) = incident.comments
        assert await changed(rest, incident) == comment.modified == clock.now
        etags.add(incident.etag)
    assert comment.created < comment.modified
    assert len(etags) == 3


async def test_a_comment_that_is_refused_moves_nothing(
    rest: Rest, sentinel: SecurityInsights, workspace: SandboxWorkspace, clock: Clock
) -> None:
    incident, name = workspace.add_incident(), str(uuid4())
    await put_comment(sentinel, incident, name)
    workspace.second_put = 409
    clock.forward()
    with pytest.raises(ResourceExistsError):
        await put_comment(sentinel, incident, name)
    assert await changed(rest, incident) == START


async def test_without_another_clock_a_change_is_of_now_to_the_microsecond(
    workspace: SandboxWorkspace,
) -> None:
    incident = workspace.add_incident()
    times = []
    for _ in range(20):
        incident.touch()
        times.append(incident.changed)
        await asyncio.sleep(0.0001)
    assert datetime.now(UTC) - times[-1] < timedelta(minutes=1)
    assert any(moment.microsecond % 1000 for moment in times)
    assert times == sorted(times)


async def test_severity_is_raised_and_lowered(rest: Rest, workspace: SandboxWorkspace) -> None:
    incident = workspace.add_incident(severity="Medium")
    incident.set_severity("High")
    assert (await shown(rest, incident))["severity"] == "High"
    incident.set_severity("Informational")
    assert (await shown(rest, incident))["severity"] == "Informational"


async def test_closed_says_how_and_reopened_says_nothing_of_it(
    rest: Rest, workspace: SandboxWorkspace
) -> None:
    incident = workspace.add_incident(status="Active")
    names = ("status", "classification", "classificationReason", "classificationComment")
    incident.close("FalsePositive", reason="InaccurateData", comment="a test account")
    found = await shown(rest, incident)
    assert [found[name] for name in names] == ["Closed", "FalsePositive", "InaccurateData", "a test account"]
    incident.reopen()
    found = await shown(rest, incident)
    assert [found.get(name) for name in names] == ["Active", None, None, None]


@pytest.mark.parametrize("label", ["Redirected", "redirected", "REDIRECTED"])
async def test_merged_away_is_closed_and_labelled_and_its_comments_stay_behind(
    rest: Rest, sentinel: SecurityInsights, workspace: SandboxWorkspace, label: str
) -> None:
    source, target = workspace.add_incident(labels=["vip"]), workspace.add_incident()
    await put_comment(sentinel, source, str(uuid4()))
    source.merge_away(label=label)
    found = await shown(rest, source)
    assert found["status"] == "Closed"
    assert [one["labelName"] for one in found["labels"]] == ["vip", label]
    assert (len(source.comments), len(target.comments)) == (1, 0)


async def test_a_late_arrival_was_created_long_ago_and_is_there_only_from_now(
    rest: Rest, workspace: SandboxWorkspace, clock: Clock
) -> None:
    assert (await rest()).json()["value"] == []
    late = workspace.arrive_late(severity="High")
    assert await changed(rest, late) == clock.now
    assert late.created == clock.now - timedelta(days=30)
    older = workspace.arrive_late(created=START - timedelta(days=200), at=PINNED)
    assert (await changed(rest, older), older.created) == (PINNED, START - timedelta(days=200))


async def test_deleted_is_404_from_now_on_and_in_no_list(
    rest: Rest, sentinel: SecurityInsights, workspace: SandboxWorkspace
) -> None:
    incident, other = workspace.add_incident(), workspace.add_incident()
    incident.delete()
    assert (await rest(incident.name)).status_code == 404
    with pytest.raises(ResourceNotFoundError):
        await put_comment(sentinel, incident, str(uuid4()))
    assert [one["name"] for one in (await rest()).json()["value"]] == [other.name]


ODD_DATES: Final[dict[str, tuple[Any, str | None]]] = {
    "missing": (oddities.MISSING, None),
    "the first of all days": (oddities.FIRST_DAY, "0001-01-01T00:00:00"),
    "without a zone": (oddities.without_zone, "2026-10-09T02:14:08.445567"),
    "with seven digits": (oddities.with_seven_digits, "2026-10-09T02:14:08.4455677Z"),
    "in the future": (oddities.IN_THE_FUTURE, "2099-01-01T00:00:00Z"),
}


@pytest.mark.parametrize("odd", ODD_DATES)
@pytest.mark.parametrize("name", ["createdTimeUtc", "lastModifiedTimeUtc"])
async def test_an_odd_date_is_shown_after_each_change_and_listed_where_it_belongs(
    rest: Rest, workspace: SandboxWorkspace, clock: Clock, name: str, odd: str
) -> None:
    clock.forward()
    incident = workspace.add_incident(created=clock.now)
    form, expected = ODD_DATES[odd]
    incident.odd = {name: form}
    incident.touch()
    alone = (await rest(incident.name)).json()
    assert alone["properties"].get(name) == expected
    within = f"properties/{name} ge {START:%FT%T.%fZ} and properties/{name} le {clock.now:%FT%T.%fZ}"
    assert (await rest(filter=within)).json() == {"value": [alone]}


async def test_dates_may_really_lie_in_the_future_and_are_listed_there(
    rest: Rest, workspace: SandboxWorkspace
) -> None:
    future = datetime(2099, 1, 1, tzinfo=UTC)
    incident = workspace.add_incident(created=future)
    assert await changed(rest, incident) == future
    before = "properties/lastModifiedTimeUtc lt 2099-01-01T00:00:00Z"
    assert (await rest(filter=before)).json()["value"] == []
    incident.touch(at=START)
    assert len((await rest(filter=before)).json()["value"]) == 1
