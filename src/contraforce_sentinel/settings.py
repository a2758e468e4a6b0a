"""Every setting of the app, with its description; read from the environment, never at import time."""

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AliasGenerator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_core import ErrorDetails

from contraforce_sentinel.contraforce.ticket_systems import NAMES
from contraforce_sentinel.contraforce.url_templates import good_templates
from contraforce_sentinel.domain.customers import Customer, NamedSeverity
from contraforce_sentinel.domain.errors import RefusedValue, SettingsError
from contraforce_sentinel.domain.incidents import Severity
from contraforce_sentinel.domain.inputs import decode, read_json, sentence

_OWN_PREFIXES: Final = ("CONTRAFORCE_", "LINK_", "RECONCILE_", "TICKET_URL_", "WORKSPACES")
_TICKET_URLS: Final = "TICKET_URL_TEMPLATES"
_LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
# printable ASCII, and of that no query and no fragment
_BASE_URL: Final = re.compile(r"[^?#\\\x00-\x20\x7f-\U0010ffff]+")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]*)?")
_UNRESOLVED: Final = (
    "the Key Vault reference was not resolved; check the vault's access and the secret's name"
)
_SQLITE: Final = re.compile(r"sqlite:///(?P<path>(?!:memory:).+)")
# An account may be in a DNS zone: https://learn.microsoft.com/azure/storage/common/storage-account-overview
_TABLE_ENDPOINT: Final = re.compile(
    r"https://[a-z0-9]{3,24}(?:\.z[0-9]{1,2})?\.table\.(?:[a-z0-9-]+\.)+[a-z]{2,}/?"
)
_CLIENT_ID: Final = re.compile(r"[^:\x00-\x1f\ud800-\udfff]+")
_GUID: Final = re.compile(r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_SCHEDULE: Final = re.compile(r"\S+(?: \S+){5}")
_PAIR: Final = r"[A-Za-z]+=[!-:<-~]+"
_CONNECTION_STRING: Final = re.compile(rf"UseDevelopmentStorage=true;?|{_PAIR}(?:;{_PAIR}){{1,11}};?")


def _json_or_file(value: Any) -> Any:
    """JSON text, or `@path` of a file that holds it."""
    if not isinstance(value, str):
        return value
    return read_json(_file(value[1:]) if value.startswith("@") else value.removeprefix("\ufeff"))


def _file(path: str) -> str:
    try:
        return decode(Path(path).read_bytes())
    except RefusedValue as error:
        raise RefusedValue(f"the file named after @ {error}") from None
    except (OSError, ValueError):
        raise RefusedValue("the file named after @ cannot be read") from None


def _like(pattern: re.Pattern[str], what: str) -> AfterValidator:
    """A text of this pattern and no other; `what` says what it must be."""

    def check(value: str) -> str:
        if pattern.fullmatch(value) is None:
            raise RefusedValue(what)
        return value

    return AfterValidator(check)


def _url(value: str) -> str:
    """An https URL without query and credentials; plain http only to this machine."""
    try:
        url = urlsplit(value)
        host, _ = url.hostname, url.port
    except ValueError:
        raise RefusedValue("is not a URL") from None
    if not host or _HOST.fullmatch(url.netloc) is None or _BASE_URL.fullmatch(value) is None:
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
    contraforce_client_id: Annotated[
        str, _like(_CLIENT_ID, "must have no colon and no control characters")
    ] = Field(description="Service account's client id (HTTP Basic).")
    contraforce_client_secret: SecretStr = Field(
        min_length=1, description="Service account's secret; in Azure a Key Vault reference."
    )
    workspaces: Annotated[tuple[Customer, ...], BeforeValidator(_json_or_file)] = Field(
        (),
        description=(
            'JSON array `[{"workspace": "<ARM id of the Log Analytics workspace>", '
            '"contraforceWorkspaceId": "<uuid>"}]`, or `@path` of a file with it; '
            "an incident of any other workspace is refused. Not set, or `[]`: no customers. "
            "A customer may have a `minimumSeverity` and `ticketUrlTemplates` of its own."
        ),
    )
    link_store: SecretStr = Field(
        SecretStr("sqlite:///.data/links.db"),
        description=(
            "`https://<account>.table.core.windows.net`, or `https://<account>.z<nn>.table.storage.azure.net`"
            " of an account in a DNS zone (managed identity), a storage connection string, or "
            "`sqlite:///path/to/links.db`, which is refused in Azure, where instances share no disk."
        ),
    )
    arm_endpoint: Annotated[str, BeforeValidator(_url)] = Field(
        "https://management.azure.com", description="Resource Manager, for sovereign clouds."
    )
    azure_client_id: Annotated[str, _like(_GUID, "must be a GUID")] | None = Field(
        None, description="Client id of the user-assigned identity (azure-identity's own name)."
    )
    minimum_severity: NamedSeverity = Field(
        Severity.INFORMATIONAL,
        description="Incidents below it are skipped: `Informational`, `Low`, `Medium` or `High`.",
    )
    reconcile_schedule: Annotated[
        str, _like(_SCHEDULE, "must have six fields with one blank between them")
    ] = Field("0 */5 * * * *", description="NCRONTAB of the timer, six fields, UTC.")
    reconcile_lookback_hours: int = Field(
        24, ge=1, le=24 * 90, description="How far discovery looks back the first time, in hours."
    )
    link_retention_days: int = Field(
        90, ge=1, le=3650, description="Linked and skipped records are removed after so many days."
    )
    ticket_url_templates: dict[str, str] = Field(
        {},
        description=(
            f"JSON object: per ticket system ({', '.join(f'`{name}`' for name in NAMES)}) "
            "a URL with `{id}` or `{number}`, to make the ticket number clickable; what is wrong in it is"
            " told and left out."
        ),
    )
    _left_out: dict[str, str] = PrivateAttr(default_factory=dict)

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

    @property
    def left_out(self) -> Mapping[str, str]:
        """What is wrong with settings that only decorate: their names, as in `SettingsError.problems`."""
        return self._left_out

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

        What only decorates is left out where it is wrong. Raises one `SettingsError` that names every
        other bad setting, and that too, and never a value.
        """
        known = {name.upper() for name in cls.model_fields}
        values: dict[str, Any] = {
            name: value.strip() for name, value in environment.items() if name in known and value.strip()
        }
        unknown = _unknown(environment.keys() - known, known - values.keys())
        left_out = {name: unknown.pop(name) for name in sorted(unknown) if _decorates(name, unknown[name])}
        problems = unknown
        wrong: dict[str, str] = {}
        templates, wrong[_TICKET_URLS] = _ticket_urls(values.pop(_TICKET_URLS, "{}"))
        if "WORKSPACES" in values:
            values["WORKSPACES"], wrong["WORKSPACES"] = _without_bad_templates(values["WORKSPACES"])
        left_out |= {name: problem for name, problem in wrong.items() if problem}
        texts = {name: value for name, value in values.items() if isinstance(value, str)}
        problems |= {name: _UNRESOLVED for name, value in texts.items() if _is_unresolved(value)}
        in_azure = environment.get("WEBSITE_SITE_NAME") or environment.get("WEBSITE_SKU")
        if in_azure and values.get("LINK_STORE", "sqlite:").startswith("sqlite:"):
            problems["LINK_STORE"] = "is required in Azure, and SQLite is refused there"
        try:
            settings = cls.model_validate({**values, _TICKET_URLS: templates})
        except ValidationError as error:
            for item in error.errors(include_input=False, include_url=False):
                name = str(item["loc"][0])
                problem = _describe(item)
                problems[name] = f"{problems[name]}, {problem}" if name in problems else problem
            raise SettingsError(left_out | problems) from None
        if problems:
            raise SettingsError(left_out | problems)
        settings._left_out = left_out  # noqa: SLF001 - its own
        return settings

    @property
    def customers(self) -> tuple[Customer, ...]:
        """The customers of `workspaces`; what one does not say of itself, the settings say."""
        own = {"minimum_severity": self.minimum_severity, "ticket_url_templates": self.ticket_url_templates}
        return tuple(
            customer.model_copy(
                update={name: value for name, value in own.items() if name not in customer.model_fields_set}
            )
            for customer in self.workspaces
        )


def _is_unresolved(value: str) -> bool:
    return value.lower().startswith("@microsoft.keyvault(")


def _unknown(others: Iterable[str], unset: Iterable[str]) -> dict[str, str]:
    """Find names that would be ours, and those that are nearly a setting's which is not set."""
    candidates = sorted(others)
    found = {name: "is not a setting of this app" for name in candidates if name.startswith(_OWN_PREFIXES)}
    for name in unset:
        for near in get_close_matches(name, candidates, n=1, cutoff=0.9):
            found[near] = f"is not a setting of this app; {name} is"
    return found


def _decorates(name: str, problem: str) -> bool:
    """Whether an unknown name can only have meant the setting that decorates."""
    return name.startswith("TICKET_URL_") or _TICKET_URLS in problem


def _without_bad_templates(text: str) -> tuple[Any, str]:
    """Return the customers without bad templates, and what is wrong with those; the text if it is no list."""
    try:
        entries = _json_or_file(text)
    except RefusedValue:
        return text, ""
    wrong = []
    for place, entry in enumerate(entries if isinstance(entries, list) else []):
        if isinstance(entry, dict) and "ticketUrlTemplates" in entry:
            entry["ticketUrlTemplates"], problem = _ticket_urls(entry["ticketUrlTemplates"])
            wrong += [f"{place}.ticketUrlTemplates {problem}"] if problem else []
    return entries, ", ".join(wrong)


def _ticket_urls(value: Any) -> tuple[dict[str, str], str]:
    """Return the good templates of a setting, and what is wrong with the others."""
    if isinstance(value, str) and _is_unresolved(value):
        return {}, _UNRESOLVED
    try:
        return good_templates(_json_or_file(value))
    except RefusedValue as error:
        return {}, str(error)


_MAPPING_KEYS: Final = frozenset(field.alias or name for name, field in Customer.model_fields.items())


def _describe(item: ErrorDetails) -> str:
    place, what = item["loc"][1:], sentence(item)
    if item["type"] == "missing" and not place:
        return "is required"
    # of a place inside a value only our own names are told: its other keys are the value's
    where = ".".join(str(part) for part in place if isinstance(part, int) or part in _MAPPING_KEYS)
    return f"{where} {what}" if where else what
