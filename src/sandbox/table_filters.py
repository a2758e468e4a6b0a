"""Pure: `$filter` of the Azure Table service.

https://learn.microsoft.com/rest/api/storageservices/querying-tables-and-entities
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import eq, ge, gt, le, lt, ne
from typing import Any, Final

from sandbox.table_entities import TYPE, Entity, Key
from sandbox.table_errors import TableError

MAX_COMPARISONS: Final = 15
COMPARISONS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "eq": eq,
    "ne": ne,
    "gt": gt,
    "ge": ge,
    "lt": lt,
    "le": le,
}
TOKEN: Final = re.compile(
    r"\s*(?:(?P<mark>[()])"
    r"|(?P<kind>datetime|guid|binary|X)?'(?P<text>(?:[^']|'')*)'"
    r"|(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)[Ll]?(?![\w'])"
    r"|(?P<word>[A-Za-z_]\w*))\s*"
)
AFTER_ALL: Final = "\U0010ffff"

type Test = Callable[[Entity], bool]
type Value = tuple[str, Any]
"""A value and its kind: only values of one kind are compared."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Which entities are wanted; all of them are from `low` up to `high`."""

    test: Test
    low: Key = ("", "")
    high: Key = (AFTER_ALL, AFTER_ALL)


def read_filter(text: str | None) -> Condition:
    """Return the condition that a `$filter` says."""
    if not text:
        return Condition(lambda _: True)
    test, keys = _Parser(text).parse()
    partition = next((value for name, how, value in keys if (name, how) == ("PartitionKey", "eq")), None)
    if partition is None:
        return Condition(test)
    rows = [(how, value) for name, how, value in keys if name == "RowKey"]
    low = max((value for how, value in rows if how in {"eq", "ge", "gt"}), default="")
    high = min((value for how, value in rows if how in {"eq", "le", "lt"}), default=AFTER_ALL)
    return Condition(test, (partition, low), (partition, high))


type _Part = tuple[Test, list[tuple[str, str, str]]]
"""A test, and the comparisons of keys that hold for whatever passes it."""


class _Parser:
    """`or` binds less than `and`, `and` less than `not`."""

    def __init__(self, text: str) -> None:
        self._tokens: list[str | Value] = []
        at = 0
        while at < len(text):
            found = TOKEN.match(text, at)
            if found is None:
                raise TableError("InvalidInput")
            at = found.end()
            self._tokens.append(_token(found))
        self._tokens.reverse()
        self._comparisons = 0

    def parse(self) -> _Part:
        part = self._any()
        if self._tokens:
            raise TableError("InvalidInput")
        return part

    def _any(self) -> _Part:
        test, keys = self._all()
        while self._takes("or"):
            test, keys = _either(test, self._all()[0]), []
        return test, keys

    def _all(self) -> _Part:
        test, keys = self._one()
        while self._takes("and"):
            other, more = self._one()
            test, keys = _both(test, other), keys + more
        return test, keys

    def _one(self) -> _Part:
        if self._takes("not"):
            return _negated(self._one()[0]), []
        if self._takes("("):
            part = self._any()
            if not self._takes(")"):
                raise TableError("InvalidInput")
            return part
        return self._comparison()

    def _comparison(self) -> _Part:
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            raise TableError("InvalidInput")
        name = self._next()
        if not isinstance(name, str) or name in {"(", ")"}:
            raise TableError("InvalidInput")
        how = self._tokens[-1] if self._tokens else None
        if how not in COMPARISONS or not isinstance(how, str):
            return _compared(name, eq, ("truth", True)), []
        self._tokens.pop()
        value = self._next()
        if isinstance(value, str):
            raise TableError("InvalidInput")
        test = _compared(name, COMPARISONS[how], value)
        is_key = name in {"PartitionKey", "RowKey"} and value[0] == "text"
        return test, [(name, how, value[1])] if is_key else []

    def _next(self) -> str | Value:
        if not self._tokens:
            raise TableError("InvalidInput")
        return self._tokens.pop()

    def _takes(self, token: str) -> bool:
        if self._tokens and self._tokens[-1] == token:
            self._tokens.pop()
            return True
        return False


def _token(found: re.Match[str]) -> str | Value:
    text = found["text"]
    try:
        if text is not None:
            return _literal(found["kind"], text.replace("''", "'"))
        if (number := found["number"]) is not None:
            return "number", float(number) if re.search(r"[.eE]", number) else int(number)
    except ValueError:
        raise TableError("InvalidInput") from None
    word = found["mark"] or found["word"]
    return ("truth", word == "true") if word in {"true", "false"} else word


def _literal(kind: str | None, text: str) -> Value:
    if kind == "datetime":
        return "moment", _moment(text)
    if kind == "guid":
        return "guid", text.lower()
    return ("bytes", bytes.fromhex(text)) if kind in {"binary", "X"} else ("text", text)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _value(entity: Entity, name: str) -> Value | None:  # noqa: PLR0911 - one for each type
    if name == "PartitionKey":
        return "text", entity.key[0]
    if name == "RowKey":
        return "text", entity.key[1]
    if name == "Timestamp":
        return "moment", _moment(entity.timestamp)
    value = entity.properties.get(name)
    if value is None:
        return None
    kind = entity.properties.get(name + TYPE)
    if kind == "Edm.DateTime":
        return "moment", _moment(value)
    if kind == "Edm.Int64":
        return "number", int(value)
    if kind == "Edm.Guid":
        return "guid", value.lower()
    if isinstance(value, bool):
        return "truth", value
    return ("text", value) if isinstance(value, str) else ("number", value)


def _compared(name: str, compare: Callable[[Any, Any], bool], wanted: Value) -> Test:
    """A property that is not there, or of another type, is never as wanted."""
    kind, value = wanted

    def test(entity: Entity) -> bool:
        found = _value(entity, name)
        return found is not None and found[0] == kind and compare(found[1], value)

    return test


def _both(one: Test, other: Test) -> Test:
    return lambda entity: one(entity) and other(entity)


def _either(one: Test, other: Test) -> Test:
    return lambda entity: one(entity) or other(entity)


def _negated(one: Test) -> Test:
    return lambda entity: not one(entity)
