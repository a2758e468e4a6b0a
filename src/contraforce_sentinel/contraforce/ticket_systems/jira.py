"""Jira (https://docs.contraforce.com, operation `v2-link-ticket`)."""

from typing import Final

from contraforce_sentinel.contraforce.ticket_systems.model import (
    TicketSystem,
    Tolerant,
    VendorModel,
    VendorTicket,
)
from contraforce_sentinel.domain.tickets import Ticket


class JiraNamed(VendorModel):
    """A Jira status, priority or request type."""

    id: Tolerant[str] = None
    name: Tolerant[str] = None


class JiraAssignee(VendorModel):
    """A Jira user."""

    account_id: Tolerant[str] = None
    display_name: Tolerant[str] = None
    active: Tolerant[bool] = None


class JiraProject(VendorModel):
    """A Jira project."""

    id: Tolerant[str] = None
    name: Tolerant[str] = None
    key: Tolerant[str] = None


class JiraIssueType(VendorModel):
    """A Jira issue type."""

    id: Tolerant[str] = None
    name: Tolerant[str] = None
    project_id: Tolerant[str] = None
    subtask: Tolerant[bool] = None


class JiraTicket(VendorTicket):
    """A Jira issue; `number` is the issue key (our reading)."""

    id: Tolerant[str] = None
    description: Tolerant[str] = None
    summary: Tolerant[str] = None
    current_status: Tolerant[JiraNamed] = None
    priority: Tolerant[JiraNamed] = None
    assignee: Tolerant[JiraAssignee] = None
    project: Tolerant[JiraProject] = None
    issue_type: Tolerant[JiraIssueType] = None
    request_type: Tolerant[JiraNamed] = None
    labels: Tolerant[list[str]] = None
    available_priorities: Tolerant[list[JiraNamed]] = None
    available_statuses: Tolerant[list[JiraNamed]] = None

    def ticket(self) -> Ticket:
        """Return what the link keeps of it."""
        status = self.current_status.name if self.current_status else None
        return Ticket(system=JIRA.name, number=self.number, id=self.id, title=self.summary, status=status)


JIRA: Final = TicketSystem(name="Jira", field="jiraTicket", model=JiraTicket)
