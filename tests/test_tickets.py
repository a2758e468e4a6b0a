"""The answers of tickets/link: every documented field is read, and no change of theirs loses the ticket."""

import copy
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from ticket_examples import example, stem

from contraforce_sentinel.contraforce.envelope import AmbiguousTicket, LinkAnswer, LinkData
from contraforce_sentinel.contraforce.ticket_systems import TICKET_SYSTEMS
from contraforce_sentinel.contraforce.ticket_systems.autotask import AutotaskTicket
from contraforce_sentinel.contraforce.ticket_systems.jira import JiraTicket
from contraforce_sentinel.contraforce.ticket_systems.service_now import ServiceNowTicket
from contraforce_sentinel.domain.tickets import Ticket

OBJECTS = {system.field: example(stem(system)).published for system in TICKET_SYSTEMS}
TICKETS = {system.field: example(stem(system)).kept for system in TICKET_SYSTEMS}
MODELS = {system.field: system.model for system in TICKET_SYSTEMS}
TYPES = {system.field: system.name for system in TICKET_SYSTEMS}
AUTOTASK, SERVICE_NOW, JIRA = (example(name).published for name in ("autotask", "service_now", "jira"))
FIELDS = [(name, field) for name, ticket in OBJECTS.items() for field in ticket if field != "number"]
EVERY_SYSTEM = pytest.mark.parametrize("name", OBJECTS)


def answer(name: str, **changes: object) -> dict[str, Any]:
    """Return the answer for one system, as the vendor's page has it: the other objects are null."""
    data = {**dict.fromkeys(OBJECTS), name: {**copy.deepcopy(OBJECTS[name]), **changes}}
    return {
        "data": {**data, "ticketingSystemType": TYPES[name], "isTicketSet": True},
        "meta": {
            "requestId": "0HNH2V8L5Q1K3:00000004",
            "timestamp": "2026-11-23T05:31:56.1234567Z",
        },
    }


def ticket_of(document: object) -> Ticket | None:
    """Read an answer the way it comes: as JSON text."""
    return LinkAnswer.model_validate_json(json.dumps(document)).data.ticket()


def unset(model: BaseModel) -> list[str]:
    """Return the paths of all fields, at any depth, that a model did not read."""
    found: list[str] = []
    for name in type(model).model_fields:
        value = getattr(model, name)
        inner = value if isinstance(value, list) else [value]
        if value is None or value == []:
            found.append(name)
        found += [f"{name}.{path}" for item in inner if isinstance(item, BaseModel) for path in unset(item)]
    return found


@EVERY_SYSTEM
def test_the_published_answer_gives_its_ticket(name: str) -> None:
    assert ticket_of(answer(name)) == TICKETS[name]


@EVERY_SYSTEM
def test_absent_ticket_objects_are_as_good_as_null_ones(name: str) -> None:
    assert ticket_of({"data": {name: OBJECTS[name]}}) == TICKETS[name]


@EVERY_SYSTEM
def test_every_published_field_is_read(name: str) -> None:
    model = MODELS[name].model_validate_json(json.dumps(OBJECTS[name]))

    assert unset(model) == []
    assert model.model_dump(mode="json", by_alias=True) == OBJECTS[name]


def test_the_fields_have_the_published_types() -> None:
    autotask = AutotaskTicket.model_validate(AUTOTASK)
    service_now = ServiceNowTicket.model_validate(SERVICE_NOW)
    jira = JiraTicket.model_validate(JIRA)

    assert autotask.due_date_time == datetime(2026, 11, 24, 5, 31, 56, tzinfo=UTC)
    assert (autotask.id, autotask.status, autotask.type) == (174523, 8, 2)
    assert autotask.notes is not None
    assert autotask.notes[0].ticket_id == 174523
    assert service_now.comments is not None
    assert service_now.comments[0].created_on == datetime(2026, 11, 23, 5, 31, 56, tzinfo=UTC)
    assert jira.assignee is not None
    assert jira.assignee.active is True
    assert jira.issue_type is not None
    assert jira.issue_type.subtask is False


