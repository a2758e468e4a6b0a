"""What a ticket system of the sandbox is, and a ticket of one."""

from collections.abc import Callable
from dataclasses import dataclass

from sandbox.bodies import JsonObject


@dataclass(frozen=True, slots=True)
class TicketSystem:
    """A service desk, by ContraForce's name; `field` is the place of its ticket in an answer's `data`.

    `body` makes a ticket as ContraForce shows it, of a sequence number and a title.
    """

    name: str
    field: str
    body: Callable[[int, str], JsonObject]


@dataclass(frozen=True, slots=True)
class Ticket:
    """A ticket of a service desk; `body` is what tickets/link shows of it."""

    system: str
    id: int | str
    number: str
    title: str
    body: JsonObject
