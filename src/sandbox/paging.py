"""Pure: `$filter`, `$orderby`, `$top` and `$skipToken` the way Sentinel's lists take them."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from json import loads
from operator import ge, gt, le, lt
from typing import Any, Final, Literal
from urllib.parse import quote, urlencode

from sandbox.bodies import JsonObject

DEFAULT_PAGE: Final = 50
LARGEST_PAGE: Final = 1000
COMPARISONS: Final[dict[str, Callable[[datetime, datetime], bool]]] = {"ge": ge, "gt": gt, "le": le, "lt": lt}
CONDITION: Final = re.compile(r"properties/createdTimeUtc (ge|gt|le|lt) (\S+)", re.IGNORECASE)
NUMBER: Final = re.compile(r"properties/incidentNumber eq ([0-9]+)", re.IGNORECASE)
_ENDS: Final[Mapping[str, JsonObject]] = {
    "missing": {},
    "null": {"nextLink": None},
    "empty": {"nextLink": ""},
}
ENDS: Final[Mapping[str, JsonObject]] = {
    "missing": {},
    "null": {"nextLink": None},
    "empty": {"nextLink": ""},
}
ORDER: Final = re.compile(r"properties/createdTimeUtc(?: (asc|desc))?", re.IGNORECASE)


@dataclass(slots=True)
class Listing:
    """What is odd about the lists of a workspace.

    `trap`: each link leads to its own page, the last one back to the first, or ever on to empty pages.
    `link` stands instead of every link. `end`: how the last page says that it is. `empty_pages`: how many
    come before each page but the first.
    """

    trap: Literal["", "self", "circle", "endless"] = ""
    link: Any = None
    end: Literal["missing", "null", "empty"] = "missing"
    empty_pages: int = 0


class BadQueryError(ValueError):
    """A query option that the list does not understand; the message goes to the caller."""


def created_filter(text: str | None) -> Callable[[datetime], bool]:
    """Return the test for `properties/createdTimeUtc ge <time>`, several joined by `and`."""
    conditions = []
    for part in text.split(" and ") if text else []:
        found = CONDITION.fullmatch(part.strip())
        try:
            limit = datetime.fromisoformat(found[2]) if found else None
        except ValueError:
            limit = None
        if found is None or limit is None or limit.tzinfo is None:
            raise BadQueryError(f"Invalid filter '{text}'.")
        conditions.append((COMPARISONS[found[1].lower()], limit))
    return lambda created: all(compare(created, limit) for compare, limit in conditions)


def number_filter(text: str | None) -> int | None:
    """Return the number of `properties/incidentNumber eq <number>`, None for any other filter."""
    found = NUMBER.fullmatch(text.strip()) if text else None
    return int(found[1]) if found else None


def is_newest_first(orderby: str | None) -> bool:
    """Return the direction. The order without `$orderby` is not documented: newest first, here."""
    if orderby is None:
        return True
    found = ORDER.fullmatch(orderby.strip())
    if found is None:
        raise BadQueryError(f"Invalid orderby '{orderby}'.")
    return (found[1] or "asc").lower() == "desc"


def page[T](
    items: Sequence[T], query: Mapping[str, str], url: str, listing: Listing
) -> tuple[Sequence[T], JsonObject]:
    """Return one page of `items`, and what its answer says of the next one, as an absolute link."""
    size = _page_size(query.get("$top"))
    start, empty = _place(query.get("$skipToken"))
    end = start if empty else start + size
    part = items[start:end]

    def link(place: int, empty: int) -> str:
        token = urlsafe_b64encode(b'{"c":%d,"e":%d}' % (place, empty)).decode()
        return f"{url}?{urlencode({**query, '$skipToken': token}, safe='$', quote_via=quote)}"

    if listing.link is not None:
        return part, {"nextLink": listing.link}
    if listing.trap == "self":
        return part, {"nextLink": link(start, empty)}
    if empty:
        return part, {"nextLink": link(start, empty - 1)}
    if end < len(items):
        return part, {"nextLink": link(end, listing.empty_pages)}
    if listing.trap:
        return part, {"nextLink": link(0 if listing.trap == "circle" else end + 1, 0)}
    return part, ENDS[listing.end]


def _page_size(top: str | None) -> int:
    if top is None:
        return DEFAULT_PAGE
    if not top.isdecimal() or not 1 <= int(top) <= LARGEST_PAGE:
        raise BadQueryError(f"Invalid top '{top}', the maximum is {LARGEST_PAGE}.")
    return int(top)


def _place(token: str | None) -> tuple[int, int]:
    """Return where a page starts, and how many empty ones come before the next that is not."""
    if token is None:
        return 0, 0
    try:
        found = loads(urlsafe_b64decode(token.encode()))
        return int(found["c"]), int(found["e"])
    except (ValueError, KeyError, TypeError) as error:
        raise BadQueryError(f"Invalid skip token '{token}'.") from error
