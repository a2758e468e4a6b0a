"""The ContraForce v2 client: `POST /workspaces/{workspaceId}/tickets/link`, and a read for operators.

Vendor facts: https://docs.contraforce.com, operation `v2-link-ticket`. What that page leaves open is decided
here, in `envelope` and in `ticket_systems`, marked "our reading".
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from uuid import UUID

import httpx
from pydantic import SecretStr, ValidationError

from contraforce_sentinel.contraforce.envelope import AmbiguousTicket, LinkAnswer
from contraforce_sentinel.domain.errors import (
    NoTicketYet,
    StaleLink,
    Unforeseen,
    Upstream,
    UpstreamError,
    UpstreamMalformed,
    UpstreamNotFound,
    UpstreamRejected,
    UpstreamUnauthorized,
    UpstreamUnavailable,
    UpstreamUnexpected,
)
from contraforce_sentinel.domain.incidents import IncidentId
from contraforce_sentinel.domain.tickets import Ticket
from contraforce_sentinel.transport.bodies import read_json
from contraforce_sentinel.transport.connections import Answer, Connections, Steps
from contraforce_sentinel.transport.failures import no_answer
from contraforce_sentinel.transport.network import Network
from contraforce_sentinel.transport.retries import call_with_retries, parse_date, parse_retry_after
from contraforce_sentinel.transport.ways import open_client

MAX_ANSWER_BYTES: Final = 1024 * 1024
_MAX_FIELDS: Final = 10
_TIMEOUT: Final = httpx.Timeout(15.0, connect=5.0, write=10.0)
_TOKEN: Final = re.compile(r"[\w.:\[\]$-]{1,100}", re.ASCII)
_ADVICE: Final = {
    401: "renew CONTRAFORCE_CLIENT_ID and CONTRAFORCE_CLIENT_SECRET: the credential is wrong or has expired",
    403: "give the service account's credential the ticket scope, and the account a role on the workspace",
}
# Of these the service says that it has not done the work (our reading): they are repeated within the request.
_NOT_DONE_STATUSES: Final = frozenset({408, 429, 503})


@dataclass(frozen=True, slots=True)
class LinkedTicket:
    """A ticket, and the request that ContraForce support can look up."""

    ticket: Ticket
    request_id: str | None


def open_contraforce_connections(
    network: Network, *, client_id: str, client_secret: SecretStr
) -> Connections:
    """Return connections that carry the credential, and never follow a redirect with it."""
    auth = httpx.BasicAuth(client_id, client_secret.get_secret_value())
    return Connections(partial(open_client, auth=auth, network=network, timeout=_TIMEOUT))


class ContraForce:
    """Calls ContraForce over given connections; `base_url` ends with `/api/v2`."""

    def __init__(self, connections: Connections, *, base_url: str) -> None:
        self._connections = connections
        self._base_url = base_url

    async def link_ticket(
        self,
        workspace_id: UUID,
        incident_id: IncidentId,
        *,
        number: str,
        ticket_id: str | None,
        until: float,
        before_each: Callable[[], None],
    ) -> LinkedTicket:
        """Link the incident to its ticket, creating one if it has none, or to the ticket `ticket_id`.

        Not idempotent as far as is documented: a second call may create a second ticket. `incident.id` is
        the incident's name, `incident.workspaceId` the ContraForce workspace again (our reading). Raises
        `UpstreamError`; `ambiguous` is true where the call may have had its effect. Raises `Unforeseen` for
        anything else; `ticket_at_risk` is true where a 2xx had come. `before_each` is called before each
        request is handed on; that it raises `StaleLink` ends the tries.
        """
        url = f"{self._base_url}/workspaces/{workspace_id}/tickets/link"
        content = {
            "ticketId": ticket_id,
            "incident": {
                "id": incident_id.name,
                "source": "Sentinel",
                "workspaceId": str(workspace_id),
                "number": number,
            },
        }
        has_answered, steps = False, Steps()

        async def post() -> LinkedTicket:
            nonlocal has_answered
            before_each()
            answer = await self._send("POST", url, content, steps=steps)
            has_answered = answer.is_success
            if not has_answered:
                raise _error(answer)
            return _linked_ticket(answer)

        try:
            return await call_with_retries(post, upstream=Upstream.CONTRAFORCE, until=until, idempotent=False)
        except StaleLink:
            raise
        except UpstreamError as error:
            error.ambiguous &= not steps.is_connecting  # the time may have ended before anything was sent
            raise
        except Exception as error:
            raise Unforeseen(error, ticket_at_risk=has_answered) from error

    async def look(self, workspace_id: UUID, *, until: float) -> datetime | None:
        """Read an incident that is not there: whether the credential may use a workspace, without any effect.

        GET /workspaces/{workspaceId}/incidents/{source}/{incidentId}, whose NOT_FOUND comes after the checks
        of credential, scope (incidents:read) and role (our reading). Returns the service's clock, None if it
        does not say. Raises `UpstreamError`.
        """
        url = f"{self._base_url}/workspaces/{workspace_id}/incidents/Sentinel/{UUID(int=0)}"

        async def get() -> datetime | None:
            answer = await self._send("GET", url)
            if answer.is_success and not isinstance(_json(answer.body), dict):
                raise UpstreamMalformed("a success without JSON", upstream=Upstream.CONTRAFORCE)
            if not answer.is_success and not isinstance(error := _error(answer), UpstreamNotFound):
                raise error
            return parse_date(answer.headers.get("Date"))

        return await call_with_retries(get, upstream=Upstream.CONTRAFORCE, until=until, idempotent=True)

    async def _send(
        self,
        method: str,
        url: str,
        content: Mapping[str, object] | None = None,
        *,
        steps: Steps | None = None,
    ) -> Answer:
        try:
            answer = await self._connections.send(
                method, url, json=content, most_bytes=MAX_ANSWER_BYTES, steps=steps
            )
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError) as error:
            raise _no_answer(error, told="cannot connect", ambiguous=False) from error
        except httpx.TransportError as error:
            raise _no_answer(error, told="no whole answer", ambiguous=True) from error
        if answer.body is None and answer.is_success:
            raise UpstreamMalformed("the answer cannot be read", upstream=Upstream.CONTRAFORCE)
        return answer  # without a body, the status of an error says enough


def _no_answer(error: httpx.TransportError, *, told: str, ambiguous: bool) -> UpstreamUnavailable:
    return no_answer(error, told=told, upstream=Upstream.CONTRAFORCE, ambiguous=ambiguous)


def _linked_ticket(answer: Answer) -> LinkedTicket:
    status, document = answer.status, _json(answer.body)
    request_id = _token(_get(document, "meta", "requestId"))
    try:
        ticket = LinkAnswer.model_validate(document).data.ticket()
    except (ValidationError, AmbiguousTicket) as error:
        places = error.errors() if isinstance(error, ValidationError) else []
        raise UpstreamMalformed(
            f"status {status} without the documented body",
            upstream=Upstream.CONTRAFORCE,
            status=status,
            request_id=request_id,
            fields=tuple(".".join(str(part) for part in place["loc"]) or "body" for place in places)[
                :_MAX_FIELDS
            ],
        ) from None
    if ticket is None:
        raise NoTicketYet(
            "the incident has no ticket yet",
            upstream=Upstream.CONTRAFORCE,
            status=status,
            request_id=request_id,
        )
    return LinkedTicket(ticket, request_id)


def _error(answer: Answer) -> UpstreamError:
    """Turn an error answer into one error: by `code` where the vendor documents it, else by status.

    Reads the problem details, the older `{"error", "meta"}` body, and takes anything else for a gateway's
    page. `title` and `detail` are prose, may change and may quote the incident: they are not read.
    """
    status, document = answer.status, _json(answer.body)
    code = _token(_get(document, "code") or _get(document, "error", "code"))
    request_id = _token(_get(document, "requestId") or _get(document, "meta", "requestId"))
    refused = _get(document, "errors")
    target = _get(document, "target") or _get(document, "error", "target")
    fields = [*(refused if isinstance(refused, dict) else ()), *([target] if target else ())]

    def error[E: UpstreamError](kind: type[E], **more: Any) -> E:
        return kind(
            f"status {status}{f' {code}' if code else ''}",
            upstream=Upstream.CONTRAFORCE,
            status=status,
            code=code,
            request_id=request_id,
            **more,
        )

    if status == httpx.codes.BAD_REQUEST and code:
        names = tuple(dict.fromkeys(_token(field) or "body" for field in fields))
        return error(UpstreamRejected, fields=names[:_MAX_FIELDS])
    if status in _ADVICE:
        return error(UpstreamUnauthorized, advice=_ADVICE[status])
    if status == httpx.codes.NOT_FOUND and code == "NOT_FOUND":
        return error(UpstreamNotFound)
    if status < httpx.codes.INTERNAL_SERVER_ERROR and status not in _NOT_DONE_STATUSES:
        return error(UpstreamUnexpected)
    wait = parse_retry_after(answer.headers.get("Retry-After"), now=datetime.now(UTC))
    ambiguous = status not in _NOT_DONE_STATUSES
    return error(UpstreamUnavailable, retry_after_seconds=wait, ambiguous=ambiguous)


def _json(body: bytes | None) -> object:
    """Return the JSON document; None for anything else (an HTML page, half an answer)."""
    try:
        return read_json(body or b"")
    except (ValueError, RecursionError):
        return None


def _get(document: object, *path: str) -> Any:
    for key in path:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _token(value: object) -> str | None:
    """A word of the vendor's that may stand in logs and answers; None for anything that is not one."""
    return value if isinstance(value, str) and _TOKEN.fullmatch(value) else None
