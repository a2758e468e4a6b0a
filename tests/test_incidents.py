"""ARM ids and the trigger's body: what is accepted and what is refused, without repeating any of it."""

import copy
import json
import re
import string
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from library_words import library_words

from contraforce_sentinel.domain.errors import BodyTooLarge, DeliveryError, NotAnIncident, NotJson
from contraforce_sentinel.domain.incidents import (
    Delivery,
    Incident,
    IncidentId,
    WorkspaceId,
)
from contraforce_sentinel.domain.inputs import MOST_CONTAINERS
from contraforce_sentinel.edge.payloads import MAX_BODY_BYTES, parse_delivery

PAYLOADS = Path(__file__).parent / "payloads"
SUBSCRIPTION = "11111111-2222-4333-8444-555555555555"
NAME = "3f1d9a52-7c0e-4b1b-9d5f-6a2f0e8c7b11"
CUSTOMER_ID = "9a7c1c3e-5b7d-4f0e-8f66-0c1d2e3f4a5b"
WORKSPACE = WorkspaceId(SUBSCRIPTION, "rg-secops-prod", "law-sentinel-prod")
WORKSPACE_ARM_ID = (
    f"/subscriptions/{SUBSCRIPTION}/resourceGroups/rg-secops-prod"
    "/providers/Microsoft.OperationalInsights/workspaces/law-sentinel-prod"
)
INCIDENTS = f"{WORKSPACE_ARM_ID}/providers/Microsoft.SecurityInsights/Incidents"
ARM_ID = f"{INCIDENTS}/{NAME}"
MARKER = "pLaNtEd-42xyz"

SCHEDULED_RULE = "01-trigger-created-scheduled-rule.json"
_SCHEDULED = Incident(
    IncidentId(WORKSPACE, "3f1d9a52-7c0e-4b1b-9d5f-6a2f0e8c7b11"),
    "3177",
    "Medium",
    "New",
    created_at=datetime(2026, 10, 9, 2, 14, 7, 445566, UTC),
    provider_id="3177",
)
TRIGGERS = {
    SCHEDULED_RULE: _SCHEDULED,
    "02-trigger-created-microsoft-xdr.json": Incident(
        IncidentId(WORKSPACE, "a4c0e7d1-18b2-4f7a-8c35-92d7b1f0e622"),
        "3204",
        "High",
        "New",
        created_at=datetime(2026, 10, 11, 9, 31, 5, 100_000, UTC),
        provider_id="48211",
    ),
    "03-trigger-updated-closed-by-user.json": replace(
        _SCHEDULED, status="Closed", labels=frozenset({"ContraForce"})
    ),
    "06-trigger-created-manual-empty.json": Incident(
        IncidentId(WORKSPACE, "b5d1f8e2-29c3-4a8b-9d46-a3e8c2f1d733"),
        "9",
        "Informational",
        "New",
        created_at=datetime(2026, 10, 12, 12, tzinfo=UTC),
        provider_id="9",
    ),
}


def trigger(name: str = SCHEDULED_RULE) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((PAYLOADS / name).read_bytes())
    return document


def parse(document: object) -> Delivery:
    return parse_delivery(json.dumps(document).encode(), content_type="application/json")


def chain(error: BaseException | None) -> str:
    """Return every text that a log of the error or of its causes could show."""
    texts: list[str] = []
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        found = waiting.pop()
        if found is not None and id(found) not in seen:
            seen.add(id(found))
            texts += [str(found), repr(found), repr(found.args), *getattr(found, "__notes__", [])]
            waiting += [found.__cause__, found.__context__]
    return "\n".join(texts)


# The trigger's body


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_real_trigger_body_parses_to_its_incident(name: str) -> None:
    expected = TRIGGERS[name]

    delivery = parse_delivery((PAYLOADS / name).read_bytes(), content_type="application/json")

    assert delivery == Delivery(expected.id, expected, ticket_id=None)


def test_the_trimmed_body_is_as_good_as_the_whole_one() -> None:
    trimmed = {
        "object": {
            "id": ARM_ID,
            "properties": {
                "incidentNumber": 3177,
                "severity": "Medium",
                "status": "New",
                "labels": [{"labelName": "vip", "labelType": "User"}],
            },
        },
        "ticketId": "174523",
    }

    incident_id = IncidentId(WORKSPACE, NAME)
    assert parse(trimmed) == Delivery(
        incident_id, Incident(incident_id, "3177", "Medium", "New", frozenset({"vip"})), ticket_id="174523"
    )


def test_a_bare_id_leaves_the_incident_to_be_read_from_sentinel() -> None:
    assert parse({"incidentArmId": ARM_ID}) == Delivery(IncidentId(WORKSPACE, NAME), None)


