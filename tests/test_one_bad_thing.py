"""Promise (i): one bad record, incident or customer stops nothing else."""

import asyncio
import inspect
import logging
import re
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from conftest import App
from store_fixtures import spoil

from contraforce_sentinel import bootstrap
from contraforce_sentinel.azure import resource_manager
from contraforce_sentinel.azure.pacing import PUTS, Pace
from contraforce_sentinel.bootstrap import close_app, current_app
from contraforce_sentinel.contraforce import client as contraforce
from contraforce_sentinel.domain.customers import Customer
from contraforce_sentinel.domain.incidents import IncidentId, WorkspaceId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.records import LinkState
from contraforce_sentinel.telemetry.events import EVENT_NAME
from contraforce_sentinel.transport import retries
from contraforce_sentinel.use_cases import reconcile, run
from contraforce_sentinel.use_cases.outages import Outages
from sandbox import SandboxIncident, SandboxWorkspace, faults
from sandbox.server import SUBSCRIPTION

PLANTED = "planted-0f9c"
OTHER_SUBSCRIPTION = "22222222-2222-4333-8444-555555555555"
THIRD_SUBSCRIPTION = "33333333-2222-4333-8444-555555555555"
MANY, FEW, GOOD = 300, 5, 36
NESTED = b'{"a":' * 50_000

USE_CASES = Path(reconcile.__file__).parent
CALL = re.compile(r"(?:await|in) self\._((?:workspaces|contraforce|sentinel|store)\.\w+)")
OF_THE_RUN_ITSELF = {"store.last_run", "store.save_run"}
NOT_CALLED_HERE = {"store.get", "workspaces.is_there"}
"""What is due is read with its list; a workspace is looked for after half an hour of 404s (elsewhere)."""
PLACES = sorted(
    {place for path in USE_CASES.glob("*.py") for place in CALL.findall(path.read_text())}
    - OF_THE_RUN_ITSELF
    - NOT_CALLED_HERE
)
"""Every call of a port that the use cases make."""


class Planted(Exception):
    """What no code of the app names."""


def is_about(customer: SandboxWorkspace, value: Any) -> bool:
    match value:
        case IncidentId() | Customer():
            return value.workspace.key == customer.arm_id.lower()
        case Link():
            return value.incident_id.workspace.key == customer.arm_id.lower()
        case WorkspaceId():
            return value.key == customer.arm_id.lower()
        case UUID():
            return str(value) == customer.contraforce_id
        case list():
            return any(is_about(customer, one) for one in value)
        case _:
            return False


def plant(place: str, customer: SandboxWorkspace, *, after: bool) -> None:
    """Let one call of a port raise for one customer, before its effect or after it."""
    name, method = place.split(".")
    port: Any = getattr(current_app(), name)
    original = getattr(port, method)

    def concerns(arguments: Sequence[Any]) -> bool:
        return any(is_about(customer, value) for value in arguments)

    async def raising(*args: Any, **kwargs: Any) -> Any:
        if not concerns(args):
            return await original(*args, **kwargs)
        if after:
            await original(*args, **kwargs)
        raise Planted(PLANTED)

    async def raising_pages(*args: Any, **kwargs: Any) -> Any:
        if concerns(args) and not after:
            raise Planted(PLANTED)
        async for page in original(*args, **kwargs):
            yield page
            if concerns(args):
                raise Planted(PLANTED)

    setattr(port, method, raising_pages if inspect.isasyncgenfunction(original) else raising)


async def add_due(customer: SandboxWorkspace, number: int) -> list[SandboxIncident]:
    """Add incidents, too old for discovery, whose links are due."""
    now = datetime.now(UTC)
    incidents = [customer.add_incident(created=now - timedelta(days=3)) for _ in range(number)]
    store = current_app().store
    links = [
        Link(
            incident_id=IncidentId.parse(incident.arm_id),
            next_try_at=now - timedelta(hours=1),
            created_at=now,
            updated_at=now,
        )
        for incident in incidents
    ]
    for link in links:
        await store.insert(link)
    return incidents


