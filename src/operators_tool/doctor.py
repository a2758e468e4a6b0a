"""`doctor`: runs the checks in order. It reads and asks, and writes nothing anywhere.

What depends on a check that failed is skipped, so that one fault is reported once.
"""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from contraforce_sentinel.bootstrap import build
from contraforce_sentinel.domain.errors import SettingsError
from contraforce_sentinel.settings import Settings
from operators_tool import check_azure, check_contraforce, check_health, check_store
from operators_tool.findings import Finding, Status, failed, ok, skipped, unsure
from operators_tool.session import identity_for

_LARGEST_SKEW_SECONDS: Final = 60.0
"""As much as the lease of a claim allows for."""
_STOPPED: Final = "Every delivery is answered with 503 until this is right."
_UNREACHED: Final = "No service can be asked until this is right: every incident stays pending."


async def examine(environment: Mapping[str, str], *, app_url: str | None) -> list[Finding]:
    """Run every check against the app that the environment describes, and its deployment at `app_url`."""
    try:
        settings = Settings.from_environment(environment)
    except SettingsError as error:
        health = await _check_app(environment, app_url)
        refused = _refused(error.problems, meaning=_STOPPED)
        return [*refused, skipped("everything else", "settings that are accepted"), *health]
    signed_in = identity_for(environment)
    app = build(settings, signed_in=signed_in)
    try:
        first = [_accepted(settings), *_left_out(settings)]
        if problems := app.network_problems():
            return [
                *first,
                *_refused(problems, meaning=_UNREACHED),
                skipped("everything else", "a way to the services"),
            ]
        identity = await check_azure.check_identity(app, is_person=signed_in is not None)
        has_token = identity.finding.status is Status.OK
        azure, (contraforce, clock), store = await asyncio.gather(
            check_azure.check_workspaces(app, identity),
            check_contraforce.check(app),
            check_store.check(app, has_token=has_token, assignee=identity.assignee),
        )
        health = await _check_app(environment, app_url)
        return [
            *first,
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


def _accepted(settings: Settings) -> Finding:
    if settings.workspaces:
        return ok("settings", f"accepted; {len(settings.workspaces)} workspaces")
    return unsure(
        "settings",
        "accepted; there are no customers",
        meaning="Nothing is wrong; every delivery is answered with 403, and the timer has nothing to do.",
        fix=_set("WORKSPACES"),
    )


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


def _refused(problems: Mapping[str, str], *, meaning: str) -> list[Finding]:
    return [
        failed(
            f"setting {name}",
            problem,
            meaning=meaning,
            fix=_set(name),
        )
        for name, problem in sorted(problems.items())
    ]


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