def test_a_bare_id_may_ask_for_a_ticket() -> None:
    assert parse({"incidentArmId": ARM_ID, "ticketId": "SEC-421"}).ticket_id == "SEC-421"


@pytest.mark.parametrize(
    "arm_id",
    [ARM_ID, ARM_ID.replace("/Incidents/", "/incidents/"), ARM_ID.upper(), ARM_ID.lower()],
    ids=["trigger", "rest", "upper", "lower"],
)
def test_letter_case_of_the_id_makes_no_other_incident(arm_id: str) -> None:
    document = trigger()
    document["object"]["id"] = arm_id

    assert parse(document).incident_id.key == ARM_ID.lower()


@pytest.mark.parametrize("key", ["alerts", "Alerts", "ALERTS"])
def test_alerts_in_any_spelling_and_shape_are_nobodys_business(key: str) -> None:
    document = trigger()
    del document["object"]["properties"]["alerts"]
    document["object"]["properties"][key] = [{"id": 1, "properties": None}, "text", 3]

    assert parse(document).incident == TRIGGERS[SCHEDULED_RULE]


def respelled(value: Any, spell: Any) -> Any:
    if isinstance(value, dict):
        return {spell(key): respelled(item, spell) for key, item in value.items()}
    return [respelled(item, spell) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("spell", [str.upper, str.lower, str.title, str.swapcase])
@pytest.mark.parametrize("name", TRIGGERS)
def test_letter_case_of_keys_does_not_matter_anywhere(name: str, spell: Any) -> None:
    document = trigger(name)

    assert parse(respelled(document, spell)) == parse(document)


@pytest.mark.parametrize("number", [3177, "3177"], ids=["int", "digits"])
@pytest.mark.parametrize("key", ["incidentNumber", "incidentnumber"])
def test_the_number_comes_as_int_or_as_digits(key: str, number: object) -> None:
    document = trigger()
    del document["object"]["properties"]["incidentNumber"]
    document["object"]["properties"][key] = number

    incident = parse(document).incident
    assert incident is not None
    assert incident.number == "3177"


@pytest.mark.parametrize(
    "number", [-1, 1.5, True, "12a", " 12", "12\n", "+1", "1" * 19, "\u0663", [1], {"a": 1}, float("nan")]
)
def test_another_kind_of_number_is_refused_by_the_fields_name(number: object) -> None:
    document = trigger()
    document["object"]["properties"]["incidentNumber"] = number

    with pytest.raises(NotAnIncident, match=r"object\.properties\.incidentNumber"):
        parse(document)


def test_a_missing_description_is_no_obstacle() -> None:
    document = trigger()
    del document["object"]["properties"]["description"]

    assert parse(document).incident == TRIGGERS[SCHEDULED_RULE]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-10-09T02:14:07.4455667Z", datetime(2026, 10, 9, 2, 14, 7, 445566, UTC)),
        ("2026-10-09T04:14:07+02:00", datetime(2026, 10, 9, 2, 14, 7, tzinfo=UTC)),
        ("2026-10-09T02:14:07", datetime(2026, 10, 9, 2, 14, 7, tzinfo=UTC)),
    ],
)
def test_a_body_may_say_when_the_incident_was_created(text: str, expected: datetime) -> None:
    document = trigger()
    document["object"]["properties"]["createdTimeUtc"] = text

    incident = parse(document).incident
    assert incident is not None
    assert incident.created_at == expected


NEITHER: list[Any] = [None, "", 7.5, True, -1, [], {}, ["x"]]
NO_DATES = [*NEITHER, "soon", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"]
NO_NUMBERS = [*NEITHER, 10**1000, "x" * 129, "two\nlines"]


@pytest.mark.parametrize("odd", NO_DATES, ids=repr)
def test_an_odd_time_of_creation_costs_a_body_nothing(odd: Any) -> None:
    document = trigger()
    document["object"]["properties"]["createdTimeUtc"] = odd

    assert parse(document).incident == replace(_SCHEDULED, created_at=None)


@pytest.mark.parametrize("odd", NO_NUMBERS, ids=lambda odd: json.dumps(odd)[:20])
def test_an_odd_number_of_the_provider_costs_a_body_nothing(odd: Any) -> None:
    document = trigger()
    document["object"]["properties"]["providerIncidentId"] = odd

    assert parse(document).incident == replace(_SCHEDULED, provider_id="")


def test_a_providers_number_may_be_a_number() -> None:
    document = trigger()
    document["object"]["properties"]["providerIncidentId"] = 48211

    assert parse(document).incident == replace(_SCHEDULED, provider_id="48211")


@pytest.mark.parametrize("how", ["missing", "null"])
@pytest.mark.parametrize("field", ["incidentNumber", "severity", "status", "labels"])
def test_a_body_that_says_too_little_to_decide_is_read_from_sentinel(field: str, how: str) -> None:
    document = trigger()
    del document["object"]["properties"][field]
    if how == "null":
        document["object"]["properties"][field] = None

    delivery = parse(document)

    assert delivery.incident is None
    assert delivery.incident_id == IncidentId(WORKSPACE, NAME)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([], frozenset()),
        (["Redirected"], {"Redirected"}),
        ([{"labelName": "Redirected", "labelType": "System"}], {"Redirected"}),
        ([{"LABELNAME": "a"}, "b", {"labelName": None}, {}, ""], {"a", "b"}),
    ],
)
def test_labels_come_as_objects_or_as_strings(labels: list[Any], expected: set[str]) -> None:
    document = trigger()
    document["object"]["properties"]["labels"] = labels

    incident = parse(document).incident
    assert incident is not None
    assert incident.labels == expected


