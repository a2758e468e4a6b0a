"""The vendor's example of each ticket system, and what the link keeps of it: payloads/tickets.

The examples are those of https://docs.contraforce.com, operation `v2-link-ticket`, with realistic values.
"""

import json
from dataclasses import dataclass
from inspect import getfile
from pathlib import Path
from typing import Any, Final

from contraforce_sentinel.contraforce.ticket_systems.model import TicketSystem
from contraforce_sentinel.domain.tickets import Ticket

EXAMPLES: Final = Path(__file__).parent / "payloads" / "tickets"


@dataclass(frozen=True)
class Example:
    """The published ticket object of one system, and the ticket that is read from it."""

    published: dict[str, Any]
    kept: Ticket


def stem(system: TicketSystem) -> str:
    """Return what the files of a system are called."""
    return Path(getfile(system.model)).stem


def example(name: str) -> Example:
    found = json.loads((EXAMPLES / f"{name}.json").read_text())
    return Example(found["published"], Ticket(**found["kept"]))
