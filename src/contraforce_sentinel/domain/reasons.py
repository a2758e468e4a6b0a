"""Every reason of a link and every code of an answer: what it means, who acts, what to run and look at next.

`contraforce-sentinel show` and `docs/reasons.md` are made from these tables. A code that is not here is a
service's own word (`SERVICES_CODE`) or the type of an exception (`EXCEPTIONS_TYPE`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """Why a link stands where it stands: `reason` of records, answers and events."""

    CONTRAFORCE_UNAVAILABLE = "contraforce-unavailable"
    CONTRAFORCE_UNAUTHORIZED = "contraforce-unauthorized"
    CONTRAFORCE_REJECTED = "contraforce-rejected"
    CONTRAFORCE_MALFORMED = "contraforce-malformed"
    TICKET_REFUSED = "ticket-refused"
    NOT_INGESTED_YET = "not-ingested-yet"
    NO_TICKET_YET = "no-ticket-yet"
    SENTINEL_UNAVAILABLE = "sentinel-unavailable"
    SENTINEL_UNAUTHORIZED = "sentinel-unauthorized"
    SENTINEL_REJECTED = "sentinel-rejected"
    INCIDENT_GONE = "incident-gone"
    COMMENT_CONFLICT = "comment-conflict"
    RESOURCE_MANAGER_UNAVAILABLE = "resource-manager-unavailable"
    RESOURCE_MANAGER_UNAUTHORIZED = "resource-manager-unauthorized"
    RESOURCE_MANAGER_REJECTED = "resource-manager-rejected"
    WORKSPACE_NOT_FOUND = "workspace-not-found"
    WORKSPACE_BLOCKED = "workspace-blocked"
    IDENTITY_UNAVAILABLE = "identity-unavailable"
    IDENTITY_UNAUTHORIZED = "identity-unauthorized"
    UNEXPECTED = "unexpected"
    REDIRECTED = "redirected"
    CLOSED = "closed"
    BELOW_MINIMUM_SEVERITY = "below-minimum-severity"
    REPLAYED = "replayed"
    IN_PROGRESS = "in-progress"


class Code(StrEnum):
    """Our own words in `code` of problem details."""

    BODY_TOO_LARGE = "body-too-large"
    NOT_JSON = "not-json"
    NOT_AN_INCIDENT = "not-an-incident"
    WORKSPACE_NOT_CONFIGURED = "workspace-not-configured"
    TICKET_CONFLICT = "ticket-conflict"
    RECORD_UNREADABLE = "record-unreadable"
    STORE_UNAVAILABLE = "store-unavailable"
    SETTINGS_REFUSED = "settings-refused"
    UNEXPECTED = "unexpected"
    NO_WORKSPACE = "no-workspace"
    NO_LINK = "no-link"
    NO_INCIDENT = "no-incident"
    UPSTREAM_FAILED = "upstream-failed"


class Who(StrEnum):
    """Who acts."""

    NOBODY = "nobody"
    APP = "the app's administrator"
    APP_IF_IT_LASTS = "nobody at first; the app's administrator if it lasts"
    AZURE = "who owns the customer's Azure"
    CONTRAFORCE = "ContraForce's administrator"
    CONTRAFORCE_IF_IT_LASTS = "nobody at first; ContraForce's administrator if it lasts"
    PLAYBOOK = "the playbook's owner"
    CALLER = "who asked"
    DEVELOPERS = "the developers of this app"


@dataclass(frozen=True, slots=True)
class Explanation:
    """One row: `command` is the next one of the operators' tool, `query` a file of `infra/queries`."""

    meaning: str
    who: Who
    command: str | None = None
    query: str | None = None


_TOOL: Final = "contraforce-sentinel"
_DOCTOR: Final = f"{_TOOL} doctor"
_SHOW: Final = f"{_TOOL} show INCIDENT"
_REPLAY_ONE: Final = f"{_TOOL} replay INCIDENT"


def _replay(reason: Reason) -> str:
    return f"{_TOOL} replay --state dead --reason {reason}"


