"""Stand-ins for the protobuf messages between host and worker.

The worker library never imports protobuf: it builds its answers from the classes that the host hands over
as ``request.properties["protos"]``. These have the attribute names of the published messages and only those
messages that the library touches.
https://github.com/Azure/azure-functions-language-worker-protobuf/blob/dev/src/proto/FunctionRpc.proto
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, ClassVar

_TYPED_DATA_KINDS = frozenset(
    [
        *("string", "json", "bytes", "stream", "http", "int", "double"),
        *("collection_bytes", "collection_string", "collection_double", "collection_sint64"),
    ]
)


class TypedData:
    """A value of one of the kinds a binding can carry: exactly one keyword, or none for "nothing"."""

    def __init__(self, **data: Any) -> None:
        if len(data) > 1 or not data.keys() <= _TYPED_DATA_KINDS:
            raise TypeError(f"TypedData takes one of its kinds, not {sorted(data)}")
        self._kind = next(iter(data), None)
        self.__dict__.update(data)

    def WhichOneof(self, group: str) -> str | None:  # noqa: N802 - the name protobuf gives it
        """Name the kind that is set."""
        if group != "data":
            raise ValueError(f"TypedData has no group {group!r}")
        return self._kind

    @property
    def value(self) -> Any:
        """The value, whatever its kind; None when nothing is set."""
        return None if self._kind is None else self.__dict__[self._kind]


@dataclass(kw_only=True)
class ParameterBinding:
    """A function parameter's name and value."""

    name: str
    data: TypedData | None

    def WhichOneof(self, group: str) -> str:  # noqa: N802 - the name protobuf gives it
        """Say that the value travels in the message and not in shared memory."""
        if group != "rpc_data":
            raise ValueError(f"ParameterBinding has no group {group!r}")
        return "data"


@dataclass(kw_only=True)
class RpcException:
    """What a function or the indexing raised."""

    message: str = ""
    stack_trace: str = ""
    source: str = ""


@dataclass(kw_only=True)
class StatusResult:
    """Whether the worker could do what it was asked."""

    Failure: ClassVar[int] = 0
    Success: ClassVar[int] = 1

    status: int
    exception: RpcException | None = None


@dataclass(kw_only=True)
class BindingInfo:
    """A binding as the worker indexed it, and the constants it compares with."""

    inout: ClassVar[int] = 2
    out: ClassVar[int] = 1
    undefined: ClassVar[int] = 0

    type: str
    data_type: int | None
    direction: int


@dataclass(kw_only=True)
class RpcRetryOptions:
    """The retry policy of a function."""

    max_retry_count: int
    retry_strategy: str
    delay_interval: timedelta | None = None
    minimum_interval: timedelta | None = None
    maximum_interval: timedelta | None = None


@dataclass(kw_only=True)
class RpcFunctionMetadata:
    """A function as the worker indexed it; ``raw_bindings`` are JSON texts."""

    name: str
    function_id: str
    directory: str
    script_file: str
    entry_point: str
    language: str
    managed_dependency_enabled: bool
    is_proxy: bool
    bindings: Mapping[str, BindingInfo]
    raw_bindings: Sequence[str]
    retry_options: RpcRetryOptions | None
    properties: Mapping[str, str]


@dataclass(kw_only=True)
class WorkerMetadata:
    """Which worker this is."""

    runtime_name: str
    runtime_version: str
    worker_version: str
    worker_bitness: str
    custom_properties: Mapping[str, str]


@dataclass(kw_only=True)
class WorkerInitResponse:
    """Answer to the first request: indexing happens there."""

    capabilities: Mapping[str, str]
    worker_metadata: WorkerMetadata
    result: StatusResult


@dataclass(kw_only=True)
class FunctionMetadataResponse:
    """Answer with all functions; None when there is no script file or no function in it."""

    use_default_metadata_indexing: bool
    function_metadata_results: Sequence[RpcFunctionMetadata] | None
    result: StatusResult


@dataclass(kw_only=True)
class FunctionLoadResponse:
    """Answer to the request to load one function."""

    function_id: str
    result: StatusResult


@dataclass(kw_only=True)
class FunctionEnvironmentReloadResponse:
    """Answer to a specialization, which Azure does and this host does not."""

    result: StatusResult
    capabilities: Mapping[str, str] = field(default_factory=dict)
    worker_metadata: WorkerMetadata | None = None


@dataclass(kw_only=True)
class InvocationResponse:
    """Answer to one call of one function."""

    invocation_id: str
    result: StatusResult
    return_value: TypedData | None = None
    output_data: Sequence[ParameterBinding] = ()


@dataclass(kw_only=True)
class NullableString:
    """A string that may be absent."""

    value: str


@dataclass(kw_only=True)
class NullableBool:
    """A truth value that may be absent."""

    value: bool


@dataclass(kw_only=True)
class NullableDouble:
    """A number that may be absent."""

    value: float


@dataclass(kw_only=True)
class Timestamp:
    """Seconds since 1970 in UTC."""

    seconds: int


@dataclass(kw_only=True)
class NullableTimestamp:
    """A time that may be absent."""

    value: Timestamp


@dataclass(kw_only=True)
class RpcHttpCookie:
    """A cookie that a function sets."""

    # A namespace, because "None" cannot be written as an attribute.
    SameSite: ClassVar[SimpleNamespace] = SimpleNamespace(
        **{"None": 0, "Lax": 1, "Strict": 2, "ExplicitNone": 3}
    )

    name: str
    value: str
    domain: NullableString | None = None
    path: NullableString | None = None
    expires: NullableTimestamp | None = None
    secure: NullableBool | None = None
    http_only: NullableBool | None = None
    same_site: int = 0
    max_age: NullableDouble | None = None


@dataclass(kw_only=True)
class RpcHttp:
    """A request (method, url, params, query) or a response (status_code, cookies)."""

    method: str = ""
    url: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    body: TypedData = field(default_factory=TypedData)
    status_code: str = ""
    cookies: Sequence[RpcHttpCookie] | None = None
    enable_content_negotiation: bool = False
