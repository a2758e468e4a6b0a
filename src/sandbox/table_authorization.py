"""Who may use the stand-in of the Azure Table service: who has the account's key, or a token of the identity.

https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
https://learn.microsoft.com/rest/api/storageservices/authorize-with-azure-active-directory
"""

import hashlib
import hmac
import time
from base64 import b64decode, b64encode
from typing import Final

from sandbox.identity import ManagedIdentity
from sandbox.planted import planted
from sandbox.requestlog import LoggedRequest
from sandbox.table_errors import TableError

AUDIENCE: Final = "https://storage.azure.com"
CHALLENGE: Final = (
    "Bearer authorization_uri=https://login.microsoftonline.com/00000000-0000-0000-0000-000000000000"
    f"/oauth2/authorize resource_id={AUDIENCE}"
)


class Admission:
    """The account, its key and its identities. How old a signed request is, is not looked at.

    What a test switches off: `lets_network_in` is the account's firewall, `is_enabled` the account itself,
    `admits_keys` its shared keys, `is_in_tenant` that its tenant is the identity's, `has_role` that the
    identity may read and write its tables, `may_make_tables` that its role is on the whole account and not on
    tables of it.
    """

    def __init__(self, account: str, identity: ManagedIdentity) -> None:
        self.lets_network_in = True
        self.is_enabled = True
        self.admits_keys = True
        self.is_in_tenant = True
        self.has_role = True
        self.may_make_tables = True
        self.account = account
        self.key = b64encode(planted("account-key").encode()).decode()
        self._identity = identity

    def check(self, request: LoggedRequest) -> None:
        """Raise what the service answers to a request that it does not admit."""
        if not self.lets_network_in:
            raise TableError("AuthorizationFailure")
        if not self.is_enabled:
            raise TableError("AccountIsDisabled")
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if not value:
            raise TableError("NoAuthenticationInformation", headers={"WWW-Authenticate": CHALLENGE})
        if scheme == "Bearer":
            if not self._is_good(value):
                raise TableError("InvalidAuthenticationInfo", headers={"WWW-Authenticate": CHALLENGE})
            if not self.has_role:
                raise TableError("AuthorizationPermissionMismatch")
            return
        if not self.admits_keys:
            raise TableError("KeyBasedAuthenticationNotPermitted")
        account, _, signature = value.partition(":")
        text = self._signed_text(scheme, request)
        if text is None or account != self.account or not hmac.compare_digest(signature, self._sign(text)):
            raise TableError("AuthenticationFailed")

    def check_making(self, request: LoggedRequest) -> None:
        """Raise what the service answers to an identity whose role is on tables that are there."""
        if not self.may_make_tables and request.headers.get("Authorization", "").startswith("Bearer "):
            raise TableError("AuthorizationPermissionMismatch")

    def _is_good(self, value: str) -> bool:
        token = self._identity.tokens.get(value)
        if token is None or not self.is_in_tenant:
            return False
        return token.resource.rstrip("/") == AUDIENCE and token.expires_at > time.time()

    def _signed_text(self, scheme: str, request: LoggedRequest) -> str | None:
        headers = request.headers
        date = headers.get("x-ms-date") or headers.get("Date", "")
        place = f"/{self.account}{request.raw_path}"
        if "comp" in request.query:
            place += f"?comp={request.query['comp']}"
        if scheme == "SharedKeyLite":
            return f"{date}\n{place}"
        if scheme == "SharedKey":
            md5, kind = headers.get("Content-MD5", ""), headers.get("Content-Type", "")
            return f"{request.method}\n{md5}\n{kind}\n{date}\n{place}"
        return None

    def _sign(self, text: str) -> str:
        return b64encode(hmac.digest(b64decode(self.key), text.encode(), hashlib.sha256)).decode()
