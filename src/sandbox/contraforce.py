"""Stand-in of ContraForce v2: `POST /api/v2/workspaces/{workspaceId}/tickets/link`, and an incident's read.

https://docs.contraforce.com
"""

from base64 import b64decode
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NoReturn
from uuid import UUID, uuid4

from sandbox.bodies import PROBLEM_JSON, integers_as_strings, problem_details, seven_digits, utc_now
from sandbox.planted import planted
from sandbox.requestlog import LoggedRequest
from sandbox.service import Answer, RefusedError, Route, StandIn
from sandbox.ticket_systems import envelope_data, make_ticket
from sandbox.ticket_systems.model import Ticket

BASE_PATH: Final = "/api/v2"
SOURCES: Final = ("Sentinel", "DefenderXDR", "QRadar", "Splunk", "CrowdStrike", "SentinelOne")

type IncidentKey = tuple[str, str]
"""ContraForce workspace id and incident id, both in lower case."""

type RefusesTicketsBy = Literal["fields", "code", "not found"]
"""How a `ticketId` that does not exist is refused: 400 with the field, 400 without, or 404."""


class Countdowns:
    """Per incident a number of requests that something holds for; None: until it is lifted."""

    def __init__(self) -> None:
        self._left: dict[IncidentKey, int | None] = {}

    def set(self, key: IncidentKey, times: int | None) -> None:
        """Hold from now on for `times` requests."""
        self._left[key] = times

    def lift(self, key: IncidentKey) -> None:
        """Hold no longer."""
        self._left.pop(key, None)

    def take(self, key: IncidentKey) -> bool:
        """Whether it holds for this request, which is counted."""
        left = self._left.get(key, 0)
        if left is not None and left > 0:
            self._left[key] = left - 1
        return left is None or left > 0


class ContraForce(StandIn):
    """Workspaces, credentials and links of ContraForce, open to tests.

    `workspaces`: ContraForce workspace id (lower case) → its ticket system. `credentials`: every pair that is
    accepted now. `links`: which ticket an incident has. `created`: every ticket this service created, oldest
    first. `titles`: the title of the ticket to create, where it is not "Incident <number>".
    """

    def __init__(self) -> None:
        super().__init__()
        self.client_id = str(uuid4())
        self.client_secret = planted("contraforce-secret")
        self.credentials: set[tuple[str, str]] = {(self.client_id, self.client_secret)}
        self.workspaces: dict[str, str] = {}
        self.links: dict[IncidentKey, Ticket] = {}
        self.created: list[Ticket] = []
        self.titles: dict[IncidentKey, str] = {}
        self.not_ingested = Countdowns()
        self.without_ticket = Countdowns()
        self.integers_as_strings = False
        self.refuses_tickets_by: RefusesTicketsBy = "fields"
        self._tickets: dict[tuple[str, str], Ticket] = {}
        self._sequences: Counter[str] = Counter()

    @property
    def api_url(self) -> str:
        """What CONTRAFORCE_API_URL is set to."""
        return f"{self.base_url}{BASE_PATH}"

    def routes(self) -> Sequence[Route]:
        """Return the operation that the app uses, and the one that its operators read."""
        workspace = f"{BASE_PATH}/workspaces/(?P<workspace>[^/]+)"
        incident = f"{workspace}/incidents/(?P<source>[^/]+)/(?P<incident>[^/]+)/?"
        return (
            Route("contraforce.link", "POST", f"{workspace}/tickets/link/?", self._link),
            Route("contraforce.incident", "GET", incident, self._incident),
        )

    def unknown(self, request: LoggedRequest) -> Answer:
        """NOT_FOUND, as problem details."""
        return _problem(404, code="NOT_FOUND", detail="No such operation.", instance=request.path)

    def add_ticket(self, workspace_id: str, title: str) -> Ticket:
        """Put a ticket on the service desk of a workspace by other means than tickets/link."""
        system = self.workspaces[workspace_id.lower()]
        self._sequences[system] += 1
        ticket = make_ticket(system, self._sequences[system], title)
        self._tickets[workspace_id.lower(), str(ticket.id)] = ticket
        return ticket

    def _incident(self, request: LoggedRequest, groups: Mapping[str, str]) -> Answer:
        """Say only whether a ticket is linked: an incident's detail is more than anybody here needs."""
        self._authenticate(request)
        workspace = self._authorize(groups["workspace"], request)
        ticket = self.links.get((workspace, groups["incident"].lower()))
        if ticket is None:
            detail = f"Incident '{groups['incident']}' not found"
            _refuse(request, 404, code="NOT_FOUND", detail=detail)
        incident = {"id": groups["incident"], "title": ticket.title, "workspaceId": workspace}
        return Answer(200, {"data": {"source": groups["source"], "incident": incident}, "meta": _meta()})

    def _link(self, request: LoggedRequest, groups: Mapping[str, str]) -> Answer:
        self._authenticate(request)
        workspace = self._authorize(groups["workspace"], request)
        incident, ticket_id = _validate(request, workspace)
        key = (workspace, incident["id"].lower())
        if self.not_ingested.take(key):
            detail = f"Incident '{incident['id']}' ({self._title(key, incident)}) was not found."
            _refuse(request, 404, code="NOT_FOUND", detail=detail)
        ticket = None
        if not self.without_ticket.take(key):
            ticket = self._ticket(key, incident, ticket_id, request)
        data = envelope_data(self.workspaces[workspace], ticket)
        if self.integers_as_strings:
            data = integers_as_strings(data)
        return Answer(200, {"data": data, "meta": _meta()})

    def _ticket(
        self, key: IncidentKey, incident: Mapping[str, Any], ticket_id: str | None, request: LoggedRequest
    ) -> Ticket:
        if ticket_id is not None:
            existing = self._tickets.get((key[0], ticket_id))
            if existing is None:
                _refuse_ticket(request, ticket_id, by=self.refuses_tickets_by)
            self.links[key] = existing
        elif key not in self.links:
            self.links[key] = self.add_ticket(key[0], self._title(key, incident))
            self.created.append(self.links[key])
        return self.links[key]

    def _title(self, key: IncidentKey, incident: Mapping[str, Any]) -> str:
        return self.titles.get(key, f"Incident {incident['number']}")

    def _authenticate(self, request: LoggedRequest) -> None:
        scheme, _, encoded = request.headers.get("Authorization", "").partition(" ")
        try:
            user, _, password = b64decode(encoded, validate=True).decode().partition(":")
        except ValueError:  # not base64, or not text
            user, password = "", ""
        if scheme.lower() != "basic" or (user, password) not in self.credentials:
            detail = f"The credentials of '{user}' are not valid."
            answer = _problem(401, code=None, detail=detail, instance=request.path)
            raise RefusedError(Answer(401, answer.body, {"WWW-Authenticate": "Basic"}, PROBLEM_JSON))

    def _authorize(self, workspace: str, request: LoggedRequest) -> str:
        try:
            UUID(workspace)
        except ValueError:
            message = f"The value '{workspace}' is not valid."
            _refuse(request, 400, detail=message, errors={"workspaceId": [message]})
        if workspace.lower() not in self.workspaces:
            detail = f"The service account has no sufficient role on workspace '{workspace}'."
            _refuse(request, 403, code="INSUFFICIENT_WORKSPACE_ROLE", detail=detail)
        return workspace.lower()


