"""Doctor's checks of ContraForce: reachable, the credential, and its role on each mapped workspace.

One read per workspace tells all three, `ContraForce.look`. That the credential may link tickets no read can
tell: the scope of service tickets shows with the first link only.
"""

import asyncio
from datetime import datetime
from typing import Final

from contraforce_sentinel.bootstrap import App
from contraforce_sentinel.domain.customers import Customer
from contraforce_sentinel.domain.errors import (
    UpstreamError,
    UpstreamRejected,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from contraforce_sentinel.transport.retries import deadline
from operators_tool.findings import Finding, failed, ok, skipped, unsure

_SERVICE: Final = "contraforce"
_CREDENTIAL: Final = "contraforce credential"
_NO_ROLE: Final = "INSUFFICIENT_WORKSPACE_ROLE"
_UNAUTHORIZED: Final = 401
_PORTAL: Final = "ContraForce portal, Settings, Developer Integrations, the service account"
_AT_ONCE: Final = 8

type _Seen = datetime | UpstreamError | None


async def check(app: App) -> tuple[list[Finding], datetime | None]:
    """Read once for every mapped workspace; also returns the service's clock, if it told."""
    if not app.settings.workspaces:
        return [skipped(one, "a customer, whose workspace is read") for one in (_SERVICE, _CREDENTIAL)], None
    places = asyncio.Semaphore(_AT_ONCE)

    async def look(mapping: Customer) -> _Seen:
        async with places:
            try:
                return await app.contraforce.look(mapping.contraforce_workspace_id, until=deadline())
            except UpstreamError as error:
                return error

    seen = await asyncio.gather(*map(look, app.settings.workspaces))
    checks = [f"contraforce role {mapping.workspace.name}" for mapping in app.settings.workspaces]
    clock = next((found for found in seen if isinstance(found, datetime)), None)
    errors = [found for found in seen if isinstance(found, UpstreamError)]
    if len(errors) == len(seen) and not any(map(_is_of_the_workspace, errors)):
        return [*_nobody_gets_in(app, errors[0]), *(skipped(one, "ContraForce") for one in checks)], clock
    roles = (
        _check_role(one, found, mapping)
        for one, found, mapping in zip(checks, seen, app.settings.workspaces, strict=True)
    )
    return [ok(_SERVICE, "answers"), ok(_CREDENTIAL, "is accepted"), *roles], clock


def _is_of_the_workspace(error: UpstreamError) -> bool:
    """Whether the service was reached and knows the credential, and refuses one workspace."""
    return isinstance(error, UpstreamRejected) or (
        isinstance(error, UpstreamUnauthorized) and error.status != _UNAUTHORIZED
    )


def _nobody_gets_in(app: App, error: UpstreamError) -> list[Finding]:
    if isinstance(error, UpstreamUnauthorized):
        refused = failed(
            _CREDENTIAL,
            str(error),
            meaning="Client id or secret are wrong, or the credential has expired: no ticket can be linked.",
            fix=f"export CONTRAFORCE_CLIENT_ID=… CONTRAFORCE_CLIENT_SECRET=…   (a new credential: {_PORTAL};"
            " in Azure the secret goes into the Key Vault)",
        )
        return [ok(_SERVICE, "answers"), refused]
    url = app.settings.contraforce_api_url
    if isinstance(error, UpstreamUnavailable):
        meaning = "ContraForce cannot be reached: no ticket can be linked, every incident stays pending."
        look = f"curl -sS -o /dev/null -w '%{{http_code}}\\n' {url}"
        fix = error.advice or f"{look}   (network, proxy and its CA have to let it)"
    else:
        meaning = "Something answers at this address, but it is not the ContraForce v2 API."
        fix = "export CONTRAFORCE_API_URL=https://portal.contraforce.com/api/v2   (or your environment's own)"
    return [failed(_SERVICE, str(error), meaning=meaning, fix=fix), skipped(_CREDENTIAL, "ContraForce")]


def _check_role(check: str, found: _Seen, mapping: Customer) -> Finding:
    workspace = mapping.contraforce_workspace_id
    if not isinstance(found, UpstreamError):
        return ok(check, "may be used")
    if isinstance(found, UpstreamUnauthorized) and found.code == _NO_ROLE:
        return failed(
            check,
            str(found),
            meaning="The service account has no role on this ContraForce workspace, or WORKSPACES names"
            " another's: its incidents stay pending.",
            fix=f"{_PORTAL}: assign it to workspace {workspace}",
        )
    if isinstance(found, UpstreamUnauthorized | UpstreamRejected):
        return unsure(
            check,
            str(found),
            meaning="The credential is known, but may not make this read, which the app itself never makes.",
            fix=f"{_PORTAL}: give the credential the scope incidents:read to have the role checked",
        )
    return failed(
        check,
        str(found),
        meaning="ContraForce does not answer for this workspace now; the app tries again by itself.",
        fix="contraforce-sentinel doctor",
    )
