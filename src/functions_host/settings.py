"""Reads the settings files of a function app: local.settings.json and host.json.

Mirrors the documented host: ``Values`` become environment variables and an existing variable wins;
``extensions.http.routePrefix`` defaults to ``api``; ``AzureWebJobs.<name>.Disabled`` turns a function off.
Left out: every other entry of the two files, encrypted values.
https://learn.microsoft.com/azure/azure-functions/functions-develop-local#local-settings-file
"""

import json
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

from functions_host.errors import SettingsError

DEFAULT_ROUTE_PREFIX = "api"


def apply_local_settings(app_directory: Path, *, environment: MutableMapping[str, str]) -> None:
    """Add the ``Values`` of local.settings.json, if there is one, to the environment.

    Raises SettingsError for a file that cannot be used; the error names entries and never shows values.
    """
    path = app_directory / "local.settings.json"
    if not path.exists():
        return
    content = _read_object(path)
    values = content.get("Values")
    if content.get("IsEncrypted"):
        raise SettingsError(f"{path} is encrypted: run `func settings decrypt`")
    if not isinstance(values, dict):
        raise SettingsError(f'{path} has no object "Values"')
    for name, value in values.items():
        if not isinstance(value, str):
            raise SettingsError(f"{path}: the value of {name} is not a string")
        environment.setdefault(name, value)


def route_prefix(app_directory: Path) -> str:
    """Read the route prefix of host.json, without slashes; may be empty."""
    path = app_directory / "host.json"
    level: Any = _read_object(path) if path.exists() else {}
    for name in ("extensions", "http"):
        level = level.get(name, {}) if isinstance(level, dict) else {}
    prefix = level.get("routePrefix", DEFAULT_ROUTE_PREFIX) if isinstance(level, dict) else ""
    if not isinstance(prefix, str):
        raise SettingsError(f"{path}: extensions.http.routePrefix is not a string")
    return prefix.strip("/")


def is_disabled(function_name: str, environment: Mapping[str, str]) -> bool:
    """Say whether the app settings turn a function off (the underscores are for Linux)."""
    names = (f"AzureWebJobs.{function_name}.Disabled", f"AzureWebJobs_{function_name}_Disabled")
    return any(environment.get(name, "").lower() in {"true", "1"} for name in names)


def _read_object(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        # Only the place: a decoder's message may quote the text, and that text may hold secrets.
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise SettingsError(f"{path} is not JSON{where}") from None
    if not isinstance(content, dict):
        raise SettingsError(f"{path} is not a JSON object")
    return content
