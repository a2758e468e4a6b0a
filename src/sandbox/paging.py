"""Pure: `$filter`, `$orderby`, `$top` and `$skipToken` the way Sentinel's lists take them."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from json import loads
from operator import attrgetter, ge, gt, le, lt
from typing import Any, Final, Literal, Protocol
from urllib.parse import quote, urlencode

from sandbox.bodies import JsonObject

DEFAULT_PAGE: Final = 50
LARGEST_PAGE: Final = 1000
LARGEST_LIST: Final = 1000
"""So many incidents all pages of one list have together; nothing tells that there are more."""

COMPARISONS: Final[dict[str, Callable[[datetime, datetime], bool]]] = {"ge": ge, "gt": gt, "le": le, "lt": lt}
DATES: Final[Mapping[str, Callable[["Dated"], datetime]]] = {
    "createdtimeutc": attrgetter("created"),
    "lastmodifiedtimeutc": attrgetter("changed"),
}
_DATE: Final = f"properties/({'|'.join(DATES)})"
CONDITION: Final = re.compile(rf"{_DATE} (ge|gt|le|lt) (\S+)", re.IGNORECASE)
ORDER: Final = re.compile(rf"{_DATE}(?: (asc|desc))?", re.IGNORECASE)
NUMBER: Final = re.compile(r"properties/incidentNumber eq ([0-9]+)", re.IGNORECASE)
ENDS: Final[Mapping[str, JsonObject]] = {
    "missing": {},
    "null": {"nextLink": None},
    "empty": {"nextLink": ""},
}


class Dated(Protocol):
    """What lists ask of an incident."""

    @property
    def created(self) -> datetime:
        """When it was created."""

    @property
    def changed(self) -> datetime:
        """When it was last changed."""


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
    _answered: int = 0
    _plans: defaultdict[int, list[Callable[[], object]]] = field(default_factory=lambda: defaultdict(list))

    def after(self, calls: int, do: Callable[[], object]) -> None:
        """Do something once, when so many more calls for incidents were answered, each page being a call."""
        self._plans[self._answered + calls].append(do)

    def answered(self) -> None:
        """Count a call, and do what was planned after it."""
        self._answered += 1
        for do in self._plans.pop(self._answered, ()):
            do()


class BadQueryError(ValueError):
    """A query option that the list does not understand; the message goes to the caller."""


def date_filter(text: str | None) -> Callable[[Dated], bool]:
    """Return the test for `properties/<date> ge <time>`, several joined by `and`."""
    conditions = []
    for part in text.split(" and ") if text else []:
        found = CONDITION.fullmatch(part.strip())
        try:
            limit = datetime.fromisoformat(found[3]) if found else None
        except ValueError:
            limit = None
        if found is None or limit is None or limit.tzinfo is None:
            raise BadQueryError(f"Invalid filter '{text}'.")
        conditions.append((DATES[found[1].lower()], COMPARISONS[found[2].lower()], limit))
    return lambda incident: all(compare(date(incident), limit) for date, compare, limit in conditions)


def number_filter(text: str | None) -> int | None:
    """Return the number of `properties/incidentNumber eq <number>`, None for any other filter."""
    found = NUMBER.fullmatch(text.strip()) if text else None
    return int(found[1]) if found else None


def ordered[T: Dated](incidents: Iterable[T], orderby: str | None) -> list[T]:
    """Sort. The order without `$orderby` is not documented: last created first, here."""
    found = ORDER.fullmatch((orderby or "properties/createdTimeUtc desc").strip())
    if found is None:
        raise BadQueryError(f"Invalid orderby '{orderby}'.")
    return sorted(incidents, key=DATES[found[1].lower()], reverse=(found[2] or "").lower() == "desc")


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
