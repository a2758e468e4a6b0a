"""Leases and clocks: workers that were frozen, clocks that were wrong, a store that is away for a while."""

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import App, Clock

from contraforce_sentinel.bootstrap import close_app, current_app
from contraforce_sentinel.domain.incidents import IncidentId
from contraforce_sentinel.domain.links import LEASE, LONGEST_RETRY_AFTER, Link
from contraforce_sentinel.domain.records import Lease, LinkState
from contraforce_sentinel.domain.runs import Feed
from contraforce_sentinel.stores import sqlite_file
from contraforce_sentinel.use_cases import linking
from sandbox import Operation, SandboxIncident, faults

pytestmark = pytest.mark.slow


async def until_called(app: App, operation: Operation) -> None:
    while not app.sandbox.log.count(operation):  # noqa: ASYNC110 - the sandbox offers no event
        await asyncio.sleep(0.01)


async def stored(incident: SandboxIncident) -> Link:
    found = await current_app().store.get(IncidentId.parse(incident.arm_id))
    assert found is not None
    return found


@pytest.mark.parametrize("frozen_at", ["arm.workspace", "contraforce.link", "arm.comment.put"])
async def test_a_worker_that_was_frozen_past_its_lease_hands_on_no_further_request(
    app: App, clock: Clock, frozen_at: Operation
) -> None:
    """Its time-outs stood still with it: only the wall clock tells."""
    incident = app.workspace.add_incident()
    app.sandbox.faults.plan(frozen_at, faults.status(503, retry_after="1"))
    delivery = asyncio.create_task(app.post(incident))
    await until_called(app, frozen_at)
    clock.ahead = LEASE
    answer = await delivery
    assert answer.status == 202
    calls = {"arm.workspace": 0, "contraforce.link": 1, "arm.comment.put": 1}
    assert app.sandbox.log.count("contraforce.link") == calls[frozen_at]
    assert app.sandbox.log.count("arm.comment.put") == (frozen_at == "arm.comment.put")


@pytest.mark.parametrize("frozen_at", ["arm.workspace", "contraforce.link"])
@pytest.mark.parametrize("seconds_left", [1, 75])
async def test_a_worker_hands_on_no_request_that_could_have_its_effect_after_its_lease(
    app: App, clock: Clock, frozen_at: Operation, seconds_left: float
) -> None:
    """A request may take 20 s to have its effect, and the next worker's clock may be a minute ahead."""
    app.sandbox.faults.plan(frozen_at, faults.status(503, retry_after="1"))
    delivery = asyncio.create_task(app.post(app.workspace.add_incident()))
    await until_called(app, frozen_at)
    clock.ahead = LEASE - timedelta(seconds=seconds_left)
    assert (await delivery).status == 202
    assert app.sandbox.log.count("contraforce.link") == (frozen_at == "contraforce.link")


async def test_what_a_frozen_worker_left_is_taken_up_by_the_next(app: App, clock: Clock) -> None:
    incident = app.workspace.add_incident()
    app.sandbox.faults.plan("contraforce.link", faults.status(503, retry_after="1"))
    delivery = asyncio.create_task(app.post(incident))
    await until_called(app, "contraforce.link")
    clock.ahead = LEASE
    await delivery
    clock.ahead = 2 * LEASE
    await app.reconcile()
    assert (await stored(incident)).state is LinkState.LINKED
    assert len(incident.comments) == 1


async def test_a_lease_far_ahead_was_written_by_a_wrong_clock_and_holds_nobody_up(app: App) -> None:
    incident = app.workspace.add_incident()
    wrong = datetime.now(UTC) + timedelta(days=365)
    link = Link(incident_id=IncidentId.parse(incident.arm_id), created_at=wrong, updated_at=wrong)
    await current_app().store.insert(link.claimed(owner="in a year", now=wrong))
    assert (await app.post(incident)).json["status"] == "linked"


async def test_a_retry_after_far_ahead_was_written_by_a_wrong_clock_and_holds_nobody_up(app: App) -> None:
    incident = app.workspace.add_incident()
    now = datetime.now(UTC)
    link = Link(
        incident_id=IncidentId.parse(incident.arm_id),
        lease=Lease(owner="gone", until=now),
        not_before=now + LONGEST_RETRY_AFTER + timedelta(minutes=1),
        created_at=now,
        updated_at=now,
    )
    await current_app().store.insert(link)
    assert (await app.post(incident)).json["status"] == "linked"


async def test_an_incident_of_tomorrow_does_not_hide_those_of_today(app: App) -> None:
    """Its creation time must not carry the watermark away."""
    app.workspace.add_incident(created=datetime.now(UTC) + timedelta(days=365))
    await app.reconcile()
    incident = app.workspace.add_incident()
    await app.reconcile()
    assert (await stored(incident)).state is LinkState.LINKED


