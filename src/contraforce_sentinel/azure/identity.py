"""The identity of the app, or of a person at the operators' tool: tokens, and failures in our own words.

https://learn.microsoft.com/python/api/azure-core/azure.core.credentials_async.asynctokencredential
"""

import asyncio
import time
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import AzureError, ClientAuthenticationError, DeserializationError
from azure.core.pipeline.policies import AsyncRetryPolicy
from azure.core.pipeline.transport import AsyncHttpTransport
from azure.identity.aio import ManagedIdentityCredential

from contraforce_sentinel.domain.errors import (
    OutOfReach,
    Upstream,
    UpstreamError,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from contraforce_sentinel.transport.failures import NetworkRefused, no_answer, remedy
from contraforce_sentinel.transport.proxies import own_endpoints
from contraforce_sentinel.transport.retries import parse_retry_after

# What the SDKs raise for JSON of another shape, or nested too deep.
MISREAD: Final = (
    DeserializationError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RecursionError,
)
_TOKEN_SECONDS: Final = 10
CLI_SECONDS: Final = 14
"""A slow Azure CLI takes 13; an operation of the table service, its token included, ends after 15."""

_FRESH_SECONDS: Final = 300
"""azure-core's policies ask for a new token so long before the old one ends."""
_IDENTITY_ADVICE: Final = "assign the managed identity to the app, and set AZURE_CLIENT_ID to its client id"
_SIGN_IN_ADVICE: Final = "sign in with az login, in the tenant of the workspaces"
_SLOW_ADVICE: Final = "run az account get-access-token, which should take a second or two"


class Identity:
    """A credential whose failures are told apart from those of the service that the token is for.

    It is the managed identity, or `signed_in`, which is closed with this. azure-core lets requests wait in
    line for one token; so whoever sends a request calls `get_token` first, and waits for nobody.
    """

    def __init__(
        self,
        *,
        client_id: str | None,
        transport: AsyncHttpTransport[Any, Any],
        signed_in: AsyncTokenCredential | None = None,
    ) -> None:
        self._open = partial(
            ManagedIdentityCredential, client_id=client_id, transport=transport, retry_policy_class=_NoRetries
        )
        self._credential = signed_in
        self._seconds = CLI_SECONDS + 1 if signed_in else _TOKEN_SECONDS  # the CLI is ended by its credential
        self._advice = _SIGN_IN_ADVICE if signed_in else _IDENTITY_ADVICE
        self._tokens: dict[tuple[str, ...], AccessToken] = {}

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        """Return a token that holds for a while. Raises `UpstreamError` of the identity."""
        token = self._tokens.get(scopes)
        if token is None or options or token.expires_on - time.time() <= _FRESH_SECONDS:
            token = self._tokens[scopes] = await self._ask(*scopes, **options)
        return token

    async def _ask(self, *scopes: str, **options: Any) -> AccessToken:
        try:
            if self._credential is None:
                own_endpoints()  # the credential would quote what it cannot read
                self._credential = self._open()
            async with asyncio.timeout(self._seconds):
                token: AccessToken = await self._credential.get_token(*scopes, **options)
        except TimeoutError:
            raise _unavailable("timeout") from None
        except ClientAuthenticationError as error:
            raise _refused(error, advice=self._advice) from None
        except (AzureError, NetworkRefused, *MISREAD) as error:
            raise no_answer(error, told="no token", upstream=Upstream.IDENTITY, ambiguous=False) from None
        return token

    async def close(self) -> None:
        """Close the credential; idempotent."""
        if self._credential is not None:
            await self._credential.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.close()


class _NoRetries(AsyncRetryPolicy[Any, Any]):
    """Sends once; `call_with_retries` and `TableCalls` are the retry layers."""

    def __init__(self, **_: Any) -> None:
        super().__init__(retry_total=0)


def _refused(error: ClientAuthenticationError, *, advice: str) -> UpstreamError:
    """Tell a missing identity from an endpoint that does not work; no message of the library is kept.

    They quote the endpoint's answer, and with it the token of an answer that is otherwise broken.
    """
    if remedy(error) is not None:
        return no_answer(error, told="no token", upstream=Upstream.IDENTITY, ambiguous=False)
    if isinstance(error.__cause__, TimeoutError):
        return OutOfReach(
            f"no token (the Azure CLI took more than {CLI_SECONDS} s)",
            upstream=Upstream.IDENTITY,
            advice=_SLOW_ADVICE,
        )
    response: Any = error.response
    status = None if response is None else int(response.status_code)
    if status is not None and status not in _REFUSALS:
        wait = parse_retry_after(response.headers.get("Retry-After"), now=datetime.now(UTC))
        return _unavailable(f"status {status}", retry_after_seconds=wait)
    return UpstreamUnauthorized(
        "the identity gets no token", upstream=Upstream.IDENTITY, status=status, advice=advice
    )


_REFUSALS: Final = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.UNAUTHORIZED,
        HTTPStatus.FORBIDDEN,
        HTTPStatus.NOT_FOUND,
        HTTPStatus.CONFLICT,
    }
)


def _unavailable(what: str, *, retry_after_seconds: float | None = None) -> UpstreamUnavailable:
    return UpstreamUnavailable(
        f"no token ({what})", upstream=Upstream.IDENTITY, retry_after_seconds=retry_after_seconds
    )