@pytest.mark.parametrize(
    ("number", "text"), [(174523, "174523"), (0, "0"), (10**30, "1" + "0" * 30), (10**127, "1" + "0" * 127)]
)
def test_a_ticket_id_may_be_a_json_number_of_digits(number: int, text: str) -> None:
    assert parse({"incidentArmId": ARM_ID, "ticketId": number}).ticket_id == text


INVISIBLE = {
    "zero width space": "\u200b",
    "byte order mark": "\ufeff",
    "word joiner": "\u2060",
    "joiner": "\u200d",
    "non-joiner": "\u200c",
    "soft hyphen": "\u00ad",
    "right to left": "\u202e",
    "tag": "\U000e0041",
}


@pytest.mark.parametrize("char", INVISIBLE.values(), ids=INVISIBLE.keys())
def test_invisible_characters_in_a_ticket_id_are_dropped(char: str) -> None:
    pasted = f"{char}SEC{char}-421{char} "

    assert parse({"incidentArmId": ARM_ID, "ticketId": pasted}).ticket_id == "SEC-421"


@pytest.mark.parametrize("blank", ["", " ", "\u200b", " \ufeff ", "\u00a0"])
def test_a_ticket_id_without_a_visible_character_is_none(blank: str) -> None:
    assert parse({"incidentArmId": ARM_ID, "ticketId": blank}).ticket_id is None


@pytest.mark.parametrize(
    "ticket_id",
    [
        *("x" * 129, "x" + "\u200b" * 2000, "a\nb", "a\x00b", "a\x7fb", "a\x85b", "a\u2028b"),
        *(-7, 1.5, 7.0, 1e300, True, False, 10**128, float("nan"), float("inf"), ["a"], {}),
    ],
)
def test_a_ticket_id_that_cannot_be_one_is_refused(ticket_id: object) -> None:
    with pytest.raises(NotAnIncident, match="ticketId"):
        parse({"incidentArmId": ARM_ID, "ticketId": ticket_id})


# Encodings, and what a refusal says


@pytest.mark.parametrize("name", TRIGGERS)
def test_a_body_may_begin_with_a_byte_order_mark(name: str) -> None:
    body = b"\xef\xbb\xbf" + (PAYLOADS / name).read_bytes()

    delivery = parse_delivery(body, content_type="application/json")

    assert delivery.incident == TRIGGERS[name]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_a_body_in_utf_16_is_refused_and_the_refusal_says_so(encoding: str) -> None:
    body = json.dumps(trigger()).encode(encoding)

    with pytest.raises(NotAnIncident, match="the body is in UTF-16, and has to be in UTF-8"):
        parse_delivery(body, content_type="application/json")


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ([], "body: must be a JSON object"),
        ({"incidentArmId": 7}, "incidentArmId: must be a text"),
        ({"object": "x"}, "object: must be a JSON object"),
        ({"object": {}}, "object.id: is missing"),
        (
            {"incidentArmId": ARM_ID, "ticketId": 1.5},
            "ticketId: must be a text or a whole number without a sign",
        ),
        (
            {"incidentArmId": ARM_ID, "ticketId": "x" * 129},
            "ticketId: must be at most 128 visible characters on one line",
        ),
        (
            {"object": {"id": ARM_ID, "properties": {"incidentNumber": "x"}}},
            "object.properties.incidentNumber: must be a whole number of at most 18 digits",
        ),
        (
            {"object": {"id": ARM_ID, "properties": {"labels": {}}}},
            "object.properties.labels: must be a JSON array",
        ),
        (
            {"object": {"id": ARM_ID, "properties": {"labels": ["x"] * 501}}},
            "object.properties.labels: has more than 500 entries",
        ),
        ({"object": {"id": ARM_ID, "ID": "x"}}, "object: has a field in two spellings with two values"),
    ],
)
def test_a_refusal_says_in_plain_words_what_a_field_must_be(document: object, said: str) -> None:
    with pytest.raises(NotAnIncident) as refused:
        parse(document)

    assert str(refused.value) == said


