"""Promise (g): incidents are followed as they change, through the real worker, on both stores."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest
import pytest_asyncio
from conftest import App, Clock

from contraforce_sentinel.azure import sentinel
from contraforce_sentinel.bootstrap import build, close_app, current_app
from contraforce_sentinel.domain.incidents import Delivery, IncidentId, WorkspaceId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.records import LinkState
from contraforce_sentinel.settings import Settings
from contraforce_sentinel.telemetry.events import EVENT_NAME
from sandbox import SandboxIncident, faults
from sandbox.requestlog import Operation

pytestmark = pytest.mark.usefixtures("no_backoff")

HOUR: Final = timedelta(hours=1)


@pytest_asyncio.fixture(params=["sqlite", pytest.param("tables", marks=pytest.mark.slow)])
async def following(
    app: App, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[App]:
    """The app over a store, with a minimum severity."""
    if request.param == "tables":
        monkeypatch.setenv("LINK_STORE", app.sandbox.tables.connection_string)
    monkeypatch.setenv("MINIMUM_SEVERITY", "Medium")
    await close_app()
    yield app
    await close_app()


async def record(incident: SandboxIncident) -> Link | None:
    return await current_app().store.get(IncidentId.parse(incident.arm_id))


async def standing(incident: SandboxIncident) -> tuple[str, str | None]:
    found = await record(incident)
    return ("none", None) if found is None else (found.state, found.reason)


def told(caplog: pytest.LogCaptureFixture, name: str, incident: SandboxIncident) -> list[dict[str, Any]]:
    key = IncidentId.parse(incident.arm_id).key
    found = [vars(one) for one in caplog.records if vars(one).get(EVENT_NAME) == name]
    return [one for one in found if one["incident"] == key]


def links(app: App, incident: SandboxIncident) -> int:
    key = IncidentId.parse(incident.arm_id).name
    return sum(one.body["incident"]["id"] == key for one in app.sandbox.log.of("contraforce.link"))


async def several_runs(app: App, count: int = 3) -> None:
    for _ in range(count):
        await app.reconcile()


@pytest.mark.parametrize("by", ["timer", "delivery"])
async def test_a_raised_incident_is_linked_once_by_the_next_run(
    following: App, caplog: pytest.LogCaptureFixture, by: str
) -> None:
    incident = following.workspace.add_incident(severity="Low")
    if by == "timer":
        await following.reconcile()
    else:
        assert (await following.post(incident)).json["reason"] == "below-minimum-severity"
    assert await standing(incident) == ("skipped", "below-minimum-severity")
    incident.set_severity("High")
    await several_runs(following)
    assert (await standing(incident), links(following, incident)) == (("linked", None), 1)
    assert len(incident.comments) == 1
    (revived,) = told(caplog, "link.revived", incident)
    assert (revived["was"], revived["outcome"]) == ("below-minimum-severity", "pending")


async def test_a_reopened_incident_is_linked_once_by_the_next_run(
    following: App, caplog: pytest.LogCaptureFixture
) -> None:
    incident = following.workspace.add_incident(status="Closed")
    await following.reconcile()
    assert await standing(incident) == ("skipped", "closed")
    incident.reopen()
    await several_runs(following)
    assert (await standing(incident), links(following, incident)) == (("linked", None), 1)
    assert len(incident.comments) == len(told(caplog, "link.revived", incident)) == 1


async def test_an_incident_that_enters_sentinel_late_is_linked_once(following: App) -> None:
    await following.reconcile()
    following.workspace.add_incident()
    await following.reconcile()
    late = following.workspace.arrive_late(created=datetime.now(UTC) - 20 * HOUR)
    await several_runs(following)
    assert (await standing(late), links(following, late)) == (("linked", None), 1)
    assert len(late.comments) == 1


async def test_a_merge_after_linking_is_told_once_over_20_runs(
    following: App, caplog: pytest.LogCaptureFixture
) -> None:
    incident = following.workspace.add_incident()
    await following.reconcile()
    incident.merge_away(label="reDirected")
    await several_runs(following, 20)
    assert (await standing(incident), links(following, incident)) == (("linked", None), 1)
    (merged,) = told(caplog, "link.merged", incident)
    found = await record(incident)
    assert found is not None
    assert found.ticket is not None
    assert (merged["outcome"], merged["ticket_number"]) == ("linked", found.ticket.number)
    assert found.seen.state == "merged"


async def test_an_incident_that_was_closed_before_it_was_linked_is_skipped(following: App) -> None:
    incident = following.workspace.add_incident()
    following.sandbox.faults.plan("contraforce.link", faults.status(503), times=None)
    await following.reconcile()
    assert await standing(incident) == ("pending", "contraforce-unavailable")
    incident.close()
    following.sandbox.faults.clear()
    await several_runs(following)
    assert (await standing(incident), links(following, incident) <= 4) == (("skipped", "closed"), True)
    assert incident.comments == []


async def test_a_deleted_incident_is_skipped_and_its_removal_stops_nothing(
    following: App, clock: Clock
) -> None:
    incident = following.workspace.add_incident()
    following.sandbox.faults.plan("contraforce.link", faults.status(503), times=None)
    await following.reconcile()
    following.sandbox.faults.clear()
    incident.delete()
    for _ in range(9):
        clock.ahead += timedelta(minutes=5)
        await following.reconcile()
    assert await standing(incident) == ("skipped", "incident-gone")
    assert incident.comments == []


@pytest.mark.parametrize("ticket", [False, True])
async def test_what_was_dead_is_dead_again_with_its_reason_after_close_and_reopen(
    following: App, caplog: pytest.LogCaptureFixture, *, ticket: bool
) -> None:
    incident = following.workspace.add_incident()
    operation: Operation = "arm.comment.put" if ticket else "contraforce.link"
    code = "BAD_REQUEST"
    refusal = faults.arm_error(400, code) if ticket else faults.problem(400, problem_code=code)
    following.sandbox.faults.plan(operation, refusal)
    await following.reconcile()
    before = await record(incident)
    assert before is not None
    assert before.state is LinkState.DEAD
    incident.close()
    await several_runs(following)
    assert await standing(incident) == ("skipped", "closed")
    incident.reopen()
    await several_runs(following)
    after = await record(incident)
    assert after is not None
    kept = {"state", "reason", "code", "fields", "ticket", "next_try_at"}
    assert after.model_dump(include=kept) == before.model_dump(include=kept)
    assert (links(following, incident), len(told(caplog, "link.revived", incident))) == (1, 1)
    assert (await following.post(incident)).status == 422


async def test_a_delivery_of_a_reopened_incident_brings_its_link_back_at_once(
    following: App, caplog: pytest.LogCaptureFixture
) -> None:
    incident = following.workspace.add_incident(status="Closed")
    await following.post(incident)
    incident.reopen()
    assert (await following.post(incident)).json["status"] == "linked"
    assert len(told(caplog, "link.revived", incident)) == 1
    await several_runs(following)
    assert (links(following, incident), len(told(caplog, "link.revived", incident))) == (1, 1)


@pytest.mark.parametrize("what", ["close", "merge_away"])
@pytest.mark.parametrize("body", ["late", "bare"])
async def test_a_delivery_of_an_incident_that_is_not_open_any_more_brings_nothing_back(
    following: App, caplog: pytest.LogCaptureFixture, what: str, body: str
) -> None:
    """A playbook may be late, or be run again by hand: its body is older than what was seen."""
    incident = following.workspace.add_incident()
    given = incident.trigger_body() if body == "late" else {"incidentArmId": incident.arm_id}
    getattr(incident, what)()
    await following.reconcile()
    for _ in range(2):
        assert (await following.post(given)).json["status"] == "skipped"
    assert (links(following, incident), told(caplog, "link.revived", incident)) == (0, [])


async def test_two_timers_at_once_double_nothing(following: App, caplog: pytest.LogCaptureFixture) -> None:
    workspace = following.workspace
    made = [workspace.add_incident(severity="Low") for _ in range(6)]
    linked = [workspace.add_incident() for _ in range(3)]
    await following.reconcile()
    for incident in made:
        incident.set_severity("High")
    for incident in linked:
        incident.merge_away()
    late = [workspace.arrive_late(created=datetime.now(UTC) - 20 * HOUR) for _ in range(3)]
    other = build(Settings.from_environment(dict(os.environ)))
    try:
        for _ in range(3):
            await asyncio.gather(following.reconcile(), other.reconciler.run())
    finally:
        await other.close()
    assert [await standing(one) for one in [*made, *late]] == [("linked", None)] * 9
    assert [links(following, one) for one in [*made, *late, *linked]] == [1] * 12
    assert [len(one.comments) for one in [*made, *late, *linked]] == [1] * 12
    assert [len(told(caplog, "link.revived", one)) for one in made] == [1] * 6
    assert [len(told(caplog, "link.merged", one)) for one in linked] == [1] * 3


async def test_a_record_that_a_worker_holds_is_not_written_and_the_watermark_waits_for_it(
    following: App, clock: Clock
) -> None:
    early = following.workspace.add_incident()
    await following.reconcile()
    store, incident_id = current_app().store, IncidentId.parse(early.arm_id)
    linked = await store.get(incident_id)
    assert linked is not None
    held = await store.replace(linked.claimed(owner="other", now=clock()))
    early.merge_away()
    await following.reconcile()
    feed = await store.feed(incident_id.workspace)
    assert feed is not None
    assert feed.watermark is not None
    assert feed.watermark < early.changed
    assert await store.get(incident_id) == held
    clock.ahead += timedelta(minutes=5)
    await following.reconcile()
    found = await store.get(incident_id)
    assert found is not None
    assert found.seen.state == "merged"


async def test_what_was_created_before_the_workspace_was_followed_is_left_to_backfill_and_counted(
    following: App,
) -> None:
    old = following.workspace.arrive_late(created=datetime.now(UTC) - 48 * HOUR)
    # backfill would not link these
    following.workspace.arrive_late(created=datetime.now(UTC) - 48 * HOUR, severity="Low")
    following.workspace.arrive_late(created=datetime.now(UTC) - 48 * HOUR, status="Closed")
    await following.reconcile()
    run = await current_app().store.last_run()
    assert run is not None
    assert (await standing(old), run.left_to_backfill) == (("none", None), 1)
    assert (await following.post(old)).json["status"] == "linked"


async def test_what_is_left_to_backfill_is_counted_once_in_a_run(following: App, clock: Clock) -> None:
    old = following.workspace.arrive_late(created=datetime.now(UTC) - 48 * HOUR)
    following.workspace.add_incident()
    await following.reconcile()
    clock.ahead = timedelta(days=1)
    old.touch(at=clock() - timedelta(minutes=2))
    following.workspace.add_incident(created=clock() - timedelta(minutes=1))
    await following.reconcile()
    run = await current_app().store.last_run()
    assert run is not None
    assert run.left_to_backfill == 1


async def test_what_retention_has_removed_the_timer_never_links_again(
    following: App, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINK_RETENTION_DAYS", "1")
    await close_app()
    now = datetime.now(UTC)
    incidents = [following.workspace.add_incident(created=now - timedelta(minutes=n)) for n in range(3)]
    undated, of_the_future = following.workspace.add_incident(), following.workspace.add_incident()
    undated.odd = {"createdTimeUtc": None}
    of_the_future.odd = {"createdTimeUtc": "2099-01-01T00:00:00Z"}
    everything = [*incidents, undated, of_the_future]
    await following.reconcile()
    for _ in range(3):
        clock.ahead += timedelta(days=1, minutes=10)
        for incident in everything:
            incident.touch(at=clock() - timedelta(minutes=1))
        await several_runs(following, 2)
    assert [(await standing(one))[0] for one in incidents] == ["none"] * 3
    mark = await current_app().store.creation_watermark(WorkspaceId.parse(following.workspace.arm_id))
    assert mark is not None
    assert all(incident.created < mark - HOUR for incident in incidents)  # 0.1.0 looks an hour back
    assert [links(following, one) for one in everything] == [1] * 5


async def test_a_record_that_was_made_by_a_clock_that_is_slow_is_removed_all_the_same(
    following: App, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINK_RETENTION_DAYS", "1")
    await close_app()
    incident = following.workspace.add_incident()
    clock.ahead = -timedelta(seconds=30)
    await following.reconcile()
    for days in (0, 1, 2):
        clock.ahead = timedelta(days=days, minutes=20 * days)
        following.workspace.add_incident(status="Closed", created=clock() - timedelta(minutes=1))
        await several_runs(following, 2)
    assert await record(incident) is None


async def test_a_clock_that_falls_behind_brings_back_nothing_that_retention_has_removed(
    following: App, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINK_RETENTION_DAYS", "1")
    await close_app()
    incident = following.workspace.add_incident()
    await following.reconcile()
    clock.ahead = timedelta(days=1, minutes=20)
    following.workspace.add_incident(status="Closed", created=clock() - timedelta(minutes=1))
    await several_runs(following, 2)
    clock.ahead += timedelta(days=1)
    await following.reconcile()
    assert await record(incident) is None
    right, clock.ahead = clock.ahead, timedelta(days=-365)
    await several_runs(following, 2)
    clock.ahead = right
    incident.touch(at=clock() - timedelta(minutes=1))
    await several_runs(following, 2)
    assert (await record(incident), links(following, incident)) == (None, 1)


async def test_a_quiet_workspace_costs_one_list_call_a_run(following: App) -> None:
    following.workspace.add_incident()
    await several_runs(following, 2)
    for _ in range(5):
        following.sandbox.log.clear()
        await following.reconcile()
        assert following.sandbox.log.count("arm.incidents") == 1


async def test_a_minimum_that_was_lowered_is_taken_up_by_the_next_days_second_look(
    following: App, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    low = following.workspace.add_incident(severity="Low")
    await following.reconcile()
    following.workspace.add_incident(created=datetime.now(UTC) + 2 * HOUR)
    clock.ahead = 3 * HOUR
    await following.reconcile()
    monkeypatch.setenv("MINIMUM_SEVERITY", "Low")
    await close_app()
    await following.reconcile()
    assert await standing(low) == ("skipped", "below-minimum-severity")
    clock.ahead = 27 * HOUR
    await following.reconcile()
    assert await standing(low) == ("linked", None)


async def test_the_minimum_severity_is_the_customers(following: App, monkeypatch: pytest.MonkeyPatch) -> None:
    customers = json.loads(following.sandbox.environment()["WORKSPACES"])
    customers[0]["minimumSeverity"] = "high"
    monkeypatch.setenv("WORKSPACES", json.dumps(customers))
    await close_app()
    medium, high = (following.workspace.add_incident(severity=one) for one in ("Medium", "High"))
    await following.reconcile()
    assert [await standing(one) for one in (medium, high)] == [
        ("skipped", "below-minimum-severity"),
        ("linked", None),
    ]


async def all_decided(app: App, incidents: list[SandboxIncident]) -> list[str]:
    """Return the names of those that the store does not know."""
    ids = [IncidentId.parse(one.arm_id) for one in incidents]
    known = await current_app().store.glimpse(ids)
    return [one.name for one in ids if one.key not in known]


@pytest.mark.deep
async def test_2500_changes_over_an_outage_are_decided_within_two_runs(
    following: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    """300 are changed again or deleted between two list calls, 900 have one time of change."""
    workspace, now = following.workspace, datetime.now(UTC)
    await following.reconcile()
    start = now - 6 * HOUR
    spread = [
        workspace.add_incident(status="Closed", created=start + n * timedelta(seconds=10))
        for n in range(1600)
    ]
    at_once = [workspace.add_incident(status="Closed", created=start + 3 * HOUR) for _ in range(900)]
    moving = [*spread[100:1600:10], *at_once[::6]]

    def disturb(number: int) -> None:
        for incident in moving[number * 30 : (number + 1) * 30]:
            incident.delete() if number % 3 == 0 else incident.touch()
        if (number + 1) * 30 < len(moving):
            workspace.listing.after(1, lambda: disturb(number + 1))

    workspace.listing.after(1, lambda: disturb(0))
    await several_runs(following, 2)
    present = [one for one in [*spread, *at_once] if one in workspace.incidents.values()]
    assert 2_500 - 120 <= len(present) < 2_500
    assert await all_decided(following, present) == []
    assert following.sandbox.log.count("contraforce.link") == 0


@pytest.mark.deep
async def test_more_than_a_list_can_show_at_one_moment_is_told_and_the_rest_goes_on(
    following: App, caplog: pytest.LogCaptureFixture
) -> None:
    workspace, moment = following.workspace, datetime.now(UTC) - HOUR * 3
    crowd = [workspace.add_incident(status="Closed", created=moment) for _ in range(1500)]
    later = [workspace.add_incident(status="Closed", created=moment + HOUR) for _ in range(300)]
    await following.reconcile()
    assert len(await all_decided(following, crowd)) == 500
    assert await all_decided(following, later) == []
    stuck = [vars(one) for one in caplog.records if vars(one).get(EVENT_NAME) == "feed.stuck"]
    assert [one["workspace"] for one in stuck] == [WorkspaceId.parse(workspace.arm_id).key]


@pytest.mark.slow
async def test_an_incident_that_changed_costs_one_read_of_the_store_at_most_and_another_none(
    app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LINK_STORE", app.sandbox.tables.connection_string)
    await close_app()
    linked = [app.workspace.add_incident() for _ in range(30)]
    await several_runs(app, 2)

    def records_read() -> list[str]:
        reads = [call.path.lower() for call in app.sandbox.log.of("tables.get")]
        return [path for path in reads if "link-" in path]

    app.sandbox.log.clear()
    await app.reconcile()
    assert records_read() == []
    for incident in linked[:10]:
        incident.merge_away()
    for incident in linked[10:20]:
        incident.touch()
    await app.reconcile()
    read = records_read()
    assert len(read) == len(set(read)) == 20
    seen = [found.seen.state for one in linked[:10] if (found := await record(one))]
    assert seen == ["merged"] * 10


async def test_a_page_that_shows_one_again_because_it_was_changed_meanwhile_hides_no_other(
    following: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sentinel, "PAGE_SIZE", 1)
    now = datetime.now(UTC)
    moved, hidden = (
        following.workspace.add_incident(status="Closed", created=now - minutes * HOUR / 60)
        for minutes in (2, 1)
    )
    following.workspace.listing.after(1, moved.touch)
    await following.reconcile()
    assert [await standing(one) for one in (moved, hidden)] == [("skipped", "closed")] * 2


async def test_a_change_of_an_incident_that_shows_no_time_of_change_is_followed(following: App) -> None:
    incident = following.workspace.add_incident(severity="Low")
    incident.odd = {"lastModifiedTimeUtc": "yesterday"}
    await several_runs(following, 2)
    incident.set_severity("High")
    await following.reconcile()
    assert await standing(incident) == ("linked", None)


async def test_what_one_run_has_skipped_another_that_read_it_as_due_leaves_alone(
    following: App, caplog: pytest.LogCaptureFixture
) -> None:
    incident = following.workspace.add_incident()
    incident.hold_back()
    await following.post(incident)
    due = await record(incident)
    incident.close()
    await following.reconcile()
    delivery = Delivery(IncidentId.parse(incident.arm_id), is_confirmed=True)
    outcome = await current_app().linking.link(delivery, trigger="timer", known=due)
    assert (outcome.link.state, outcome.link.attempts) == ("skipped", 1)
    assert told(caplog, "link.revived", incident) == []
