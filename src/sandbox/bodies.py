"""Pure: the error bodies, time and number formats of the two vendors."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from uuid import uuid4

type JsonObject = dict[str, Any]

PROBLEM_JSON = "application/problem+json"


def utc_now() -> datetime:
    """Return the time of day, with its zone."""
    return datetime.now(UTC)


def seven_digits(moment: datetime) -> str:
    """ContraForce's time format: always seven fraction digits."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}0Z"


def trimmed_time(moment: datetime) -> str:
    """Sentinel's time format: as many fraction digits as are needed, perhaps none."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}".rstrip("0").rstrip(".") + "Z"


def problem_details(
    status: int,
    *,
    code: str | None,
    detail: str,
    instance: str = "/api/v2",
    target: str | None = None,
    errors: Mapping[str, Sequence[str]] | None = None,
) -> JsonObject:
    """ContraForce's RFC 7807 body with its extensions; a `code` of None is left out."""
    body: JsonObject = {
        "type": f"https://httpstatuses.io/{status}",
        "title": reason(status),
        "status": status,
        "detail": detail,
        "instance": instance,
        "requestId": str(uuid4()),
        "timestamp": seven_digits(utc_now()),
    }
    if code is not None:
        body["code"] = code
    if target is not None:
        body["target"] = target
    if errors is not None:
        body["errors"] = {name: list(messages) for name, messages in errors.items()}
    return body


def older_contraforce_error(code: str, message: str, *, target: str | None = None) -> JsonObject:
    """Return the error body ContraForce used before problem details, which still occurs."""
    error: JsonObject = {"code": code, "message": message, "target": target, "details": []}
    return {"error": error, "meta": {"requestId": str(uuid4())}}


def arm_error_body(code: str, message: str) -> JsonObject:
    """Return the error body of Azure Resource Manager and its providers."""
    return {"error": {"code": code, "message": message}}


def reason(status: int) -> str:
    """Return the standard phrase of a status, also for unregistered ones."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return f"Status {status}"


def integers_as_strings(value: Any) -> Any:
    """Return the JSON with each integer as a string of digits, which the vendor allows."""
    if isinstance(value, dict):
        return {name: integers_as_strings(part) for name, part in value.items()}
    if isinstance(value, list):
        return [integers_as_strings(part) for part in value]
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value
