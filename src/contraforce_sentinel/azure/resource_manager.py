"""The way to Azure Resource Manager: one identity, one pipeline, errors of our own.

https://learn.microsoft.com/azure/azure-resource-manager/management/request-limits-and-throttling. Retries are
`retries.call_with_retries`'; the SDK's own are off, because they sleep a `Retry-After` of any length.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import httpx
from azure.core import AsyncPipelineClient
from azure.core.credentials import AccessToken
from azure.core.credentials_async import AsyncTokenCredential
from azure.core.exceptions import (
    AzureError,
    DecodeError,
    HttpResponseError,
    ServiceRequestError,
)
from azure.core.pipeline import AsyncPipeline
from azure.core.pipeline.policies import (
    ContentDecodePolicy,
    DistributedTracingPolicy,
    RequestIdPolicy,
    UserAgentPolicy,
)
from azure.core.pipeline.transport import AsyncHttpTransport
from azure.core.rest import HttpRequest
from azure.mgmt.core.policies import AsyncARMChallengeAuthenticationPolicy

from contraforce_sentinel import VERSION
from contraforce_sentinel.azure.identity import MISREAD, Identity
from contraforce_sentinel.azure.refusals import refusal
from contraforce_sentinel.domain.errors import (
    Upstream,
    UpstreamError,
    UpstreamMalformed,
)
from contraforce_sentinel.transport.bodies import read_json
from contraforce_sentinel.transport.failures import no_answer
from contraforce_sentinel.transport.retries import call_with_retries

if TYPE_CHECKING:
    from azure.mgmt.securityinsight.aio import SecurityInsights

READ_SECONDS: Final = 15.0
_SDK: Final = "azure.mgmt.securityinsight.aio"
_USER_AGENT: Final = f"contraforce-sentinel/{VERSION}"


class ResourceManager:
    """Resource Manager over a given transport; close it when done.

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
        self._credential = Identity(client_id=client_id, transport=transport, signed_in=signed_in)
        # One for all subscriptions: one token. The SDK's own would also repeat, redirect and log.
        self._pipeline = AsyncPipeline[Any, Any](
            transport,
            policies=[
                RequestIdPolicy(),
                UserAgentPolicy(base_user_agent=_USER_AGENT),
                _DecodeSuccesses(),
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
            self._sdk_is_there.add_done_callback(self._forget_import)

    def _forget_import(self, done: asyncio.Task[object]) -> None:
        """One that failed is tried again by whoever needs the SDK next."""
        self._sdk_is_there = None
        if not done.cancelled():
            done.exception()  # seen: it is raised where the SDK is needed

    async def sentinel(self, subscription_id: str) -> "SecurityInsights":
        """Return the SDK's client for a subscription, for any letter case the same one."""
        key = subscription_id.lower()
        if key not in self._sentinels:
            if self._sdk_is_there is not None:
                await asyncio.shield(self._sdk_is_there)  # others wait for it, too
            from azure.mgmt.securityinsight.aio import SecurityInsights  # noqa: PLC0415 - a quarter second

            self._sentinels[key] = SecurityInsights(
                self._credential, key, base_url=self._endpoint, pipeline=self._pipeline
            )
        return self._sentinels[key]

    async def token(self) -> AccessToken:
        """Return a token for this endpoint. Raises `UpstreamError` of the identity."""
        return await self._credential.get_token(self._scope)

    def address(self, arm_id: str, query: Mapping[str, str]) -> str:
        """Return where a resource is asked for."""
        return f"{self._endpoint}{quote(arm_id, safe='/')}?{urlencode(query, safe='$', quote_via=quote)}"

    def own_address(self, link: object) -> str | None:
        """Return the address that a link means, None for one that may not be asked: it would get the token.

        It is read as it will be by who sends the request. Raises nothing.
        """
        try:
            found, own = httpx.URL(link if isinstance(link, str) else ""), httpx.URL(self._endpoint)
        except httpx.InvalidURL:
            return None
        is_own = (found.scheme, found.host, found.port) == (own.scheme, own.host, own.port)
        return str(found) if is_own and not found.userinfo else None

    async def read(
        self, address: str, *, upstream: Upstream, until: float, most_bytes: int | None = None
    ) -> object:
        """Return what is at an address of this endpoint, as JSON, of at most so many bytes.

        Raises `UpstreamError`.
        """
        request = HttpRequest("GET", address)

        async def send() -> object:
            # "stream": the policies leave the answer to us, else its JSON would be read twice
            response = await self._arm.send_request(request, stream=True, most_bytes=most_bytes)
            response.raise_for_status()
            return read_json(response.content)

        return await self.call(send, upstream=upstream, until=until)

    async def call[T](self, request: Callable[[], Awaitable[T]], *, upstream: Upstream, until: float) -> T:
        """Await one idempotent request of an Azure SDK, with retries. Raises `UpstreamError`."""

        async def once() -> T:
            await self._credential.get_token(self._scope)
            try:
                return await request()
            except AzureError as error:
                raise _translate(error, upstream=upstream) from error
            except MISREAD as error:
                # what the SDK's deserializer raises for JSON of another shape, or nested too deep
                raise UpstreamMalformed("an answer of an unknown shape", upstream=upstream) from error

        return await call_with_retries(once, upstream=upstream, until=until, idempotent=True)

    async def close(self) -> None:
        """Close the connections; idempotent."""
        await self._credential.close()
        await self._transport.close()


def _translate(error: AzureError, *, upstream: Upstream) -> UpstreamError:
    """Say in our words what an SDK's error means; its own message may quote the incident."""
    response: Any = error.response if isinstance(error, HttpResponseError) else None
    if response is None:
        return no_answer(error, upstream=upstream, ambiguous=not isinstance(error, ServiceRequestError))
    status = int(response.status_code)
    if isinstance(error, DecodeError) and status < HTTPStatus.BAD_REQUEST:
        return UpstreamMalformed(f"status {status} without JSON", upstream=upstream, status=status)
    return refusal(response, upstream=upstream)


class _DecodeSuccesses(ContentDecodePolicy):
    """An error is an error whatever its body is: the policy would raise what says nothing of its status.

    Of a success the SDK gets to see what is needed: one odd date, and it would take a comment that was
    written for one that was not.
    """

    def on_response(self, request: Any, response: Any) -> None:
        if response.http_response.status_code < HTTPStatus.BAD_REQUEST:
            super().on_response(request, response)
            response.context[self.CONTEXT_NAME] = _needed(response.context.get(self.CONTEXT_NAME))
        else:
            response.context[self.CONTEXT_NAME] = None


def _needed(document: Any) -> Any:
    """Return the message of a comment, which is all that the SDK is asked for; anything else as it is."""
    properties = document.get("properties") if isinstance(document, dict) else None
    return (
        {"properties": {"message": properties.get("message")}} if isinstance(properties, dict) else document
    )
