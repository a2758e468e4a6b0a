"""The comment: what it says, its one id, and that nothing a ticket holds is ever more than text in it."""

import unicodedata
from collections.abc import Callable, Mapping
from html import escape
from html.parser import HTMLParser
from uuid import NAMESPACE_URL, UUID, uuid5

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from contraforce_sentinel.contraforce.ticket_systems import NAMES, status_note
from contraforce_sentinel.domain.comments import MAX_COMMENT_LENGTH, comment_id, comment_text, is_our_comment
from contraforce_sentinel.domain.incidents import IncidentId
from contraforce_sentinel.domain.tickets import Ticket

ARM_ID = (
    "/subscriptions/11111111-2222-4333-8444-555555555555/resourceGroups/rg-secops-prod"
    "/providers/Microsoft.OperationalInsights/workspaces/law-sentinel-prod"
    "/providers/Microsoft.SecurityInsights/Incidents/3f1d9a52-7c0e-4b1b-9d5f-6a2f0e8c7b11"
)
TEMPLATE = "https://desk.example/open?id={id}&number={number}"


def ticket(
    *,
    system: str = "Jira",
    number: str = "SEC-421",
    id_: str | None = "10432",
    title: str | None = "Multiple failed sign-ins",
    status: str | None = "To Do",
) -> Ticket:
    return Ticket(system=system, number=number, id=id_, title=title, status=status)


def text_of(found: Ticket, *, url_templates: Mapping[str, str]) -> str:
    """Return the comment as the app writes it: with the note of the ticket's system."""
    return comment_text(found, url_templates=url_templates, status_note=status_note(found.system))


# The id


def test_the_comments_id_is_pinned() -> None:
    """Another id for the same incident, in any future version, would be a second comment."""
    assert comment_id(IncidentId.parse(ARM_ID)) == UUID("e2792f10-6fb3-51f5-abe8-bf1c933a1623")


def test_the_comments_id_is_a_uuid5_of_the_lower_cased_arm_id() -> None:
    assert comment_id(IncidentId.parse(ARM_ID)) == uuid5(NAMESPACE_URL, ARM_ID.lower())


@pytest.mark.parametrize("spelt", [ARM_ID.upper(), ARM_ID.lower(), ARM_ID.swapcase()])
def test_letter_case_of_the_arm_id_makes_no_other_comment(spelt: str) -> None:
    assert comment_id(IncidentId.parse(spelt)) == comment_id(IncidentId.parse(ARM_ID))


@pytest.mark.parametrize(
    "other",
    [
        ARM_ID.replace("3f1d9a52", "3f1d9a53"),
        ARM_ID.replace("law-sentinel-prod", "law-sentinel-test"),
        ARM_ID.replace("rg-secops-prod", "rg-secops-test"),
        ARM_ID.replace("11111111-2222", "11111111-2223"),
    ],
)
def test_another_incident_has_another_comment(other: str) -> None:
    assert comment_id(IncidentId.parse(other)) != comment_id(IncidentId.parse(ARM_ID))


# The text


@pytest.mark.parametrize(
    ("system", "number", "status", "expected"),
    [
        (
            "Autotask",
            "T20261123.0042",
            "8",
            (
                "<p><strong>Autotask ticket T20261123.0042</strong><br>Title: Multiple failed sign-ins<br>"
                "Status when linked: 8 (picklist value)<br>Linked by ContraForce</p>"
            ),
        ),
        (
            "ServiceNow",
            "INC0010023",
            "New",
            (
                "<p><strong>ServiceNow ticket INC0010023</strong><br>Title: Multiple failed sign-ins<br>"
                "Status when linked: New<br>Linked by ContraForce</p>"
            ),
        ),
        (
            "Jira",
            "SEC-421",
            "To Do",
            (
                "<p><strong>Jira ticket SEC-421</strong><br>Title: Multiple failed sign-ins<br>"
                "Status when linked: To Do<br>Linked by ContraForce</p>"
            ),
        ),
    ],
)
def test_the_text_for_each_system(system: str, number: str, status: str, expected: str) -> None:
    assert text_of(ticket(system=system, number=number, status=status), url_templates={}) == expected


