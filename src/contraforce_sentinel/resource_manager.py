"""The way to Azure Resource Manager: one identity, one keep-alive connection pool, errors of our own.

https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling. Retries are
`retries.call_with_retries`'; the SDK's own are off, because they sleep a `Retry-After` of any length.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from http import HTTPStatus
from importlib import import_module
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self
from urllib.parse import quote

from azure.core import AsyncPipelineClient
from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    DecodeError,
    DeserializationError,
    HttpResponseError,
    ServiceRequestError,
)
from azure.core.pipeline import AsyncPipeline
from azure.core.pipeline.policies import (
    AsyncRetryPolicy,
    ContentDecodePolicy,
    DistributedTracingPolicy,
    RequestIdPolicy,
    UserAgentPolicy,
)
from azure.core.pipeline.transport import AsyncHttpTransport
from azure.core.rest import HttpRequest
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.core.policies import AsyncARMChallengeAuthenticationPolicy

from contraforce_sentinel import VERSION
from contraforce_sentinel.errors import (
    Upstream,
    UpstreamConflict,
    UpstreamError,
    UpstreamMalformed,
    UpstreamNotFound,
    UpstreamRejected,
    UpstreamUnauthorized,
    UpstreamUnavailable,
)
from contraforce_sentinel.retries import call_with_retries, parse_retry_after

if TYPE_CHECKING:
    from azure.mgmt.securityinsight.aio import SecurityInsights

READ_SECONDS: Final = 15.0
_SDK: Final = "azure.mgmt.securityinsight.aio"
_TOKEN_SECONDS: Final = 10
_IDENTITY_ADVICE: Final = "assign the managed identity to the app, and set AZURE_CLIENT_ID to its client id"
_SIGN_IN_ADVICE: Final = "sign in with az login, in the tenant of the workspaces"
_USER_AGENT: Final = f"contraforce-sentinel/{VERSION}"
# What the SDKs raise for JSON of another shape, or nested too deep.
_MISREAD: Final = (
    DeserializationError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    RecursionError,
)
_KINDS: Final[dict[int, type[UpstreamError]]] = {
    HTTPStatus.UNAUTHORIZED: UpstreamUnauthorized,
    HTTPStatus.FORBIDDEN: UpstreamUnauthorized,
    HTTPStatus.NOT_FOUND: UpstreamNotFound,
    HTTPStatus.CONFLICT: UpstreamConflict,
    HTTPStatus.BAD_REQUEST: UpstreamRejected,
}


class ResourceManager:
    """One connection to Resource Manager over a given transport; close it when done.

    `endpoint` also decides the token's audience, as it does in every Azure cloud. The identity is the managed
    one, or `signed_in`, which is closed with this.
    """

    def __init__(
        self,
        *,
        endpoint: str,
        client_id: str | None,
        transport: AsyncHttpTransport[Any, Any],
        signed_in: AsyncTokenCredential | None = None,
    ) -> None:
        self._endpoint = endpoint
        self._scope = f"{endpoint}/.default"
        self._transport = transport
        self._credential = _Identity(
            signed_in
            or ManagedIdentityCredential(
                client_id=client_id, transport=transport, retry_policy_class=_NoRetries
            ),
            advice=_SIGN_IN_ADVICE if signed_in else _IDENTITY_ADVICE,
        )
        # One for all subscriptions: one token. The SDK's own would also repeat, redirect and log.
        self._pipeline = AsyncPipeline[Any, Any](
            transport,
            policies=[
                RequestIdPolicy(),
                UserAgentPolicy(base_user_agent=_USER_AGENT),
                ContentDecodePolicy(),
                AsyncARMChallengeAuthenticationPolicy(self._credential, self._scope),
                DistributedTracingPolicy(),
            ],
        )
        self._arm = AsyncPipelineClient[HttpRequest, Any](endpoint, pipeline=self._pipeline)
        self._sdk_is_there: asyncio.Task[object] | None = None
        self._sentinels: dict[str, SecurityInsights] = {}

    def prepare(self) -> None:
        """Begin to import the SDK, beside whatever the caller waits for next."""
        if self._sdk_is_there is None and _SDK not in sys.modules:
            self._sdk_is_there = asyncio.create_task(asyncio.to_thread(import_module, _SDK))

    async def sentinel(self, subscription_id: str) -> "SecurityInsights":
        """Return the SDK's client for a subscription, always the same one."""
        if subscription_id not in self._sentinels:
            if self._sdk_is_there is not None:
                await asyncio.shield(self._sdk_is_there)  # others wait for it, too
            from azure.mgmt.securityinsight.aio import SecurityInsights  # noqa: PLC0415 - a quarter second

            self._sentinels[subscription_id] = SecurityInsights(
                self._credential, subscription_id, base_url=self._endpoint, pipeline=self._pipeline
            )
        return self._sentinels[subscription_id]

    async def token(self) -> AccessToken:
        """Return a token for this endpoint. Raises `UpstreamError` of the identity."""
        return await self._credential.get_token(self._scope)

    async def get(self, arm_id: str, *, api_version: str, advice: str, until: float) -> object:
        """Return a resource as JSON. Raises `UpstreamError`."""
        url = f"{self._endpoint}{quote(arm_id, safe='/')}"
        request = HttpRequest("GET", url, params={"api-version": api_version})

        async def send() -> object:
            response = await self._arm.send_request(request)
            response.raise_for_status()
            return response.json()

        return await self.call(send, upstream=Upstream.RESOURCE_MANAGER, advice=advice, until=until)

    async def call[T](
        self, request: Callable[[], Awaitable[T]], *, upstream: Upstream, advice: str, until: float
    ) -> T:
        """Await one idempotent request of an Azure SDK, with retries. Raises `UpstreamError`.

        `advice` says what to grant when the service answers 401 or 403.
        """

        async def once() -> T:
            try:
                return await request()
            except AzureError as error:
                raise _translate(error, upstream=upstream, advice=advice) from error
            except (
                DeserializationError,
                ValueError,
                TypeError,
                AttributeError,
                LookupError,
                RecursionError,
            ) as error:
                # what the SDK's deserializer raises for JSON of another shape, or nested too deep
                raise UpstreamMalformed("an answer of an unknown shape", upstream=upstream) from error

        return await call_with_retries(once, upstream=upstream, until=until, idempotent=True)

    async def close(self) -> None:
        """Close the connections; idempotent."""
        await self._credential.close()
        await self._transport.close()


