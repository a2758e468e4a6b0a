"""Stand-in of Azure Resource Manager: workspaces, Sentinel incidents and their comments.

https://learn.microsoft.com/rest/api/securityinsights/
"""

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Final, NoReturn
from urllib.parse import quote

from sandbox.bodies import arm_error_body
from sandbox.comments import StoredComment, new_etag
from sandbox.identity import ManagedIdentity
from sandbox.incidents import VERSION, SandboxIncident, SandboxWorkspace
from sandbox.limits import Metered, SentinelLimits
from sandbox.paging import LARGEST_LIST, BadQueryError, Listing, date_filter, number_filter, ordered, page
from sandbox.refusals import REFUSALS, applies, missing
from sandbox.requestlog import LoggedRequest
from sandbox.service import Answer, RefusedError, Route, StandIn

MAX_MESSAGE: Final = 30_000
MAX_COMMENTS: Final = 100
WORKSPACE: Final = (
    "/subscriptions/(?P<subscription>[^/]+)/resourceGroups/(?P<group>[^/]+)"
    r"/providers/Microsoft\.OperationalInsights/workspaces/(?P<workspace>[^/]+)"
)
PERMISSIONS: Final = WORKSPACE + r"/providers/Microsoft\.Authorization/permissions"
ROLE: Final = WORKSPACE + r"/providers/Microsoft\.Authorization/roleAssignments/(?P<assignment>[^/]+)"
INCIDENTS: Final = WORKSPACE + r"/providers/Microsoft\.SecurityInsights/incidents"
COMMENTS: Final = INCIDENTS + "/(?P<incident>[^/]+)/comments"

VERSIONS: Final = frozenset({VERSION, "2021-10-01"})
"""Of Sentinel's API, those that the product uses: REST, and the SDK for comments."""

# Of Microsoft Sentinel Responder, what concerns the operations here; what the role lacks, by operation.
RESPONDER: Final = (
    "Microsoft.SecurityInsights/*/read",
    "Microsoft.SecurityInsights/incidents/*",
    "Microsoft.OperationalInsights/workspaces/*/read",
)
RESPONDER_NOT: Final = ("Microsoft.SecurityInsights/incidents/*/Delete",)
ACTION_OF: Final[Mapping[str, str]] = {
    "arm.incidents": "Microsoft.SecurityInsights/incidents/read",
    "arm.comment.get": "Microsoft.SecurityInsights/incidents/comments/read",
    "arm.comment.put": "Microsoft.SecurityInsights/incidents/comments/write",
}

type Groups = Mapping[str, str]


