"""Jira (https://docs.contraforce.com, operation `v2-link-ticket`): every published field filled in."""

from typing import Final

from sandbox.bodies import JsonObject
from sandbox.ticket_systems.model import TicketSystem


def _body(sequence: int, title: str) -> JsonObject:
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


JIRA: Final = TicketSystem(name="Jira", field="jiraTicket", body=_body)