def _validate(request: LoggedRequest, workspace: str) -> tuple[dict[str, Any], str | None]:
    body = request.body
    if body is None:
        _refuse(request, 400, code="BAD_REQUEST", detail="The request body is not JSON.")
    if not isinstance(body, dict):
        _refuse(request, 400, detail="One error.", errors={"": ["The body must be an object."]})
    errors = _incident_errors(body.get("incident"), workspace)
    if not isinstance(body.get("ticketId"), str | None):
        errors["ticketId"] = ["The value must be a string or null."]
    if errors:
        _refuse(request, 400, detail=f"{len(errors)} of the fields are not valid.", errors=errors)
    return body["incident"], body.get("ticketId")


def _incident_errors(incident: Any, workspace: str) -> dict[str, list[str]]:
    if not isinstance(incident, dict):
        return {"incident": ["The incident field is required."]}
    errors: dict[str, list[str]] = {}
    if incident.get("source") not in SOURCES:
        errors["incident.source"] = [f"The value '{incident.get('source')}' is not valid."]
    elif incident["source"] != "Sentinel":
        errors["incident.source"] = ["The workspace has no such source."]
    for name in ("id", "workspaceId", "number"):
        if not isinstance(incident.get(name), str) or not incident[name]:
            errors[f"incident.{name}"] = [f"The {name} field is required and must be a string."]
    if not errors and incident["workspaceId"].lower() != workspace:
        errors["incident.workspaceId"] = ["The value differs from the workspace in the path."]
    return errors


def _refuse_ticket(request: LoggedRequest, ticket_id: str, *, by: RefusesTicketsBy) -> NoReturn:
    """Refuse a ticket that does not exist in one of the ways that are possible: none is documented."""
    message = f"Ticket '{ticket_id}' does not exist."
    match by:
        case "fields":
            _refuse(request, 400, detail=message, target="ticketId", errors={"ticketId": [message]})
        case "code":
            _refuse(request, 400, code="BAD_REQUEST", detail=message)
        case "not found":
            _refuse(request, 404, code="NOT_FOUND", detail=message)


def _problem(status: int, *, code: str | None, detail: str, instance: str, **extensions: Any) -> Answer:
    body = problem_details(status, code=code, detail=detail, instance=instance, **extensions)
    return Answer(status, body, content_type=PROBLEM_JSON)


def _refuse(
    request: LoggedRequest, status: int, *, detail: str, code: str = "VALIDATION_ERROR", **extensions: Any
) -> NoReturn:
    raise RefusedError(_problem(status, code=code, detail=detail, instance=request.path, **extensions))


def _meta() -> dict[str, str]:
    return {"requestId": str(uuid4()), "timestamp": seven_digits(utc_now())}
