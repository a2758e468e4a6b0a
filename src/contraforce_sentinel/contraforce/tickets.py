"""The models of tickets/link's answer: three ticket systems, every field of the vendor's page, tolerant.

Vendor facts: https://docs.contraforce.com, operation `v2-link-ticket`. Only the number is needed; every other
field may be null, missing or of another type, and unknown fields are ignored. Integers may come as digits.
"""

from datetime import datetime
from typing import Annotated, Any, Final

from pydantic import (
    BaseModel,
    ConfigDict,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)
from pydantic.alias_generators import to_camel

from contraforce_sentinel.domain.tickets import Ticket, TicketSystem


def _or_none(value: Any, handler: ValidatorFunctionWrapHandler) -> Any:
    """A field that the vendor changes must not lose the ticket: what does not fit is None."""
    try:
        return handler(value)
    except ValidationError:
        return None


type _Optional[T] = Annotated[T | None, WrapValidator(_or_none)]


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        populate_by_name=True,
        coerce_numbers_to_str=True,
        defer_build=True,  # an incident has one of three systems; the models of the others are never built
        hide_input_in_errors=True,
    )


class AutotaskNote(_Model):
    """A note of an Autotask ticket."""

    id: _Optional[int] = None
    description: _Optional[str] = None
    ticket_id: _Optional[int] = None
    title: _Optional[str] = None


class AutotaskTicket(_Model):
    """An Autotask ticket; `status` and the other numbers are ids of the customer's picklists."""

    id: _Optional[int] = None
    company_id: _Optional[int] = None
    project_id: _Optional[int] = None
    assigned_resource_id: _Optional[int] = None
    assigned_resource_role_id: _Optional[int] = None
    billing_code_id: _Optional[int] = None
    category_id: _Optional[int] = None
    number: str
    type: _Optional[int] = None
    title: _Optional[str] = None
    description: _Optional[str] = None
    priority: _Optional[str] = None
    status: _Optional[int] = None
    queue_id: _Optional[int] = None
    due_date_time: _Optional[datetime] = None
    notes: _Optional[list[AutotaskNote]] = None

    def ticket(self) -> Ticket:
        """Return what the link keeps of it."""
        return _ticket(TicketSystem.AUTOTASK, self.number, id_=self.id, title=self.title, status=self.status)


class ServiceNowComment(_Model):
    """A journal entry of a ServiceNow incident."""

    sys_id: _Optional[str] = None
    element_id: _Optional[str] = None
    value: _Optional[str] = None
    created_on: _Optional[datetime] = None
    created_by: _Optional[str] = None
    element: _Optional[str] = None


class ServiceNowTicket(_Model):
    """A ServiceNow incident; `id` is its sys_id."""

    id: _Optional[str] = None
    description: _Optional[str] = None
    short_description: _Optional[str] = None
    number: str
    state: _Optional[str] = None
    urgency: _Optional[str] = None
    comments: _Optional[list[ServiceNowComment]] = None

    def ticket(self) -> Ticket:
        """Return what the link keeps of it."""
        return _ticket(
            TicketSystem.SERVICE_NOW,
            self.number,
            id_=self.id,
            title=self.short_description,
            status=self.state,
        )


class JiraNamed(_Model):
    """A Jira status, priority or request type."""

    id: _Optional[str] = None
    name: _Optional[str] = None


class JiraAssignee(_Model):
    """A Jira user."""

    account_id: _Optional[str] = None
    display_name: _Optional[str] = None
    active: _Optional[bool] = None


class JiraProject(_Model):
    """A Jira project."""

    id: _Optional[str] = None
    name: _Optional[str] = None
    key: _Optional[str] = None


class JiraIssueType(_Model):
    """A Jira issue type."""

    id: _Optional[str] = None
    name: _Optional[str] = None
    project_id: _Optional[str] = None
    subtask: _Optional[bool] = None


class JiraTicket(_Model):
    """A Jira issue; `number` is the issue key (our reading)."""

    id: _Optional[str] = None
    description: _Optional[str] = None
    summary: _Optional[str] = None
    number: str
    current_status: _Optional[JiraNamed] = None
    priority: _Optional[JiraNamed] = None
    assignee: _Optional[JiraAssignee] = None
    project: _Optional[JiraProject] = None
    issue_type: _Optional[JiraIssueType] = None
    request_type: _Optional[JiraNamed] = None
    labels: _Optional[list[str]] = None
    available_priorities: _Optional[list[JiraNamed]] = None
    available_statuses: _Optional[list[JiraNamed]] = None

    def ticket(self) -> Ticket:
        """Return what the link keeps of it."""
        status = self.current_status.name if self.current_status else None
        return _ticket(TicketSystem.JIRA, self.number, id_=self.id, title=self.summary, status=status)


class LinkData(_Model):
    """The `data` of the answer; the ticket objects are read only once it is clear which one counts."""

    autotask_ticket: Any = None
    service_now_ticket: Any = None
    jira_ticket: Any = None
    ticketing_system_type: _Optional[str] = None
    is_ticket_set: _Optional[bool] = None

    def ticket(self) -> Ticket | None:
        """Return the ticket; None if the answer says that there is none yet.

        The object that is there decides, the type is a hint for when there are several (our reading).
        Raises `ValidationError` or `AmbiguousTicket`.
        """
        found = {name: value for name in _TICKET_MODELS if (value := getattr(self, name)) is not None}
        if self.is_ticket_set is False or not found:
            return None
        if len(found) > 1:
            hint = f"{self.ticketing_system_type}ticket".lower()
            found = {name: value for name, value in found.items() if name.replace("_", "") == hint}
        if len(found) != 1:
            raise AmbiguousTicket
        ((name, value),) = found.items()
        return _TICKET_MODELS[name].model_validate(value).ticket()


class Meta(_Model):
    """The `meta` of an answer; `request_id` is what ContraForce support asks for."""

    request_id: _Optional[str] = None
    timestamp: _Optional[str] = None


class LinkAnswer(_Model):
    """The standard v2 envelope of a single item."""

    data: LinkData
    meta: _Optional[Meta] = None


class AmbiguousTicket(ValueError):
    """Several ticket objects, and no word on which one counts."""


_TICKET_MODELS: Final[dict[str, type[AutotaskTicket | ServiceNowTicket | JiraTicket]]] = {
    "autotask_ticket": AutotaskTicket,
    "service_now_ticket": ServiceNowTicket,
    "jira_ticket": JiraTicket,
}


def _ticket(
    system: TicketSystem, number: str, *, id_: int | str | None, title: str | None, status: int | str | None
) -> Ticket:
    return Ticket(
        system=system,
        number=number,
        id=None if id_ is None else str(id_),
        title=title,
        status=None if status is None else str(status),
    )
