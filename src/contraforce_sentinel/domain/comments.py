"""What the incident comment says, its id and its limits: pure.

Sentinel shows comments as HTML and Markdown, and an incident's comment may hold 30,000 characters
(https://learn.microsoft.com/azure/sentinel/investigate-incidents). Later edits are not synchronised to the
Defender portal, so a text is final when it is first written.
"""

import re
from collections.abc import Mapping
from html import unescape
from typing import Final
from urllib.parse import quote
from uuid import NAMESPACE_URL, UUID, uuid5

from contraforce_sentinel.domain.incidents import IncidentId
from contraforce_sentinel.domain.tickets import Ticket

MAX_COMMENT_LENGTH: Final = 30_000
_MAX_URL: Final = 2_000
# printable ASCII, and of that no braces and quotes
_TICKET_URL: Final = re.compile(r"https://[^{}<>\"'\\\x00-\x20\x7f-\U0010ffff]+")
# No tag here has a "<" inside: else each "<" of a text without ">" would be followed to the end.
_LINE_BREAK: Final = re.compile(r"</?(?:p|br|div)\b[^<>]*>", re.IGNORECASE)
_TAG: Final = re.compile(r"<[^<>]*>")
# Of dots, those that could be a domain's or an address's: portals make links of evil.example and 10.1.2.3.
_SPECIAL: Final = re.compile(r"[^\w \-.,]|_|(?<=www)\.|\.(?=[^\W\d_])|\.(?=\d+\.\d)", re.IGNORECASE)


def comment_id(incident_id: IncidentId) -> UUID:
    """Return the id of our one comment: a repeat of the PUT overwrites itself."""
    return uuid5(NAMESPACE_URL, incident_id.key)


def comment_text(ticket: Ticket, *, url_templates: Mapping[str, str], status_note: str | None) -> str:
    """Return the comment, HTML with nothing of the ticket's unescaped, at most 30,000 characters.

    The number is a link where there is a template for the ticket's system that its id and number fill.
    `status_note` stands behind the status, in our own words.
    """
    number = _escape(ticket.number)
    url = _url(ticket, url_templates.get(ticket.system))
    if url:
        number = f'<a href="{url}">{number}</a>'
    lines = [f"<strong>{_escape(ticket.system)} ticket {number}</strong>"]
    if ticket.title:
        lines.append(f"Title: {_escape(ticket.title)}")
    if ticket.status:
        note = f" ({status_note})" if status_note else ""
        lines.append(f"Status when linked: {_escape(ticket.status)}{note}")
    lines.append("Linked by ContraForce")
    return f"<p>{'<br>'.join(lines)}</p>"


def is_url_template(text: str) -> bool:
    """Whether a text is an https URL with `{id}` or `{number}` that a comment may hold."""
    filled = text.replace("{id}", "0").replace("{number}", "0")
    return filled != text and _TICKET_URL.fullmatch(filled) is not None


def is_our_comment(message: str | None, ticket: Ticket) -> bool:
    """Whether a stored comment under our id is about this ticket (portals may normalise its HTML)."""
    try:
        lines = unescape(_TAG.sub("", _LINE_BREAK.sub("\n", message or ""))).split("\n")
    except ValueError:  # a character reference of thousands of digits
        return False
    return f"{ticket.system} ticket {ticket.number}" in (line.strip() for line in lines)


def _escape(text: str) -> str:
    """Character references for whatever HTML, Markdown or a finder of links could read as more than text."""
    return _SPECIAL.sub(lambda match: f"&#{ord(match[0])};", text)


def _url(ticket: Ticket, template: str | None) -> str | None:
    if template is None or ("{id}" in template and ticket.id is None):
        return None
    url = template.replace("{id}", quote(ticket.id or "", safe="")).replace(
        "{number}", quote(ticket.number, safe="")
    )
    return url.replace("&", "&amp;") if len(url) <= _MAX_URL else None