@pytest.mark.parametrize("nothing", [None, "", " \n"])
def test_what_a_ticket_does_not_have_is_left_out(nothing: str | None) -> None:
    assert (
        text_of(ticket(title=nothing, status=nothing), url_templates={})
        == "<p><strong>Jira ticket SEC-421</strong><br>Linked by ContraForce</p>"
    )


def test_the_number_is_a_link_with_a_template_of_its_system() -> None:
    text = text_of(
        ticket(title=None, status=None), url_templates={"Jira": "https://acme.atlassian.net/browse/{number}"}
    )

    assert text == (
        '<p><strong>Jira ticket <a href="https://acme.atlassian.net/browse/SEC-421">SEC-421</a></strong>'
        "<br>Linked by ContraForce</p>"
    )


@pytest.mark.parametrize(
    ("system", "template", "id_", "href"),
    [
        ("Jira", "https://x.example/{number}", None, "https://x.example/SEC-421"),
        ("Jira", "https://x.example/{id}", "10432", "https://x.example/10432"),
        ("Autotask", TEMPLATE, "7", "https://desk.example/open?id=7&number=SEC-421"),
        (
            "ServiceNow",
            "https://x.example/{id}",
            "a/../b?c&d",
            "https://x.example/a%2F..%2Fb%3Fc%26d",
        ),
        ("Jira", "https://x.example/{id}", '"><b>', "https://x.example/%22%3E%3Cb%3E"),
        ("Jira", "https://x.example/{id}/{id}", "1", "https://x.example/1/1"),
        ("Jira", "https://x.example/{id}", "{number}", "https://x.example/%7Bnumber%7D"),
    ],
)
def test_a_link_has_the_templates_url_with_the_fields_encoded(
    system: str, template: str, id_: str | None, href: str
) -> None:
    text = text_of(ticket(system=system, id_=id_), url_templates={system: template})

    assert read(text).hrefs == [href]


def test_an_ampersand_of_the_template_is_written_as_html() -> None:
    text = text_of(ticket(), url_templates={"Jira": TEMPLATE})

    assert '<a href="https://desk.example/open?id=10432&amp;number=SEC-421">SEC-421</a>' in text


@pytest.mark.parametrize(
    ("templates", "id_"),
    [
        ({}, "10432"),
        ({"Autotask": "https://x.example/{number}"}, "10432"),
        ({"Jira": "https://x.example/{id}"}, None),
        ({"Jira": "https://x.example/{id}/{number}"}, None),
        ({"Jira": "https://x.example/{number}/" + "a" * 2_000}, "10432"),
    ],
    ids=["no template", "another system", "no id", "no id but a number", "too long"],
)
def test_without_a_template_that_its_fields_fill_the_number_is_plain(
    templates: dict[str, str], id_: str | None
) -> None:
    text = text_of(ticket(id_=id_), url_templates=templates)

    assert read(text).hrefs == []
    assert "<strong>Jira ticket SEC-421</strong>" in text


# What a hostile ticket can do to it: nothing