# Size and content type


def body_of(size: int) -> bytes:
    document = trigger()
    alert = copy.deepcopy(document["object"]["properties"]["alerts"][0])
    room = size - len(json.dumps(document))
    document["object"]["properties"]["alerts"] += [alert] * (room // (len(json.dumps(alert)) + 2) - 1)
    body = json.dumps(document).encode()
    return body + b" " * (size - len(body))


def test_a_body_of_exactly_4_mib_of_alerts_is_accepted() -> None:
    body = body_of(4 * 1024 * 1024)

    assert len(body) == MAX_BODY_BYTES
    assert parse_delivery(body, content_type="application/json").incident == TRIGGERS[SCHEDULED_RULE]


@pytest.mark.parametrize("piece", ["[]", "{}", '{"a": 0.1}'])
def test_a_body_of_too_many_objects_and_lists_is_too_large_before_it_is_read(piece: str) -> None:
    """4 MiB of empty lists were 110 MB of memory."""
    document = trigger()
    own = sum(json.dumps(document).count(bracket) for bracket in "[{") + 1
    most = [json.loads(piece)] * (MOST_CONTAINERS - own)
    body = json.dumps({**document, "more": most}).encode()
    assert parse_delivery(body, content_type="application/json").incident == TRIGGERS[SCHEDULED_RULE]
    with pytest.raises(BodyTooLarge, match="over 100000 objects and lists; send the trimmed body"):
        parse_delivery(body.replace(b'"more"', b'"m": [], "more"'), content_type="application/json")


def test_a_body_over_4_mib_is_too_large() -> None:
    with pytest.raises(BodyTooLarge, match="trimmed"):
        parse_delivery(body_of(4 * 1024 * 1024 + 1), content_type="application/json")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        "application/json ; charset=utf-8",
        "application/problem+json",
        "application/vnd.microsoft.sentinel-v1+json",
    ],
)
def test_json_content_types_are_read(content_type: str) -> None:
    body = (PAYLOADS / SCHEDULED_RULE).read_bytes()

    assert parse_delivery(body, content_type=content_type).incident is not None


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "",
        "text/plain",
        "application/jsonx",
        "application/xjson",
        "text/json",
        "application/json, text/plain",
        "xapplication/json",
        "application/+json",
        "multipart/form-data; boundary=application/json",
        "application/x-www-form-urlencoded",
        "application/j\u017fon",
    ],
)
def test_other_content_types_are_not_json(content_type: str | None) -> None:
    body = (PAYLOADS / SCHEDULED_RULE).read_bytes()

    with pytest.raises(NotJson):
        parse_delivery(body, content_type=content_type)


# Contradictions


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("object", "name"), "a4c0e7d1-18b2-4f7a-8c35-92d7b1f0e622", "object.name"),
        (
            ("workspaceInfo", "SubscriptionId"),
            "99999999-2222-4333-8444-555555555555",
            "workspaceInfo.SubscriptionId",
        ),
        (("workspaceInfo", "ResourceGroupName"), "rg-other", "workspaceInfo.ResourceGroupName"),
        (("workspaceInfo", "WorkspaceName"), "law-other", "workspaceInfo.WorkspaceName"),
        (("incidentArmId",), f"{INCIDENTS}/a4c0e7d1-18b2-4f7a-8c35-92d7b1f0e622", "incidentArmId"),
        (
            ("incidentArmId",),
            ARM_ID.replace("law-sentinel-prod", "law-other"),
            "incidentArmId",
        ),
    ],
)
def test_a_body_that_contradicts_itself_is_refused(path: tuple[str, ...], value: str, named: str) -> None:
    document = trigger()
    place = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value

    with pytest.raises(NotAnIncident, match=f"contradicts.*{re.escape(named)}"):
        parse(document)


def test_what_only_differs_in_letter_case_does_not_contradict() -> None:
    document = trigger()
    document["incidentArmId"] = ARM_ID.lower()
    document["object"]["name"] = NAME.upper()
    document["workspaceInfo"] = {
        "SubscriptionId": SUBSCRIPTION.upper(),
        "ResourceGroupName": "RG-SECOPS-PROD",
        "WorkspaceName": "Law-Sentinel-Prod",
    }

    assert parse(document).incident == TRIGGERS[SCHEDULED_RULE]