REASONS: Final[Mapping[Reason, Explanation]] = {
    Reason.CONTRAFORCE_UNAVAILABLE: Explanation(
        "ContraForce did not answer, or not as its documentation says.",
        Who.APP_IF_IT_LASTS,
        _DOCTOR,
        "slow-upstreams.kql",
    ),
    Reason.CONTRAFORCE_UNAUTHORIZED: Explanation(
        "ContraForce refuses the credential, its scope, or the service account's role on the workspace.",
        Who.CONTRAFORCE,
        _DOCTOR,
        "authorization.kql",
    ),
    Reason.CONTRAFORCE_REJECTED: Explanation(
        "ContraForce will never accept this request; the code and the fields say why.",
        Who.CONTRAFORCE,
        _replay(Reason.CONTRAFORCE_REJECTED),
        "dead.kql",
    ),
    Reason.CONTRAFORCE_MALFORMED: Explanation(
        "ContraForce answered with success, but the ticket cannot be read: look for it before a replay.",
        Who.DEVELOPERS,
        _REPLAY_ONE,
        "dead.kql",
    ),
    Reason.TICKET_REFUSED: Explanation(
        "ContraForce refuses the ticket that was asked for: deliver again with another ticketId, or none.",
        Who.CALLER,
        _REPLAY_ONE,
        "dead.kql",
    ),
    Reason.NOT_INGESTED_YET: Explanation(
        "ContraForce does not know the incident yet.",
        Who.CONTRAFORCE_IF_IT_LASTS,
        _replay(Reason.NOT_INGESTED_YET),
        "pending.kql",
    ),
    Reason.NO_TICKET_YET: Explanation(
        "ContraForce knows the incident, but has made no ticket: look into the customer's ticket settings.",
        Who.CONTRAFORCE_IF_IT_LASTS,
        _replay(Reason.NO_TICKET_YET),
        "pending.kql",
    ),
    Reason.SENTINEL_UNAVAILABLE: Explanation(
        "Sentinel did not answer, or its answer cannot be read.",
        Who.APP_IF_IT_LASTS,
        _DOCTOR,
        "slow-upstreams.kql",
    ),
    Reason.SENTINEL_UNAUTHORIZED: Explanation(
        "The app's identity may not read incidents or write comments in the workspace.",
        Who.AZURE,
        _DOCTOR,
        "authorization.kql",
    ),
    Reason.SENTINEL_REJECTED: Explanation(
        "Sentinel will never accept this request; the code says why.",
        Who.DEVELOPERS,
        _replay(Reason.SENTINEL_REJECTED),
        "dead.kql",
    ),
    Reason.INCIDENT_GONE: Explanation(
        "Sentinel does not have the incident: perhaps not yet, while the link waits; else not any more.",
        Who.NOBODY,
    ),
    Reason.COMMENT_CONFLICT: Explanation(
        "Azure answered with a conflict: in the place of our comment there is another one.",
        Who.AZURE,
        _replay(Reason.COMMENT_CONFLICT),
        "dead.kql",
    ),
    Reason.RESOURCE_MANAGER_UNAVAILABLE: Explanation(
        "Azure Resource Manager did not answer, or its answer cannot be read.",
        Who.APP_IF_IT_LASTS,
        _DOCTOR,
        "slow-upstreams.kql",
    ),
    Reason.RESOURCE_MANAGER_UNAUTHORIZED: Explanation(
        "The app's identity may not read the workspace.", Who.AZURE, _DOCTOR, "authorization.kql"
    ),
    Reason.RESOURCE_MANAGER_REJECTED: Explanation(
        "Azure Resource Manager will never accept the question for the workspace; the code says why.",
        Who.DEVELOPERS,
        _replay(Reason.RESOURCE_MANAGER_REJECTED),
        "dead.kql",
    ),
    Reason.WORKSPACE_NOT_FOUND: Explanation(
        "Azure shows the app no such workspace: a delegation or role ended, it is gone, or its id is wrong.",
        Who.AZURE,
        _DOCTOR,
        "authorization.kql",
    ),
    Reason.WORKSPACE_BLOCKED: Explanation(
        "A lock, an unregistered resource provider, or a disabled subscription is in the way: see the code.",
        Who.AZURE,
        _SHOW,
        "authorization.kql",
    ),
    Reason.IDENTITY_UNAVAILABLE: Explanation(
        "The managed identity's endpoint did not answer, or its answer cannot be read.",
        Who.APP_IF_IT_LASTS,
        _DOCTOR,
        "slow-upstreams.kql",
    ),
    Reason.IDENTITY_UNAUTHORIZED: Explanation(
        "The app gets no token: its managed identity is not assigned, or AZURE_CLIENT_ID names another.",
        Who.APP,
        _DOCTOR,
        "authorization.kql",
    ),
    Reason.UNEXPECTED: Explanation(
        "An error that nobody foresaw, its type is the code; if the link is dead, look for its ticket first.",
        Who.DEVELOPERS,
        _REPLAY_ONE,
        "incident-life.kql",
    ),
    Reason.REDIRECTED: Explanation("The incident was merged into another one.", Who.NOBODY),
    Reason.CLOSED: Explanation("The incident is closed; reopened, its link goes on.", Who.NOBODY),
    Reason.BELOW_MINIMUM_SEVERITY: Explanation(
        "The incident's severity is below the customer's minimum; raised, its link goes on.", Who.NOBODY
    ),
    Reason.REPLAYED: Explanation("A person brought the dead link back; it is tried again now.", Who.NOBODY),
    Reason.IN_PROGRESS: Explanation("A worker has the incident at this moment.", Who.NOBODY, _SHOW),
}

