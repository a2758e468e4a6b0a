"""Doctor's check of the link store; one that is not made yet stays so."""

import re
from collections.abc import Mapping
from typing import Final

from contraforce_sentinel.bootstrap import App
from contraforce_sentinel.domain.errors import SettingsError, StoreFault, StoreUnavailable
from contraforce_sentinel.settings import Settings
from operators_tool import check_azure
from operators_tool.findings import Finding, failed, ok, skipped

_CHECK: Final = "link store"
_ROLE: Final = "Storage Table Data Contributor"
_ACCOUNT: Final = re.compile(r"https://([a-z0-9]+)\.|.*\bAccountName=([a-z0-9]+)", re.IGNORECASE)
_FIXES: Final[Mapping[StoreFault, str]] = {
    StoreFault.NETWORK: "az storage account show --name {account} --query networkRuleSet"
    "   (the rules have to let in this machine's network, and the app's)",
    StoreFault.KEY: "az storage account keys list --account-name {account} --query '[0].value'"
    "   (LINK_STORE has to have a key of the account; and the clock has to be right)",
    StoreFault.KEYS_OFF: "export LINK_STORE=https://{account}.table.core.windows.net"
    f"   (and give the identity the role {_ROLE})",
    StoreFault.TENANT: "az login --tenant <tenant of the account>"
    "   (the app: an identity of the tenant that the account is in)",
    StoreFault.DISABLED: "az storage account show --name {account}"
    " --query '[statusOfPrimary, provisioningState]'   (look at its subscription, too)",
    StoreFault.ACCOUNT: "az storage account list --query '[].name' --output tsv"
    "   (LINK_STORE has to name one of them; with a private endpoint, its DNS zone has to know it)",
    StoreFault.ADDRESS: "export LINK_STORE=…   (https://{account}.table.core.windows.net, or a connection"
    " string whose TableEndpoint is the account's)",
    StoreFault.TABLE: "contraforce-sentinel doctor   (the first delivery makes it anew)",
    StoreFault.NO_TABLE: "az storage table create --name contraforcelinks --account-name {account}"
    " --auth-mode login",
    StoreFault.REMOVAL: "contraforce-sentinel doctor   (in a minute)",
}


async def check(app: App, *, has_token: bool, assignee: str) -> Finding:
    """Look into the link store, which makes and changes nothing."""
    endpoint = app.settings.table_endpoint
    if endpoint and not has_token:
        return skipped(_CHECK, "the identity")
    try:
        if not await app.store.exists():
            return ok(_CHECK, "not made yet; the first delivery makes it")
        await app.store.check()
    except StoreUnavailable as error:
        return failed(
            _CHECK,
            str(error),
            meaning="Nothing can be recorded: every delivery is answered with 503; the timer does nothing.",
            fix=error.advice or fix_of(error.fault, app.settings, assignee=assignee),
        )
    except SettingsError as error:  # of a connection string that lacks a part
        return failed(
            _CHECK,
            "; ".join(f"{name} {problem}" for name, problem in error.problems.items()),
            meaning="Every delivery is answered with 503 until this is right; the timer does nothing.",
            fix=fix_of(None, app.settings, assignee=assignee),
        )
    return ok(_CHECK, "can be read" if endpoint else "can be read and locked")


def fix_of(fault: StoreFault | None, settings: Settings, *, assignee: str) -> str:
    """Return the command that mends a fault, or finds it where the service does not say which one it is."""
    named = _ACCOUNT.match(settings.link_store.get_secret_value())
    account = (named[1] or named[2]) if named else "<account>"
    if fault is not None and fault in _FIXES:
        return _FIXES[fault].format(account=account)
    if (path := settings.sqlite_path) is not None:
        return f"ls -ld '{path.parent}' '{path}'   (LINK_STORE has to name a file that this user may write)"
    if settings.table_endpoint is not None:
        scope = f'"$(az storage account show --name {account} --query id --output tsv)"'
        return check_azure.assign(_ROLE, assignee=assignee, scope=scope)
    return "export LINK_STORE=…   (a storage connection string whose account and key are right)"