@pytest.mark.parametrize(
    ("path", "key", "value"),
    [
        ((), "Object", {"id": ARM_ID}),
        ((), "WORKSPACEINFO", {"WorkspaceName": "law-other"}),
        (("object",), "ID", ARM_ID.lower()),
        (("object", "properties"), "incidentnumber", 1),
        (("object", "properties"), "Severity", "High"),
        (("workspaceInfo",), "workspacename", "law-other"),
    ],
)
def test_two_spellings_of_one_key_with_different_values_are_refused(
    path: tuple[str, ...], key: str, value: object
) -> None:
    document = trigger()
    place = document
    for step in path:
        place = place[step]
    place[key] = value

    with pytest.raises(NotAnIncident, match="in two spellings"):
        parse(document)


def test_two_spellings_of_one_key_with_the_same_value_are_one() -> None:
    document = trigger()
    document["object"]["ID"] = document["object"]["id"]

    assert parse(document).incident_id == IncidentId(WORKSPACE, NAME)


@pytest.mark.parametrize(
    "document",
    [
        None,
        1,
        "text",
        [],
        {},
        {"object": None},
        {"incidentArmId": None},
        {"incidentArmId": ""},
        {"object": {"id": ""}},
        {"object": {"name": NAME}},
        {"object": ARM_ID},
        {"object": {"id": [ARM_ID]}},
        {"object": {"id": ARM_ID, "properties": []}},
        {"incidentArmId": ARM_ID, "workspaceInfo": "law"},
        [{"incidentArmId": ARM_ID}],
    ],
)
def test_json_that_names_no_incident_is_refused(document: object) -> None:
    with pytest.raises(NotAnIncident):
        parse(document)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe{\x00}\x00",
        b'{"incidentArmId": "\xff"}',
        b'{"incidentArmId": "\\ud800"}',
        b"[" * 100_000,
        b'{"object":' * 100_000,
        b'{"a": ' + b"9" * 10_000 + b"}",
    ],
    ids=["empty", "half", "utf-16", "not utf-8", "lone surrogate", "deep list", "deep object", "huge number"],
)
def test_what_is_not_json_is_refused(body: bytes) -> None:
    with pytest.raises(NotAnIncident):
        parse_delivery(body, content_type="application/json")


# ARM ids


