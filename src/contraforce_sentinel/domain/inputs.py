"""What comes from outside: bytes to text, texts to moments, and what is wrong with it in our own words.

No text of this module repeats any of its input.
"""

import codecs
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from pydantic_core import ErrorDetails

from contraforce_sentinel.domain.errors import RefusedValue

_SENTENCES: Final[Mapping[str, str]] = {
    "missing": "is missing",
    "string_type": "must be a text",
    "string_too_short": "must not be empty",
    "string_unicode": "has characters that are no Unicode text",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number",
    "int_from_float": "must be a whole number",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "uuid_type": "must be a GUID",
    "uuid_parsing": "must be a GUID",
    "list_type": "must be a JSON array",
    "tuple_type": "must be a JSON array",
    "too_long": "has more than {max_length} entries",
    "dict_type": "must be a JSON object",
    "model_type": "must be a JSON object",
    "extra_forbidden": "has a field that is not known",
}
"""By pydantic's error types: its own messages, and the names of its types, are for programmers."""

_NO_YEARS: Final = frozenset({1, 9999})
"""Of the first and the last day that .NET knows: they stand for no date at all."""


def read_moment(value: Any) -> datetime | None:
    """Read a date of any form, UTC where it says no zone; None for whatever is no date."""
    try:
        found = datetime.fromisoformat(value)
        found = found.astimezone(UTC) if found.tzinfo else found.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if found.year in _NO_YEARS else found


def sentence(error: ErrorDetails) -> str:
    """Say what is wrong with one value: the words of our own check, or those for the library's."""
    context = error.get("ctx", {})
    refused = context.get("error")
    if isinstance(refused, RefusedValue):
        return str(refused)
    return _SENTENCES.get(error["type"], "is not valid").format_map(context)


def read_json(text: str) -> Any:
    """Read JSON in which no object has a key twice: one value would be taken without a word.

    Raises `RefusedValue`.
    """
    try:
        return json.loads(text, object_pairs_hook=_each_once)
    except RefusedValue:
        raise
    except (ValueError, RecursionError):
        raise RefusedValue("is not valid JSON") from None


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise RefusedValue("has an object with a key that is there twice")
    return found


MOST_CONTAINERS: Final = 100_000
"""Objects and lists of one document. Each takes some eighty bytes of memory, and two on the wire."""


def has_too_many_containers(content: bytes | bytearray, most: int = MOST_CONTAINERS) -> bool:
    """Whether JSON may have more objects and lists than anybody has to say, those in its texts included."""
    return content.count(b"[") + content.count(b"{") > most


def decode(content: bytes) -> str:
    """Read UTF-8, with or without a byte order mark in front.

    Raises `RefusedValue`: for UTF-16, which Windows PowerShell's redirection writes, one that says so.
    """
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or content[:2].count(0) == 1:
        raise RefusedValue("is in UTF-16, and has to be in UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise RefusedValue("is not in UTF-8") from None
