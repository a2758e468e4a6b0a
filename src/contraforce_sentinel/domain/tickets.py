"""The ticket of an incident, as links keep it and the comment tells it: hostile text, made fit."""

import re
import unicodedata
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from contraforce_sentinel.domain.errors import RefusedValue
from contraforce_sentinel.domain.records import Record

MAX_ID_LENGTH: Final = 128
_NUMBER: Final = re.compile(r"[^\W_][\w./#:-]{0,99}")
_JOINERS: Final = "\u200c\u200d"


def clean_id(text: str) -> str:
    """An id as it was meant: without blanks around it, and without what nobody sees in it.

    Copied from a page or a chat, an id may carry format characters (category Cf): spaces without width, byte
    order marks, soft hyphens, directions of writing.
    """
    return "".join(char for char in text if unicodedata.category(char) != "Cf").strip()


def _one_line(text: str) -> str:
    """Without format characters, and with blanks for control characters: fit for a log line and a comment."""
    return " ".join("".join(map(_shown, text)).split())


def _shown(char: str) -> str:
    """Nothing for a format character, but the two joiners: without them some scripts are misspelt."""
    category = unicodedata.category(char)
    if category == "Cf":
        return char if char in _JOINERS else ""
    return " " if category[0] in "CZ" else char


def _possible_number(number: str) -> str:
    """Letters and digits of any script and `.-_/#:`, a letter or digit first. Raises `RefusedValue`.

    Anything else would be read as more than a number: a blank or `=` in an event's text, a first `=`, `+`,
    `-` or `@` in a spreadsheet.
    """
    if _NUMBER.fullmatch(number) is None:
        raise RefusedValue("is not the number of a ticket")
    return number


def _cut(limit: int) -> AfterValidator:
    return AfterValidator(lambda text: text if len(text) <= limit else f"{text[: limit - 1]}…")


def _usable_id(text: str | None) -> str | None:
    return text if text and len(text) <= MAX_ID_LENGTH else None


type TicketNumber = Annotated[str, AfterValidator(clean_id), AfterValidator(_possible_number)]
"""What ContraForce's answers must have as a number; records of earlier versions may have others."""

type _OneLine = Annotated[str, AfterValidator(_one_line)]
type _Id = Annotated[str, AfterValidator(clean_id), AfterValidator(_one_line)]


class Ticket(Record):
    """What the comment says of a ticket. `number` is what people call it, `id` what the API calls it.

    `system` is ContraForce's name of the service desk; a record may have one that only a later version knows.
    Every text is one line. Title and status are cut, an id that cannot be one is None, a number that
    cannot be one is refused.
    """

    system: Annotated[_OneLine, Field(min_length=1, max_length=40)]
    number: Annotated[_Id, Field(min_length=1, max_length=100)]
    id: Annotated[_Id | None, AfterValidator(_usable_id)] = None
    title: Annotated[_OneLine, _cut(500)] | None = None
    status: Annotated[_OneLine, _cut(100)] | None = None

    def is_called(self, ticket_id: str) -> bool:
        """Whether a caller's `ticketId` means this ticket."""
        return ticket_id.strip().lower() in {(self.id or self.number).lower(), self.number.lower()}
