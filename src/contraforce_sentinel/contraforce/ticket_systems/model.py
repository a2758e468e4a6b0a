"""What a ticket system is, and what the models of its tickets have in common.

Vendor facts: https://docs.contraforce.com, operation `v2-link-ticket`. Only the number is needed; every other
field may be null, missing or of another type, and unknown fields are ignored. Integers may come as digits.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic.alias_generators import to_camel

from contraforce_sentinel.domain.tickets import Ticket


def _or_none(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """A field that the vendor changes must not lose the ticket: what does not fit is None."""
    try:
        return handler(value)
    except ValidationError:
        return None


type Tolerant[T] = Annotated[T | None, WrapValidator(_or_none)]


class VendorModel(BaseModel):
    """A JSON object of the vendor's."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        coerce_numbers_to_str=True,
        defer_build=True,  # an incident has one ticket; the models of the other systems are never built
        hide_input_in_errors=True,
    )


class VendorTicket(VendorModel):
    """A ticket as its system has it; `number` is what people call it."""

    number: str

    @abstractmethod
    def ticket(self) -> Ticket:
        """Return what the link keeps of it."""


@dataclass(frozen=True, slots=True)
class TicketSystem:
    """A service desk that ContraForce links to.

    `name` is ContraForce's own, `field` the place of its ticket in an answer's `data`. `status_note` explains
    in the comment what a status of it is.
    """

    name: str
    field: str
    model: type[VendorTicket]
    status_note: str | None = None


def as_text(value: int | None) -> str | None:
    """Return the digits."""
    return None if value is None else str(value)
