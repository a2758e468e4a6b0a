"""The ticket systems of the sandbox: this list, and one file for each. Pure."""

from typing import Final

from sandbox.bodies import JsonObject
from sandbox.ticket_systems.autotask import AUTOTASK
from sandbox.ticket_systems.jira import JIRA
from sandbox.ticket_systems.model import Ticket, TicketSystem
from sandbox.ticket_systems.service_now import SERVICE_NOW

TICKET_SYSTEMS: Final = (AUTOTASK, SERVICE_NOW, JIRA)


def named(name: str) -> TicketSystem:
    """Return the system of this name. Raises `ValueError` if there is none."""
    systems = {system.name: system for system in TICKET_SYSTEMS}
    if name not in systems:
        raise ValueError(f"{name} is no ticket system of the sandbox; it has {', '.join(systems)}")
    return systems[name]


def make_ticket(system: str, sequence: int, title: str) -> Ticket:
    """Return the ticket a system would create; `sequence` starts at 1 and makes id and number."""
    body = named(system).body(sequence, title)
    return Ticket(system=system, id=body["id"], number=body["number"], title=title, body=body)


def envelope_data(system: str, ticket: Ticket | None) -> JsonObject:
    """Return the `data` of an answer; without a ticket every ticket object is null."""
    data: JsonObject = {each.field: None for each in TICKET_SYSTEMS}
    if ticket is not None:
        data[named(ticket.system).field] = ticket.body
    return {**data, "ticketingSystemType": system, "isTicketSet": ticket is not None}
