"""Holds the app's answers to docs/openapi.yaml: status, content type, headers and body.

Whoever gets an answer from the real app gives it to `check`; `check_response` does so for httpx's clients.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

import httpx
import yaml
from jsonschema_rs import Draft202012Validator

DOCUMENT: Final = Path(__file__).parent.parent / "docs" / "openapi.yaml"
_METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


class Undocumented(AssertionError):
    """What is not as the document says."""


@dataclass(frozen=True)
class Operation:
    """One method of one path; `content` is what the document says of it."""

    method: str
    path: str
    content: dict[str, Any]

    def is_asked_by(self, request: httpx.Request) -> bool:
        """Whether a request is for this operation."""
        path = re.sub(r"{\w+}", "[^/]+", self.path)
        return request.method == self.method and re.fullmatch(path, request.url.path) is not None


def check(operation_id: str, status: int, headers: Mapping[str, str], body: str | bytes) -> None:
    """Raise `Undocumented` for an answer that is not as the document says."""
    place = (operation_id, "responses", str(status))
    answer = operations()[operation_id].content["responses"].get(str(status))
    if answer is None:
        raise Undocumented(f"{operation_id} does not answer {status}")
    given = httpx.Headers(dict(headers))
    kind = given.get("Content-Type", "").partition(";")[0]
    if kind in answer.get("content", {}):
        conform(json.loads(body), *place, "content", kind)
    elif body or "content" in answer:
        raise Undocumented(f"{operation_id} {status} has a body of the type {kind!r}")
    for name, header in answer.get("headers", {}).items():
        if (value := given.get(name)) is not None:
            conform(int(value) if value.isdecimal() else value, *place, "headers", name)
        elif header.get("required"):
            raise Undocumented(f"{operation_id} {status} is without {name}")


async def check_response(response: httpx.Response) -> None:
    """Check an answer as an event hook; those of the host's own routes are left alone."""
    for operation_id, operation in operations().items():
        if operation.is_asked_by(response.request):
            check(operation_id, response.status_code, response.headers, await response.aread())


def conform(value: Any, *place: str) -> None:
    """Raise `Undocumented` with all that the schema of a place has against a value."""
    validator = _validator(*place)
    if not validator.is_valid(value):
        raise Undocumented("\n".join([" ".join(place), *map(str, validator.iter_errors(value))]))


@cache
def _validator(operation_id: str, *place: str) -> Draft202012Validator:
    found = operations()[operation_id].content
    for step in place:
        found = found[step]
    return Draft202012Validator(found["schema"], validate_formats=True)


@cache
def operations() -> dict[str, Operation]:
    """Return the operations by their ids."""
    return {
        content["operationId"]: Operation(method.upper(), path, content)
        for path, item in document()["paths"].items()
        for method, content in item.items()
        if method in _METHODS
    }


@cache
def document() -> dict[str, Any]:
    """Return the document, every reference replaced by what it refers to."""
    whole = raw_document()

    def resolved(node: Any) -> Any:
        if isinstance(node, list):
            return [resolved(item) for item in node]
        if not isinstance(node, dict):
            return node
        found: Any = whole
        for step in node.get("$ref", "#").split("/")[1:]:
            found = found[step]
        base = resolved(found) if "$ref" in node else {}
        return base | {name: resolved(item) for name, item in node.items() if name != "$ref"}

    return {name: resolved(part) for name, part in whole.items()}


def raw_document() -> dict[str, Any]:
    """Return the document as it is written."""
    content: dict[str, Any] = yaml.load(DOCUMENT.read_bytes(), yaml.CSafeLoader)
    return content