def test_meta_is_what_support_asks_for() -> None:
    meta = LinkAnswer.model_validate(answer("jiraTicket")).meta

    assert meta is not None
    assert meta.request_id == "0HNH2V8L5Q1K3:00000004"
    assert meta.timestamp == "2026-11-23T05:31:56.1234567Z"


@pytest.mark.parametrize("meta", [None, {}, [], "text", {"requestId": None}, {"requestId": [1]}])
def test_a_strange_meta_loses_no_ticket(meta: object) -> None:
    document = {**answer("jiraTicket"), "meta": meta}

    assert ticket_of(document) == TICKETS["jiraTicket"]


def test_integers_may_come_as_digits() -> None:
    digits = {key: str(value) if isinstance(value, int) else value for key, value in AUTOTASK.items()}
    digits["notes"] = [{**AUTOTASK["notes"][0], "id": "991", "ticketId": "174523"}]

    assert AutotaskTicket.model_validate_json(json.dumps(digits)) == AutotaskTicket.model_validate(AUTOTASK)


@pytest.mark.parametrize(("name", "field"), [("serviceNowTicket", "id"), ("jiraTicket", "id")])
def test_digits_may_come_as_integers(name: str, field: str) -> None:
    ticket = ticket_of(answer(name, **{field: 10432}))

    assert ticket is not None
    assert ticket.id == "10432"


@EVERY_SYSTEM
def test_a_number_may_come_as_an_integer(name: str) -> None:
    ticket = ticket_of(answer(name, number=10432))

    assert ticket is not None
    assert ticket.number == "10432"


@pytest.mark.parametrize("how", ["null", "missing", "object", "list", "text", "number", "boolean"])
@pytest.mark.parametrize(("name", "field"), FIELDS)
def test_no_field_but_the_number_can_lose_the_ticket(name: str, field: str, how: str) -> None:
    strange: dict[str, object] = {
        "null": None,
        "object": {"unexpected": {"deep": []}},
        "list": [[1], None, "x"],
        "text": "neither a number nor a date",
        "number": -1.5,
        "boolean": True,
    }
    document = answer(name)
    if how == "missing":
        del document["data"][name][field]
    else:
        document["data"][name][field] = strange[how]

    ticket = ticket_of(document)

    assert ticket is not None
    assert (ticket.system, ticket.number) == (TICKETS[name].system, TICKETS[name].number)


@EVERY_SYSTEM
def test_the_number_alone_is_a_ticket(name: str) -> None:
    expected = Ticket(system=TICKETS[name].system, number=TICKETS[name].number)

    assert ticket_of({"data": {name: {"number": TICKETS[name].number}}}) == expected


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=300),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)


@given(st.sampled_from(FIELDS), JSON_VALUES)
@settings(deadline=None, max_examples=300)
def test_whatever_a_field_holds_the_ticket_is_there(place: tuple[str, str], value: object) -> None:
    name, field = place

    ticket = ticket_of(answer(name, **{field: value}))

    assert ticket is not None
    assert ticket.number == TICKETS[name].number
    assert ticket.title is None or len(ticket.title) <= 500
    assert ticket.status is None or len(ticket.status) <= 100


@EVERY_SYSTEM
def test_unknown_fields_are_ignored_everywhere(name: str) -> None:
    document = answer(name, futureField={"a": [1]})
    document["data"]["futureTicket"] = {"number": "X-1"}
    document["meta"]["future"] = 1
    document["future"] = None

    assert ticket_of(document) == TICKETS[name]