@pytest.fixture(params=["sqlite", pytest.param("tables", marks=pytest.mark.deep)])
async def customers(
    request: pytest.FixtureRequest, app: App, monkeypatch: pytest.MonkeyPatch
) -> dict[str, SandboxWorkspace]:
    """One bad customer of each kind; the app knows them, and good ones, over either store."""
    found = {name: app.sandbox.add_workspace(name=name) for name in ("refusing", "hanging", "unreadable")}
    for place in PLACES:
        for moment in ("before", "after"):
            name = f"{place.replace('.', '-').replace('_', '-')}-{moment}"
            found[f"{place} {moment}"] = app.sandbox.add_workspace(name=name, subscription=OTHER_SUBSCRIPTION)
    for number in range(GOOD):  # half of them share their subscription with the bad ones
        subscription = SUBSCRIPTION if number % 2 else THIRD_SUBSCRIPTION
        app.sandbox.add_workspace(name=f"good-{number}", subscription=subscription)
    monkeypatch.setenv("WORKSPACES", app.sandbox.environment()["WORKSPACES"])
    if request.param == "tables":
        monkeypatch.setenv("LINK_STORE", app.sandbox.tables.connection_string)
    await close_app()
    return found


@pytest.mark.slow
@pytest.mark.usefixtures("no_backoff")
async def test_promise_i_whatever_happens_to_some_customers_the_others_are_linked_in_the_same_run(
    app: App,
    customers: dict[str, SandboxWorkspace],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One refuses, one hangs, one has unreadable records only, and for the others every port raises."""
    monkeypatch.setattr(retries, "DEADLINE_SECONDS", 8.0)  # a busy machine needs some for twenty at once
    refusing, hanging = customers["refusing"].contraforce_id, customers["hanging"].contraforce_id
    sandbox = app.sandbox
    sandbox.faults.plan(
        "contraforce.link", faults.html(502), times=None, where=lambda call: refusing in call.path
    )
    sandbox.faults.plan(
        "contraforce.link", faults.hang(), times=None, where=lambda call: hanging in call.path
    )
    for name in ("refusing", "hanging", "unreadable", "contraforce.link_ticket before"):
        await add_due(customers[name], MANY)
    for place in PLACES:
        await add_due(customers[f"{place} after"], FEW)
    for incident in list(customers["unreadable"].incidents.values()):
        await spoil(current_app().store, IncidentId.parse(incident.arm_id))
    good = [one for one in sandbox.arm.workspaces.values() if one.name.startswith("good-")]
    wanted = [one for customer in good for one in (*await add_due(customer, 1), customer.add_incident())]
    for customer in customers.values():
        customer.add_incident()
    for place in PLACES:
        plant(place, customers[f"{place} before"], after=False)
        plant(place, customers[f"{place} after"], after=True)

    await app.reconcile()

    assert Counter(len(incident.comments) for incident in wanted) == {1: 2 * GOOD}
    run = await current_app().store.last_run()
    assert run is not None
    assert run.unreadable == MANY
    tried = Counter(call.path.split("/")[4] for call in sandbox.log.of("contraforce.link"))
    assert (tried[refusing], tried[hanging]) == (3, 3)
    store = current_app().store
    raising = WorkspaceId.parse(customers["contraforce.link_ticket before"].arm_id)
    pending = await store.in_state(raising, LinkState.PENDING, after="", limit=2 * MANY)
    assert Counter((link.reason, link.code) for link in pending.links) == {
        ("unexpected", "Planted"): MANY + 1
    }
    told = Counter(vars(record).get(EVENT_NAME) for record in caplog.records)
    assert told["record.unreadable"] == MANY
    assert not any(PLANTED in f"{record.__dict__}" for record in caplog.records)


@pytest.mark.parametrize("operation", ["arm.workspace", "arm.incident", "arm.comment.put", "identity.token"])
async def test_json_nested_too_deep_is_an_answer_that_cannot_be_read_and_is_recorded(
    app: App, no_backoff: None, operation: Any
) -> None:
    app.sandbox.faults.plan(operation, faults.Fault(status=200, body=NESTED), times=None)
    incident = app.workspace.add_incident()
    answer = await app.post({"incidentArmId": incident.arm_id})
    assert answer.status == 202
    assert answer.json["reason"].endswith("-unavailable")
    app.sandbox.faults.clear()
    assert (await app.post(incident)).json["status"] == "linked"


async def test_json_nested_too_deep_in_a_listing_stops_only_that_customers_discovery(
    app: App, monkeypatch: pytest.MonkeyPatch, no_backoff: None
) -> None:
    other = app.sandbox.add_workspace(name="law-other")
    monkeypatch.setenv("WORKSPACES", app.sandbox.environment()["WORKSPACES"])
    (mine,) = await add_due(app.workspace, 1)
    theirs = other.add_incident()
    app.sandbox.faults.plan(
        "arm.incidents",
        faults.Fault(status=200, body=NESTED),
        times=None,
        where=lambda call: app.workspace.arm_id.lower() in call.path.lower(),
    )
    await app.reconcile()
    assert (len(mine.comments), len(theirs.comments)) == (1, 1)
    assert (await app.status()).json["lastTimerRun"]["failedWorkspaces"] == 1


async def test_an_incident_of_a_listing_that_cannot_be_read_is_left_out_alone(app: App) -> None:
    incidents = [app.workspace.add_incident() for _ in range(3)]
    shown = [incident.to_rest() for incident in incidents]
    shown[1]["properties"]["incidentNumber"] = "many"
    app.sandbox.faults.plan("arm.incidents", faults.json(200, {"value": shown}), times=None)
    await app.reconcile()
    assert [len(incident.comments) for incident in incidents] == [1, 0, 1]


async def test_an_import_that_failed_once_is_tried_again(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_file(_: str) -> Any:
        raise OSError(24, "Too many open files")

    manager: Any = current_app().resource_manager
    with monkeypatch.context() as patch:
        patch.setattr(resource_manager, "import_module", no_file)
        patch.delitem(sys.modules, resource_manager._SDK)
        manager.prepare()
        with pytest.raises(OSError, match="Too many"):
            await manager._sdk_is_there
    assert (await app.post(app.workspace.add_incident())).json["status"] == "linked"


async def test_a_run_that_is_over_begins_no_try_that_waited_for_its_turn(
    app: App, monkeypatch: pytest.MonkeyPatch, no_backoff: None
) -> None:
    for number in range(10):
        app.sandbox.add_workspace(name=f"waiting-{number}")
    monkeypatch.setenv("WORKSPACES", app.sandbox.environment()["WORKSPACES"])
    for customer in app.sandbox.arm.workspaces.values():
        await add_due(customer, 1)
    monkeypatch.setattr(run, "_CONCURRENCY", 1)
    monkeypatch.setattr(reconcile, "RUN_SECONDS", 0.5)
    app.sandbox.faults.plan("contraforce.link", faults.slow(0.3), times=None)
    await app.reconcile()
    assert 1 <= app.sandbox.log.count("contraforce.link") <= 4


async def test_a_defect_after_a_success_of_tickets_link_is_dead_at_once_and_calls_it_never_again(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def defect(*_: Any) -> Any:
        raise Planted(PLANTED)

    monkeypatch.setattr(contraforce, "_linked_ticket", defect)
    incident = app.workspace.add_incident()
    answer = await app.post(incident)
    assert (answer.status, answer.json["reason"], answer.json["code"]) == (422, "unexpected", "Planted")
    assert (await app.post(incident)).status == 422
    assert app.sandbox.log.count("contraforce.link") == 1
    (told,) = [vars(one) for one in caplog.records if vars(one).get(EVENT_NAME) == "link.unexpected"]
    assert (told["error"], told["where"].split(":")[0]) == (
        "Planted",
        "contraforce_sentinel.contraforce.client",
    )
    assert PLANTED not in caplog.text


@pytest.mark.parametrize("after", [False, True])
async def test_a_ticket_whose_storing_raises_is_kept_with_its_link(app: App, *, after: bool) -> None:
    store: Any = current_app().store
    replace, raised = store.replace, 0

    async def raising(link: Link) -> Link:
        nonlocal raised
        if link.state is LinkState.TICKETED and not raised:
            raised += 1
            if after:
                await replace(link)
            raise Planted(PLANTED)
        stored: Link = await replace(link)
        return stored

    store.replace = raising
    incident = app.workspace.add_incident()
    answer = await app.post(incident)
    record = (await app.record(incident.name, workspace=incident.workspace.name)).json
    number = app.sandbox.contraforce.created[0].number
    assert record["ticket"]["number"] == number
    assert (answer.status, record["status"]) == ((202, "ticketed") if after else (422, "dead"))
    assert app.sandbox.log.count("contraforce.link") == 1


async def test_a_defect_before_anything_is_recorded_is_a_500_that_names_its_type(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    plant("store.insert", app.workspace, after=False)
    await app.post(app.workspace.add_incident())  # resolves the workspace
    answer = await app.post(app.workspace.add_incident())
    assert (answer.status, answer.json["code"]) == (500, "unexpected")
    assert answer.json["detail"] == "unexpected Planted"
    assert PLANTED not in caplog.text


async def test_a_delivery_of_an_incident_whose_record_cannot_be_read_is_422_and_leaves_it_alone(
    app: App,
) -> None:
    incident, other = app.workspace.add_incident(), app.workspace.add_incident()
    await app.post(incident)
    store = current_app().store
    await spoil(store, IncidentId.parse(incident.arm_id))
    for body in (incident, {"incidentArmId": incident.arm_id}):
        answer = await app.post(body)
        assert (answer.status, answer.json["code"]) == (422, "record-unreadable")
    asked = await app.record(incident.name, workspace=incident.workspace.name)
    assert (asked.status, asked.json["code"]) == (422, "record-unreadable")
    assert (await app.post(other)).json["status"] == "linked"
    assert app.sandbox.log.count("contraforce.link") == 2


async def test_health_counts_due_records_that_cannot_be_read_and_each_is_told_once(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    for incident in (await add_due(app.workspace, 3))[:2]:
        await spoil(current_app().store, IncidentId.parse(incident.arm_id))
    for _ in range(2):
        await app.reconcile()
    assert (await app.status()).json["unreadable"] == 2
    told = [vars(one) for one in caplog.records if vars(one).get(EVENT_NAME) == "record.unreadable"]
    assert len(told) == 2
    assert all(one["levelno"] == logging.ERROR for one in told)


async def test_a_record_whose_removal_raises_holds_back_no_other(
    app: App, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    old = [app.workspace.add_incident() for _ in range(3)]
    await app.reconcile()
    later = datetime.now(UTC) + timedelta(days=100)
    monkeypatch.setattr(bootstrap, "_now", lambda: later)
    await close_app()
    app.workspace.add_incident(created=later - timedelta(minutes=1))
    store: Any = current_app().store
    delete, stuck = store.delete, IncidentId.parse(old[0].arm_id)

    async def raising(link: Link) -> None:
        if link.incident_id == stuck:
            raise Planted(PLANTED)
        await delete(link)

    store.delete = raising
    await app.reconcile()
    assert set(await store.glimpse([IncidentId.parse(one.arm_id) for one in old])) == {stuck.key}
    told = [vars(one) for one in caplog.records if vars(one).get(EVENT_NAME) == "reconcile.link-failed"]
    assert [one["incident"] for one in told] == [stuck.key]
    assert PLANTED not in caplog.text


async def test_what_fails_the_whole_run_is_told_and_raised_by_its_type(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    store: Any = current_app().store

    async def raising() -> None:
        raise Planted(PLANTED)

    store.last_run = raising
    with pytest.raises(Exception, match="unexpected Planted"):
        await app.reconcile()
    (told,) = [vars(one) for one in caplog.records if vars(one).get(EVENT_NAME) == "reconcile.failed"]
    assert told["error"].startswith("unexpected Planted at contraforce_sentinel.use_cases.reconcile:")
    assert PLANTED not in caplog.text


def failed(workspace: WorkspaceId, reason: str | None) -> Link:
    now = datetime.now(UTC)
    link = Link(incident_id=IncidentId(workspace, "i"), created_at=now, updated_at=now)
    return link.model_copy(update={"reason": reason, "state": LinkState.PENDING})


def test_an_outage_is_one_workspaces_until_three_have_it_and_everybodys_until_one_succeeds() -> None:
    one, two, three, other = (WorkspaceId(OTHER_SUBSCRIPTION, "rg", f"law-{n}") for n in range(4))
    outages, down = Outages(), "contraforce-unavailable"
    for workspace in (one, two):
        for _ in range(5):
            outages.note(failed(workspace, down))
        assert outages.affect(workspace, has_ticket=False)
        assert not outages.affect(other, has_ticket=False)
    for _ in range(2):
        outages.note(failed(three, down))
        assert not outages.affect(other, has_ticket=False)
    outages.note(failed(three, down))
    assert outages.affect(other, has_ticket=False)
    assert not outages.affect(other, has_ticket=True)  # which needs ContraForce no more
    for reason in ("closed", "incident-gone", None):  # which say nothing of ContraForce
        outages.note(failed(other, reason))
        assert outages.affect(other, has_ticket=False)
    outages.note(failed(other, "not-ingested-yet"))
    assert not outages.affect(other, has_ticket=False)
    assert outages.affect(one, has_ticket=False)


@pytest.mark.parametrize(
    "reason",
    ["contraforce-unauthorized", "sentinel-unavailable", "workspace-not-found", "workspace-blocked"],
)
def test_what_is_one_customers_own_is_never_everybodys(reason: str) -> None:
    outages = Outages()
    for number in range(5):
        for _ in range(5):
            outages.note(failed(WorkspaceId(OTHER_SUBSCRIPTION, "rg", f"law-{number}"), reason))
    assert not outages.affect(WorkspaceId(OTHER_SUBSCRIPTION, "rg", "law-9"), has_ticket=False)


@pytest.mark.parametrize("reason", ["workspace-not-found", "workspace-blocked", "sentinel-unauthorized"])
def test_a_workspace_that_azure_shuts_is_left_alone_with_its_owed_comments_too(reason: str) -> None:
    outages, workspace = Outages(), WorkspaceId(OTHER_SUBSCRIPTION, "rg", "law-1")
    for _ in range(3):
        assert not outages.affect(workspace, has_ticket=True)
        outages.note(failed(workspace, reason))
    assert outages.affect(workspace, has_ticket=True)
    assert outages.affect(workspace, has_ticket=False)


def test_incidents_that_are_not_there_yet_are_no_outage_of_their_workspace() -> None:
    outages, workspace = Outages(), WorkspaceId(OTHER_SUBSCRIPTION, "rg", "law-1")
    for _ in range(9):
        outages.note(failed(workspace, "incident-gone"))
    assert not outages.affect(workspace, has_ticket=True)


async def test_a_turn_that_hangs_lets_its_neighbours_in_the_subscription_go_on() -> None:
    pace, until = Pace(window_seconds=60), asyncio.get_running_loop().time() + 60
    async with asyncio.timeout(5), pace.turn("s", until=until):
        for _ in range(PUTS - 1):
            async with pace.turn("s", until=until) as has_room:
                assert has_room
                pace.note("s")


async def test_puts_before_the_window_are_forgotten_where_nobody_waits_for_a_turn() -> None:
    """Deliveries alone note them: what is kept would grow with each."""
    pace = Pace(window_seconds=0.01)
    for _ in range(5):
        pace.note("s")
        await asyncio.sleep(0.02)
    assert len(pace._budgets["s"].sent) == 1


async def test_a_reserved_put_counts_until_it_is_given_back() -> None:
    pace, loop = Pace(window_seconds=60), asyncio.get_running_loop()
    for _ in range(PUTS - 1):
        pace.note("s")

    async def take() -> bool:
        async with pace.turn("s", until=loop.time() + 30) as has_room:
            return has_room

    async with pace.turn("s", until=loop.time() + 30):
        waiting = asyncio.create_task(take())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        async with pace.turn("other", until=loop.time() + 30) as has_room:
            assert has_room
    async with asyncio.timeout(5):
        assert await waiting


async def test_where_every_put_is_reserved_the_next_waits_until_one_is_given_back() -> None:
    pace, loop = Pace(window_seconds=60), asyncio.get_running_loop()
    async with AsyncExitStack() as others:
        for _ in range(PUTS - 1):
            await others.enter_async_context(pace.turn("s", until=loop.time() + 30))
        late = pace.turn("s", until=loop.time() + 0.05)
        async with pace.turn("s", until=loop.time() + 30), late as has_room:
            assert not has_room
        async with asyncio.timeout(5), pace.turn("s", until=loop.time() + 30) as has_room:
            assert has_room


async def test_where_a_window_is_full_for_longer_than_a_run_there_is_no_room_at_once() -> None:
    pace, loop = Pace(window_seconds=60), asyncio.get_running_loop()
    for _ in range(PUTS):
        pace.note("s")
    async with asyncio.timeout(5), pace.turn("s", until=loop.time() + 30) as has_room:
        assert not has_room
