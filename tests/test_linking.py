"""The use case between two steps: other workers, a store that fails, leases that ran out."""

import asyncio
import logging
import sqlite3
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest
from conftest import App

from contraforce_sentinel.bootstrap import current_app
from contraforce_sentinel.domain import links
from contraforce_sentinel.domain.incidents import IncidentId
from contraforce_sentinel.domain.records import LinkState
from contraforce_sentinel.stores.sqlite import SqliteLinkStore
from contraforce_sentinel.telemetry.events import EVENT_NAME
from sandbox import Operation, faults

pytestmark = pytest.mark.usefixtures("no_backoff")


async def until_called(app: App, operation: Operation) -> None:
    while not app.sandbox.log.count(operation):  # noqa: ASYNC110 - the sandbox offers no event
        await asyncio.sleep(0.01)


async def test_deliveries_of_a_pending_link_at_once_make_one_try(app: App) -> None:
    incident = app.workspace.add_incident()
    app.sandbox.faults.plan("contraforce.link", faults.problem(404))
    await app.post(incident)
    answers = await asyncio.gather(*(app.post(incident) for _ in range(20)))
    assert Counter(answer.status for answer in answers).keys() <= {200, 202}
    assert app.sandbox.log.count("contraforce.link") == 2
    assert len(incident.comments) == 1


async def test_a_ticket_that_cannot_be_recorded_is_a_loud_event_and_a_503(
    app: App, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    app.sandbox.faults.plan("contraforce.link", faults.slow(0.2))
    delivery = asyncio.create_task(app.post(app.workspace.add_incident()))
    await until_called(app, "contraforce.link")
    with sqlite3.connect(tmp_path / "links.db") as database:
        database.execute("DROP TABLE links")
    database.close()
    answer = await delivery
    assert (answer.status, answer.json["code"]) == (503, "store-unavailable")
    (loud,) = [vars(record) for record in caplog.records if record.levelno == logging.ERROR]
    assert loud[EVENT_NAME] == "ticket.not-recorded"
    assert loud["ticket_number"] == app.sandbox.contraforce.created[0].number
    assert app.sandbox.log.count("arm.comment.put") == 0
    (offer,) = current_app().linking._offers  # it would go on until the lease ends
    offer.cancel()


async def test_a_worker_whose_lease_ran_out_answers_with_the_record_of_the_one_that_took_over(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The slow worker's comment is the same comment, so nothing is doubled."""
    incident = app.workspace.add_incident()
    incident_id = IncidentId.parse(incident.arm_id)
    app.sandbox.faults.plan("arm.comment.put", faults.slow(0.3))
    slow = asyncio.create_task(app.post(incident))
    await until_called(app, "arm.comment.put")
    store = SqliteLinkStore(tmp_path / "links.db")
    found = await store.get(incident_id)
    assert found is not None
    later = datetime.now(UTC) + links.LEASE
    assert not found.is_claimable(later - links.LEASE / 2)
    assert found.is_claimable(later)
    taken = await store.replace(found.claimed(owner="another", now=later))
    await store.replace(taken.linked(now=later))
    await store.close()
    answer = await slow
    assert (answer.status, answer.json["status"], answer.json["alreadyLinked"]) == (200, "linked", False)
    assert len(incident.comments) == 1


async def test_a_link_whose_worker_died_is_taken_up_when_its_lease_has_ended(
    app: App, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    incident = app.workspace.add_incident()
    store = SqliteLinkStore(tmp_path / "links.db")
    long_ago = datetime.now(UTC) - links.LEASE
    dead = links.Link(
        incident_id=IncidentId.parse(incident.arm_id), created_at=long_ago, updated_at=long_ago
    ).claimed(owner="dead", now=long_ago)
    stored = await store.insert(dead)
    await store.close()
    assert stored is not None
    assert stored.state is LinkState.PENDING
    answer = await app.post(incident)
    assert answer.json["status"] == "linked"
    record = await app.record(incident.name, workspace=app.workspace.name)
    assert record.json["attempts"] == 2


async def test_retry_after_is_honoured_even_when_the_incident_is_delivered_again(app: App) -> None:
    incident = app.workspace.add_incident()
    app.sandbox.faults.plan("contraforce.link", faults.status(429, retry_after="3600"))
    first = await app.post(incident)
    second = await app.post(incident)
    assert (second.status, second.json["retryAt"]) == (202, first.json["retryAt"])
    assert second.json["reason"] == "contraforce-unavailable"
    assert app.sandbox.log.count("contraforce.link") == 1


async def test_a_new_incident_of_a_known_workspace_is_claimed_without_a_look_before(app: App) -> None:
    """A warm delivery costs the store three round trips: claim, ticket, linked."""
    await app.post(app.workspace.add_incident())
    store = current_app().store
    assert isinstance(store, SqliteLinkStore)
    statements: list[str] = []
    await store._file.run(lambda db: db.set_trace_callback(statements.append))
    assert (await app.post(app.workspace.add_incident())).json["status"] == "linked"
    await store._file.run(lambda db: db.set_trace_callback(None))
    assert [statement.split()[0] for statement in statements] == ["INSERT", "UPDATE", "UPDATE"]
