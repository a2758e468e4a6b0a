"""Autotask (https://docs.contraforce.com, operation `v2-link-ticket`)."""

from datetime import datetime
from typing import Final

from contraforce_sentinel.contraforce.ticket_systems.model import (
    TicketSystem,
    Tolerant,
    VendorModel,
    VendorTicket,
    as_text,
)
from contraforce_sentinel.domain.tickets import Ticket


class AutotaskNote(VendorModel):
    """A note of an Autotask ticket."""

    id: Tolerant[int] = None
    description: Tolerant[str] = None
    ticket_id: Tolerant[int] = None
    title: Tolerant[str] = None


class AutotaskTicket(VendorTicket):
    """An Autotask ticket; `status` and the other numbers are ids of the customer's picklists."""

    id: Tolerant[int] = None
    company_id: Tolerant[int] = None
    project_id: Tolerant[int] = None
    assigned_resource_id: Tolerant[int] = None
    assigned_resource_role_id: Tolerant[int] = None
    billing_code_id: Tolerant[int] = None
    category_id: Tolerant[int] = None
    type: Tolerant[int] = None
    title: Tolerant[str] = None
    description: Tolerant[str] = None
    priority: Tolerant[str] = None
    status: Tolerant[int] = None
    queue_id: Tolerant[int] = None
    due_date_time: Tolerant[datetime] = None
    notes: Tolerant[list[AutotaskNote]] = None

    def ticket(self) -> Ticket:
        """Return what the link keeps of it."""
        return Ticket(
            system=AUTOTASK.name,
            number=self.number,
            id=as_text(self.id),
            title=self.title,
            status=as_text(self.status),
        )


AUTOTASK: Final = TicketSystem(
    name="Autotask", field="autotaskTicket", model=AutotaskTicket, status_note="picklist value"
)
