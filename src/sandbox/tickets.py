"""Pure: tickets of the three systems as ContraForce shows them, with every published field filled in."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Literal
from uuid import NAMESPACE_URL, uuid5

from sandbox.bodies import JsonObject, trimmed_time, utc_now

TicketSystem = Literal["Autotask", "ServiceNow", "Jira"]

FIELD_OF_SYSTEM: Final[dict[TicketSystem, str]] = {
    "Autotask": "autotaskTicket",
    "ServiceNow": "serviceNowTicket",
    "Jira": "jiraTicket",
}


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket of a service desk; `body` is what tickets/link shows of it."""

    system: TicketSystem
    id: int | str
    number: str
    title: str
    body: JsonObject


def make_ticket(system: TicketSystem, sequence: int, title: str) -> Ticket:
    """Return the ticket a system would create; `sequence` starts at 1 and makes id and number."""
    if system == "Autotask":
        body = _autotask(sequence, title)
    elif system == "ServiceNow":
        body = _service_now(sequence, title)
    else:
        body = _jira(sequence, title)
    return Ticket(system=system, id=body["id"], number=body["number"], title=title, body=body)


def envelope_data(system: TicketSystem, ticket: Ticket | None) -> JsonObject:
    """Return the `data` of an answer; without a ticket every ticket object is null."""
    data: JsonObject = dict.fromkeys(FIELD_OF_SYSTEM.values())
    if ticket is not None:
        data[FIELD_OF_SYSTEM[ticket.system]] = ticket.body
    return {**data, "ticketingSystemType": system, "isTicketSet": ticket is not None}


def integers_as_strings(value: Any) -> Any:
    """Return the JSON with each integer as a string of digits, which the vendor allows."""
    if isinstance(value, dict):
        return {name: integers_as_strings(part) for name, part in value.items()}
    if isinstance(value, list):
        return [integers_as_strings(part) for part in value]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _autotask(sequence: int, title: str) -> JsonObject:
    ticket_id = 29_683_000 + sequence
    return {
        "id": ticket_id,
        "companyId": 29_762,
        "projectId": 104,
        "assignedResourceId": 29_682_885,
        "assignedResourceRoleId": 29_682_834,
        "billingCodeId": 29_682_801,
        "categoryId": 3,
        "number": f"T20261123.{41 + sequence:04d}",
        "type": 1,
        "title": title,
        "description": f"Opened by ContraForce for: {title}",
        "priority": "High",
        "status": 1,
        "queueId": 29_682_833,
        "dueDateTime": trimmed_time(utc_now() + timedelta(hours=8)),
        "notes": [
            {
                "id": 31_000_000 + sequence,
                "description": "Linked from ContraForce.",
                "ticketId": ticket_id,
                "title": "Incident linked",
            }
        ],
    }


def _service_now(sequence: int, title: str) -> JsonObject:
    sys_id = uuid5(NAMESPACE_URL, f"servicenow-{sequence}").hex
    return {
        "id": sys_id,
        "description": f"Opened by ContraForce for: {title}",
        "shortDescription": title,
        "number": f"INC{10_022 + sequence:07d}",
        "state": "New",
        "urgency": "High",
        "comments": [
            {
                "sysId": uuid5(NAMESPACE_URL, f"servicenow-comment-{sequence}").hex,
                "elementId": sys_id,
                "value": "Linked from ContraForce.",
                "createdOn": trimmed_time(utc_now()),
                "createdBy": "contraforce.integration",
                "element": "comments",
            }
        ],
    }


def _jira(sequence: int, title: str) -> JsonObject:
    to_do, done = {"id": "10000", "name": "To Do"}, {"id": "10001", "name": "Done"}
    high, low = {"id": "2", "name": "High"}, {"id": "4", "name": "Low"}
    return {
        "id": str(10_420 + sequence),
        "description": f"Opened by ContraForce for: {title}",
        "summary": title,
        "number": f"SEC-{420 + sequence}",
        "currentStatus": to_do,
        "priority": high,
        "assignee": {"accountId": "5b10a2844c20165700ede21g", "displayName": "Sam Analyst", "active": True},
        "project": {"id": "10010", "name": "Security Operations", "key": "SEC"},
        "issueType": {"id": "10004", "name": "Incident", "projectId": "10010", "subtask": False},
        "requestType": {"id": "25", "name": "Report a security incident"},
        "labels": ["contraforce", "sentinel"],
        "availablePriorities": [high, low],
        "availableStatuses": [to_do, done],
    }
