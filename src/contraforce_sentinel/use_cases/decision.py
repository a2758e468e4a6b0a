"""What an incident needs, as it is now: one pure function for the timer, deliveries and the tool."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

from contraforce_sentinel.domain.customers import Customer
from contraforce_sentinel.domain.incidents import Delivery, Incident, IncidentState
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.reasons import Reason
from contraforce_sentinel.domain.records import LinkState


class Need(StrEnum):
    """What has to be written."""

    NOTHING = "nothing"
    NOTE = "what the incident is now"
    LINK = "it is to be linked"
    SKIP = "it is not to be linked"
    BRING_BACK = "it is to be linked after all"
    TELL_MERGED = "its ticket hangs on an incident that was merged away"


type _Row = tuple[Need, Need, Need, Need, Need, Need]

_COLUMNS: Final = (
    None,
    LinkState.PENDING,
    LinkState.TICKETED,
    LinkState.SKIPPED,
    LinkState.LINKED,
    LinkState.DEAD,
)
"""None: there is no record, or one whose incident nobody has looked at yet."""

_OPEN: Final[_Row] = (Need.LINK, Need.NOTE, Need.NOTE, Need.BRING_BACK, Need.NOTE, Need.NOTE)
_BELOW: Final[_Row] = (Need.SKIP, Need.NOTE, Need.NOTE, Need.NOTE, Need.NOTE, Need.NOTE)
_CLOSED: Final[_Row] = (Need.SKIP, Need.SKIP, Need.NOTE, Need.NOTE, Need.NOTE, Need.SKIP)
_MERGED: Final[_Row] = (Need.SKIP, Need.SKIP, Need.TELL_MERGED, Need.NOTE, Need.TELL_MERGED, Need.SKIP)

_ONCE: Final = frozenset({Need.NOTE, Need.TELL_MERGED})
"""Needed only where the record does not say yet what the incident is."""

_WAS_OPEN: Final = frozenset({LinkState.TICKETED, LinkState.LINKED, LinkState.DEAD})
"""Where a record of an earlier version does not say what the incident was, it was open."""

_SKIPS: Final[Mapping[IncidentState, Reason]] = {
    IncidentState.OPEN: Reason.BELOW_MINIMUM_SEVERITY,
    IncidentState.CLOSED: Reason.CLOSED,
    IncidentState.MERGED: Reason.REDIRECTED,
}


def skip_reason(incident: Incident, customer: Customer) -> Reason | None:
    """Return why an incident that nobody knows gets no ticket link, or None if it gets one."""
    if incident.state is IncidentState.OPEN and incident.reaches(customer.minimum_severity):
        return None
    return _SKIPS[incident.state]


def need(incident: Incident, record: Link | None, customer: Customer) -> Need:
    """Return what an incident needs, given its record."""
    if record is None:
        return need_by_state(incident, None, None, customer)
    if record.seen.is_newer_than(incident):
        return Need.NOTHING
    return need_by_state(incident, record.state, record.seen.state, customer)


def need_by_state(incident: Incident, state: LinkState | None, seen: str | None, customer: Customer) -> Need:
    """Return the same by the two words of a record that decide: its state, and what its incident was."""
    row = {IncidentState.CLOSED: _CLOSED, IncidentState.MERGED: _MERGED}.get(incident.state)
    if row is None:
        row = _OPEN if incident.reaches(customer.minimum_severity) else _BELOW
    if seen is None and state in _WAS_OPEN:
        seen = IncidentState.OPEN
    column = None if state is LinkState.PENDING and seen is None else state
    found = row[_COLUMNS.index(column)]
    return Need.NOTHING if found in _ONCE and seen == incident.state else found


def followed(
    incident: Incident, record: Link, customer: Customer, *, is_confirmed: bool, now: datetime
) -> Link:
    """Return the record as the incident needs it; the same one where it needs nothing.

    `is_confirmed` says that the incident is as Sentinel has it, not as a body says.
    """
    match need(incident, record, customer):
        case Need.SKIP:
            seen = record.saw(incident, is_confirmed=is_confirmed, now=now)
            return seen.skipped(_SKIPS[incident.state], now=now)
        case Need.BRING_BACK:
            return record.saw(incident, is_confirmed=is_confirmed, now=now).brought_back(now=now)
        case _:
            return record.saw(incident, is_confirmed=is_confirmed, now=now)


def brought_back(
    incident: Incident, record: Link, customer: Customer, *, is_confirmed: bool, now: datetime
) -> Link:
    """Return a skipped record as it was before, if its incident is to be linked after all; else the same.

    What only a body says brings back none that could be linked: it is claimed, and Sentinel is asked.
    """
    is_asked = not is_confirmed and record.was_dead is None
    if is_asked or need(incident, record, customer) is not Need.BRING_BACK:
        return record
    return followed(incident, record, customer, is_confirmed=is_confirmed, now=now)


def stays_skipped(link: Link, delivery: Delivery, customer: Customer, known: Link | None) -> bool:
    """Whether a delivery leaves a skipped link as it is.

    Where it names the incident alone, or says that it is to be linked, Sentinel is asked; but not for a link
    that was dead before, nor where another worker has just skipped what the caller has read as due.
    """
    if link.state is not LinkState.SKIPPED:
        return False
    was_due = known is not None and known.state is not LinkState.SKIPPED
    given = delivery.incident
    is_not_to_be = given is not None and need(given, link, customer) is not Need.BRING_BACK
    return was_due or is_not_to_be or link.was_dead is not None


def was_skipped(claim: Link) -> bool:
    """Whether a skipped link was claimed, so that Sentinel has to say what its incident is."""
    return bool(claim.history) and claim.history[-1].state is LinkState.SKIPPED