HOSTILE_IDS = {
    "empty": "",
    "name only": NAME,
    "no leading slash": ARM_ID[1:],
    "two leading slashes": f"/{ARM_ID}",
    "trailing slash": f"{ARM_ID}/",
    "trailing space": f"{ARM_ID} ",
    "leading space": f" {ARM_ID}",
    "newline at the end": f"{ARM_ID}\n",
    "carriage return": f"{ARM_ID}\r\n",
    "NUL": f"{ARM_ID}\x00",
    "query": f"{ARM_ID}?api-version=2021-10-01",
    "fragment": f"{ARM_ID}#x",
    "semicolon": f"{ARM_ID};x",
    "dots in the name": f"{INCIDENTS}/..",
    "dots as name, then name": f"{INCIDENTS}/../Incidents/{NAME}",
    "dot segment": f"{INCIDENTS}/./{NAME}",
    "encoded slash in the name": f"{INCIDENTS}/x%2f{NAME}",
    "encoded dots": f"{INCIDENTS}/%2e%2e",
    "encoded resource group": ARM_ID.replace("rg-secops-prod", "rg%2fsecops"),
    "twice encoded": ARM_ID.replace("rg-secops-prod", "rg%252fsecops"),
    "backslash in the name": f"{INCIDENTS}/x\\{NAME}",
    "backslashes for slashes": ARM_ID.replace("/", "\\"),
    "resource group of two dots": ARM_ID.replace("rg-secops-prod", ".."),
    "resource group of one dot": ARM_ID.replace("rg-secops-prod", "."),
    "resource group with a dot at the end": ARM_ID.replace("rg-secops-prod", "rg."),
    "resource group with two dots inside": ARM_ID.replace("rg-secops-prod", "rg..prod"),
    "resource group with a space": ARM_ID.replace("rg-secops-prod", "rg secops"),
    "resource group with a newline": ARM_ID.replace("rg-secops-prod", "rg\nsecops"),
    "resource group with a query": ARM_ID.replace("rg-secops-prod", "rg?x"),
    "resource group with a colon": ARM_ID.replace("rg-secops-prod", "rg:x"),
    "resource group of 91": ARM_ID.replace("rg-secops-prod", "r" * 91),
    "empty resource group": ARM_ID.replace("rg-secops-prod", ""),
    "foreign workspace provider": ARM_ID.replace("OperationalInsights", "Compute"),
    "foreign incident provider": ARM_ID.replace("SecurityInsights", "Security"),
    "any character for the dot": ARM_ID.replace("Microsoft.SecurityInsights", "MicrosoftxSecurityInsights"),
    "alert rule": ARM_ID.replace("/Incidents/", "/alertRules/"),
    "comment of an incident": f"{ARM_ID}/Comments/{NAME}",
    "no workspace": f"/subscriptions/{SUBSCRIPTION}/providers/Microsoft.SecurityInsights/Incidents/{NAME}",
    "workspace only": WORKSPACE_ARM_ID,
    "two workspaces": ARM_ID.replace("/law-sentinel-prod/", "/law-sentinel-prod/law-other/"),
    "no subscription": ARM_ID.replace(SUBSCRIPTION, ""),
    "subscription without dashes": ARM_ID.replace(SUBSCRIPTION, SUBSCRIPTION.replace("-", "")),
    "subscription with a letter g": ARM_ID.replace(SUBSCRIPTION, f"g{SUBSCRIPTION[1:]}"),
    "subscription in braces": ARM_ID.replace(SUBSCRIPTION, f"{{{SUBSCRIPTION}}}"),
    "subscription of arabic digits": ARM_ID.replace(SUBSCRIPTION, SUBSCRIPTION.replace("1", "\u0661")),
    "short workspace name": ARM_ID.replace("law-sentinel-prod", "law"),
    "long workspace name": ARM_ID.replace("law-sentinel-prod", "l" * 64),
    "workspace name that ends in a dash": ARM_ID.replace("law-sentinel-prod", "law-sentinel-"),
    "underscore in the workspace name": ARM_ID.replace("law-sentinel-prod", "law_sentinel"),
    "Kelvin sign in the workspace name": ARM_ID.replace("law-sentinel-prod", "law-\u212aiosk"),
    "Kelvin sign in a keyword": ARM_ID.replace("workspaces", "wor\u212aspaces"),
    "long s in the workspace name": ARM_ID.replace("law-sentinel-prod", "law-\u017fentinel"),
    "long s in the provider": ARM_ID.replace("Microsoft", "Micro\u017foft"),
    "dotless i in the provider": ARM_ID.replace("Insights", "Ins\u0131ghts"),
    "fullwidth slash": ARM_ID.replace("/Incidents/", "\uff0fIncidents\uff0f"),
    "division slash in the resource group": ARM_ID.replace("rg-secops-prod", "rg\u2215secops"),
    "zero width space": ARM_ID.replace("rg-secops-prod", "rg\u200bsecops"),
    "bidi override": ARM_ID.replace("rg-secops-prod", "rg\u202esecops"),
    "lone surrogate": ARM_ID.replace("rg-secops-prod", "rg\ud800"),
    "name of 65": f"{INCIDENTS}/{'a' * 65}",
    "name that starts with a dash": f"{INCIDENTS}/-a",
    "10,000 characters": ARM_ID.replace("rg-secops-prod", "r" * 10_000),
    "10,000 more": ARM_ID + "a" * 10_000,
    "URL": f"https://management.azure.com{ARM_ID}",
}


@pytest.mark.parametrize("text", HOSTILE_IDS.values(), ids=HOSTILE_IDS.keys())
def test_a_hostile_id_is_not_an_incident(text: str) -> None:
    with pytest.raises(NotAnIncident) as caught:
        IncidentId.parse(text)
    assert not text or text not in chain(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ARM_ID,
        WORKSPACE_ARM_ID[1:],
        f"{WORKSPACE_ARM_ID}/",
        f"{WORKSPACE_ARM_ID}\n",
        f"{WORKSPACE_ARM_ID}?x",
        WORKSPACE_ARM_ID.replace("rg-secops-prod", ".."),
        WORKSPACE_ARM_ID.replace("rg-secops-prod", "a%2fb"),
        WORKSPACE_ARM_ID.replace("OperationalInsights", "Operational1nsights"),
        WORKSPACE_ARM_ID.replace("law-sentinel-prod", "law-\u212aiosk"),
        WORKSPACE_ARM_ID + "a" * 10_000,
    ],
)
def test_a_hostile_id_is_not_a_workspace(text: str) -> None:
    with pytest.raises(NotAnIncident):
        WorkspaceId.parse(text)


@pytest.mark.parametrize(
    "lookalike",
    ["\u212a", "\u212b", "\u2126", "\u1e9e"],
    ids=["Kelvin", "Angstrom", "Ohm", "capital sharp s"],
)
def test_a_lookalike_in_the_resource_group_never_takes_another_groups_identity(lookalike: str) -> None:
    """A sign that lower-cases to a letter would share the key of a resource group it is not."""
    known = WorkspaceId.parse(WORKSPACE_ARM_ID.replace("rg-secops-prod", f"rg-{lookalike.lower()}"))
    try:
        found = WorkspaceId.parse(WORKSPACE_ARM_ID.replace("rg-secops-prod", f"rg-{lookalike}"))
    except NotAnIncident:
        return
    assert found.key != known.key


