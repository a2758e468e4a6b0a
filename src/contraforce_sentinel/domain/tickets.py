"""The ticket of an incident, as links keep it and the comment tells it: hostile text, made fit."""

import unicodedata
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from contraforce_sentinel.domain.records import Record

_MAX_ID_LENGTH: Final = 128


def _one_line(text: str) -> str:
    """Without control, format and private characters: fit for a log line, a header and a comment."""
    return " ".join("".join(" " if _is_unseen(char) else char for char in text).split())


def _is_unseen(char: str) -> bool:
    """Whether it is a space, a control or a format character; the two joiners are letters of some scripts."""
    return unicodedata.category(char)[0] in "CZ" and char not in "\u200c\u200d"


def _cut(limit: int) -> AfterValidator:
    return AfterValidator(lambda text: text if len(text) <= limit else f"{text[: limit - 1]}…")


def _usable_id(text: str | None) -> str | None:
    return text if text and len(text) <= _MAX_ID_LENGTH else None


type _OneLine = Annotated[str, AfterValidator(_one_line)]


class Ticket(Record):
    """What the comment says of a ticket. `number` is what people call it, `id` what the API calls it.

    `system` is ContraForce's name of the service desk; a record may have one that only a later version knows.
    Every text is one line. Title and status are cut, an id that cannot be one is None, a number that
    cannot be one is refused.
    """

    system: Annotated[_OneLine, Field(min_length=1, max_length=40)]
    number: Annotated[_OneLine, Field(min_length=1, max_length=100)]
    id: Annotated[_OneLine | None, AfterValidator(_usable_id)] = None
    title: Annotated[_OneLine, _cut(500)] | None = None
    status: Annotated[_OneLine, _cut(100)] | None = None

    def is_called(self, ticket_id: str) -> bool:
        """Whether a caller's `ticketId` means this ticket."""
        return ticket_id.strip().lower() in {(self.id or self.number).lower(), self.number.lower()}