class _NoRetries(AsyncRetryPolicy[Any, Any]):
    """Sends once; `call_with_retries` is the one retry layer."""

    def __init__(self, **_: Any) -> None:
        super().__init__(retry_total=0)


class _Identity:
    """The credential as `AsyncTokenCredential`, whose failures are told apart from Resource Manager's."""

    def __init__(self, credential: AsyncTokenCredential, *, advice: str) -> None:
        self._credential = credential
        self._advice = advice

    async def get_token(self, *scopes: str, **options: Any) -> AccessToken:
        try:
            async with asyncio.timeout(_TOKEN_SECONDS):
                token: AccessToken = await self._credential.get_token(*scopes, **options)
        except TimeoutError:
            raise _identity_unavailable("timeout") from None
        except ClientAuthenticationError as error:
            raise _identity_error(error, advice=self._advice) from None
        except (AzureError, *_MISREAD) as error:
            raise _identity_unavailable(type(error).__name__) from None
        return token

    async def close(self) -> None:
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


def _identity_error(error: ClientAuthenticationError, *, advice: str) -> UpstreamError:
    """Tell a missing identity from an endpoint that does not work; no message of the library is kept.

    They quote the endpoint's answer, and with it the token of an answer that is otherwise broken.
    """
    response: Any = error.response
    status = None if response is None else int(response.status_code)
    if status is not None and _KINDS.get(status, UpstreamUnavailable) is UpstreamUnavailable:
        wait = parse_retry_after(response.headers.get("Retry-After"), now=datetime.now(UTC))
        return _identity_unavailable(f"status {status}", retry_after_seconds=wait)
    return UpstreamUnauthorized(
        "the identity gets no token",
        upstream=Upstream.IDENTITY,
        status=status,
        advice=advice,
    )


def _identity_unavailable(what: str, *, retry_after_seconds: float | None = None) -> UpstreamUnavailable:
    return UpstreamUnavailable(
        f"no token ({what})", upstream=Upstream.IDENTITY, retry_after_seconds=retry_after_seconds
    )


def _translate(error: AzureError, *, upstream: Upstream, advice: str) -> UpstreamError:
    """Say in our words what an SDK's error means; its own message may quote the incident."""
    response: Any = error.response if isinstance(error, HttpResponseError) else None
    if response is None:
        sent = not isinstance(error, ServiceRequestError)
        return UpstreamUnavailable(f"no answer ({type(error).__name__})", upstream=upstream, ambiguous=sent)
    status = int(response.status_code)
    if isinstance(error, DecodeError) and status < HTTPStatus.BAD_REQUEST:
        return UpstreamMalformed(f"status {status} without JSON", upstream=upstream, status=status)
    code = getattr(getattr(error, "error", None), "code", None)
    code = code if isinstance(code, str) and code.isidentifier() and len(code) <= 100 else None  # noqa: PLR2004
    wait = parse_retry_after(response.headers.get("Retry-After"), now=datetime.now(UTC))
    kind = _KINDS.get(status, UpstreamUnavailable)
    return kind(
        f"status {status}{f' {code}' if code else ''}",
        upstream=upstream,
        status=status,
        code=code,
        retry_after_seconds=wait if kind is UpstreamUnavailable else None,
        advice=advice if kind is UpstreamUnauthorized else None,
    )
