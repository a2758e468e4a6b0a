"""Turns an HTTP request into the worker's messages, and its messages into an HTTP response.

As the documented host does: header names in lower case, repeated headers and query values joined by a comma,
empty query values left out, the body as bytes. Without a usable ``traceparent`` header a new trace is
started. Different here: the host puts a span of its own between the caller's and the function's, this one
passes the caller's ``traceparent`` on unchanged.
"""

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate
from types import SimpleNamespace

from multidict import CIMultiDict

from functions_host import protos

# https://www.w3.org/TR/trace-context/#traceparent-header; all-zero ids are invalid.
_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
# Framing belongs to the server that sends the response.
_FRAMING_HEADERS = ("Content-Length", "Transfer-Encoding", "Connection")


@dataclass(frozen=True, kw_only=True)
class HttpAnswer:
    """A function's HTTP response; ``headers`` ignores case and can hold several ``Set-Cookie``."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def http_request(
    *,
    method: str,
    url: str,
    headers: Mapping[str, str],
    params: Mapping[str, str],
    query: Mapping[str, str],
    body: bytes,
) -> protos.TypedData:
    """Build the message of an HTTP trigger."""
    return protos.TypedData(
        http=protos.RpcHttp(
            method=method,
            url=url,
            headers=_joined(headers, lower_names=True),
            params=dict(params),
            query={name: value for name, value in _joined(query).items() if value},
            body=protos.TypedData(bytes=body) if body else protos.TypedData(),
        )
    )


def http_answer(returned: protos.TypedData | None) -> HttpAnswer:
    """Read what an HTTP function returned: a response, or a plain value as the body of a 200."""
    value = None if returned is None else returned.value
    if isinstance(value, protos.RpcHttp):
        headers = CIMultiDict(value.headers)
        for name in _FRAMING_HEADERS:
            headers.popall(name, None)
        for cookie in value.cookies or ():
            headers.add("Set-Cookie", _set_cookie(cookie))
        return HttpAnswer(status=int(value.status_code), headers=headers, body=value.body.value or b"")
    if value is None:
        return HttpAnswer(status=204, headers=CIMultiDict(), body=b"")
    body = value if isinstance(value, bytes) else str(value).encode()
    return HttpAnswer(
        status=200, headers=CIMultiDict({"Content-Type": "text/plain; charset=utf-8"}), body=body
    )


def trace_context(headers: Mapping[str, str]) -> SimpleNamespace:
    """Take the trace from the headers, or start a new one."""
    received = _joined(headers, lower_names=True)
    parent = received.get("traceparent", "")
    if _TRACEPARENT.match(parent) is None:
        parent = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"
        return SimpleNamespace(trace_parent=parent, trace_state="", attributes={})
    return SimpleNamespace(trace_parent=parent, trace_state=received.get("tracestate", ""), attributes={})


def _joined(values: Mapping[str, str], *, lower_names: bool = False) -> dict[str, str]:
    """Join the values of a repeated name, which a multi-dict lists once each."""
    joined: dict[str, str] = {}
    for given, value in values.items():
        name = given.lower() if lower_names else given
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def _set_cookie(cookie: protos.RpcHttpCookie) -> str:
    parts = [f"{cookie.name}={cookie.value}"]
    if cookie.domain and cookie.domain.value:
        parts.append(f"Domain={cookie.domain.value}")
    if cookie.path and cookie.path.value:
        parts.append(f"Path={cookie.path.value}")
    if cookie.expires:
        parts.append(f"Expires={formatdate(cookie.expires.value.seconds, usegmt=True)}")
    if cookie.max_age:
        parts.append(f"Max-Age={cookie.max_age.value:.0f}")
    if cookie.secure and cookie.secure.value:
        parts.append("Secure")
    if cookie.http_only and cookie.http_only.value:
        parts.append("HttpOnly")
    if cookie.same_site:
        parts.append("SameSite=" + ("", "Lax", "Strict", "None")[cookie.same_site])
    return "; ".join(parts)