@pytest.mark.parametrize("kind", ["NoSuchDesk", "", None, 7, ["Jira"], {"name": "Jira"}, "ServiceNow"])
def test_the_type_decides_nothing_where_there_is_one_ticket(kind: object) -> None:
    document = answer("jiraTicket")
    document["data"]["ticketingSystemType"] = kind

    assert ticket_of(document) == TICKETS["jiraTicket"]


@EVERY_SYSTEM
def test_an_answer_that_says_no_ticket_is_set_has_none(name: str) -> None:
    document = answer(name)
    document["data"]["isTicketSet"] = False

    assert ticket_of(document) is None


@pytest.mark.parametrize("how", ["missing", "null", "strange"])
@EVERY_SYSTEM
def test_a_ticket_that_is_there_counts_where_the_flag_says_nothing(name: str, how: str) -> None:
    document = answer(name)
    del document["data"]["isTicketSet"]
    if how != "missing":
        document["data"]["isTicketSet"] = {"null": None, "strange": [1]}[how]

    assert ticket_of(document) == TICKETS[name]


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"isTicketSet": True},
        {"isTicketSet": True, "ticketingSystemType": "Jira", "jiraTicket": None},
        {"isTicketSet": False},
        dict.fromkeys(OBJECTS),
    ],
)
def test_an_answer_without_a_ticket_object_has_no_ticket(data: object) -> None:
    assert ticket_of({"data": data}) is None


@pytest.mark.parametrize("kind", ["Jira", "jira", "JIRA"])
def test_of_two_tickets_the_type_chooses(kind: str) -> None:
    both = {"autotaskTicket": AUTOTASK, "jiraTicket": JIRA, "ticketingSystemType": kind}

    assert ticket_of({"data": both}) == TICKETS["jiraTicket"]


@EVERY_SYSTEM
def test_of_all_tickets_the_type_chooses(name: str) -> None:
    assert ticket_of({"data": {**OBJECTS, "ticketingSystemType": TYPES[name]}}) == TICKETS[name]


def test_of_two_tickets_the_other_one_may_be_broken() -> None:
    both = {"autotaskTicket": {"number": None}, "jiraTicket": JIRA, "ticketingSystemType": "Jira"}

    assert ticket_of({"data": both}) == TICKETS["jiraTicket"]


@pytest.mark.parametrize("kind", [None, "", "NoSuchDesk", "ServiceNow", 1])
def test_two_tickets_and_no_word_on_which_one_counts_is_ambiguous(kind: object) -> None:
    both = {"autotaskTicket": AUTOTASK, "jiraTicket": JIRA, "ticketingSystemType": kind}

    with pytest.raises(AmbiguousTicket):
        ticket_of({"data": both})


@pytest.mark.parametrize(
    "number",
    [
        *(
            None,
            "",
            " ",
            "\x00\x1f",
            "\u202e",
            "\u200b\ufeff",
            "N" * 101,
            True,
            [],
            ["SEC-1"],
            {"key": "SEC-1"},
        ),
        *(
            "SEC 421",
            "SEC\t421",
            "SEC\n421",
            "SEC\u00a0421",
            "SEC-421 state=dead",
            "a=b",
            "=1+1",
            "=cmd|' /C calc'!A0",
        ),
        *(
            "+1",
            "-1",
            "@SUM(A1)",
            "#1",
            "<b>1</b>",
            "SEC,421",
            "SEC;421",
            'SEC"421',
            "SEC'421",
            "SEC|421",
            "SEC\\421",
        ),
        *("SEC&421", "SEC%20421", "SEC?421", "SEC(1)", "SEC\u2028421", "SEC\ue000421", "1\u200d=2"),
    ],
)
@EVERY_SYSTEM
def test_a_ticket_without_a_usable_number_is_refused(name: str, number: object) -> None:
    with pytest.raises(ValidationError):
        ticket_of(answer(name, number=number))


