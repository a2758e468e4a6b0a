"""What an incident needs: every cell of the table, the same for whoever asks."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, Final
from uuid import UUID

import pytest

from contraforce_sentinel.domain.customers import Customer
from contraforce_sentinel.domain.errors import Upstream, UpstreamRejected
from contraforce_sentinel.domain.incidents import Incident, IncidentId, IncidentState, Severity, WorkspaceId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.reasons import Reason
from contraforce_sentinel.domain.records import LinkState
from contraforce_sentinel.domain.tickets import Ticket
from contraforce_sentinel.use_cases.decision import Need, followed, need, need_by_state, skip_reason

WORKSPACE: Final = WorkspaceId("11111111-2222-4333-8444-555555555555", "rg", "law-one")
INCIDENT: Final = IncidentId(WORKSPACE, "one")
DESK: Final = UUID(int=7)
NOW: Final = datetime(2026, 11, 30, 12, tzinfo=UTC)
LATER: Final = NOW + timedelta(hours=1)
LATEST: Final = NOW + timedelta(hours=2)
TICKET: Final = Ticket(system="Jira", number="SEC-1")


def customer(minimum: str = "Medium") -> Customer:
    return Customer.model_validate(
        {"workspace": WORKSPACE.arm_id, "contraforceWorkspaceId": DESK, "minimumSeverity": minimum}
    )


def incident(severity: str = "High", status: str = "New", *labels: str) -> Incident:
    return Incident(INCIDENT, "1", severity, status, frozenset(labels), created_at=NOW, changed_at=NOW)


INCIDENTS: Final = {
    "open": incident(),
    "below": incident("Low"),
    "closed": incident("High", "Closed"),
    "merged": incident("High", "Closed", "Redirected"),
    "closed below": incident("Low", "Closed"),
    "merged and open": incident("Low", "Active", "REDIRECTED"),
}


def new() -> Link:
    return Link(incident_id=INCIDENT, next_try_at=NOW, created_at=NOW, updated_at=NOW)


def seen_open() -> Link:
    return new().saw(INCIDENTS["open"], is_confirmed=True, now=NOW)


def dead(link: Link) -> Link:
    refusal = UpstreamRejected("no", upstream=Upstream.CONTRAFORCE, code="X", fields=("number",))
    return link.failed(refusal, now=NOW, jitter=0)


def skipped(link: Link) -> Link:
    return followed(INCIDENTS["closed"], link, customer(), is_confirmed=True, now=NOW)


TICKETED: Final = seen_open().ticketed(TICKET, of=DESK, request_id="r", now=NOW)
RECORDS: Final[dict[str, Link | None]] = {
    "none": None,
    "new": new(),
    "pending": seen_open(),
    "ticketed": TICKETED,
    "linked": TICKETED.linked(now=NOW),
    "dead": dead(seen_open()),
    "dead with a ticket": dead(TICKETED),
    "skipped": skipped(seen_open()),
    "skipped with a ticket": TICKETED.skipped(Reason.INCIDENT_GONE, now=NOW),
    "skipped, dead before": skipped(dead(seen_open())),
    "skipped, dead with a ticket before": skipped(dead(TICKETED)),
}
STAYS: Final = None
"""The state is what it was."""

CELLS: Final[dict[str, dict[str, str | None]]] = {
    "open": {
        "none": "pending",
        "new": STAYS,
        "pending": STAYS,
        "ticketed": STAYS,
        "linked": STAYS,
        "dead": STAYS,
        "dead with a ticket": STAYS,
        "skipped": "pending",
        "skipped with a ticket": "ticketed",
        "skipped, dead before": "dead",
        "skipped, dead with a ticket before": "dead",
    },
    "below": dict.fromkeys(RECORDS, STAYS) | {"none": "skipped", "new": "skipped"},
    "closed": dict.fromkeys(RECORDS, STAYS)
    | dict.fromkeys(("none", "new", "pending", "dead", "dead with a ticket"), "skipped"),
}
CELLS["merged"] = CELLS["closed below"] = CELLS["merged and open"] = CELLS["closed"]
EVENTS: Final = {("merged", "ticketed"), ("merged", "linked"), ("merged and open", "ticketed")} | {
    ("merged and open", "linked")
}
REASONS: Final = {
    "below": Reason.BELOW_MINIMUM_SEVERITY,
    "closed": Reason.CLOSED,
    "closed below": Reason.CLOSED,
    "merged": Reason.REDIRECTED,
    "merged and open": Reason.REDIRECTED,
}
TABLE: Final = list(product(CELLS, RECORDS))


def after_all(link: Link) -> Link:
    """Return the record after it was seen to be open."""
    return followed(INCIDENTS["open"], link, customer(), is_confirmed=True, now=LATEST)


def after(now: str, before: str) -> Link:
    """Return the record after a look; of an incident that had none, a new one."""
    record = RECORDS[before] or new()
    return followed(INCIDENTS[now], record, customer(), is_confirmed=True, now=LATER)


@pytest.mark.parametrize(("now", "before"), TABLE)
def test_every_cell_leads_to_its_state(now: str, before: str) -> None:
    state = CELLS[now][before]
    record = RECORDS[before]
    assert after(now, before).state == (state or (record.state if record else "pending"))
    assert after(now, before).seen.state == INCIDENTS[now].state


@pytest.mark.parametrize(("now", "before"), [cell for cell in TABLE if CELLS[cell[0]][cell[1]] == "skipped"])
def test_a_skip_has_its_reason_and_keeps_ticket_and_reason(now: str, before: str) -> None:
    record, link = RECORDS[before], after(now, before)
    assert (link.reason, link.next_try_at, link.lease) == (REASONS[now], None, None)
    assert link.ticket == (record.ticket if record else None)
    if record is not None and record.state is LinkState.DEAD:
        assert link.was_dead is not None
        assert (link.was_dead.reason, link.was_dead.code) == (record.reason, record.code)


@pytest.mark.parametrize("before", [name for name in RECORDS if name.startswith("skipped")])
def test_what_is_brought_back_is_as_it_was_before_it_was_skipped(before: str) -> None:
    link = after("open", before)
    if "dead" not in before:
        assert (link.next_try_at, link.reason) == (LATER, None)
        return
    assert (link.next_try_at, link.reason, link.code, link.fields, link.was_dead) == (
        None,
        Reason.CONTRAFORCE_REJECTED,
        "X",
        ("number",),
        None,
    )
    assert (link.ticket is not None) == ("ticket" in before)


@pytest.mark.parametrize(("now", "before"), TABLE)
def test_a_ticket_on_a_merged_incident_is_told_once(now: str, before: str) -> None:
    record = RECORDS[before]
    is_told = need(INCIDENTS[now], record, customer()) is Need.TELL_MERGED
    assert is_told == ((now, before) in EVENTS)
    assert need(INCIDENTS[now], after(now, before), customer()) is not Need.TELL_MERGED


@pytest.mark.parametrize(("now", "before"), TABLE)
def test_a_second_look_at_the_same_needs_nothing(now: str, before: str) -> None:
    once = after(now, before)
    assert followed(INCIDENTS[now], once, customer(), is_confirmed=True, now=LATEST) == once
    assert need(INCIDENTS[now], once, customer()) is Need.NOTHING


@pytest.mark.parametrize(("now", "before"), TABLE)
def test_the_two_words_of_a_record_decide_as_the_whole_of_it(now: str, before: str) -> None:
    record = RECORDS[before]
    words: tuple[Any, Any] = (record.state, record.seen.state) if record else (None, None)
    assert need_by_state(INCIDENTS[now], *words, customer()) is need(INCIDENTS[now], record, customer())


@pytest.mark.parametrize(("now", "before"), TABLE)
def test_a_look_that_comes_after_a_later_one_changes_nothing(now: str, before: str) -> None:
    """As of another instance, whose list is older."""
    later = replace(INCIDENTS[now], changed_at=LATER)
    link = followed(later, RECORDS[before] or new(), customer(), is_confirmed=True, now=LATER)
    for late in INCIDENTS.values():
        if link.seen.changed_at == LATER:  # else the later look has written nothing
            assert followed(late, link, customer(), is_confirmed=True, now=LATEST) == link
            assert need(late, link, customer()) is Need.NOTHING


def test_a_change_that_lies_ahead_hides_none_that_follows() -> None:
    ahead = replace(INCIDENTS["closed"], changed_at=LATEST)
    link = followed(ahead, seen_open(), customer(), is_confirmed=True, now=LATER)
    assert after_all(link).state is LinkState.PENDING


@pytest.mark.parametrize("state", ["ticketed", "linked", "dead"])
def test_of_a_record_of_0_1_0_whose_incident_is_still_open_nothing_is_written(state: str) -> None:
    record = RECORDS[state]
    assert record is not None
    old = record.model_copy(update={"seen": new().seen})
    assert need(INCIDENTS["open"], old, customer()) is Need.NOTHING
    assert need(INCIDENTS["closed"], old, customer()) is not Need.NOTHING


def test_since_when_an_incident_is_what_it_is_moves_with_its_state_alone() -> None:
    link = after("closed", "linked")
    assert link.seen.since == LATER
    again = followed(
        INCIDENTS["closed below"], link, customer(), is_confirmed=True, now=LATER + timedelta(hours=1)
    )
    assert again.seen.since == LATER


@pytest.mark.parametrize("label", ["Redirected", "redirected", "REDIRECTED", "reDirected"])
def test_a_merged_incident_is_one_in_any_spelling_of_its_label(label: str) -> None:
    assert incident("High", "Closed", "vip", label).state is IncidentState.MERGED
    assert skip_reason(incident("High", "Closed", "vip", label), customer()) is Reason.REDIRECTED


@pytest.mark.parametrize("label", ["not redirected", "redirect", "Redirected "])
def test_another_label_does_not_skip(label: str) -> None:
    assert skip_reason(incident("High", "New", label), customer()) is None


@pytest.mark.parametrize("status", ["Closed", "closed", "CLOSED"])
def test_a_closed_incident_is_skipped(status: str) -> None:
    assert skip_reason(incident(status=status), customer()) is Reason.CLOSED


@pytest.mark.parametrize("status", ["New", "Active", "Reopened"])
def test_an_open_incident_is_not_skipped(status: str) -> None:
    assert skip_reason(incident(status=status), customer()) is None


LEVELS: Final = ["Informational", "Low", "Medium", "High"]


@pytest.mark.parametrize("spell", [str, str.upper, str.lower])
@pytest.mark.parametrize("severity", LEVELS)
@pytest.mark.parametrize("minimum", LEVELS)
def test_only_a_severity_below_the_customers_minimum_is_skipped(
    minimum: str, severity: str, spell: Any
) -> None:
    below = LEVELS.index(severity) < LEVELS.index(minimum)
    found = skip_reason(incident(spell(severity)), customer(spell(minimum)))
    assert found == (Reason.BELOW_MINIMUM_SEVERITY if below else None)


@pytest.mark.parametrize("severity", ["Critical", "", "0", "None", "__class__"])
def test_an_unknown_severity_is_never_skipped(severity: str) -> None:
    assert Severity.named(severity) is None
    assert skip_reason(incident(severity), customer("High")) is None
