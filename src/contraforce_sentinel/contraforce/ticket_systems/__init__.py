"""The ticket systems that ContraForce links to: this list, and one file for each.

A new one is a file beside this one and an entry here; `CONTRIBUTING.md` names the rest.
"""

from typing import Final

from contraforce_sentinel.contraforce.ticket_systems.autotask import AUTOTASK
from contraforce_sentinel.contraforce.ticket_systems.jira import JIRA
from contraforce_sentinel.contraforce.ticket_systems.service_now import SERVICE_NOW

TICKET_SYSTEMS: Final = (AUTOTASK, SERVICE_NOW, JIRA)
NAMES: Final = tuple(system.name for system in TICKET_SYSTEMS)


def status_note(name: str) -> str | None:
    """Return the note of the system of this name; None for one that only a later version knows."""
    return next((system.status_note for system in TICKET_SYSTEMS if system.name == name), None)
