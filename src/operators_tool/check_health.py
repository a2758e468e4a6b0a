"""Doctor's checks of the deployed app, by its anonymous health answer: settings, link store, timer."""

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

_TIMEOUT_SECONDS: Final = 60.0  # a cold start, and what the store may take
_MAX_BYTES: Final = 256 * 1024
_LONGEST_PAUSE: Final = timedelta(minutes=30)
_APP, _TIMER = "deployed app", "deployed timer"
_LOG: Final = "az functionapp log tail --name <function app> --resource-group <group>"
_SET: Final = (
    "az functionapp config appsettings set --name <function app> --resource-group <group> --settings"
)


class _Run(BaseModel):
    finished_at: AwareDatetime = Field(alias="finishedAt")


class _Health(BaseModel, hide_input_in_errors=True):
    model_config = ConfigDict(extra="ignore")

    version: str
    settings: str | dict[str, str]
    store: str
    store_problem: str | None = Field(None, alias="storeProblem")
    last_run: _Run | None = Field(None, alias="lastTimerRun")


async def check_app(url: str) -> list[Finding]:
    """Ask for GET {url}/api/health."""
    address = f"{url.rstrip('/')}/api/health"
    timeout = httpx.Timeout(_TIMEOUT_SECONDS)
    connections = Connections(partial(open_client, network=Network(), timeout=timeout))
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            answer = await connections.send("GET", address, most_bytes=_MAX_BYTES)
    except (httpx.TransportError, TimeoutError) as error:
        return _no_app(f"no answer ({why(error)})", address)
    finally:
        await connections.aclose()
    try:
        health = _Health.model_validate_json(answer.body or b"")
    except ValidationError:
        return _no_app(f"status {answer.status}, and not this app's health answer", address)
    return [_check_answer(health, answer.status), _check_timer(health)]


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
    if isinstance(health.settings, dict):
        problems = "; ".join(f"{name}: {problem}" for name, problem in sorted(health.settings.items()))
        names = " ".join(f"{name}=…" for name in sorted(health.settings))
        meaning = "The deployed app refuses its settings: every delivery is answered with 503."
        if health.store != "unknown":  # it is not the settings, but the way to the services
            meaning = "The deployed app can ask no service: every incident stays pending."
        return failed(_APP, problems, meaning=meaning, fix=f"{_SET} {names}")
    if health.store != "ok":
        meaning = "The deployed app cannot use its link store: every delivery is answered with 503."
        why = f": {health.store_problem}" if health.store_problem else ""
        return failed(_APP, f"link store {health.store}{why}", meaning=meaning, fix=_LOG)
    if status != HTTPStatus.OK:
        return failed(_APP, f"status {status}", meaning="The deployed app is not healthy.", fix=_LOG)
    return ok(_APP, f"version {health.version} is up, its settings and link store are fine")


def _check_timer(health: _Health) -> Finding:
    if isinstance(health.settings, dict) or health.store != "ok":
        return skipped(_TIMER, "the deployed app")
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
