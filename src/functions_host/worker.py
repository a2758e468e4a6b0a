"""Drives the real worker library: indexes a function app and calls its functions.

Mirrors the host's side of the conversation: the order of the requests, a fresh id per call, HTTP and timer
payloads, trace and retry context. Left out: retry policies (a call is always the first and only try), input
bindings other than the trigger, output bindings (computed, then dropped), HTTP streaming, specialization.
"""

import asyncio
import json
import logging
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, SimpleNamespace, TracebackType
from typing import Any, Self

import azure_functions_runtime

from functions_host import protos
from functions_host.errors import IndexingError, InvocationFailed
from functions_host.messages import HttpAnswer, http_answer, http_request, trace_context

HOST_NAME = "127.0.0.1"
_NOTHING: Mapping[str, str] = MappingProxyType({})
_logger = logging.getLogger(__name__)
# The library has no annotations on its requests.
_runtime: Any = azure_functions_runtime
# The library keeps the app in module globals: one per process, for good.
_started_apps: list[Path] = []


@dataclass(frozen=True, kw_only=True)
class FunctionMetadata:
    """A function of the app as indexed, with the host's defaults filled in.

    HTTP: ``route`` without the prefix, ``methods`` in upper case (none means any) and ``auth_level``
    (``anonymous``, ``function`` or ``admin``). Timer: ``timer_schedule`` as written, perhaps ``%SETTING%``.
    """

    name: str
    function_id: str
    bindings: list[dict[str, Any]]
    trigger_name: str
    trigger_type: str
    route: str | None = None
    methods: tuple[str, ...] = ()
    auth_level: str | None = None
    timer_schedule: str | None = None
    run_on_startup: bool = False
    has_retry_policy: bool = False

    @property
    def is_http(self) -> bool:
        """Whether an HTTP request triggers it."""
        return self.trigger_type == "httpTrigger"

    @property
    def is_timer(self) -> bool:
        """Whether a schedule triggers it."""
        return self.trigger_type == "timerTrigger"


class Worker:
    """One function app in this process: ``async with await Worker.start(directory) as worker``."""

    def __init__(self, functions: Sequence[FunctionMetadata]) -> None:
        self.functions = list(functions)
        self._by_name = {function.name: function for function in functions}

    @classmethod
    async def start(cls, app_directory: Path) -> Self:
        """Import and index the app, with its directory first on ``sys.path`` as in Azure.

        Raises IndexingError with the worker's message when the worker refuses the app, RuntimeError for a
        second app in the same process.
        """
        directory = _claim_process(app_directory)
        _runtime.start_threadpool_executor()
        try:
            return cls(await _index(directory))
        except BaseException:
            _runtime.stop_threadpool_executor()
            raise

    async def stop(self) -> None:
        """Stop the threads of synchronous functions, waiting for running ones; repeating it is harmless."""
        await asyncio.to_thread(_runtime.stop_threadpool_executor)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    def function(self, name: str) -> FunctionMetadata:
        """Find a function; raises KeyError."""
        return self._by_name[name]

    async def invoke_http(
        self,
        name: str,
        *,
        method: str,
        url: str,
        headers: Mapping[str, str] = _NOTHING,
        params: Mapping[str, str] = _NOTHING,
        query: Mapping[str, str] = _NOTHING,
        body: bytes = b"",
    ) -> HttpAnswer:
        """Call an HTTP function; ``params`` are those of the route. Raises InvocationFailed if it raises."""
        request = http_request(method=method, url=url, headers=headers, params=params, query=query, body=body)
        return http_answer(await self._invoke(name, request, headers=headers))

    async def invoke_timer(self, name: str, *, past_due: bool = False) -> None:
        """Call a timer function. Raises InvocationFailed if it raises.

        There is no schedule status, as in Azure without the schedule monitor.
        """
        timer = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": past_due}
        await self._invoke(name, protos.TypedData(json=json.dumps(timer)))

    async def invoke_with_text(self, name: str, text: str) -> None:
        """Call a function of any other trigger with a text, as the admin endpoint does."""
        await self._invoke(name, protos.TypedData(string=text))

    async def _invoke(
        self, name: str, data: protos.TypedData, *, headers: Mapping[str, str] = _NOTHING
    ) -> protos.TypedData | None:
        function = self._by_name[name]
        invocation_id = str(uuid.uuid4())
        request = SimpleNamespace(
            invocation_id=invocation_id,
            function_id=function.function_id,
            input_data=[protos.ParameterBinding(name=function.trigger_name, data=data)],
            trigger_metadata={},
            trace_context=trace_context(headers),
            retry_context=SimpleNamespace(retry_count=0, max_retry_count=0, exception=protos.RpcException()),
        )
        # A task of its own, because the library and the function may set context variables and leave them.
        response: protos.InvocationResponse = await asyncio.create_task(
            _runtime.invocation_request(_envelope(invocation_request=request)), name=f"{name} {invocation_id}"
        )
        if response.result.status != protos.StatusResult.Success:
            failure = response.result.exception or protos.RpcException()
            raise InvocationFailed(
                function_name=name,
                invocation_id=invocation_id,
                message=failure.message,
                stack_trace=failure.stack_trace,
            )
        return response.return_value


def _claim_process(app_directory: Path) -> Path:
    directory = app_directory.resolve()
    if _started_apps:
        raise RuntimeError(f"this process already runs the function app of {_started_apps[0]}")
    _started_apps.append(directory)
    sys.path.insert(0, str(directory))
    return directory


async def _index(directory: Path) -> list[FunctionMetadata]:
    initialized: protos.WorkerInitResponse = await _runtime.worker_init_request(
        _envelope(worker_init_request=SimpleNamespace(capabilities={}, function_app_directory=str(directory)))
    )
    if initialized.result.status != protos.StatusResult.Success:
        failure = initialized.result.exception or protos.RpcException()
        raise IndexingError(failure.message, stack_trace=failure.stack_trace)
    answer: protos.FunctionMetadataResponse = await _runtime.functions_metadata_request(_envelope())
    if not answer.function_metadata_results:
        raise IndexingError(f"no functions found: is there a function_app.py with functions in {directory}?")
    functions = [_metadata(found) for found in answer.function_metadata_results]
    for function in functions:
        if function.has_retry_policy:
            _logger.warning("the retry policy of %s is not followed here", function.name)
        await _runtime.function_load_request(
            _envelope(function_load_request=SimpleNamespace(function_id=function.function_id))
        )
    return functions


def _envelope(**request: SimpleNamespace) -> SimpleNamespace:
    return SimpleNamespace(
        request=SimpleNamespace(**request), properties={"host": HOST_NAME, "protos": protos}
    )


def _metadata(found: protos.RpcFunctionMetadata) -> FunctionMetadata:
    bindings: list[dict[str, Any]] = [json.loads(raw) for raw in found.raw_bindings]
    trigger = next((item for item in bindings if str(item["type"]).lower().endswith("trigger")), None)
    if trigger is None:
        raise IndexingError(f"function {found.name} has no trigger")
    is_http = trigger["type"] == "httpTrigger"
    return FunctionMetadata(
        name=found.name,
        function_id=found.function_id,
        bindings=bindings,
        trigger_name=trigger["name"],
        trigger_type=trigger["type"],
        route=str(trigger.get("route", found.name)) if is_http else None,
        methods=tuple(str(method).upper() for method in trigger.get("methods") or ()),
        auth_level=str(trigger.get("authLevel") or "function").lower() if is_http else None,
        timer_schedule=trigger.get("schedule"),
        run_on_startup=bool(trigger.get("runOnStartup")),
        has_retry_policy=found.retry_options is not None,
    )
