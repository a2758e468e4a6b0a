"""A stand-in without a network: an httpx transport that asks it in the same process, in no time."""

from urllib.parse import unquote

import httpx

from sandbox.requestlog import LoggedRequest
from sandbox.service import StandIn, find, read_json, work


class InMemory(httpx.AsyncBaseTransport):
    """Takes every request to one stand-in, whatever its host; `httpx.AsyncClient(transport=InMemory(...))`.

    There is no log, and there are no faults.
    """

    def __init__(self, stand_in: StandIn) -> None:
        self._stand_in = stand_in
        self._routes = tuple(stand_in.routes())

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer."""
        content = await request.aread()
        raw_path = request.url.raw_path.decode().partition("?")[0]
        path = unquote(raw_path)
        operation, handler, groups = find(self._stand_in, self._routes, request.method, path)
        logged = LoggedRequest(
            operation=operation,
            method=request.method,
            path=path,
            query=dict(request.url.params),
            headers=request.headers,
            content=content,
            body=read_json(content),
            raw_path=raw_path,
        )
        answer = work(handler, logged, groups)
        headers = {"Content-Type": answer.content_type, **answer.headers}
        return httpx.Response(answer.status, headers=headers, stream=httpx.ByteStream(answer.content))
