"""Every setting of the app, with its description; read from the environment, never at import time."""

import json
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit

from pydantic import (
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
)

from contraforce_sentinel.contraforce.ticket_systems import NAMES
from contraforce_sentinel.domain.customers import Customer
from contraforce_sentinel.domain.errors import RefusedValue, SettingsError
from contraforce_sentinel.domain.incidents import Severity

_OWN_PREFIXES: Final = ("CONTRAFORCE_", "LINK_", "RECONCILE_", "TICKET_URL_", "WORKSPACES")
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
# printable ASCII, and of that no query and no fragment, or no braces and quotes
_BASE_URL: Final = re.compile(r"[^?#\\\x00-\x20\x7f-\U0010ffff]+")
_TICKET_URL: Final = re.compile(r"https://[^{}<>\"'\\\x00-\x20\x7f-\U0010ffff]+")
_SQLITE: Final = re.compile(r"sqlite:///(?P<path>(?!:memory:).+)")
_TABLE_ENDPOINT: Final = re.compile(r"https://[a-z0-9]{3,24}\.table\.(?:[a-z0-9-]+\.)+[a-z]{2,}/?")
_PAIR: Final = r"[A-Za-z]+=[!-:<-~]+"
_CONNECTION_STRING: Final = re.compile(rf"UseDevelopmentStorage=true;?|{_PAIR}(?:;{_PAIR}){{1,11}};?")


def _json_or_file(value: Any) -> Any:
    """JSON text, or `@path` of a file that holds it."""
    if not isinstance(value, str):
        return value
    try:
        text = Path(value[1:]).read_text(encoding="utf-8") if value.startswith("@") else value
    except (OSError, ValueError):
        raise RefusedValue("the file named after @ cannot be read") from None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise RefusedValue("is not valid JSON") from None


def _url(value: str) -> str:
    """An https URL without query and credentials; plain http only to this machine."""
    try:
        url = urlsplit(value)
        host, _ = url.hostname, url.port
    except ValueError:
        raise RefusedValue("is not a URL") from None
    if not host or "@" in url.netloc or _BASE_URL.fullmatch(value) is None:
        raise RefusedValue("must be a URL of scheme, host and path")
    if url.scheme != "https" and not (url.scheme == "http" and host in _LOOPBACK):
        raise RefusedValue("must start with https:// (plain http only to localhost)")
    return value.rstrip("/")


