"""What the arguments name: an incident, a workspace, a moment. Pure but for the search by number."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import unquote

from contraforce_sentinel.bootstrap import App
from contraforce_sentinel.domain.errors import NotAnIncident, TicketLinkError
from contraforce_sentinel.domain.incidents import IncidentId, WorkspaceId, is_incident_name
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.transport.retries import deadline

_ARM_ID: Final = re.compile(r"/subscriptions/[^?#\s]+", re.IGNORECASE)
_NUMBER: Final = re.compile(r"#?([0-9]{1,9})")
_AGO: Final = re.compile(r"([0-9]{1,5})([mhd])")
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days"}


class WrongArgument(TicketLinkError):
    """An argument that cannot be what it has to be; the message says what would be."""


class NoRecord(TicketLinkError):
    """The link store knows nothing of an incident."""


async def find_incident(app: App, text: str, *, workspace: str | None) -> IncidentId:
    """Read INCIDENT: an ARM id, an address of the Azure portal, or a name or number of `workspace`.

    A number is looked for in Sentinel. Raises `WrongArgument`, and `UpstreamError` if Sentinel cannot tell.
    """
    if arm_id := _ARM_ID.search(unquote(text)):
        try:
            return IncidentId.parse(arm_id[0].rstrip("/"))
        except NotAnIncident as error:
            raise WrongArgument(f"INCIDENT: {error}") from None
    if not app.settings.workspaces:
        raise WrongArgument("INCIDENT: there are no customers, WORKSPACES has none")
    if workspace is None and len(app.settings.workspaces) > 1:
        raise WrongArgument("INCIDENT: a name or a number needs --workspace; or give the incident's ARM id")
    place = one_workspace(app, workspace) if workspace else app.settings.workspaces[0].workspace
    if number := _NUMBER.fullmatch(text):
        found = await app.sentinel.get_numbered(place, int(number[1]), until=deadline())
        if found is None:
            raise WrongArgument(f"INCIDENT: {place.name} has no incident with the number {number[1]}")
        return found.id
    if not is_incident_name(text):
        raise WrongArgument("INCIDENT: give an ARM id, an Azure portal address, a name (GUID) or a number")
    return IncidentId(place, text)


async def find_record(app: App, text: str, *, workspace: str | None) -> Link:
    """Return the record of INCIDENT. Raises `NoRecord`, and as `find_incident`."""
    incident_id = await find_incident(app, text, workspace=workspace)
    app.workspaces.require(incident_id.workspace)
    found = await app.store.get(incident_id) if await app.store.exists() else None
    if found is None:
        raise NoRecord(f"no link is recorded for incident {incident_id.name} of {incident_id.workspace.name}")
    return found


def one_workspace(app: App, text: str) -> WorkspaceId:
    """Return the configured workspace of that name or ARM id. Raises `WrongArgument`."""
    found = app.workspaces.named(text)
    if len(found) > 1:
        raise WrongArgument("--workspace: several have this name; give the ARM id")
    if not found:
        raise WrongArgument("--workspace: no workspace in WORKSPACES has this name or ARM id")
    return found[0]


def some_workspaces(app: App, text: str | None) -> list[WorkspaceId]:
    """Return the workspace that is asked for, or all that are configured."""
    if text is not None:
        return [one_workspace(app, text)]
    return [mapping.workspace for mapping in app.settings.workspaces]


def read_moment(text: str, *, option: str, now: datetime) -> datetime:
    """Read `30d`, `12h`, `90m` (before now), a date, or a date and time; UTC where it says no zone."""
    if ago := _AGO.fullmatch(text):
        return now - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    try:
        found = datetime.fromisoformat(text)
        found = found if found.tzinfo else found.replace(tzinfo=UTC)
        found.astimezone(UTC)  # what lies before the first of all days there cannot be asked for
    except (ValueError, OverflowError):
        raise WrongArgument(f"{option}: give 30d, 12h, 90m, 2026-11-01 or 2026-11-01T08:00") from None
    return found
