"""`doctor`: runs the checks in order. It reads and asks, and writes nothing anywhere.

What depends on a check that failed is skipped, so that one fault is reported once.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from contraforce_sentinel.bootstrap import App, build
from contraforce_sentinel.domain.errors import SettingsError, StoreUnavailable
from contraforce_sentinel.settings import Settings
from operators_tool import check_azure, check_contraforce, check_health
from operators_tool.findings import Finding, Status, failed, ok, skipped, unsure
from operators_tool.session import identity_for

_LARGEST_SKEW_SECONDS: Final = 60.0
"""As much as the lease of a claim allows for."""


async def examine(environment: Mapping[str, str], *, app_url: str | None) -> list[Finding]:
    """Run every check against the app that the environment describes, and its deployment at `app_url`."""
    try:
        settings = Settings.from_environment(environment)
    except SettingsError as error:
        health = await _check_app(environment, app_url)
        return [*_refused(error), skipped("everything else", "settings that are accepted"), *health]
    signed_in = identity_for(environment)
    app = build(settings, signed_in=signed_in)
    try:
        first = ok("settings", f"accepted; {len(settings.workspaces)} workspaces")
        identity = await check_azure.check_identity(app, is_person=signed_in is not None)
        has_token = identity.finding.status is Status.OK
        azure, (contraforce, clock), store = await asyncio.gather(
            check_azure.check_workspaces(app, identity),
            check_contraforce.check(app),
            _check_store(app, has_token=has_token, assignee=identity.assignee),
        )
        health = await _check_app(environment, app_url)
        return [
            first,
            *_left_out(settings),
            identity.finding,
            *azure,
            *contraforce,
            store,
            _check_clock(clock),
            *health,
        ]
    finally:
        await app.close()


async def _check_app(environment: Mapping[str, str], url: str | None) -> list[Finding]:
    if url is None:
        return []
    return await check_health.check_app(url, key=environment.get(check_health.KEY) or None)


def _left_out(settings: Settings) -> list[Finding]:
    return [
        unsure(
            f"setting {name}",
            problem,
            meaning="It is left out: ticket numbers are not clickable. Everything else works.",
            fix=_set(name),
        )
        for name, problem in sorted(settings.left_out.items())
    ]


def _set(name: str) -> str:
    return (
        f"export {name}=…   (in Azure: az functionapp config appsettings set"
        f" --name <function app> --resource-group <group> --settings {name}=…)"
    )


def _refused(error: SettingsError) -> list[Finding]:
    return [
        failed(
            f"setting {name}",
            problem,
            meaning="Every delivery is answered with 503 until this is right.",
            fix=_set(name),
        )
        for name, problem in sorted(error.problems.items())
    ]


async def _check_store(app: App, *, has_token: bool, assignee: str) -> Finding:
    """Look into the link store; one that is not made yet stays so."""
    endpoint, path = app.settings.table_endpoint, app.settings.sqlite_path
    if endpoint and not has_token:
        return skipped("link store", "the identity")
    try:
        if not await app.store.exists():
            return ok("link store", "not made yet; the first delivery makes it")
        await app.store.check()
    except StoreUnavailable as error:
        account = endpoint.removeprefix("https://").split(".", 1)[0] if endpoint else None
        if account:
            scope = f'"$(az storage account show --name {account} --query id --output tsv)"'
            fix = check_azure.assign("Storage Table Data Contributor", assignee=assignee, scope=scope)
        elif path:
            fix = (
                f"ls -ld '{path.parent}' '{path}'   (LINK_STORE has to name a file that this user may write)"
            )
        else:
            fix = "export LINK_STORE=…   (a storage connection string whose account and key are right)"
        return failed(
            "link store",
            str(error),
            meaning="Nothing can be recorded: every delivery is answered with 503; the timer does nothing.",
            fix=fix,
        )
    return ok("link store", "can be read" if endpoint else "can be read and locked")


def _check_clock(theirs: datetime | None) -> Finding:
    if theirs is None:
        return skipped("clock", "an answer of ContraForce that says the time")
    skew = (datetime.now(UTC) - theirs).total_seconds()
    seen = f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} ContraForce's"
    if abs(skew) <= _LARGEST_SKEW_SECONDS:
        return ok("clock", seen)
    return failed(
        "clock",
        seen,
        meaning="A claim is a lease by the clock: machines that differ may work on one incident at once.",
        fix="sudo timedatectl set-ntp true",
    )