@pytest.mark.parametrize(
    "group", ["\u039f\u039c\u0391\u03a3", "\u03bf\u03bc\u03b1\u03c3", "\u03bf\u03bc\u03b1\u03c2"]
)
def test_a_sigma_at_the_end_of_a_resource_group_makes_no_other_incident(group: str) -> None:
    """Python lower-cases a last sigma in its own way, Azure every sigma in the same."""
    configured = WORKSPACE_ARM_ID.replace("rg-secops-prod", "\u039f\u039c\u0391\u03a3")
    body = {
        "object": {"id": ARM_ID.replace("rg-secops-prod", group)},
        "workspaceInfo": {"ResourceGroupName": "\u039f\u039c\u0391\u03a3"},
    }
    assert parse(body).incident_id.workspace.key == WorkspaceId.parse(configured).key


def test_the_arm_id_is_written_as_sentinels_rest_api_writes_it() -> None:
    assert IncidentId.parse(ARM_ID.upper()).workspace.name == "LAW-SENTINEL-PROD"
    assert IncidentId.parse(ARM_ID).arm_id == ARM_ID.replace("/Incidents/", "/incidents/")


GUIDS = st.uuids().map(str)
RESOURCE_GROUPS = st.text(
    f"{string.ascii_letters}{string.digits}-_.()äÖéñØçжЩ日本語", min_size=1, max_size=90
).filter(lambda text: not text.endswith(".") and ".." not in text)
ALPHANUMERIC = st.sampled_from(string.ascii_letters + string.digits)
WORKSPACE_NAMES = st.tuples(
    ALPHANUMERIC,
    st.text(f"{string.ascii_letters}{string.digits}-", min_size=2, max_size=61),
    ALPHANUMERIC,
).map("".join)
WORKSPACE_IDS = st.builds(WorkspaceId, GUIDS, RESOURCE_GROUPS, WORKSPACE_NAMES)
INCIDENT_NAMES = GUIDS | st.tuples(
    ALPHANUMERIC, st.text(f"{string.ascii_letters}{string.digits}-_", max_size=63)
).map("".join)
INCIDENT_IDS = st.builds(IncidentId, WORKSPACE_IDS, INCIDENT_NAMES)


@given(WORKSPACE_IDS)
@settings(deadline=None)
def test_every_workspace_id_reads_back_as_itself(workspace: WorkspaceId) -> None:
    assert WorkspaceId.parse(workspace.arm_id) == workspace


@given(INCIDENT_IDS)
@settings(deadline=None)
def test_every_incident_id_reads_back_as_itself(incident_id: IncidentId) -> None:
    assert IncidentId.parse(incident_id.arm_id) == incident_id


@given(INCIDENT_IDS, st.sampled_from([str.upper, str.lower, str.swapcase, str.title]))
@settings(deadline=None)
def test_the_key_is_the_same_in_every_letter_case(incident_id: IncidentId, spell: Any) -> None:
    respelt = IncidentId.parse(spell(incident_id.arm_id))

    assert respelt.key == incident_id.key
    assert respelt.workspace.key == incident_id.workspace.key


# Skip rules


def incident(
    *, severity: str = "High", status: str = "New", labels: frozenset[str] = frozenset()
) -> Incident:
    return Incident(IncidentId(WORKSPACE, NAME), "1", severity, status, labels)


# Whatever comes: an answer or a refusal, and no refusal that repeats what came


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)
DEEP = "<deep>"
REPLACEMENTS: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, True, False, 0, -1, 1.5, 10**400, float("nan"), float("inf"), "", "\ud800", "\x00", DEEP),
        *([], {}, [[]], [None], {"": None}, MARKER, [MARKER], {MARKER: MARKER}, ARM_ID, f"{ARM_ID}{MARKER}"),
        *(MARKER + ARM_ID, ARM_ID.replace("rg-", f"{MARKER} "), ARM_ID.replace("law-sentinel", MARKER)),
    ]
)
KNOWN_KEYS = st.sampled_from(
    [
        *("object", "Object", "OBJECT", "incidentArmId", "workspaceInfo", "WORKSPACEINFO", "ticketId"),
        *("TicketID", "id", "ID", "name", "properties", "labels", "labelName", "incidentNumber", "severity"),
        *("status", "workspaceId", "SubscriptionId", "ResourceGroupName", "WorkspaceName"),
        *("createdTimeUtc", "CreatedTimeUTC", "providerIncidentId"),
    ]
)


def places(value: Any, depth: int) -> list[Any]:
    """Return the containers of a JSON value that are at most so deep."""
    found = [value] if isinstance(value, dict | list) and value else []
    if depth and found:
        for item in value.values() if isinstance(value, dict) else value:
            found += places(item, depth - 1)
    return found


