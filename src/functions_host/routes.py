"""Finds the HTTP function for a method and a path.

Mirrors the host's (ASP.NET's) templates: literals without regard to case, ``{param}``, ``{param?}``,
``{*rest}``, constraints, the most specific template first. Constraints other than int, long, guid, alpha and
bool are accepted and not checked; default values and regex constraints are refused. A known path with another
method is a 404 and not a 405: https://github.com/Azure/azure-functions-host/issues/10098
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import unquote

from functions_host.errors import RouteError
from functions_host.worker import FunctionMetadata

_PARAMETER = re.compile(
    r"\{(?P<star>\*{0,2})(?P<name>\w+)"
    r"(?P<constraints>(?::(?!regex)[a-zA-Z]+(?:\([^)]*\))?)*)(?P<optional>\??)\}"
)
_CONSTRAINTS = {
    "int": r"-?\d+",
    "long": r"-?\d+",
    "guid": r"\{?[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}\}?",
    "alpha": r"[a-z]+",
    "bool": r"true|false",
}
# Sort keys of ASP.NET's template precedence; lower is more specific.
_LITERAL, _CONSTRAINED, _PLAIN, _CATCH_ALL = 1, 2, 3, 5


@dataclass(frozen=True, kw_only=True)
class Match:
    """The function to call and its route parameters, percent-decoded."""

    function: FunctionMetadata
    params: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class _Template:
    function: FunctionMetadata
    pattern: re.Pattern[str]
    names: tuple[str, ...]
    precedence: tuple[int, ...]


class RouteTable:
    """All HTTP functions of an app under one prefix."""

    def __init__(self, functions: Iterable[FunctionMetadata], *, prefix: str) -> None:
        """Compile the routes; raises RouteError for a template that cannot be served."""
        templates = [_compile(function, prefix) for function in functions if function.is_http]
        self._templates = sorted(templates, key=lambda template: template.precedence)

    def find(self, method: str, raw_path: str) -> Match | None:
        """Match a method and a path that is still percent-encoded; None is a 404."""
        path = raw_path.strip("/")
        for template in self._templates:
            if template.function.methods and method.upper() not in template.function.methods:
                continue
            if (found := template.pattern.fullmatch(path)) is not None:
                params = {
                    name: unquote(value)
                    for name, value in zip(template.names, found.groups(), strict=True)
                    if value
                }
                return Match(function=template.function, params=params)
        return None


def path_of(function: FunctionMetadata, *, prefix: str) -> str:
    """Spell the path of an HTTP function as a developer reads it, with its parameters."""
    return "/" + "/".join(part for part in (prefix, (function.route or "").strip("/")) if part)


def _compile(function: FunctionMetadata, prefix: str) -> _Template:
    pattern, names, precedence = "", [], []
    for segment in path_of(function, prefix=prefix).strip("/").split("/"):
        text, found_names, rank, may_be_absent = _segment(segment, function)
        slash = "/" if pattern else ""
        pattern += f"(?:{slash}{text})?" if may_be_absent else f"{slash}{text}"
        names.extend(found_names)
        precedence.append(rank)
    return _Template(
        function=function,
        pattern=re.compile(pattern, re.IGNORECASE),
        names=tuple(names),
        precedence=tuple(precedence),
    )


def _segment(segment: str, function: FunctionMetadata) -> tuple[str, list[str], int, bool]:
    """Give the pattern, the parameters' names, the precedence and whether the segment may be absent."""
    pattern, names, rank, may_be_absent, end = "", [], _LITERAL, False, 0
    for parameter in _PARAMETER.finditer(segment):
        pattern += _literal(segment[end : parameter.start()], function)
        end = parameter.end()
        names.append(parameter["name"])
        alone = parameter.group() == segment
        constraints = [item for item in parameter["constraints"].split(":") if item]
        if parameter["star"]:
            pattern, rank, may_be_absent = pattern + "(.*)", _CATCH_ALL, alone
            continue
        checked = next((_CONSTRAINTS[item] for item in constraints if item in _CONSTRAINTS), r"[^/]+?")
        pattern += f"({checked})"
        rank = _PLAIN if alone and not constraints else _CONSTRAINED
        may_be_absent = alone and bool(parameter["optional"])
    return pattern + _literal(segment[end:], function), names, rank, may_be_absent


def _literal(text: str, function: FunctionMetadata) -> str:
    if "{" in text or "}" in text:
        raise RouteError(f"function {function.name}: the route {function.route!r} is not understood")
    return re.escape(text)
