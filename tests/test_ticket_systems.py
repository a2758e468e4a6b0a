"""Every ticket system has all of its places, and each place works; what is missing is named by its file.

A system is known by what its files are called: `jira.py` in what is deployed and in the sandbox, `jira.json`.
"""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from inspect import getfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from deployed import compiled
from openapi import DOCUMENT
from pydantic import ValidationError
from ticket_examples import EXAMPLES, example, stem

from contraforce_sentinel.contraforce import ticket_systems
from contraforce_sentinel.contraforce.envelope import LinkAnswer
from contraforce_sentinel.contraforce.ticket_systems import TICKET_SYSTEMS, status_note
from contraforce_sentinel.contraforce.ticket_systems.model import TicketSystem
from contraforce_sentinel.domain.comments import comment_text
from contraforce_sentinel.domain.errors import SettingsError
from contraforce_sentinel.domain.incidents import IncidentId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.tickets import Ticket
from contraforce_sentinel.settings import Settings
from sandbox import ticket_systems as sandbox_systems

INCIDENT = (
    "/subscriptions/11111111-2222-4333-8444-555555555555/resourceGroups/rg-secops-prod"
    "/providers/Microsoft.OperationalInsights/workspaces/law-sentinel-prod"
    "/providers/Microsoft.SecurityInsights/Incidents/3f1d9a52-7c0e-4b1b-9d5f-6a2f0e8c7b11"
)
TITLE = "Multiple failed sign-ins followed by success"
DEPLOYED, SANDBOX = (Path(getfile(package)).parent for package in (ticket_systems, sandbox_systems))
LISTED = {stem(system): system for system in TICKET_SYSTEMS}
LISTED_IN_SANDBOX = {Path(getfile(system.body)).stem: system for system in sandbox_systems.TICKET_SYSTEMS}
FILES = [path for folder in (DEPLOYED, SANDBOX) for path in folder.glob("*.py")]
STEMS = sorted({path.stem for path in (*FILES, *EXAMPLES.glob("*.json"))} - {"__init__", "model"})
EVERY_SYSTEM = pytest.mark.parametrize("system", TICKET_SYSTEMS, ids=lambda system: system.name)


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def missing(what: str) -> Iterator[str]:
    """Say which file is to be edited, for each place where a system is not."""
    for folder, listed in ((DEPLOYED, LISTED), (SANDBOX, LISTED_IN_SANDBOX)):
        if not (folder / f"{what}.py").exists():
            yield f"{named(folder / what)}.py is not there"
        elif what not in listed:
            yield f"{named(folder / '__init__.py')}: TICKET_SYSTEMS has no system of {what}.py"
    if not (EXAMPLES / f"{what}.json").exists():
        yield f"{named(EXAMPLES / what)}.json is not there: the vendor's example, what is kept of it"
    system = LISTED.get(what) or LISTED_IN_SANDBOX.get(what)
    if system is not None:
        yield from unnamed(system.name)


def unnamed(name: str) -> Iterator[str]:
    """Say which document does not name a system."""
    template = ROOT / "infra" / "main.bicep"
    if name not in compiled()["parameters"]["ticketUrlTemplates"]["metadata"]["description"]:
        yield f"{named(template)}: the description of ticketUrlTemplates does not name {name}"
    schemas = yaml.safe_load(DOCUMENT.read_text())["components"]["schemas"]
    if f"`{name}`" not in schemas["Ticket"]["properties"]["system"]["description"]:
        yield f"{named(DOCUMENT)}: the system of Ticket is never {name}"
    if name not in (ROOT / "README.md").read_text():
        yield f"README.md: it does not name {name}"
    rows = [
        (path, line)
        for path in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))
        for line in path.read_text().splitlines()
        if line.startswith("| `TICKET_URL_TEMPLATES` |")
    ]
    assert rows, "README.md or docs/*.md: there is no row of the setting TICKET_URL_TEMPLATES"
    for path, line in rows:
        if f"`{name}`" not in line:
            yield f"{named(path)}: the row of TICKET_URL_TEMPLATES does not name `{name}`"


