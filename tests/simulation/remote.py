"""The remote services in memory: the sandbox's own stand-ins, asked without a network between.

Added here is what only time can tell: when ContraForce has ingested an incident, when its ticket is there,
when a list shows an incident, and whether a second link call makes a second ticket.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from faultplan import Fate, Fault
from referee import Referee
from table_watch import TableWatch
from truth import PLANTED_TITLE, Case, Process, World

from sandbox.bodies import PROBLEM_JSON, arm_error_body, problem_details
from sandbox.requestlog import LoggedRequest
from sandbox.service import Answer, RefusedError, Route, read_json
from sandbox.table_errors import error_body

_LATE: Final = frozenset({"arm.incident", "arm.comment.get", "arm.comment.put"})
_HTML: Final = f"<html><body>Bad gateway for {PLANTED_TITLE}</body></html>".encode()


@dataclass(frozen=True, slots=True)
class Call:
    """A request that is about to be sent; `workspace` is the lower-cased ARM id it concerns."""

    request: LoggedRequest
    route: Route
    groups: Mapping[str, str]
    workspace: str | None
    case: Case | None

    @property
    def operation(self) -> str:
        return self.route.operation


class Remote:
    """All services of a world."""

    def __init__(self, world: World, referee: Referee) -> None:
        self._world = world
        self._referee = referee
        self._routes = [
            (stand_in.base_url, route)
            for stand_in in (world.contraforce, world.arm, world.identity, world.tables)
            for route in stand_in.routes()
        ]
        self._watch = TableWatch(world, referee)

    def read(self, method: str, url: str, headers: Mapping[str, str], content: bytes) -> Call:
        """Find out what a request is about. An unknown operation is a defect of the app: LookupError."""
        parts = urlsplit(url)
        path, base = unquote(parts.path), f"{parts.scheme}://{parts.netloc}"
        for base_url, route in self._routes:
            if base_url == base and (groups := route.match(method, path)) is not None:
                break
        else:
            self._world.violate("f", f"an unknown operation: {method} {url}")
            raise LookupError(url)
        request = LoggedRequest(
            operation=route.operation,
            method=method,
            path=path,
            query=dict(parse_qsl(parts.query)),
            headers=headers,
            content=content,
            body=read_json(content) if content else None,
            raw_path=parts.path,
        )
        case = self._case(route, path, groups, request)
        workspace = (
            path.lower().split("/providers/microsoft.securityinsights")[0] if "group" in groups else None
        )
        if case is not None:
            workspace = case.workspace.arm_id.lower()
        return Call(request, route, groups, workspace, case)

    def work(self, call: Call, fate: Fate, sender: Process) -> Answer:
        """Do what the request asks for, unless its fate is another, and answer."""
        self._watch.sender = sender
        match fate.fault:
            case Fault.STATUS | Fault.CODE:
                return _refusal(call.operation, fate)
            case Fault.FAILED_AFTER:
                self._handle(call)
                return _refusal(call.operation, fate)
            case Fault.GARBAGE:
                return Answer(200, _HTML, content_type="text/html")
            case Fault.WRONG_SHAPE:
                return Answer(200, {"value": {"title": PLANTED_TITLE}, "access_token": 3, "data": []})
            case Fault.REJECTED:
                errors = {"incident.number": [PLANTED_TITLE]}
                body = problem_details(400, code="VALIDATION_ERROR", detail=PLANTED_TITLE, errors=errors)
                return Answer(400, body, content_type=PROBLEM_JSON)
            case _:
                return self._handle(call)

    def _handle(self, call: Call) -> Answer:
        try:
            if call.operation == "contraforce.link":
                return self._link(call)
            if call.operation in _LATE and call.case is not None and self._world.now < call.case.there_at:
                return Answer(404, arm_error_body("NotFound", f"{PLANTED_TITLE} was not found."))
            if call.operation == "arm.incidents":
                return self._list(call)
            if call.operation == "arm.comment.put" and call.case is not None:
                self._referee.comment_arrives(call.case, call.groups["comment"], call.request.body)
            return call.route.handle(call.request, call.groups)
        except RefusedError as refused:
            return refused.answer

    def _link(self, call: Call) -> Answer:
        world, case = self._world, call.case
        if case is None:  # the referee has noted it
            return _refusal(call.operation, Fate(Fault.STATUS, 403))
        contraforce, key = world.contraforce, case.facts.key
        for held, since in (
            (contraforce.not_ingested, case.ingested_at),
            (contraforce.without_ticket, case.ticket_at),
        ):
            held.set(key, None) if world.now < since else held.lift(key)
        if world.second_ticket and world.now >= max(case.ingested_at, case.ticket_at):
            contraforce.links.pop(key, None)
        answer = call.route.handle(call.request, call.groups)
        ticket = contraforce.links.get(key)
        if ticket is not None:
            self._referee.ticket_issued(case, ticket.number)
        return answer

    def _list(self, call: Call) -> Answer:
        """Show what the list shows by now; a deleted incident leaves its place on its page empty."""
        world = self._world
        workspace = world.arm.workspaces.get(call.workspace or "")
        if workspace is None:
            return call.route.handle(call.request, call.groups)
        cases = [case for case in world.cases.values() if case.workspace is workspace]
        shown = {case.facts.name.lower(): case.facts for case in cases if case.listed_at <= world.now}
        deleted = {
            case.facts.name for case in cases if case.deleted_at is not None and case.deleted_at <= world.now
        }
        query = {**call.request.query, "$top": str(world.page_size)}
        request = LoggedRequest(
            operation="arm.incidents",
            method="GET",
            path=call.request.path,
            query=query,
            headers=call.request.headers,
        )
        kept, workspace.incidents = workspace.incidents, shown
        try:
            answer = call.route.handle(request, call.groups)
        finally:
            workspace.incidents = kept
        page = [found for found in answer.body["value"] if found["name"] not in deleted]
        return Answer(200, {**answer.body, "value": page})

    def _case(
        self, route: Route, path: str, groups: Mapping[str, str], request: LoggedRequest
    ) -> Case | None:
        if route.operation == "contraforce.link":
            incident = request.body.get("incident", {}) if isinstance(request.body, dict) else {}
            return self._world.case_of(groups["workspace"].lower(), str(incident.get("id", "")).lower())
        if "incident" in groups:
            return self._world.cases.get(path.lower().split("/comments/")[0])
        return None


def _refusal(operation: str, fate: Fate) -> Answer:
    headers = {} if fate.retry_after is None else {"Retry-After": str(fate.retry_after)}
    detail = f"Refused for {PLANTED_TITLE}"
    if operation == "contraforce.link":
        body = problem_details(fate.status, code=None, detail=detail)
        return Answer(fate.status, body, headers, PROBLEM_JSON)
    if operation.startswith("tables."):
        return Answer(fate.status, error_body("ServerBusy", detail), headers)
    return Answer(fate.status, arm_error_body(fate.code or "Refused", detail), headers)