class Settings(BaseModel):
    """The settings as the environment gives them; field names in upper case are the environment's names."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        alias_generator=AliasGenerator(validation_alias=str.upper),
    )

    contraforce_api_url: Annotated[str, BeforeValidator(_url)] = Field(
        "https://portal.contraforce.com/api/v2", description="Base of the ContraForce v2 API."
    )
    contraforce_client_id: str = Field(
        min_length=1, pattern=r"^[^:\x00-\x1f]+$", description="Service account's client id (HTTP Basic)."
    )
    contraforce_client_secret: SecretStr = Field(
        min_length=1, description="Service account's secret; in Azure a Key Vault reference."
    )
    workspaces: Annotated[tuple[Customer, ...], BeforeValidator(_json_or_file)] = Field(
        min_length=1,
        description=(
            'JSON array `[{"workspace": "<ARM id of the Log Analytics workspace>", '
            '"contraforceWorkspaceId": "<uuid>"}]`, or `@path` of a file with it; '
            "an incident of any other workspace is refused."
        ),
    )
    link_store: SecretStr = Field(
        SecretStr("sqlite:///.data/links.db"),
        description=(
            "`https://<account>.table.core.windows.net` (managed identity), a storage connection string, or "
            "`sqlite:///path/to/links.db`, which is refused in Azure, where instances share no disk."
        ),
    )
    arm_endpoint: Annotated[str, BeforeValidator(_url)] = Field(
        "https://management.azure.com", description="Resource Manager, for sovereign clouds."
    )
    azure_client_id: str | None = Field(
        None,
        pattern=r"^[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$",
        description="Client id of the user-assigned identity (azure-identity's own name).",
    )
    minimum_severity: Severity = Field(
        Severity.INFORMATIONAL,
        description="Incidents below it are skipped: `Informational`, `Low`, `Medium` or `High`.",
    )
    reconcile_schedule: str = Field(
        "0 */5 * * * *",
        pattern=r"^[^\s]+(?: [^\s]+){5}$",
        description="NCRONTAB of the timer, six fields, UTC.",
    )
    reconcile_lookback_hours: int = Field(
        24, ge=1, le=24 * 90, description="How far discovery looks back the first time, in hours."
    )
    link_retention_days: int = Field(
        90, ge=1, le=3650, description="Linked and skipped records are removed after so many days."
    )
    ticket_url_templates: Annotated[dict[str, str], BeforeValidator(_json_or_file)] = Field(
        {},
        description=(
            f"JSON object: per ticket system ({', '.join(f'`{name}`' for name in NAMES)}) "
            "a URL with `{id}` or `{number}`, to make the ticket number clickable."
        ),
    )

    @field_validator("minimum_severity", mode="before")
    @classmethod
    def _parse_severity(cls, value: Any) -> Severity:
        severity = Severity.named(value) if isinstance(value, str) else value
        if not isinstance(severity, Severity):
            raise RefusedValue("must be Informational, Low, Medium or High")
        return severity

    @field_validator("workspaces", mode="after")
    @classmethod
    def _refuse_doubles(cls, value: tuple[Customer, ...]) -> tuple[Customer, ...]:
        if len({mapping.workspace.key for mapping in value}) < len(value):
            raise RefusedValue("names a workspace twice")
        return value

    @field_validator("link_store", mode="after")
    @classmethod
    def _refuse_unknown_stores(cls, value: SecretStr) -> SecretStr:
        kinds = (_SQLITE, _TABLE_ENDPOINT, _CONNECTION_STRING)
        if not any(kind.fullmatch(value.get_secret_value()) for kind in kinds):
            raise RefusedValue(
                "must be https://<account>.table.core.windows.net, a storage connection string,"
                " or sqlite:///path/to/links.db"
            )
        return value

    @field_validator("ticket_url_templates", mode="after")
    @classmethod
    def _refuse_useless_templates(cls, value: dict[str, str]) -> dict[str, str]:
        for system, template in value.items():
            if system not in NAMES:
                *others, last = NAMES
                raise RefusedValue(f"has a key that is not {', '.join(others)} or {last}")
            filled = template.replace("{id}", "0").replace("{number}", "0")
            if filled == template or _TICKET_URL.fullmatch(filled) is None:
                raise RefusedValue(
                    f"needs an https URL with {{id}} or {{number}} and no other braces for {system}"
                )
        return value

    @property
    def sqlite_path(self) -> Path | None:
        """The file of the link store, if it is SQLite."""
        match = _SQLITE.fullmatch(self.link_store.get_secret_value())
        return Path(match["path"]) if match else None

    @property
    def table_endpoint(self) -> str | None:
        """The URL of the storage account's tables, if the link store is there by managed identity."""
        match = _TABLE_ENDPOINT.fullmatch(self.link_store.get_secret_value())
        return match[0].rstrip("/") if match else None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read and check every setting; empty values count as not set.

        Raises one `SettingsError` that names every bad setting and never a value.
        """
        known = {name.upper() for name in cls.model_fields}
        values = {
            name: value.strip() for name, value in environment.items() if name in known and value.strip()
        }
        problems = {
            name: "is not a setting of this app"
            for name in environment
            if name.startswith(_OWN_PREFIXES) and name not in known
        }
        problems |= _misspelt(environment.keys() - known, known - values.keys())
        for name, value in values.items():
            if value.lower().startswith("@microsoft.keyvault("):
                problems[name] = (
                    "the Key Vault reference was not resolved; check the vault's access and the secret's name"
                )
        in_azure = environment.get("WEBSITE_SITE_NAME") or environment.get("WEBSITE_SKU")
        if in_azure and values.get("LINK_STORE", "sqlite:").startswith("sqlite:"):
            problems["LINK_STORE"] = "is required in Azure, and SQLite is refused there"
        try:
            settings = cls.model_validate(values)
        except ValidationError as error:
            for item in error.errors(include_input=False, include_url=False):
                name = str(item["loc"][0])
                problem = _describe(item["type"], item.get("ctx", {}).get("error"), item["loc"])
                problems[name] = f"{problems[name]}, {problem}" if name in problems else problem
            raise SettingsError(problems) from None
        if problems:
            raise SettingsError(problems)
        return settings


def _misspelt(others: Iterable[str], unset: Iterable[str]) -> dict[str, str]:
    """Find names that are nearly those of settings which are not set."""
    candidates = sorted(others)
    found = {}
    for name in unset:
        for near in get_close_matches(name, candidates, n=1, cutoff=0.9):
            found[near] = f"is not a setting of this app; {name} is"
    return found


_MAPPING_KEYS: Final = frozenset(field.alias or name for name, field in Customer.model_fields.items())


def _describe(kind: str, error: object, place: tuple[int | str, ...]) -> str:
    if kind == "missing" and len(place) == 1:
        return "is required"
    # of a place inside a value only our own names are told: its other keys are the value's
    where = ".".join(str(part) for part in place[1:] if isinstance(part, int) or part in _MAPPING_KEYS)
    what = str(error) if isinstance(error, RefusedValue) else f"is not valid ({kind})"
    return f"{where} {what}" if where else what
