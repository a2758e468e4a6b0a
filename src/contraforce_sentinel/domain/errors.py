"""The error tree. Messages carry ids, names and codes; never a payload, a ticket's text or a secret.

TicketLinkError
├── SettingsError                 the start is refused; names every bad setting
├── DeliveryError                 the caller has to change something; nothing was recorded
│   ├── NotAnIncident             400
│   ├── BodyTooLarge              413
│   ├── NotJson                   415
│   ├── WorkspaceNotConfigured    403
│   └── TicketConflict            409
├── StoreUnavailable              503; nothing could be recorded, so the caller should repeat
├── RecordUnreadable              422; the record of one incident cannot be read, and is left as it is
├── StaleLink                     a compare-and-set was lost to another worker
├── Unforeseen                    whatever nobody thought of: recorded with the incident, by its type alone
└── UpstreamError                 one answer, or none, of a remote service; decides the record's next state
    ├── UpstreamUnavailable       connect error, timeout, 408, 429, 5xx
    │   └── OutOfReach            nothing can be asked from here; not repeated within the request
    ├── UpstreamUnexpected        a status that is not documented; not repeated within the request
    ├── UpstreamUnauthorized      401, 403: a role, a scope or a credential is missing
    │   ├── UpstreamOutOfSight    404 of Azure for what the incident is in: a delegation or a role is gone
    │   └── UpstreamBlocked       409 of Azure: a lock, a provider that is not registered
    ├── UpstreamNotFound          404
    ├── NoTicketYet               ContraForce knows the incident, and it has no ticket
    ├── UpstreamConflict          409
    ├── UpstreamRejected          400 with a code: this request will never be accepted
    └── UpstreamMalformed         2xx of a shape that is not documented
"""

from enum import StrEnum
from traceback import walk_tb
from typing import Final


class RefusedValue(ValueError):
    """A value of a setting or a record is not acceptable; the message never repeats it."""


class TicketLinkError(Exception):
    """Base of every error that this package raises on purpose."""


class SettingsError(TicketLinkError):
    """Settings are missing, unknown or malformed.

    `problems` maps each bad setting's name to what is wrong with it, without its value.
    """

    def __init__(self, problems: dict[str, str]) -> None:
        self.problems = problems
        listed = "; ".join(f"{name}: {problem}" for name, problem in sorted(problems.items()))
        super().__init__(f"settings refused: {listed}")


class DeliveryError(TicketLinkError):
    """The caller sent something that cannot be accepted as it is."""


class NotAnIncident(DeliveryError):
    """The body is not a Sentinel incident, or contradicts itself."""


class BodyTooLarge(DeliveryError):
    """The body is over the limit."""


class NotJson(DeliveryError):
    """The content type is not JSON."""


class WorkspaceNotConfigured(DeliveryError):
    """The incident's workspace is not in `WORKSPACES`."""


class TicketConflict(DeliveryError):
    """The incident belongs to another ticket than the one asked for.

    `ticket_id` is the ticket it belongs to, None while another delivery is still finding out.
    """

    def __init__(self, message: str, *, ticket_id: str | None) -> None:
        self.ticket_id = ticket_id
        super().__init__(message)


class StoreFault(StrEnum):
    """What a person has to mend before the link store can be used."""

    NETWORK = "network"
    ROLE = "role"
    KEY = "key"
    KEYS_OFF = "keys-off"
    TENANT = "tenant"
    DISABLED = "disabled"
    ACCOUNT = "account"
    ADDRESS = "address"
    TABLE = "table"
    NO_TABLE = "no-table"
    REMOVAL = "removal"


class StoreUnavailable(TicketLinkError):
    """The link store did not do what was asked of it.

    `fault` is why, where its service says so; `advice` says what a person has to do.
    """

    def __init__(self, message: str, *, fault: StoreFault | None = None, advice: str | None = None) -> None:
        self.fault = fault
        self.advice = advice
        super().__init__(f"{message}; {advice}" if advice else message)


class RecordUnreadable(TicketLinkError):
    """The record of one incident cannot be read by this version; `incident` is the incident's key."""

    def __init__(self, incident: str) -> None:
        self.incident = incident
        super().__init__(
            "the link record of this incident cannot be read by this version; it was left as it is"
        )


