"""Doctor's checks of Azure: the identity's token; per workspace that it exists, and what may be done there.

Comment rights are read through https://learn.microsoft.com/rest/api/authorization/permissions/list-for-resource,
which tells a caller its own permissions: nothing is written to find out.
"""

import asyncio
import base64
import json
import re
from collections.abc import Iterable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contraforce_sentinel.azure.refusals import GRANT
from contraforce_sentinel.azure.sentinel import CHANGED
from contraforce_sentinel.bootstrap import App
from contraforce_sentinel.domain.customers import Customer
from contraforce_sentinel.domain.errors import (
    Upstream,
    UpstreamError,
    UpstreamOutOfSight,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from contraforce_sentinel.domain.incidents import WorkspaceId
from contraforce_sentinel.transport.retries import deadline
from operators_tool.findings import Finding, failed, ok, skipped, unsure

ROLE: Final = "Microsoft Sentinel Responder"
_PERMISSIONS_VERSION: Final = "2022-04-01"
_COMMENT_ACTIONS: Final = tuple(
    f"Microsoft.SecurityInsights/incidents/comments/{right}" for right in ("read", "write")
)
_GUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
_WORKSPACES_AT_ONCE: Final = 8


class _Permission(BaseModel, hide_input_in_errors=True):
    model_config = ConfigDict(frozen=True, extra="ignore")

    actions: list[str] = []
    not_actions: list[str] = Field([], alias="notActions")

    def allows(self, action: str) -> bool:
        return _matches(self.actions, action) and not _matches(self.not_actions, action)


class _Permissions(BaseModel, hide_input_in_errors=True):
    value: list[_Permission]
    next_link: str | None = Field(None, alias="nextLink")


@dataclass(frozen=True, slots=True)
class Identity:
    """Who the checks are made as: the finding, and what `az role assignment create --assignee` takes."""

    finding: Finding
    assignee: str
    has_token: bool


def assign(role: str, *, assignee: str, scope: str) -> str:
    """Return the command that gives a role."""
    return f'az role assignment create --assignee {assignee} --role "{role}" --scope {scope}'


async def check_identity(app: App, *, is_person: bool) -> Identity:
    """Ask for a token, which is what every call to Azure begins with."""
    own = "<object id of the identity>" if is_person else app.settings.azure_client_id
    try:
        token = await app.resource_manager.token()
    except UpstreamError as error:
        fix = (
            "az functionapp identity assign --name <function app> --resource-group <group>"
            " --identities <id of the identity>   (and set AZURE_CLIENT_ID to its client id)"
        )
        if is_person:
            fix = "az login --tenant <tenant of the workspaces>"
        if isinstance(error, UpstreamUnavailable):
            restart = "az functionapp restart --name <function app> --resource-group <group>"
            fix = error.advice or (fix if is_person else restart)
        finding = failed(
            "identity",
            str(error),
            meaning="Without a token nothing in Azure can be read or written: every incident stays pending.",
            fix=fix,
        )
        return Identity(finding, own or "<object id of the identity>", has_token=False)
    seen = "the managed identity gets a token"
    if is_person:
        seen = "signed in with the Azure CLI: the rights below are this sign-in's, not the app's"
    assignee = own if own and not is_person else _object_id(token.token)
    return Identity(ok("identity", seen), assignee or "<object id of the identity>", has_token=True)


async def check_workspaces(app: App, identity: Identity) -> list[Finding]:
    """Check Resource Manager, then every workspace of the settings, several at once."""
    mappings = app.settings.workspaces
    if not identity.has_token:
        return [skipped("resource manager", "the identity"), *_skip(mappings, "the identity")]
    if not mappings:
        return [skipped("resource manager", "a customer, whose workspace it is asked for")]
    places = asyncio.Semaphore(_WORKSPACES_AT_ONCE)

    async def resolve(mapping: Customer) -> UpstreamError | None:
        async with places:
            try:
                await app.workspaces.resolve(mapping, until=deadline())
            except UpstreamError as error:
                return error
            return None

    async def check(mapping: Customer, error: UpstreamError | None) -> list[Finding]:
        async with places:
            return await _check_workspace(app, mapping.workspace, error, identity.assignee)

    errors = list(await asyncio.gather(*map(resolve, mappings)))
    unavailable = [error for error in errors if isinstance(error, UpstreamUnavailable)]
    if len(unavailable) == len(errors):
        unreachable = failed(
            "resource manager",
            str(unavailable[0]),
            meaning="No workspace can be confirmed and no comment written: every incident stays pending.",
            fix=unavailable[0].advice
            or f"curl -sS -o /dev/null -w '%{{http_code}}\\n' {app.settings.arm_endpoint}"
            "   (ARM_ENDPOINT has to be the cloud's resource manager; network, proxy and CA have to let it)",
        )
        return [unreachable, *_skip(mappings, "the resource manager")]
    found = await asyncio.gather(*map(check, mappings, errors))
    return [ok("resource manager", "answers"), *(finding for part in found for finding in part)]


def _names(workspace: WorkspaceId) -> tuple[str, str, str]:
    return f"workspace {workspace.name}", f"incidents {workspace.name}", f"comments {workspace.name}"


def _skip(mappings: Iterable[Customer], because: str) -> list[Finding]:
    return [skipped(name, because) for mapping in mappings for name in _names(mapping.workspace)]


async def _check_workspace(
    app: App, workspace: WorkspaceId, error: UpstreamError | None, assignee: str
) -> list[Finding]:
    exists, incidents, comments = _names(workspace)
    grant = assign(ROLE, assignee=assignee, scope=workspace.arm_id)
    if error is not None:
        if isinstance(error, UpstreamOutOfSight):
            meaning = "The identity sees no such workspace: its incidents stay pending until it does."
            fix = (
                f"az monitor log-analytics workspace list --subscription {workspace.subscription_id}"
                f" --query '[].id' --output tsv   ({error.advice})"
            )
        elif isinstance(error, UpstreamUnauthorized):
            meaning = "The identity has no role there: its incidents stay pending until it has."
            fix = _remedy(error, grant)
        else:
            meaning = "Whether the workspace exists cannot be told now."
            fix = error.advice or "contraforce-sentinel doctor"
        return [
            failed(exists, str(error), meaning=meaning, fix=fix),
            skipped(incidents, "the workspace"),
            skipped(comments, "the workspace"),
        ]
    return [
        ok(exists, "is there, and may be read"),
        await _check_incidents(app, workspace, incidents, grant),
        await _check_comments(app, workspace, comments, grant),
    ]


def _remedy(error: UpstreamUnauthorized, grant: str) -> str:
    """Return the command that gives the role, unless another remedy is asked for by the service's code."""
    return error.advice if error.advice and error.advice != GRANT else grant


async def _check_incidents(app: App, workspace: WorkspaceId, check: str, grant: str) -> Finding:
    """Ask for the incidents that are changed from now on, as the timer does: none, if they may be read."""
    until = deadline()
    try:
        async with aclosing(
            app.sentinel.list_incidents(workspace, by=CHANGED, since=datetime.now(UTC), until=until)
        ) as pages:
            await anext(pages, None)
    except UpstreamUnauthorized as error:
        meaning = "Incidents cannot be read: the timer finds none, and a bare incident id cannot be linked."
        return failed(check, str(error), meaning=meaning, fix=_remedy(error, grant))
    except UpstreamUnavailable as error:
        meaning = "Sentinel does not answer now; the app tries again by itself."
        return failed(check, str(error), meaning=meaning, fix=error.advice or "contraforce-sentinel doctor")
    except UpstreamError as error:
        return failed(
            check,
            str(error),
            meaning="Microsoft Sentinel is not enabled on this workspace, or does not know incidents there.",
            fix="az sentinel onboarding-state create --name default"
            f" --resource-group {workspace.resource_group} --workspace-name {workspace.name}",
        )
    return ok(check, "may be read")


async def _check_comments(app: App, workspace: WorkspaceId, check: str, grant: str) -> Finding:
    permissions_of = f"{workspace.arm_id}/providers/Microsoft.Authorization/permissions"
    address = app.resource_manager.address(permissions_of, {"api-version": _PERMISSIONS_VERSION})
    try:
        document = await app.resource_manager.read(
            address, upstream=Upstream.RESOURCE_MANAGER, until=deadline()
        )
        permissions = _Permissions.model_validate(document)
    except (UpstreamError, ValidationError) as error:
        seen = str(error) if isinstance(error, UpstreamError) else "an answer of an unknown shape"
        return unsure(
            check,
            f"permissions cannot be read ({seen})",
            meaning="Whether comments may be written shows with the first incident only.",
            fix=grant,
        )
    missing = [
        action for action in _COMMENT_ACTIONS if not any(one.allows(action) for one in permissions.value)
    ]
    if not missing:
        return ok(check, "may be read and written")
    meaning = "Tickets would be linked, but no incident would get its comment."
    if permissions.next_link:
        return unsure(check, f"may be missing {', '.join(missing)}", meaning=meaning, fix=grant)
    return failed(check, f"missing {', '.join(missing)}", meaning=meaning, fix=grant)


def _matches(patterns: Iterable[str], action: str) -> bool:
    """Whether one of Azure's patterns means the action; `*` stands for anything, letter case for nothing."""
    return any(_means(pattern.lower(), action.lower()) for pattern in patterns)


def _means(pattern: str, action: str) -> bool:
    """Look for each part between the stars once, behind the part before it."""
    first, *others = pattern.split("*")
    if not others:
        return first == action
    *between, last = others
    if not action.startswith(first):
        return False
    at = len(first)
    for part in between:
        found = action.find(part, at)
        if found == -1:
            return False
        at = found + len(part)
    return action.endswith(last, at)


def _object_id(token: str) -> str | None:
    """Return whose token it is, as the token says; it is shown, and trusted for nothing."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        found = claims["oid"]
    except (IndexError, ValueError, KeyError, TypeError):
        return None
    return found if isinstance(found, str) and _GUID.fullmatch(found) else None