@pytest.mark.parametrize(
    "number",
    [
        *(
            "T20261123.0042",
            "INC0010023",
            "SEC-421",
            "sec_ops-1",
            "RITM/0010",
            "1",
            "INC#12",
            "A:1",
            "N" * 100,
        ),
        *("\u0422\u0418\u041a-7", "\u30c1\u30b1-7"),
    ],
)
@EVERY_SYSTEM
def test_a_number_has_letters_and_digits_of_any_script_and_a_few_signs(name: str, number: str) -> None:
    ticket = ticket_of(answer(name, number=number))

    assert ticket is not None
    assert ticket.number == number


@EVERY_SYSTEM
def test_format_characters_are_dropped_from_number_id_and_texts(name: str) -> None:
    title = {"autotaskTicket": "title", "serviceNowTicket": "shortDescription", "jiraTicket": "summary"}[name]

    ticket = ticket_of(
        answer(name, number="SEC\u200b-\ufeff42\u00ad1\u200d", **{title: "sign\u200b-in\ufeff s"})
    )

    assert ticket is not None
    assert (ticket.number, ticket.title) == ("SEC-421", "sign-in s")


def test_format_characters_are_dropped_from_an_id() -> None:
    ticket = ticket_of(answer("jiraTicket", id="10\u200c4\u200b32\ufeff"))

    assert ticket is not None
    assert ticket.id == "10432"


@pytest.mark.parametrize(
    "word", ["\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645", "\u0915\u094d\u200d\u0937"]
)
def test_the_joiners_that_a_script_needs_stay_in_a_title(word: str) -> None:
    ticket = ticket_of(answer("jiraTicket", summary=word))

    assert ticket is not None
    assert ticket.title == word


def test_a_record_of_an_earlier_version_keeps_a_number_that_would_be_refused_today() -> None:
    assert Ticket(system="Jira", number="R&D <1>").number == "R&D <1>"


@EVERY_SYSTEM
def test_a_ticket_without_any_number_is_refused(name: str) -> None:
    document = answer(name)
    del document["data"][name]["number"]

    with pytest.raises(ValidationError):
        ticket_of(document)


@pytest.mark.parametrize("value", ["text", [], 1, True])
@EVERY_SYSTEM
def test_a_ticket_that_is_no_object_is_refused(name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        ticket_of({"data": {name: value}})


@pytest.mark.parametrize(
    "document", [{}, {"data": None}, {"data": []}, {"data": "x"}, [], None, {"meta": {}}]
)
def test_an_answer_without_data_is_refused(document: object) -> None:
    with pytest.raises(ValidationError):
        ticket_of(document)


@EVERY_SYSTEM
def test_control_and_bidi_characters_never_reach_the_ticket(name: str) -> None:
    """A newline or an override of the writing direction would change what a log or a comment shows."""
    title = next(field for field, value in OBJECTS[name].items() if value == TICKETS[name].title)

    ticket = ticket_of(answer(name, number=" A\u202e1\u2066 ", **{title: "one\r\n\ttwo\u2028 3\x7f"}))

    assert ticket is not None
    assert ticket.number == "A1"
    assert ticket.title == "one two 3"


def test_an_id_that_cannot_be_one_is_no_id() -> None:
    ticket = ticket_of(answer("jiraTicket", id="x" * 129))

    assert ticket is not None
    assert ticket.id is None


def test_a_long_title_and_status_are_cut() -> None:
    ticket = ticket_of(
        answer("jiraTicket", summary="t" * 100_000, currentStatus={"id": "1", "name": "s" * 101})
    )

    assert ticket is not None
    assert ticket.title == "t" * 499 + "\u2026"
    assert ticket.status == "s" * 99 + "\u2026"


def test_a_refusal_of_a_ticket_never_repeats_it() -> None:
    with pytest.raises(ValidationError) as caught:
        LinkData.model_validate(
            {"jiraTicket": {**JIRA, "number": ["pLaNtEd"], "summary": "pLaNtEd"}}
        ).ticket()
    assert "pLaNtEd" not in str(caught.value)