CODES: Final[Mapping[Code, Explanation]] = {
    Code.BODY_TOO_LARGE: Explanation(
        "The body is larger than the limit that the detail names.", Who.PLAYBOOK, None, "refused-requests.kql"
    ),
    Code.NOT_JSON: Explanation(
        "The request does not say Content-Type: application/json.", Who.PLAYBOOK, None, "refused-requests.kql"
    ),
    Code.NOT_AN_INCIDENT: Explanation(
        "The request names no incident, or contradicts itself; the detail says what to fix.",
        Who.PLAYBOOK,
        None,
        "refused-requests.kql",
    ),
    Code.WORKSPACE_NOT_CONFIGURED: Explanation(
        "The incident's workspace is not in WORKSPACES.", Who.APP, _DOCTOR, "refused-requests.kql"
    ),
    Code.TICKET_CONFLICT: Explanation(
        "The incident has another ticket than the one asked for, or another delivery of it is not finished.",
        Who.PLAYBOOK,
        _SHOW,
        "refused-requests.kql",
    ),
    Code.RECORD_UNREADABLE: Explanation(
        "The incident's record cannot be read: run the version that wrote it, or report it.",
        Who.APP,
        f"{_TOOL} status",
        "refused-requests.kql",
    ),
    Code.STORE_UNAVAILABLE: Explanation(
        "The link store did not do its work, and nothing was recorded: send the request again.",
        Who.APP_IF_IT_LASTS,
        _DOCTOR,
        "refused-requests.kql",
    ),
    Code.SETTINGS_REFUSED: Explanation(
        "A setting is missing, unknown or wrong; the detail names it.",
        Who.APP,
        _DOCTOR,
        "refused-requests.kql",
    ),
    Code.UNEXPECTED: Explanation(
        "An error that nobody foresaw; the detail names its type.",
        Who.DEVELOPERS,
        None,
        "refused-requests.kql",
    ),
    Code.NO_WORKSPACE: Explanation("No workspace in WORKSPACES has this name.", Who.CALLER, _DOCTOR),
    Code.NO_LINK: Explanation(
        "No link is recorded for the incident.",
        Who.CALLER,
        f"{_TOOL} link INCIDENT",
        "unlinked-incidents.kql",
    ),
    Code.NO_INCIDENT: Explanation("No incident of this workspace has this number.", Who.CALLER),
    Code.UPSTREAM_FAILED: Explanation(
        "The number could not be looked up in Sentinel; the detail says why, and what to grant.",
        Who.APP_IF_IT_LASTS,
        _DOCTOR,
        "refused-requests.kql",
    ),
}

SERVICES_CODE: Final = Explanation(
    "A word of ContraForce or Azure: their documents and support explain it, with the request id.",
    Who.APP,
    _SHOW,
    "dead.kql",
)
EXCEPTIONS_TYPE: Final = Explanation(
    "With the reason `unexpected`: the type of the error that nobody foresaw.",
    Who.DEVELOPERS,
    _SHOW,
    "incident-life.kql",
)


def explanation(reason: str | None) -> Explanation | None:
    """Explain the reason of a record; None for none, and for one that only a later version knows."""
    return next((row for known, row in REASONS.items() if known == reason), None)
