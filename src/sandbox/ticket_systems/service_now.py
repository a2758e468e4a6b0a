"""ServiceNow (https://docs.contraforce.com, operation `v2-link-ticket`): every published field filled in."""

from typing import Final
from uuid import NAMESPACE_URL, uuid5

from sandbox.bodies import JsonObject, trimmed_time, utc_now
from sandbox.ticket_systems.model import TicketSystem


def _body(sequence: int, title: str) -> JsonObject:
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


SERVICE_NOW: Final = TicketSystem(name="ServiceNow", field="serviceNowTicket", body=_body)