@pytest.mark.parametrize("what", STEMS)
def test_a_ticket_system_has_all_its_places(what: str) -> None:
    found = list(missing(what))
    assert not found, "\n".join(["to be edited:", *found])


@pytest.mark.parametrize("what", sorted(LISTED.keys() & LISTED_IN_SANDBOX.keys()))
def test_the_places_of_a_ticket_system_agree(what: str) -> None:
    system, stand_in = LISTED[what], LISTED_IN_SANDBOX[what]
    files = f"{named(DEPLOYED / what)}.py and {named(SANDBOX / what)}.py, or {named(EXAMPLES / what)}.json"
    assert (system.name, system.field) == (stand_in.name, stand_in.field), f"{files}: name or field differ"
    assert example(what).kept.system == system.name, f"{files}: the name differs"
    published, shown = example(what).published, stand_in.body(1, TITLE)
    assert shape(shown) == shape(published), f"{files}: the fields differ"


def shape(value: Any) -> Any:
    """Return the JSON with the kinds of its values for the values."""
    if isinstance(value, dict):
        return {name: shape(part) for name, part in sorted(value.items())}
    return [shape(value[0])] if isinstance(value, list) else type(value).__name__


def test_no_two_ticket_systems_have_a_name_or_a_field_in_common() -> None:
    assert len({system.name.lower() for system in TICKET_SYSTEMS}) == len(TICKET_SYSTEMS)
    assert len({system.field for system in TICKET_SYSTEMS}) == len(TICKET_SYSTEMS)


@EVERY_SYSTEM
def test_a_ticket_of_the_sandbox_is_read_and_shown(system: TicketSystem) -> None:
    file = f"{named(DEPLOYED / stem(system))}.py: ticket()"
    made = sandbox_systems.make_ticket(system.name, 1, TITLE)
    answer = {"data": sandbox_systems.envelope_data(system.name, made)}

    ticket = LinkAnswer.model_validate_json(json.dumps(answer)).data.ticket()

    assert ticket is not None
    assert ticket.system == system.name, f"{file} keeps another system"
    assert (ticket.number, ticket.id) == (made.number, str(made.id)), f"{file} keeps another number or id"
    assert ticket.title == TITLE, f"{file} keeps another title"
    assert ticket.status, f"{file} keeps no status"
    note = f" ({system.status_note})" if system.status_note else ""
    text = comment_text(ticket, url_templates={}, status_note=status_note(ticket.system))
    assert f"<strong>{system.name} ticket {made.number}</strong>" in text
    assert f"<br>Status when linked: {ticket.status}{note}<br>" in text


def test_a_url_template_of_an_unknown_system_is_refused_with_the_names_of_the_known_ones() -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environment({"TICKET_URL_TEMPLATES": '{"Zendesk": "https://desk.example/{id}"}'})

    problem = caught.value.problems["TICKET_URL_TEMPLATES"]
    assert problem.startswith("has a key that is not Autotask, ServiceNow")
    assert all(system.name in problem for system in TICKET_SYSTEMS)


# A system that only a later version has


def test_a_record_of_a_system_of_a_later_version_can_be_read_and_shown() -> None:
    now = datetime.now(UTC)
    link = Link(
        incident_id=IncidentId.parse(INCIDENT),
        ticket=Ticket(system="Later <Desk>", number="L-1", status="7"),
        created_at=now,
        updated_at=now,
    )

    ticket = Link.model_validate_json(link.model_dump_json()).ticket

    assert ticket == link.ticket
    assert ticket is not None
    assert comment_text(ticket, url_templates={}, status_note=status_note(ticket.system)) == (
        "<p><strong>Later &#60;Desk&#62; ticket L-1</strong><br>Status when linked: 7<br>"
        "Linked by ContraForce</p>"
    )


def test_the_name_of_a_system_is_one_line() -> None:
    assert Ticket(system=" Later\n\u202eDesk ", number="L-1").system == "Later Desk"


@pytest.mark.parametrize("name", ["", " \n", "D" * 41])
def test_what_cannot_be_the_name_of_a_system_is_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        Ticket(system=name, number="L-1")
