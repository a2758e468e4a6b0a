"""What an error of Resource Manager, or of Sentinel behind it, means: its code decides, not its status.

https://learn.microsoft.com/azure/azure-resource-manager/troubleshooting/common-deployment-errors
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

from contraforce_sentinel.domain.errors import (
    Upstream,
    UpstreamBlocked,
    UpstreamConflict,
    UpstreamError,
    UpstreamNotFound,
    UpstreamOutOfSight,
    UpstreamRejected,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from contraforce_sentinel.transport.bodies import read_json
from contraforce_sentinel.transport.retries import parse_retry_after

GRANT: Final = "grant the app's identity the role Microsoft Sentinel Responder on the workspace"
_SUBSCRIPTION: Final = (
    "let the app's identity see the subscription again: by its delegation (Azure Lighthouse) where it is in"
    " another tenant, else by the role Microsoft Sentinel Responder; or correct its id in WORKSPACES"
)
_RESOURCE: Final = (
    "look whether the workspace was moved, renamed or deleted, and correct its id in WORKSPACES; if it is"
    " there, let the app's identity see it again: the role Microsoft Sentinel Responder, or its delegation"
)
_TENANT: Final = (
    "the workspace is in another tenant: have it delegated to the tenant of the app's identity (Azure"
    " Lighthouse); a role assignment alone does not help"
)
_LOCK: Final = "remove the lock on the workspace, its resource group or its subscription: az lock list"
_REGISTER: Final = (
    "register the resource provider in the workspace's subscription: az provider register --namespace"
    " Microsoft.SecurityInsights"
)
_DISABLED: Final = "the subscription is disabled, and may only be read: its owner has to enable it again"
_POLICY: Final = "an Azure Policy of the customer's does not let it: have the workspace exempted from it"
_LOOK_UP: Final = "look the code up: something of the workspace, its group or its subscription is in the way"

_BY_CODE: Final[Mapping[str, tuple[type[UpstreamError], str]]] = {
    "subscriptionnotfound": (UpstreamOutOfSight, _SUBSCRIPTION),
    "invalidsubscriptionid": (UpstreamOutOfSight, _SUBSCRIPTION),
    "resourcegroupnotfound": (UpstreamOutOfSight, _RESOURCE),
    "resourcenotfound": (UpstreamOutOfSight, _RESOURCE),
    "parentresourcenotfound": (UpstreamOutOfSight, _RESOURCE),
    "invalidresourcenamespace": (UpstreamOutOfSight, _RESOURCE),
    "scopelocked": (UpstreamBlocked, _LOCK),
    "missingsubscriptionregistration": (UpstreamBlocked, _REGISTER),
    "missingregistrationforlocation": (UpstreamBlocked, _REGISTER),
    "noregisteredproviderfound": (UpstreamBlocked, _REGISTER),
    "requestdisallowedbypolicy": (UpstreamBlocked, _POLICY),
    "readonlydisabledsubscription": (UpstreamBlocked, _DISABLED),
    "invalidauthenticationtokentenant": (UpstreamUnauthorized, _TENANT),
}
"""Of codes in lower case: what they mean, and what a person has to do."""

_LATER: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,99}")
_DEEPEST: Final = 5


def refusal(response: Any, *, upstream: Upstream) -> UpstreamError:
    """Say in our words what an error means; its prose may quote the incident, and is not read."""
    status, code = int(response.status_code), read_code(response.content)
    kind, to_do = _meaning(status, code, upstream, is_read=response.request.method == "GET")
    wait = parse_retry_after(response.headers.get("Retry-After"), now=datetime.now(UTC))
    return kind(
        f"status {status}{f' {code}' if code else ''}",
        upstream=upstream,
        status=status,
        code=code,
        retry_after_seconds=wait if kind is UpstreamUnavailable else None,
        advice=to_do,
    )


def _meaning(
    status: int, code: str | None, upstream: Upstream, *, is_read: bool
) -> tuple[type[UpstreamError], str | None]:
    """Return the kind of an error, and what a person has to do about it."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _LATER:
        return UpstreamUnavailable, None
    if code is not None and code.lower() in _BY_CODE:
        return _BY_CODE[code.lower()]
    is_of_sentinel = upstream is Upstream.SENTINEL
    by_status: dict[int, tuple[type[UpstreamError], str | None]] = {
        HTTPStatus.BAD_REQUEST: (UpstreamRejected, None),
        HTTPStatus.UNAUTHORIZED: (UpstreamUnauthorized, GRANT),
        HTTPStatus.FORBIDDEN: (UpstreamUnauthorized, GRANT),
        HTTPStatus.NOT_FOUND: (UpstreamNotFound, None) if is_of_sentinel else (UpstreamOutOfSight, _RESOURCE),
        HTTPStatus.CONFLICT: (UpstreamBlocked, _LOOK_UP) if is_read else (UpstreamConflict, None),
    }
    return by_status.get(status, (UpstreamUnavailable, None))


def read_code(content: bytes) -> str | None:
    """Return the code that an error's body has, a known one first; None where there is no word for one."""
    try:
        found = list(_codes(read_json(content), depth=0))
    except (ValueError, RecursionError):
        return None
    return next((code for code in found if code.lower() in _BY_CODE), found[0] if found else None)


def _codes(document: object, *, depth: int) -> Iterator[str]:
    """Yield the words of an error, then those of the errors in it; keys may have any letter case."""
    if not isinstance(document, dict) or depth > _DEEPEST:
        return
    members = {key.lower(): value for key, value in document.items()}
    code, details = members.get("code"), members.get("details")
    if isinstance(code, str) and _WORD.fullmatch(code):
        yield code
    inner = [members.get("error"), members.get("innererror"), *(details if isinstance(details, list) else ())]
    for error in inner[:_DEEPEST]:
        yield from _codes(error, depth=depth + 1)
