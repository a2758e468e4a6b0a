"""Serves a worker over HTTP on the loopback address, with the keys and the admin endpoint of the host.

Mirrors Azure: routes under the prefix, 404 before 401, empty bodies for both, access keys in the header
``x-functions-key`` or the query ``code``, the master key good for everything, a failed function is an empty
500, ``POST /admin/functions/<name>`` answers 202 and runs the function. Different from ``func start``, which
asks for no keys at all. Left out: CORS, concurrency limits, timeouts, the other admin endpoints, a home page.
https://learn.microsoft.com/azure/azure-functions/functions-bindings-http-webhook-trigger#http-auth
https://learn.microsoft.com/azure/azure-functions/functions-manually-run-non-http
"""

import asyncio
import contextlib
import hmac
import json
import logging
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from functions_host.errors import InvocationFailed, PortError
from functions_host.routes import RouteTable
from functions_host.settings import DEFAULT_ROUTE_PREFIX, is_disabled
from functions_host.timers import Timers, drain, log_failure
from functions_host.worker import HOST_NAME, FunctionMetadata, Worker

# The largest request of the documented host, 210 MB.
MAX_REQUEST_BYTES = 210 * 1024 * 1024
# How long a stop waits for calls that are under way.
GRACE_SECONDS = 30.0
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, repr=False)
class AccessKeys:
    """The keys of the app: ``function`` opens its functions, ``master`` everything."""

    function: str
    master: str

    def permit(self, auth_level: str, request: web.Request) -> bool:
        """Check the key of a request against what a function or endpoint asks for."""
        if auth_level == "anonymous":
            return True
        given = request.headers.get("x-functions-key") or request.query.get("code") or ""
        accepted = (self.master,) if auth_level == "admin" else (self.function, self.master)
        # Compared as bytes: compare_digest takes only ASCII strings, and a header may hold anything.
        received = given.encode(errors="surrogateescape")
        return any(hmac.compare_digest(received, key.encode()) for key in accepted)


class Server:
    """The HTTP side of a function app."""

    def __init__(self, worker: Worker, *, keys: AccessKeys, route_prefix: str = DEFAULT_ROUTE_PREFIX) -> None:
        """Prepare routes and timers; raises RouteError and ScheduleError."""
        enabled = [item for item in worker.functions if not is_disabled(item.name, os.environ)]
        self._worker = worker
        self._keys = keys
        self._routes = RouteTable(enabled, prefix=route_prefix)
        self._timers = Timers(worker, scheduled=[function for function in enabled if function.is_timer])
        self._manual_runs: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def listen(self, *, port: int) -> AsyncIterator[str]:
        """Serve until the block ends and give the base URL; port 0 takes a free one.

        Timers begin once the port is bound. The end waits up to GRACE_SECONDS for calls under way. Raises
        PortError when the port cannot be had.
        """
        # Bodies pass unchanged, so nothing is decompressed. No access log: it would show ?code=.
        runner = web.AppRunner(
            self._application(), access_log=None, auto_decompress=False, shutdown_timeout=GRACE_SECONDS
        )
        await runner.setup()
        try:
            site = web.TCPSite(runner, HOST_NAME, port)
            try:
                await site.start()
            except OSError as error:
                reason = os.strerror(error.errno or 0)
                raise PortError(f"cannot listen on {HOST_NAME}:{port}: {reason}") from error
            self._timers.start()
            yield f"http://{HOST_NAME}:{runner.addresses[0][1]}"
        finally:
            await asyncio.gather(
                runner.cleanup(),
                self._timers.stop(grace_seconds=GRACE_SECONDS),
                drain(list(self._manual_runs), grace_seconds=GRACE_SECONDS),
            )

    def _application(self) -> web.Application:
        application = web.Application()
        application.router.add_post("/admin/functions/{name}", self._admin)
        application.router.add_route("*", "/{path:.*}", self._function)
        return application

    async def _function(self, request: web.Request) -> web.Response:
        match = self._routes.find(request.method, request.rel_url.raw_path)
        if match is None:
            return web.Response(status=404)
        function = match.function
        if not self._keys.permit(function.auth_level or "function", request):
            return web.Response(status=401)
        started = asyncio.get_running_loop().time()
        try:
            answer = await self._worker.invoke_http(
                function.name,
                method=request.method,
                url=str(request.url),
                headers=request.headers,
                params=match.params,
                query=request.query,
                body=await _body(request),
            )
        except InvocationFailed as failure:
            log_failure(failure)
            return web.Response(status=500)
        took_ms = round((asyncio.get_running_loop().time() - started) * 1000)
        _logger.info(
            "executed %s (succeeded)", function.name, extra={"status": answer.status, "duration_ms": took_ms}
        )
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    async def _admin(self, request: web.Request) -> web.Response:
        if not self._keys.permit("admin", request):
            return web.Response(status=401)
        try:
            function = self._worker.function(request.match_info["name"])
        except KeyError:
            return web.Response(status=404)
        try:
            invocation = json.loads(await _body(request))
        except ValueError:
            return web.Response(status=400)
        if not isinstance(invocation, dict):
            return web.Response(status=400)
        run = asyncio.create_task(
            self._run(function, invocation.get("input")), name=f"manual {function.name}"
        )
        self._manual_runs.add(run)
        run.add_done_callback(self._manual_runs.discard)
        return web.Response(status=202)

    async def _run(self, function: FunctionMetadata, given: Any) -> None:
        if function.is_timer:
            await self._timers.run(function.name)
            return
        text = given if isinstance(given, str) else json.dumps(given)
        try:
            if function.is_http:
                method = function.methods[0] if function.methods else "POST"
                await self._worker.invoke_http(
                    function.name, method=method, url=f"http://{HOST_NAME}/", body=text.encode()
                )
            else:
                await self._worker.invoke_with_text(function.name, text)
        except InvocationFailed as failure:
            log_failure(failure)


async def _body(request: web.Request) -> bytes:
    """Read the body, and keep it nowhere: a connection holds its last request until the next one comes."""
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > MAX_REQUEST_BYTES:
            raise web.HTTPRequestEntityTooLarge(max_size=MAX_REQUEST_BYTES, actual_size=len(body))
    return bytes(body)
