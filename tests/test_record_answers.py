"""What the record of an incident that was followed tells over HTTP, through the real worker."""

from datetime import datetime
from typing import Any

import pytest
from conftest import Answer, App

from contraforce_sentinel.bootstrap import current_app
from contraforce_sentinel.domain.incidents import IncidentId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.tickets import Ticket
from sandbox import SandboxIncident, faults

pytestmark = pytest.mark.usefixtures("no_backoff")
OF_TIMES = ("incidentStateSince", "incidentCreatedAt", "firstSeenAt", "linkedAt")


async def record(app: App, incident: SandboxIncident) -> dict[str, Any]:
    answer = await app.record(incident.name, workspace=incident.workspace.name)
    assert answer.status == 200
    return answer.json


async def stored(incident: SandboxIncident) -> Link:
    found = await current_app().store.get(IncidentId.parse(incident.arm_id))
    assert found is not None
    return found


async def dead_by_its_comment(app: App) -> SandboxIncident:
    """Return an incident with a ticket whose comment Sentinel has refused for good."""
    incident = app.workspace.add_incident()
    app.sandbox.faults.plan("arm.comment.put", faults.arm_error(400, "BadRequest"))
    assert (await app.post(incident)).status == 422
    return incident


@pytest.mark.parametrize("body", ["whole", "trimmed", "bare"])
async def test_it_tells_of_the_incident_and_of_its_way_here(app: App, body: str) -> None:
    incident = app.workspace.add_incident(provider="Microsoft XDR")
    bodies = {
        "whole": incident.trigger_body(),
        "trimmed": incident.trimmed_body(),
        "bare": {"incidentArmId": incident.arm_id},
    }
    assert (await app.post(bodies[body])).status == 200

    found = await record(app, incident)

    assert (found["incidentState"], found["firstSeenBy"]) == ("open", "http")
    assert found["providerIncidentId"] == incident.properties()["providerIncidentId"]
    assert found["ticketWorkspaceId"] == app.workspace.contraforce_id
    created, first, linked = (
        datetime.fromisoformat(found[name]) for name in ("incidentCreatedAt", "firstSeenAt", "linkedAt")
    )
    assert abs(created - incident.created).total_seconds() < 0.001
    assert first <= linked
    nothing_else = {
        "earlierTickets": [],
        "mayHaveTicket": False,
        "wasDead": None,
        "requestedWorkspaceId": None,
    }
    assert {name: found[name] for name in nothing_else} == nothing_else


async def test_it_tells_that_the_timer_brought_an_incident(app: App) -> None:
    incident = app.workspace.add_incident()
    await app.reconcile()
    assert (await record(app, incident))["firstSeenBy"] == "discovery"


@pytest.mark.parametrize(("what", "state"), [("close", "closed"), ("merge_away", "merged")])
async def test_it_tells_what_became_of_a_linked_incident_and_when_that_was_seen(
    app: App, what: str, state: str
) -> None:
    incident = app.workspace.add_incident()
    await app.post(incident)
    before = await record(app, incident)
    getattr(incident, what)()
    await app.reconcile()

    found = await record(app, incident)

    assert (found["status"], found["incidentState"]) == ("linked", state)
    assert found["incidentStateSince"] > before["incidentStateSince"]
    assert found["ticket"] == before["ticket"]
    assert found["linkedAt"] == before["linkedAt"]


async def test_it_tells_of_a_ticket_that_may_be_there_until_it_is_known(app: App) -> None:
    incident = app.workspace.add_incident()
    app.sandbox.faults.plan("contraforce.link", faults.reset("after"), times=None)
    await app.post(incident)
    assert (await record(app, incident))["mayHaveTicket"] is True
    app.sandbox.faults.clear()
    await app.post(incident)
    assert (await record(app, incident))["mayHaveTicket"] is False


async def test_it_tells_of_which_contraforce_workspace_a_ticket_was_asked_for(app: App) -> None:
    incident = app.workspace.add_incident()
    app.sandbox.faults.plan("contraforce.link", faults.status(503), times=None)
    await app.post({**incident.trimmed_body(), "ticketId": "SEC-421"})
    found = await record(app, incident)
    assert found["requestedTicketId"] == "SEC-421"
    assert found["requestedWorkspaceId"] == app.workspace.contraforce_id
    assert found["ticketWorkspaceId"] is None


async def test_it_tells_why_a_skipped_link_was_dead_before(app: App) -> None:
    incident = app.workspace.add_incident()
    app.sandbox.faults.plan(
        "contraforce.link", faults.problem(400, problem_code="VALIDATION_ERROR", errors={"a.b": ["bad"]})
    )
    await app.post(incident)
    incident.close()
    await app.reconcile()
    found = await record(app, incident)
    assert (found["status"], found["reason"], found["code"]) == ("skipped", "closed", None)
    assert found["wasDead"] == {
        "reason": "contraforce-rejected",
        "code": "VALIDATION_ERROR",
        "fields": ["a.b"],
    }
    incident.reopen()
    await app.reconcile()
    again = await record(app, incident)
    assert (again["status"], again["reason"], again["wasDead"]) == ("dead", "contraforce-rejected", None)


async def test_a_delivery_of_a_skipped_link_that_has_a_ticket_is_told_of_the_ticket(app: App) -> None:
    incident = await dead_by_its_comment(app)
    incident.close()
    await app.reconcile()
    answer: Answer = await app.post(incident)
    assert (answer.status, answer.json["status"]) == (200, "skipped")
    assert answer.json["ticket"] == (await record(app, incident))["ticket"]
    assert answer.json["ticket"]["number"]


async def test_it_tells_of_earlier_tickets_and_of_nothing_that_only_a_later_version_knows(app: App) -> None:
    incident = app.workspace.add_incident()
    await app.post(incident)
    link = await stored(incident)
    assert link.ticket is not None
    ticket = Ticket.model_validate({**link.ticket.model_dump(), "of_tomorrow": "x"})
    earlier = Ticket.model_validate({"system": "Jira", "number": "SEC-1", "of_tomorrow": "x"})
    await current_app().store.replace(
        link.model_copy(update={"ticket": ticket, "earlier_tickets": (earlier,)})
    )

    found = await record(app, incident)

    assert found["earlierTickets"] == [
        {"system": "Jira", "number": "SEC-1", "id": None, "title": None, "status": None}
    ]
    assert set(found["ticket"]) == set(found["earlierTickets"][0])
    assert (await stored(incident)).model_extra == {}
    assert "of_tomorrow" in (await stored(incident)).ticket.model_extra  # type: ignore[union-attr,operator]


async def test_of_a_record_of_an_earlier_version_it_tells_what_that_knew(app: App) -> None:
    incident = app.workspace.add_incident()
    await app.post(incident)
    link = await stored(incident)
    known = {"incident_id", "incident_number", "state", "ticket", "history", "created_at", "updated_at"}
    old = Link.model_validate_json(link.model_dump_json(include=known))
    await current_app().store.replace(old.model_copy(update={"version": link.version}))

    found = await record(app, incident)

    assert (found["status"], found["ticket"]["number"]) == ("linked", link.ticket and link.ticket.number)
    told = {*OF_TIMES, "incidentState", "firstSeenBy", "providerIncidentId", "ticketWorkspaceId", "wasDead"}
    assert {name: found[name] for name in told} == dict.fromkeys(told)
    assert (found["earlierTickets"], found["mayHaveTicket"]) == ([], False)
