"""Stand-in of the App Service managed-identity endpoint, plain http as in Azure.

https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import uuid4

from sandbox.planted import planted
from sandbox.requestlog import LoggedRequest
from sandbox.service import Answer, Route, StandIn

TOKEN_PATH: Final = "/msi/token"  # noqa: S105 - a path
API_VERSION: Final = "2019-08-01"


@dataclass(frozen=True, slots=True)
class IssuedToken:
    """A token that was handed out; `expires_at` is seconds since the epoch."""

    client_id: str
    resource: str
    expires_at: float


class ManagedIdentity(StandIn):
    """The identities of the app and the tokens they were given.

    `client_ids` are the identities assigned; without a client id the first one is used. `tokens` maps every
    token still honoured to what it is good for: `tokens.clear()` revokes them all.
    """

    def __init__(self) -> None:
        super().__init__()
        self.header = planted("identity-header")
        self.client_ids: list[str] = [str(uuid4())]
        self.tokens: dict[str, IssuedToken] = {}
        self.lifetime_seconds: int = 86_400

    @property
    def endpoint(self) -> str:
        """What IDENTITY_ENDPOINT is set to."""
        return f"{self.base_url}{TOKEN_PATH}"

    def routes(self) -> Sequence[Route]:
        """Return the token endpoint."""
        return (Route("identity.token", "GET", TOKEN_PATH, self._token),)

    def _token(self, request: LoggedRequest, _: Mapping[str, str]) -> Answer:
        client_id = request.query.get("client_id", self.client_ids[0])
        if request.headers.get("X-IDENTITY-HEADER") != self.header:
            return _error(401, "The identity header is missing or wrong.")
        if request.query.get("api-version") != API_VERSION:
            return _error(400, f"The api-version must be {API_VERSION}.")
        if not request.query.get("resource"):
            return _error(400, "The resource is missing.")
        if client_id not in self.client_ids:
            return _error(400, f"No user assigned identity found for client id '{client_id}'.")
        token = planted("token")
        resource = request.query["resource"]
        expires_at = int(time.time()) + self.lifetime_seconds
        self.tokens[token] = IssuedToken(client_id=client_id, resource=resource, expires_at=expires_at)
        answer = {
            "access_token": token,
            "expires_on": str(expires_at),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": client_id,
        }
        return Answer(200, answer)


def _error(status: int, message: str) -> Answer:
    return Answer(status, {"statusCode": status, "message": message})
