"""Azure's SDKs over httpx: the one HTTP stack of this app is under azure-core, too.

https://learn.microsoft.com/python/api/azure-core/azure.core.pipeline.transport.asynchttptransport
"""

from functools import partial
from http import HTTPStatus
from types import TracebackType
from typing import Any, Final, Self

import httpx
from azure.core.exceptions import (
    DecodeError,
    ServiceRequestError,
    ServiceRequestTimeoutError,
    ServiceResponseError,
    ServiceResponseTimeoutError,
)
from azure.core.pipeline.transport import AsyncHttpTransport
from azure.core.rest._http_response_impl_async import AsyncHttpResponseImpl

from contraforce_sentinel.transport.connections import Answer, Connections
from contraforce_sentinel.transport.network import Network
from contraforce_sentinel.transport.ways import open_client

MAX_ANSWER_BYTES: Final = 32 * 1024 * 1024
"""Of the table service, whose answers may hold many whole records."""

MAX_RESOURCE_BYTES: Final = 1024 * 1024
"""Of Resource Manager, Sentinel and the identity: a hundred deliveries may wait for one each."""

MAX_LIST_BYTES: Final = 8 * 1024 * 1024
"""Of Sentinel: a page of its incidents."""

_CONNECT_SECONDS: Final = 5.0


def open_azure_connections(network: Network, *, read_seconds: float) -> Connections:
    """Return connections for an `HttpxTransport`."""
    timeout = httpx.Timeout(read_seconds, connect=_CONNECT_SECONDS)
    return Connections(partial(open_client, network=network, timeout=timeout))


class HttpxTransport(AsyncHttpTransport[Any, Any]):
    """Sends once, and reads the whole answer, at most `most_bytes` of it.

    They are `MAX_ANSWER_BYTES` by default; a request may bring its own. Raises azure-core's
    `ServiceRequestError` where nothing was sent, `ServiceResponseError` where no whole answer came (an answer
    that is cut off included), `DecodeError` for a success that cannot be read. An error whose body cannot be
    read is an error without a body. Time limits are the connections'.
    """

    def __init__(self, connections: Connections, *, most_bytes: int | None = None) -> None:
        self._connections = connections
        self._most_bytes = most_bytes

    async def send(self, request: Any, *, most_bytes: int | None = None, **_: Any) -> Any:
        """Send a request of either of azure-core's generations; the answer is for both."""
        try:
            answer = await self._connections.send(
                request.method,
                request.url,
                headers=request.headers,
                content=request.data,
                most_bytes=most_bytes or self._most_bytes or MAX_ANSWER_BYTES,
            )
        except httpx.ConnectTimeout as error:
            raise ServiceRequestTimeoutError(str(error), error=error) from error
        except (httpx.ConnectError, httpx.ProxyError) as error:
            raise ServiceRequestError(str(error), error=error) from error
        except httpx.TimeoutException as error:
            raise ServiceResponseTimeoutError(str(error), error=error) from error
        except httpx.TransportError as error:
            raise ServiceResponseError(str(error), error=error) from error
        if answer.body is None and answer.status < HTTPStatus.BAD_REQUEST:
            raise DecodeError("an answer that cannot be read", response=_Response(request, answer))
        return _Response(request, answer)

    async def open(self) -> None:
        """Do nothing: connections are opened with requests."""

    async def close(self) -> None:
        """Close the connections; idempotent."""
        await self._connections.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.close()


class _Response(AsyncHttpResponseImpl):
    """A whole answer as azure-core knows it: decoded and in memory, and of UTF-8.

    Some of the encodings that it could name are read in quadratic time, and so is its name among a header's
    many parameters.
    """

    def __init__(self, request: Any, answer: Answer) -> None:
        super().__init__(
            request=request,
            internal_response=answer,
            status_code=answer.status,
            reason=answer.reason,
            headers=answer.headers,
            content_type=answer.headers.get("content-type"),
            stream_download_generator=None,
        )
        self._content = answer.body or b""
        self.encoding = None  # azure-core then reads UTF-8, and replaces what is none
        self._is_closed = True
        self._is_stream_consumed = True

    def body(self) -> bytes:
        """Return the content, as the older of the two generations asks for it."""
        return self.content