class StaleLink(TicketLinkError):
    """The stored record is not the one that was read: another worker changed it in between."""


class Upstream(StrEnum):
    """The remote services, by the name that events and records use."""

    CONTRAFORCE = "contraforce"
    SENTINEL = "sentinel"
    RESOURCE_MANAGER = "resource-manager"
    IDENTITY = "identity"


class Unforeseen(TicketLinkError):
    """An exception that nobody thought of: a defect, ours or a library's.

    `code` is its type, `where` the last line of this package that it came through, or else the last of all;
    its text may quote an answer, and is not kept. `ticket_at_risk`: ContraForce has answered tickets/link
    with success, and that was not recorded yet.
    """

    request_id: None = None
    retry_after_seconds: None = None
    fields: tuple[str, ...] = ()

    def __init__(self, error: Exception, *, ticket_at_risk: bool = False) -> None:
        self.code = type(error).__name__
        self.where = _where(error)
        self.ticket_at_risk = ticket_at_risk
        super().__init__(f"unexpected {self.code}")


_OURS: Final = f"{__name__.partition('.')[0]}."


def _where(error: Exception) -> str | None:
    lines = [f"{frame.f_globals.get('__name__')}:{line}" for frame, line in walk_tb(error.__traceback__)]
    return next((line for line in reversed(lines) if line.startswith(_OURS)), lines[-1] if lines else None)


class UpstreamError(TicketLinkError):
    """A remote service did not answer as hoped.

    `status` is None where there was no answer at all. `code` and `request_id` are the service's own words
    for support tickets. `retry_after_seconds` is what the service asked for. `advice` names the role,
    scope or credential that a person has to grant. `ambiguous` is true where the request may have been
    carried out although no answer came. `fields` are the names of the fields that were refused.
    """

    def __init__(
        self,
        message: str,
        *,
        upstream: Upstream,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after_seconds: float | None = None,
        advice: str | None = None,
        ambiguous: bool = False,
        fields: tuple[str, ...] = (),
    ) -> None:
        self.upstream = upstream
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retry_after_seconds = retry_after_seconds
        self.advice = advice
        self.ambiguous = ambiguous
        self.fields = fields
        super().__init__(f"{upstream}: {message}")


class UpstreamUnavailable(UpstreamError):
    """No answer, or one that says: later."""


class OutOfReach(UpstreamUnavailable):
    """Something of this machine is in the way: certificates or proxies it was given, or its Azure CLI."""


class UpstreamUnexpected(UpstreamError):
    """A status that the service does not document, a redirect included."""


class UpstreamUnauthorized(UpstreamError):
    """401 or 403."""


class UpstreamOutOfSight(UpstreamUnauthorized):
    """Azure shows no such subscription, resource group or workspace: nothing is said of the incident."""


class UpstreamBlocked(UpstreamUnauthorized):
    """Azure does nothing there before a person has removed a lock, or registered or enabled something."""


class UpstreamNotFound(UpstreamError):
    """404 for what was asked for itself."""


class NoTicketYet(UpstreamError):
    """A success that says: there is no ticket yet."""


class UpstreamConflict(UpstreamError):
    """409 for what was sent itself."""


class UpstreamRejected(UpstreamError):
    """400 with a code: repeating the same request cannot help."""


class UpstreamMalformed(UpstreamError):
    """A success whose body is not what the service documents."""


Failure = UpstreamError | Unforeseen
"""Why a try of an incident did not end well: what its record keeps."""


def alone(error: Exception) -> TicketLinkError:
    """Return the error as a host may log it: one of ours, with nothing below it.

    A stack trace shows the texts of all causes and contexts, and those of libraries may quote an answer.
    """
    ours = error if isinstance(error, TicketLinkError) else Unforeseen(error)
    ours.__cause__ = ours.__context__ = None
    return ours


def in_our_words(error: Exception) -> str:
    """What may be told of any exception: our own text, or type and place of somebody else's."""
    if isinstance(error, TicketLinkError):
        return str(error)
    unforeseen = Unforeseen(error)
    return f"{unforeseen} at {unforeseen.where}"