@st.composite
def mutated_triggers(draw: st.DrawFn) -> bytes:
    """Draw a real trigger body with some of its parts dropped, replaced, renamed or nested."""
    document = trigger(draw(st.sampled_from(list(TRIGGERS))))
    if draw(st.booleans()):
        document["incidentArmId"] = document["object"]["id"]
    for _ in range(draw(st.integers(1, 4))):
        found = places(document, draw(st.integers(0, 5)))
        if not found:
            break
        place = draw(st.sampled_from(found))
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = draw(st.sampled_from(keys))
        match draw(st.sampled_from(["drop", "replace", "replace", "rename", "add", "plant"])):
            case "drop":
                del place[key]
            case "replace":
                place[key] = copy.deepcopy(draw(REPLACEMENTS | JSON_VALUES))
            case "rename" if isinstance(place, dict):
                place[draw(KNOWN_KEYS | st.just(MARKER) | st.just(str(key).swapcase()))] = place.pop(key)
            case "add" if isinstance(place, dict):
                place[draw(KNOWN_KEYS | st.just(MARKER))] = copy.deepcopy(draw(REPLACEMENTS | JSON_VALUES))
            case _:
                place[key] = f"{place[key]}{MARKER}" if isinstance(place[key], str) else MARKER
    text = json.dumps(document)
    return text.replace(f'"{DEEP}"', "[" * 5_000 + "]" * 5_000).encode()


WHATEVER = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def refusal(body: bytes, content_type: str | None = "application/json") -> DeliveryError | None:
    """Return the refusal of a body, None if it was accepted; any other exception fails the test."""
    try:
        parse_delivery(body, content_type=content_type)
    except DeliveryError as error:
        return error
    return None


@given(st.binary(max_size=2_000), st.none() | st.text() | st.just("application/json"))
@WHATEVER
def test_arbitrary_bytes_are_refused_and_nothing_else(body: bytes, content_type: str | None) -> None:
    assert refusal(body, content_type) is not None


@given(JSON_VALUES | st.fixed_dictionaries({"object": JSON_VALUES, "incidentArmId": JSON_VALUES}))
@WHATEVER
def test_arbitrary_json_is_refused_and_nothing_else(value: Any) -> None:
    refused = refusal(json.dumps(value).encode())

    assert refused is not None
    assert library_words(str(refused)) == []


@given(mutated_triggers())
@WHATEVER
def test_a_mutated_body_is_accepted_or_refused_without_repeating_any_of_it(body: bytes) -> None:
    refused = refusal(body)
    said = chain(refused).lower()

    assert library_words(str(refused)) == []
    assert MARKER.lower() not in said
    assert SUBSCRIPTION not in said
    assert "rg-secops-prod" not in said


@pytest.mark.parametrize(
    "document",
    [
        {MARKER: MARKER},
        {"incidentArmId": MARKER},
        {"incidentArmId": f"{ARM_ID}/{MARKER}"},
        {"incidentArmId": ARM_ID.replace("rg-secops-prod", f"{MARKER}!")},
        {"incidentArmId": ARM_ID, "ticketId": f"{MARKER}\n"},
        {"incidentArmId": ARM_ID, "ticketId": [MARKER]},
        {"incidentArmId": ARM_ID, "workspaceInfo": {"WorkspaceName": MARKER}},
        {"incidentArmId": ARM_ID, "workspaceInfo": MARKER},
        {"object": {"id": ARM_ID, "name": MARKER}},
        {"object": {"id": {MARKER: MARKER}}},
        {"object": {"id": ARM_ID, "Id": MARKER}},
        {"object": {"id": ARM_ID, "properties": {"incidentNumber": MARKER}}},
        {"object": {"id": ARM_ID, "properties": {"labels": [{"labelName": {MARKER: 1}}]}}},
        {"object": {"id": ARM_ID, "properties": {"severity": [MARKER]}}},
        [MARKER],
        MARKER,
    ],
)
def test_a_refusal_never_repeats_what_was_sent(document: object) -> None:
    error = refusal(json.dumps(document).encode())

    assert error is not None
    assert library_words(str(error)) == []
    assert MARKER.lower() not in chain(error).lower()


def test_a_refusal_of_bad_json_never_repeats_it() -> None:
    error = refusal(f'{{"{MARKER}": {MARKER}'.encode())

    assert error is not None
    assert MARKER.lower() not in chain(error).lower()


def test_a_refusal_of_a_content_type_never_repeats_it() -> None:
    error = refusal(b"{}", MARKER)

    assert error is not None
    assert MARKER not in chain(error)