async def test_a_watermark_that_lies_ahead_already_hides_nothing(app: App) -> None:
    workspace = IncidentId.parse(app.workspace.add_incident().arm_id).workspace
    ahead = datetime.now(UTC) + timedelta(days=365)
    await current_app().store.save_feed(workspace, Feed(follows_from=ahead, watermark=ahead))
    incident = app.workspace.add_incident()
    await app.reconcile()
    assert (await stored(incident)).state is LinkState.LINKED


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold the store's file, as a backup that takes its time does."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


async def ticket_in_hand(app: App, incident: SandboxIncident, tmp_path: Path) -> None:
    """Let a delivery get its ticket while the store takes nothing in."""
    app.sandbox.faults.plan("contraforce.link", faults.slow(0.3))
    delivery = asyncio.create_task(app.post(incident))
    await until_called(app, "contraforce.link")
    with locked(tmp_path / "links.db"):
        answer = await delivery
        assert (answer.status, answer.json["code"]) == (503, "store-unavailable")


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the store give up soon, and the ticket be offered again soon."""
    monkeypatch.setattr(linking, "_OFFER_SECONDS", 0.1)
    monkeypatch.setattr(sqlite_file, "_BUSY_SECONDS", 0.3)


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
async def test_a_ticket_in_hand_is_offered_to_the_store_behind_the_answer(app: App, tmp_path: Path) -> None:
    incident = app.workspace.add_incident()
    await ticket_in_hand(app, incident, tmp_path)
    while (await stored(incident)).ticket is None:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.05)
    assert (await stored(incident)).state is LinkState.TICKETED
    assert app.sandbox.log.count("contraforce.link") == 1


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
async def test_a_ticket_in_hand_is_waited_for_on_shut_down(app: App, tmp_path: Path) -> None:
    incident = app.workspace.add_incident()
    await ticket_in_hand(app, incident, tmp_path)
    await close_app()
    assert (await stored(incident)).state is LinkState.TICKETED


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
async def test_a_ticket_in_hand_is_kept_whatever_the_store_raises(
    app: App, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident, store = app.workspace.add_incident(), current_app().store
    whole, failures = store.replace, [RecursionError("planted"), ValueError("planted"), OSError("planted")]

    async def replace(link: Link) -> Link:
        if failures:
            raise failures.pop()
        return await whole(link)

    monkeypatch.setattr(store, "replace", replace)
    answer = await app.post(incident)
    assert answer.status in {500, 503}
    await close_app()
    assert (await stored(incident)).ticket is not None
    clock.ahead = LEASE
    await app.reconcile()
    assert (await stored(incident)).state is LinkState.LINKED
    assert app.sandbox.log.count("contraforce.link") == 1


@pytest.mark.slow
@pytest.mark.usefixtures("impatient")
async def test_a_ticket_in_hand_is_given_up_when_the_lease_has_ended(
    app: App, clock: Clock, tmp_path: Path
) -> None:
    """From then on, another worker may ask ContraForce again."""
    incident = app.workspace.add_incident()
    app.sandbox.faults.plan("contraforce.link", faults.slow(0.3))
    delivery = asyncio.create_task(app.post(incident))
    await until_called(app, "contraforce.link")
    with locked(tmp_path / "links.db"):
        await delivery
        clock.ahead = LEASE
        await asyncio.wait_for(current_app().linking.finish(), 5)
    assert (await stored(incident)).ticket is None


async def test_a_worker_that_was_frozen_while_it_read_takes_nothing_that_another_holds(
    app: App, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the clock of before its read, the other's lease would lie too far ahead to be one."""
    incident, store = app.workspace.add_incident(), current_app().store
    incident_id = IncidentId.parse(incident.arm_id)
    long_ago = clock() - timedelta(minutes=10)
    link = Link(incident_id=incident_id, created_at=long_ago, updated_at=long_ago)
    await store.insert(link.claimed(owner="gone", now=long_ago))
    get = store.get

    async def frozen(asked: IncidentId) -> Link:
        monkeypatch.setattr(store, "get", get)
        clock.forward(minutes=8)
        found = await get(asked)
        assert found is not None
        return await store.replace(found.claimed(owner="another", now=clock()))

    monkeypatch.setattr(store, "get", frozen)
    assert (await app.post(incident)).status == 202
    held = await get(incident_id)
    assert held is not None
    assert held.lease is not None
    assert (held.lease.owner, app.sandbox.log.count("contraforce.link")) == ("another", 0)