class Seen(HTMLParser):
    """What a reader of the comment gets: the tags, the links and the visible text."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[str] = []
        self.hrefs: list[str | None] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        self.tags.append(" ".join([tag, *names]))
        if tag == "a":
            self.hrefs += [value for _, value in attrs]
        if tag == "br":
            self.text += "\n"

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.tags.append(f"comment {data}")

    def handle_decl(self, decl: str) -> None:
        self.tags.append(f"declaration {decl}")

    def handle_pi(self, data: str) -> None:
        self.tags.append(f"instruction {data}")

    def unknown_decl(self, data: str) -> None:
        self.tags.append(f"unknown declaration {data}")


def read(html: str) -> Seen:
    seen = Seen()
    seen.feed(html)
    seen.close()
    return seen


def inline(text: str) -> str:
    """Render as a portal would that reads Markdown inside of HTML, too."""
    inner = MarkdownIt("commonmark", {"html": True}).renderInline(
        text.removeprefix("<p>").removesuffix("</p>")
    )
    return f"<p>{inner}</p>"


READERS: dict[str, Callable[[str], str]] = {
    "HTML": lambda text: text,
    "Markdown within HTML": inline,
    "Markdown": MarkdownIt("commonmark", {"html": True}).render,
    "Markdown with tables": MarkdownIt("commonmark", {"html": True})
    .enable(["table", "strikethrough"])
    .render,
}

HOSTILE = {
    "bold": "<b>bold</b>",
    "script": "<script>alert(1)</script>",
    "script that ends ours": "</strong></p><script>alert(1)</script>",
    "image": '<img src=x onerror="alert(1)">',
    "link": '<a href="https://evil.example">SEC-1</a>',
    "comment": "<!-- hidden",
    "cdata": "<![CDATA[ x ]]>",
    "declaration": "<!DOCTYPE html>",
    "instruction": "<?php echo 1 ?>",
    "half a tag": "<a href='",
    "attribute": '" onmouseover="alert(1)',
    "markdown link": "[click](https://evil.example)",
    "markdown reference": "[click][1] [1]: https://evil.example",
    "markdown image": "![x](https://evil.example/x.png)",
    "emphasis": "*a* **b** _c_ __d__ ~~e~~",
    "backticks": "`code` ```js alert(1) ```",
    "heading": "# heading",
    "setext heading": "heading\n=======",
    "list": "- item\n* item\n1. item",
    "quote": "> quote",
    "rule": "---",
    "table": "| a | b |\n|---|---|\n| 1 | 2 |",
    "autolink": "<https://evil.example>",
    "bare link": "https://evil.example www.evil.example",
    "mail": "<mailto:a@evil.example> a@evil.example",
    "script link": "[x](javascript:alert(1))",
    "entity": "&lt;b&gt; &amp; &#60;i&#62; &#x3c;u&#x3e; &nbsp;",
    "half an entity": "&lt &# &#x &; &am",
    "backslashes": "\\<b\\> \\*a\\* \\",
    "quotes": "\"'`\u2018\u2019\u201c\u201d",
    "blank lines": "a\n\n<b>b</b>\n\n# c",
    "indented code": "a\n\n    code",
    "carriage returns": "a\r\rb\r\n\r\nc",
    "line separators": "a\u2028b\u2029c\x85d\x0be\x0cf",
    "control": "a\x00b\x1bc\x7fd\x9be",
    "bidi": "a\u202eb\u2066c\u200fd\u061ce",
    "zero width": "a\u200bb\ufeffc\u00add",
    "private": "a\ue000b\U000f0000c",
    "noncharacter": "a\ufffeb\U0010ffffc",
    "fullwidth": "\uff1cscript\uff1e",
    "emoji": "\U0001f6a8 alert \u2764\ufe0f",
    "combining": "a\u0301\u0300 e\u20dd",
    "formula": "=cmd|' /C calc'!A0",
    "template": "{{7*7}} ${7*7} {number}",
}


def one_line(text: str) -> str:
    """Say independently of the source what one line of a text is."""
    shown = [" " if unicodedata.category(char)[0] in {"C", "Z"} else char for char in text]
    return " ".join("".join(shown).split())


def assert_only_text(found: Ticket, *, template: str | None, reader: str) -> None:
    comment = text_of(found, url_templates={found.system: template} if template else {})
    seen = read(READERS[reader](comment))

    lines = [f"{found.system} ticket {found.number}"]
    lines += [f"Title: {found.title}"] if found.title else []
    note = status_note(found.system)
    lines += [f"Status when linked: {found.status}{f' ({note})' if note else ''}"] if found.status else []
    lines += ["Linked by ContraForce"]
    assert seen.text.rstrip("\n") == "\n".join(lines)
    assert seen.tags == ["p", "strong", *(["a href"] if seen.hrefs else []), *["br"] * (len(lines) - 1)]
    assert all(str(href).startswith("https://desk.example/open?id=") for href in seen.hrefs)
    assert len(comment) <= MAX_COMMENT_LENGTH
    assert "\n" not in comment


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_ticket_is_shown_as_text_and_as_nothing_else(text: str, reader: str) -> None:
    hostile = ticket(number=text[:50], id_=text, title=text, status=text)

    assert hostile.title == one_line(text)
    assert_only_text(hostile, template=TEMPLATE, reader=reader)
    assert_only_text(hostile, template=None, reader=reader)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("char", ["<", "&", "*", "`", "\U0001f6a8", "a", "\n", "&lt;"])
def test_a_title_of_100_000_characters_stays_a_comment(char: str, reader: str) -> None:
    long = ticket(title=char * 100_000, status=char * 100_000, id_=char * 100_000)

    assert_only_text(long, template=TEMPLATE, reader=reader)


ANY_TEXT = st.text(max_size=700) | st.lists(st.sampled_from(list(HOSTILE.values())), max_size=20).map(
    "\n".join
)
TICKETS = st.builds(
    Ticket,
    system=st.sampled_from(NAMES) | ANY_TEXT.map(lambda text: text[:39] + "1"),
    number=ANY_TEXT.map(lambda text: text[:99] + "1"),
    id=st.none() | ANY_TEXT,
    title=st.none() | ANY_TEXT,
    status=st.none() | ANY_TEXT,
)


@given(TICKETS, st.sampled_from([None, TEMPLATE]), st.sampled_from(list(READERS)))
@settings(max_examples=400, deadline=None)
def test_any_ticket_is_shown_as_text_and_as_nothing_else(
    found: Ticket, template: str | None, reader: str
) -> None:
    assert_only_text(found, template=template, reader=reader)


def test_the_largest_ticket_fits_into_a_comment() -> None:
    """Every character of it written as the longest reference, and the longest link."""
    char = "\U0001f6a8"
    largest = ticket(number=char * 100, id_=char * 128, title=char * 500, status=char * 100)

    text = text_of(largest, url_templates={"Jira": "https://desk.example/{number}?" + "&" * 700})
    assert len(text) > 6_000
    assert len(text) <= MAX_COMMENT_LENGTH


# Recognising it


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE.keys())
def test_what_was_written_is_recognised(text: str) -> None:
    found = ticket(number=text[:50])

    assert is_our_comment(text_of(found, url_templates={}), found)
    assert is_our_comment(text_of(found, url_templates={"Jira": TEMPLATE}), found)


@pytest.mark.parametrize("number", ["SEC-421", "R&D <1>", "a_b*c"])
def test_a_comment_whose_html_a_portal_wrote_anew_is_recognised(number: str) -> None:
    normalised = f"<div><b>Jira ticket {escape(number)}</b><br />Linked by ContraForce</div>"

    assert is_our_comment(normalised, ticket(number=number))


@pytest.mark.parametrize("message", [None, "", "Looks benign to me.", "<p>Jira ticket SEC-999</p>"])
def test_another_comment_is_not_ours(message: str | None) -> None:
    assert not is_our_comment(message, ticket(number="SEC-421"))


@pytest.mark.parametrize(
    ("number", "other"), [("SEC-42", "SEC-421"), ("42", "SEC-421"), ("INC001", "INC0010")]
)
def test_a_number_that_is_only_a_part_of_another_is_not_ours(number: str, other: str) -> None:
    """An incident that shows SEC-421 does not show SEC-42."""
    shown = text_of(ticket(number=other), url_templates={})

    assert not is_our_comment(shown, ticket(number=number))


def test_a_number_in_another_tickets_title_is_not_ours() -> None:
    shown = text_of(ticket(number="SEC-999", title="Follow-up of SEC-421"), url_templates={})

    assert not is_our_comment(shown, ticket(number="SEC-421"))
