"""Pure: what Sentinel shows of a property instead of the usual.

Any value stands as it is; `MISSING` leaves the property out; a function is given the usual value each time.
Lists are filtered and ordered by the true dates, so that an incident with odd ones is listed all the same.
"""

from collections.abc import Mapping
from typing import Any, Final

from sandbox.bodies import JsonObject

MISSING: Final = object()
FIRST_DAY: Final = "0001-01-01T00:00:00"
IN_THE_FUTURE: Final = "2099-01-01T00:00:00Z"


def without_zone(usual: str) -> str:
    """Return a date that does not say that it is UTC."""
    return usual.removesuffix("Z")


def with_seven_digits(usual: str) -> str:
    """Return a date with the fraction that .NET writes: one digit more than Python keeps."""
    seconds, _, fraction = without_zone(usual).partition(".")
    return f"{seconds}.{fraction.ljust(6, '0')}7Z"


def shown(usual: JsonObject, odd: Mapping[str, Any]) -> JsonObject:
    """Return the properties as they are shown."""
    values = {**usual, **{name: one(usual[name]) if callable(one) else one for name, one in odd.items()}}
    return {name: value for name, value in values.items() if value is not MISSING}
