"""ServiceNow (https://docs.contraforce.com, operation `v2-link-ticket`)."""

from datetime import datetime
from typing import Final

from contraforce_sentinel.contraforce.ticket_systems.model import (
    TicketSystem,
    Tolerant,
    VendorModel,
    VendorTicket,
)
from contraforce_sentinel.domain.tickets import Ticket


class ServiceNowComment(VendorModel):
    """A journal entry of a ServiceNow incident."""

    sys_id: Tolerant[str] = None
    element_id: Tolerant[str] = None
    value: Tolerant[str] = None
    created_on: Tolerant[datetime] = None
    created_by: Tolerant[str] = None
    element: Tolerant[str] = None


class ServiceNowTicket(VendorTicket):
    """A ServiceNow incident; `id` is its sys_id."""

    id: Tolerant[str] = None
    description: Tolerant[str] = None
    short_description: Tolerant[str] = None
    state: Tolerant[str] = None
    urgency: Tolerant[str] = None
    comments: Tolerant[list[ServiceNowComment]] = None

    def ticket(self) -> Ticket:
        """Return what the link keeps of it."""
        return Ticket(
            system=SERVICE_NOW.name,
            number=self.number,
            id=self.id,
            title=self.short_description,
            status=self.state,
        )


SERVICE_NOW: Final = TicketSystem(name="ServiceNow", field="serviceNowTicket", model=ServiceNowTicket)
