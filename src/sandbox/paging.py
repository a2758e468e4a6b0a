"""Pure: `$filter`, `$orderby`, `$top` and `$skipToken` the way Sentinel's lists take them."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from operator import ge, gt, le, lt
from typing import Final
from urllib.parse import quote, urlencode

DEFAULT_PAGE: Final = 50
LARGEST_PAGE: Final = 1000
COMPARISONS: Final[dict[str, Callable[[datetime, datetime], bool]]] = {"ge": ge, "gt": gt, "le": le, "lt": lt}
CONDITION: Final = re.compile(r"properties/createdTimeUtc (ge|gt|le|lt) (\S+)", re.IGNORECASE)
NUMBER: Final = re.compile(r"properties/incidentNumber eq ([0-9]+)", re.IGNORECASE)
ORDER: Final = re.compile(r"properties/createdTimeUtc(?: (asc|desc))?", re.IGNORECASE)


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


def page[T](items: Sequence[T], query: Mapping[str, str], url: str) -> tuple[Sequence[T], str | None]:
    """Return one page of `items`, and the absolute link to the next one if there is one."""
    size = _page_size(query.get("$top"))
    start = _offset(query.get("$skipToken"))
    end = start + size
    if end >= len(items):
        return items[start:], None
    token = urlsafe_b64encode(b'{"c":%d}' % end).decode()
    return items[start:end], f"{url}?{urlencode({**query, '$skipToken': token}, safe='$', quote_via=quote)}"


def _page_size(top: str | None) -> int:
    if top is None:
        return DEFAULT_PAGE
    if not top.isdecimal() or not 1 <= int(top) <= LARGEST_PAGE:
        raise BadQueryError(f"Invalid top '{top}', the maximum is {LARGEST_PAGE}.")
    return int(top)


def _offset(token: str | None) -> int:
    if token is None:
        return 0
    try:
        return int(urlsafe_b64decode(token.encode()).removeprefix(b'{"c":').removesuffix(b"}"))
    except ValueError as error:
        raise BadQueryError(f"Invalid skip token '{token}'.") from error
