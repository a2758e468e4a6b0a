"""Why the table service does not do its work, and what a person has to do: in our own words, by its codes.

Never by its words: they may quote the request. The codes:
https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
https://learn.microsoft.com/rest/api/storageservices/table-service-error-codes
"""

import socket
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Final

from contraforce_sentinel.domain.errors import StoreFault, StoreUnavailable
from contraforce_sentinel.transport.failures import remedy, why

_ROLE: Final = "Storage Table Data Contributor"
_MEANINGS: Final[Mapping[StoreFault, str]] = {
    StoreFault.NETWORK: "the firewall of its account does not let this network in: add the network that the"
    " app calls from to the account's network rules",
    StoreFault.ROLE: f"its account does not admit this identity: grant it the role {_ROLE}",
    StoreFault.KEY: "its account does not know the key in LINK_STORE (by identity: its token), or this"
    " machine's clock is wrong: set LINK_STORE anew, or look at the identity",
    StoreFault.KEYS_OFF: "its account admits no account keys: set LINK_STORE to"
    f" https://<account>.table.core.windows.net, and grant the app's identity the role {_ROLE}",
    StoreFault.TENANT: "its account does not take the tokens of this identity: use an identity of the tenant"
    " that the account is in",
    StoreFault.DISABLED: "its account is disabled, or reading or writing is switched off for it: look at the"
    " account and its subscription",
    StoreFault.ACCOUNT: "no host has the name of its account: correct LINK_STORE, or make the account; with a"
    " private endpoint, look at its DNS zone",
    StoreFault.ADDRESS: "there are no tables at its address: correct LINK_STORE",
    StoreFault.TABLE: "its table was removed: the next call makes it anew, and finds it empty",
    StoreFault.NO_TABLE: "its table is not there, and this identity may not make it: deploy the template"
    " again, or make the table contraforcelinks in its account",
    StoreFault.REMOVAL: "its table is still being removed: it can be made anew in a minute",
}
_CODES: Final[Mapping[str, StoreFault]] = {
    "AuthorizationFailure": StoreFault.NETWORK,
    "AuthorizationPermissionMismatch": StoreFault.ROLE,
    "AuthenticationFailed": StoreFault.KEY,
    "KeyBasedAuthenticationNotPermitted": StoreFault.KEYS_OFF,
    "InvalidAuthenticationInfo": StoreFault.TENANT,
    "AccountIsDisabled": StoreFault.DISABLED,
    "InsufficientAccountPermissions": StoreFault.DISABLED,
    "ResourceNotFound": StoreFault.ADDRESS,
    "TableNotFound": StoreFault.TABLE,
    "TableBeingDeleted": StoreFault.REMOVAL,
}
_UNKNOWN_NAMES: Final = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})


def may_not(error: Exception) -> bool:
    """Whether the identity has no role for this operation."""
    return code_of(error) == "AuthorizationPermissionMismatch"


def unavailable(error: Exception, *, may_make: bool = True) -> StoreUnavailable:
    """Return what is told of a call of the table service that failed."""
    status = getattr(error, "status_code", None)
    fault = _CODES.get(code_of(error) or "")
    if fault is StoreFault.TABLE and not may_make:
        fault = StoreFault.NO_TABLE
    if any(isinstance(one, socket.gaierror) and one.errno in _UNKNOWN_NAMES for one in _causes(error)):
        fault = StoreFault.ACCOUNT
    if fault is not None:
        return StoreUnavailable(f"the table link store cannot be used: {_MEANINGS[fault]}", fault=fault)
    if status in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        return StoreUnavailable(
            f"the table link store does not admit this app (status {status}): look at its account's roles,"
            " keys and network rules"
        )
    todo = remedy(error)
    told = f"the table link store cannot be used{f' ({why(error)})' if todo else ''}"
    return StoreUnavailable(told, advice=todo)


def code_of(error: Exception) -> str | None:
    """Return the service's code; of some errors the SDK leaves it where it came, in the header."""
    headers: Mapping[str, str] = getattr(getattr(error, "response", None), "headers", None) or {}
    return getattr(error, "error_code", None) or headers.get("x-ms-error-code")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception and what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
