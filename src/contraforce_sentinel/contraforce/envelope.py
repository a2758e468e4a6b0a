"""The answer of tickets/link around a ticket, and which ticket of it counts.

Vendor facts: https://docs.contraforce.com, operation `v2-link-ticket`.
"""

from pydantic import ConfigDict

from contraforce_sentinel.contraforce.ticket_systems import TICKET_SYSTEMS
from contraforce_sentinel.contraforce.ticket_systems.model import Tolerant, VendorModel
from contraforce_sentinel.domain.tickets import Ticket


class LinkData(VendorModel):
    """The `data` of the answer; the ticket objects are read only once it is clear which one counts."""

    model_config = ConfigDict(extra="allow")  # the ticket objects: each system has a field of its own

    ticketing_system_type: Tolerant[str] = None
    is_ticket_set: Tolerant[bool] = None

    def ticket(self) -> Ticket | None:
        """Return the ticket; None if the answer says that there is none yet.

        The object that is there decides, the type is a hint for when there are several (our reading).
        Raises `ValidationError` or `AmbiguousTicket`.
        """
        others = self.model_extra or {}
        found = {
            system: value for system in TICKET_SYSTEMS if (value := others.get(system.field)) is not None
        }
        if self.is_ticket_set is False or not found:
            return None
        if len(found) > 1:
            hint = (self.ticketing_system_type or "").lower()
            found = {system: value for system, value in found.items() if system.name.lower() == hint}
        if len(found) != 1:
            raise AmbiguousTicket
        ((system, value),) = found.items()
        return system.model.model_validate(value).ticket()


class Meta(VendorModel):
    """The `meta` of an answer; `request_id` is what ContraForce support asks for."""

    request_id: Tolerant[str] = None
    timestamp: Tolerant[str] = None


class LinkAnswer(VendorModel):
    """The standard v2 envelope of a single item."""

    data: LinkData
    meta: Tolerant[Meta] = None


class AmbiguousTicket(ValueError):
    """Several ticket objects, and no word on which one counts."""
