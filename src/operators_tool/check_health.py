"""Doctor's checks of the deployed app: settings, link store, timer.

With a function key by its status answer, which says everything; without one by its health answer, which
everybody may ask for, and which says only which part is wrong.
"""

import asyncio
from datetime import UTC, datetime, timedelta
from functools import partial
from http import HTTPStatus
from typing import Final

import httpx
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from contraforce_sentinel.transport.connections import Connections
from contraforce_sentinel.transport.failures import why
from contraforce_sentinel.transport.network import Network
from contraforce_sentinel.transport.ways import open_client
from operators_tool.findings import Finding, failed, ok, skipped, unsure

KEY: Final = "APP_FUNCTION_KEY"
_TIMEOUT_SECONDS: Final = 60.0  # a cold start, and what the store may take
_MAX_BYTES: Final = 256 * 1024
_LONGEST_PAUSE: Final = timedelta(minutes=30)
_APP, _TIMER = "deployed app", "deployed timer"
_LOG: Final = "az functionapp log tail --name <function app> --resource-group <group>"
_ASK: Final = f"export {KEY}=…   (a function key of the app: with it, doctor says what is wrong)"
_SET: Final = (
    "az functionapp config appsettings set --name <function app> --resource-group <group> --settings"
)


class _Run(BaseModel):
    finished_at: AwareDatetime = Field(alias="finishedAt")


class _Customers(BaseModel):
    total: int


class _Health(BaseModel, hide_input_in_errors=True):
    model_config = ConfigDict(extra="ignore")

    version: str
    settings: str
    store: str
    network: str


class _Status(_Health):
    setting_problems: dict[str, str] = Field(alias="settingProblems")
    store_problem: str | None = Field(alias="storeProblem")
    last_run: _Run | None = Field(alias="lastTimerRun")
    customers: _Customers | None = None  # an older version does not say


async def check_app(url: str, *, key: str | None) -> list[Finding]:
    """Ask for GET {url}/api/status with a function key, for GET {url}/api/health without one."""
    if key and not (key.isascii() and key.isprintable()):  # no header can carry it
        return [_wrong_key(), skipped(_TIMER, "a function key that is accepted")]
    address = f"{url.rstrip('/')}/api/{'status' if key else 'health'}"
    timeout = httpx.Timeout(_TIMEOUT_SECONDS)
    connections = Connections(partial(open_client, network=Network(), timeout=timeout))
    headers = {"x-functions-key": key} if key else {}
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            answer = await connections.send("GET", address, headers=headers, most_bytes=_MAX_BYTES)
    except (httpx.TransportError, TimeoutError) as error:
        return _no_app(f"no answer ({why(error)})", address)
    finally:
        await connections.aclose()
    if key and answer.status == HTTPStatus.UNAUTHORIZED:
        return [_wrong_key(), skipped(_TIMER, "a function key that is accepted")]
    try:
        health = (_Status if key else _Health).model_validate_json(answer.body or b"")
    except ValidationError:
        return _no_app(f"status {answer.status}, and not an answer of this app", address)
    return [_check_answer(health, answer.status), _check_timer(health)]


def _wrong_key() -> Finding:
    return failed(
        _APP,
        "the function key is refused",
        meaning="It is no key of this app, or was replaced; a playbook with the same key does not get in.",
        fix=f"export {KEY}=…   (az functionapp function keys list --name <function app>"
        " --resource-group <group> --function-name status --query default)",
    )


def _no_app(seen: str, address: str) -> list[Finding]:
    down = failed(
        _APP,
        seen,
        meaning="The app is not running there, or the URL is another's: no playbook reaches it.",
        fix=f"curl -i {address}   (the URL: az functionapp show --name <function app>"
        " --resource-group <group> --query defaultHostName)",
    )
    return [down, skipped(_TIMER, "the deployed app")]


def _check_answer(health: _Health, status: int) -> Finding:
    problems = health.setting_problems if isinstance(health, _Status) else {}
    listed = "; ".join(f"{name}: {problem}" for name, problem in sorted(problems.items()))
    fix = f"{_SET} {' '.join(f'{name}=…' for name in sorted(problems))}" if problems else _ASK
    if health.settings == "refused":
        meaning = "The deployed app refuses its settings: every delivery is answered with 503."
        return failed(_APP, listed or "settings are refused", meaning=meaning, fix=fix)
    if health.network != "ok":
        meaning = "The deployed app can ask no service: every incident stays pending."
        seen = listed or "certificates or proxies cannot be used"
        return failed(_APP, seen, meaning=meaning, fix=fix)
    if health.store != "ok":
        told = health.store_problem if isinstance(health, _Status) else None
        seen = f"link store {health.store}{f': {told}' if told else ''}"
        meaning = "The deployed app cannot use its link store: every delivery is answered with 503."
        return failed(_APP, seen, meaning=meaning, fix=_LOG)
    if status != HTTPStatus.OK:
        return failed(_APP, f"status {status}", meaning="The deployed app is not healthy.", fix=_LOG)
    if health.settings != "ok":
        meaning = "It is left out: ticket numbers are not clickable. Everything else works."
        return unsure(_APP, listed or "a setting is wrong and left out", meaning=meaning, fix=fix)
    seen = f"version {health.version} is up, its settings and link store are fine"
    has_none = isinstance(health, _Status) and health.customers is not None and not health.customers.total
    return ok(_APP, f"{seen}; it has no customers" if has_none else seen)


def _check_timer(health: _Health) -> Finding:
    if health.settings == "refused" or health.store != "ok":
        return skipped(_TIMER, "the deployed app")
    if not isinstance(health, _Status):
        return skipped(_TIMER, f"a function key in {KEY}")
    if health.last_run is None:
        return unsure(
            _TIMER,
            "has not run yet",
            meaning="It runs every 5 minutes by default; right after a deployment this is to be expected.",
            fix=f"contraforce-sentinel doctor   (in 5 minutes; if it still has not run: {_LOG})",
        )
    pause = datetime.now(UTC) - health.last_run.finished_at
    minutes = f"{pause.total_seconds() / 60:.0f} min"
    if pause <= _LONGEST_PAUSE:
        return ok(_TIMER, f"last ran {minutes} ago")
    return failed(
        _TIMER,
        f"last ran {minutes} ago",
        meaning="Links that are due are not tried again, and missed incidents are not found.",
        fix=f"{_SET} 'RECONCILE_SCHEDULE=0 */5 * * * *'   (and look at: {_LOG})",
    )
