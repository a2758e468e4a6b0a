"""Autotask (https://docs.contraforce.com, operation `v2-link-ticket`): every published field filled in."""

from datetime import timedelta
from typing import Final

from sandbox.bodies import JsonObject, trimmed_time, utc_now
from sandbox.ticket_systems.model import TicketSystem


def _body(sequence: int, title: str) -> JsonObject:
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


AUTOTASK: Final = TicketSystem(name="Autotask", field="autotaskTicket", body=_body)