class ResourceManager(StandIn):
    """Everything behind one ARM endpoint, open to tests.

    `workspaces`: lower-case ARM id → workspace. `forbidden`: subscription ids, workspace names or ARM ids
    that no identity has a role on, or operation names that its role lacks. `refused`: the same places → the
    code of `refusals` that holds there. `limits`: Sentinel's rate limits, off while None. `audiences`:
    resources that a token may be for, with or without a final slash.
    """

    def __init__(self, identity: ManagedIdentity) -> None:
        super().__init__()
        self.workspaces: dict[str, SandboxWorkspace] = {}
        self.forbidden: set[str] = set()
        self.refused: dict[str, str] = {}
        self.limits: SentinelLimits | None = None
        self.audiences: set[str] = set()
        self._identity = identity

    def routes(self) -> Sequence[Route]:
        """Return the operations the product uses, and the comment list for operators."""
        return (
            Route("arm.workspace", "GET", f"{WORKSPACE}/?", self._get_workspace),
            Route("arm.permissions", "GET", f"{PERMISSIONS}/?", self._list_permissions),
            Route("arm.role", "PUT", f"{ROLE}/?", self._assign_role),
            Route("arm.incidents", "GET", f"{INCIDENTS}/?", self._list_incidents),
            Route("arm.incident", "GET", f"{INCIDENTS}/(?P<incident>[^/]+)/?", self._get_incident),
            Route("arm.comments", "GET", f"{COMMENTS}/?", self._list_comments),
            Route("arm.comment.get", "GET", f"{COMMENTS}/(?P<comment>[^/]+)/?", self._get_comment),
            Route("arm.comment.put", "PUT", f"{COMMENTS}/(?P<comment>[^/]+)/?", self._put_comment),
        )

    def unknown(self, request: LoggedRequest) -> Answer:
        """Return ARM's answer to a path it cannot route."""
        return _error(404, "InvalidResourceType", f"No operation for '{request.method} {request.path}'.")

    def _get_workspace(self, request: LoggedRequest, groups: Groups) -> Answer:
        return Answer(200, self._workspace(request, groups).to_rest())

    def _get_incident(self, request: LoggedRequest, groups: Groups) -> Answer:
        return Answer(200, self._incident(request, groups).to_rest(request.query["api-version"]))

    def _list_permissions(self, request: LoggedRequest, groups: Groups) -> Answer:
        self._workspace(request, groups)
        lacking = [action for operation, action in ACTION_OF.items() if operation in self.forbidden]
        permission = {"actions": RESPONDER, "notActions": [*RESPONDER_NOT, *lacking]}
        return Answer(200, {"value": [{**permission, "dataActions": [], "notDataActions": []}]})

    def _assign_role(self, request: LoggedRequest, groups: Groups) -> Answer:
        """Take the workspace, and what its role lacked, off `forbidden`, whichever role is assigned."""
        forbidden, self.forbidden = self.forbidden, set()
        try:
            workspace = self._workspace(request, groups)
        except RefusedError:
            self.forbidden = forbidden
            raise
        own = {workspace.name.lower(), workspace.arm_id.lower(), *ACTION_OF}
        self.forbidden = {place for place in forbidden if place.lower() not in own}
        return Answer(201, {"name": groups["assignment"], "properties": request.body})

    def _list_incidents(self, request: LoggedRequest, groups: Groups) -> Answer:
        workspace = self._workspace(request, groups)
        number = number_filter(request.query.get("$filter"))
        try:
            wanted = date_filter(request.query.get("$filter") if number is None else None)
            found = [
                incident
                for incident in workspace.incidents.values()
                if wanted(incident) and number in {None, incident.number}
            ]
            found = ordered(found, request.query.get("$orderby"))
        except BadQueryError as error:
            _refuse(400, "BadRequest", f"{error} Workspace '{workspace.name}'.")
        answer = self._page(request, found[:LARGEST_LIST], workspace.listing)
        workspace.listing.answered()
        return answer

    def _list_comments(self, request: LoggedRequest, groups: Groups) -> Answer:
        incident = self._incident(request, groups)
        self._take(incident, "comment GET")
        return self._page(request, incident.comments, incident.workspace.listing)

    def _get_comment(self, request: LoggedRequest, groups: Groups) -> Answer:
        incident = self._incident(request, groups)
        self._take(incident, "comment GET")
        comment = incident.comments_by_name.get(groups["comment"].lower())
        if comment is None:
            _refuse(404, "NotFound", f"Comment '{groups['comment']}' of '{incident.title}' was not found.")
        return Answer(200, comment.to_rest())

    def _put_comment(self, request: LoggedRequest, groups: Groups) -> Answer:
        incident = self._incident(request, groups)
        self._take(incident, "comment PUT")
        message, etag = _comment_request(request, incident)
        existing = incident.comments_by_name.get(groups["comment"].lower())
        if existing is not None:
            return _update(existing, message, etag, incident)
        if len(incident.comments) >= MAX_COMMENTS:
            _refuse(400, "BadRequest", f"Incident '{incident.title}' has {MAX_COMMENTS} comments already.")
        incident.touch()
        name, now = groups["comment"], incident.changed
        arm_id = f"{incident.arm_id}/comments/{name}"
        comment = StoredComment(
            arm_id=arm_id, name=name, message=message, created=now, modified=now, odd=incident.odd_comments
        )
        incident.comments_by_name[name.lower()] = comment
        return Answer(201, comment.to_rest())

    def _page(
        self, request: LoggedRequest, items: Sequence[SandboxIncident | StoredComment], listing: Listing
    ) -> Answer:
        try:
            part, links = page(items, request.query, f"{self.base_url}{quote(request.path)}", listing)
        except BadQueryError as error:
            _refuse(400, "BadRequest", str(error))
        version = request.query["api-version"]
        return Answer(200, {"value": [item.to_rest(version) for item in part], **links})

    def _workspace(self, request: LoggedRequest, groups: Groups) -> SandboxWorkspace:
        self._authenticate(request)
        if not request.query.get("api-version"):
            _refuse(400, "MissingApiVersionParameter", "The api-version query parameter is required.")
        if (
            "/microsoft.securityinsights/" in request.path.lower()
            and request.query["api-version"] not in VERSIONS
        ):
            _refuse(400, "NoRegisteredProviderFound", "No registered resource provider for this api-version.")
        subscription, group, name = groups["subscription"], groups["group"], groups["workspace"]
        arm_id = (
            f"/subscriptions/{subscription}/resourceGroups/{group}"
            f"/providers/Microsoft.OperationalInsights/workspaces/{name}"
        )
        places = {subscription.lower(), name.lower(), arm_id.lower(), request.operation.lower()}
        self._refuse_by_code(request, places)
        if places & {place.lower() for place in self.forbidden}:
            message = (
                f"The client does not have authorization to perform '{request.operation}' over '{arm_id}'."
            )
            _refuse(403, "AuthorizationFailed", message)
        workspace = self.workspaces.get(arm_id.lower())
        if workspace is None:
            code = missing(arm_id, self.workspaces)
            _refuse(404, code, f"The Resource '{name}' under '{group}' was not found.")
        return workspace

    def _refuse_by_code(self, request: LoggedRequest, places: Collection[str]) -> None:
        of_sentinel = "/microsoft.securityinsights/" in request.path.lower()
        for place, code in self.refused.items():
            is_write = request.method != "GET"
            if place.lower() in places and applies(code, is_of_sentinel=of_sentinel, is_write=is_write):
                _refuse(REFUSALS[code].status, code, f"'{request.operation}' is refused at '{place}'.")

    def _incident(self, request: LoggedRequest, groups: Groups) -> SandboxIncident:
        incident = self._workspace(request, groups).incidents.get(groups["incident"].lower())
        if incident is None or incident.is_late():
            _refuse(404, "NotFound", f"Incident '{groups['incident']}' was not found.")
        return incident

    def _take(self, incident: SandboxIncident, what: Metered) -> None:
        wait = 0 if self.limits is None else self.limits.take(incident.workspace.subscription, what)
        if wait:
            message = (
                f"Too many {what} requests, the last one for '{incident.title}'. Retry in {wait} seconds."
            )
            _refuse(429, "TooManyRequests", message, headers={"Retry-After": str(wait)})

    def _authenticate(self, request: LoggedRequest) -> None:
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        token = self._identity.tokens.get(value)
        if scheme.lower() != "bearer" or not value:
            code, message = (
                "AuthenticationFailed",
                "Authentication failed. The 'Authorization' header is missing.",
            )
        elif token is None:
            code, message = "InvalidAuthenticationToken", "The access token is invalid."
        elif token.resource.rstrip("/") not in self.audiences:
            code, message = "InvalidAuthenticationTokenAudience", f"Wrong audience '{token.resource}'."
        elif token.expires_at <= time.time():
            code, message = "ExpiredAuthenticationToken", "The access token expiry time has passed."
        else:
            return
        challenge = (
            f'Bearer authorization_uri="https://login.windows.net/", error="invalid_token", code="{code}"'
        )
        _refuse(401, code, message, headers={"WWW-Authenticate": challenge})


def _comment_request(request: LoggedRequest, incident: SandboxIncident) -> tuple[str, str | None]:
    body = request.body if isinstance(request.body, dict) else {}
    properties = body.get("properties")
    message = properties.get("message") if isinstance(properties, dict) else None
    if not isinstance(message, str) or not message:
        _refuse(400, "BadRequest", f"A comment on '{incident.title}' needs a message.")
    if len(message) > MAX_MESSAGE:
        _refuse(400, "BadRequest", f"The comment on '{incident.title}' is too long: {message[:80]}")
    etag = body.get("etag") or request.headers.get("If-Match")
    return message, etag if isinstance(etag, str) else None


def _update(comment: StoredComment, message: str, etag: str | None, incident: SandboxIncident) -> Answer:
    is_stale = etag not in {comment.etag, "*"} if etag else incident.workspace.second_put == 409
    if is_stale:
        _refuse(409, "Conflict", f"Newer version of resource '{comment.name}' exists. Data was not saved")
    incident.touch()
    comment.message, comment.modified, comment.etag = message, incident.changed, new_etag()
    return Answer(200, comment.to_rest())


def _error(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, arm_error_body(code, message), headers or {})


def _refuse(status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> NoReturn:
    raise RefusedError(_error(status, code, message, headers))
