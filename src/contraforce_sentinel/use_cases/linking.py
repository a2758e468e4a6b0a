"""The use case: link one incident; the steps are those of `docs/architecture.md`."""

import logging
import random
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Final
from uuid import uuid4

from contraforce_sentinel.azure.sentinel import Sentinel
from contraforce_sentinel.azure.workspaces import Workspace, Workspaces
from contraforce_sentinel.contraforce.client import ContraForce, LinkedTicket
from contraforce_sentinel.contraforce.ticket_systems import status_note
from contraforce_sentinel.domain.comments import comment_id, comment_text
from contraforce_sentinel.domain.customers import Customer
from contraforce_sentinel.domain.deliveries import Delivery
from contraforce_sentinel.domain.errors import (
    Failure,
    NotAnIncident,
    StaleLink,
    StoreUnavailable,
    TicketConflict,
    Unforeseen,
    UpstreamError,
)
from contraforce_sentinel.domain.incidents import Incident, Severity, skip_reason
from contraforce_sentinel.domain.links import Clock, Link, LinkState, Outcome
from contraforce_sentinel.stores.link_store import LinkStore
from contraforce_sentinel.telemetry.events import about, event, span
from contraforce_sentinel.telemetry.reports import report_failure, report_link
from contraforce_sentinel.transport.retries import deadline

_CLAIM_TRIES: Final = 5


class TicketLinking:
    """Links incidents to their tickets; one instance per process, safe for concurrent calls."""

    def __init__(
        self,
        *,
        workspaces: Workspaces,
        contraforce: ContraForce,
        sentinel: Sentinel,
        store: LinkStore,
        minimum_severity: Severity,
        ticket_url_templates: Mapping[str, str],
        clock: Clock,
    ) -> None:
        self._workspaces = workspaces
        self._contraforce = contraforce
        self._sentinel = sentinel
        self._store = store
        self._minimum_severity = minimum_severity
        self._ticket_url_templates = ticket_url_templates
        self._clock = clock
        self._owner = uuid4().hex

    async def link(self, delivery: Delivery, *, trigger: str, known: Link | None = None) -> Outcome:
        """Take the incident as far as it goes now; what is left is in the store, with its next try.

        `known` is the record as the caller has just read it, which saves looking for it. Of a workspace
        that is resolved nothing is looked for: most incidents are new, so the claim comes first.
        Idempotent: a linked incident costs no upstream call. Raises
        `WorkspaceNotConfigured`, `NotAnIncident` or `TicketConflict` for a delivery that must be changed,
        `RecordUnreadable`, `StoreUnavailable` if nothing could be recorded, and what a store raises that
        nobody foresaw. Every other failure, foreseen or not, is not raised but recorded.
        """
        incident, workspace = delivery.incident_id.key, delivery.incident_id.workspace.key
        ids = {"incident": incident, "workspace": workspace}
        with about(**ids), span("link incident", **ids, trigger=trigger) as attributes:
            outcome = await self._link(delivery, trigger=trigger, known=known)
            attributes["outcome"] = outcome.link.state
        return outcome

    async def _link(self, delivery: Delivery, *, trigger: str, known: Link | None) -> Outcome:
        started, until = time.monotonic(), deadline()
        mapping = self._workspaces.require(delivery.incident_id.workspace)
        if known is None and not self._workspaces.is_resolved(mapping):
            known = await self._store.get(delivery.incident_id)
        resolved: Workspace | Failure | None = None
        if known is None or (known.ticket is None and self._is_open(known, delivery)):
            resolved = await self._resolve(delivery, mapping, until)
        link, ours = await self._claim(delivery, known)
        if ours:
            try:
                link = await self._work(link, delivery, mapping, until, resolved)
            except StaleLink:  # the lease ran out and another worker has taken over: its record counts
                link = await self._store.get(delivery.incident_id) or link
        report_link(link, trigger=trigger, seconds=time.monotonic() - started, claimed=ours)
        _refuse_other_ticket(link, delivery, ours=ours)
        return Outcome(link, already_linked=not ours and link.state is LinkState.LINKED)

    async def _resolve(self, delivery: Delivery, mapping: Customer, until: float) -> Workspace | Failure:
        """Compare the body with the real workspace, before anything is recorded for it.

        Raises `NotAnIncident` where they differ; returns the failure if Resource Manager cannot tell.
        """
        try:
            workspace = await self._workspaces.resolve(mapping, until=until)
        except UpstreamError as error:
            return error
        except Exception as error:  # noqa: BLE001 - recorded with the incident
            return Unforeseen(error)
        if delivery.customer_id and delivery.customer_id.lower() != str(workspace.customer_id):
            raise NotAnIncident("contradicts the incident's ARM id: workspaceId")
        return workspace

    async def _claim(self, delivery: Delivery, known: Link | None) -> tuple[Link, bool]:
        """Return the incident's record, and whether this worker holds it now."""
        found = known
        for _ in range(_CLAIM_TRIES):
            now = self._clock()
            if found is None:
                inserted = await self._store.insert(self._new_claim(delivery, now))
                if inserted is not None:
                    return inserted, True
                found = await self._store.get(delivery.incident_id)
            if found is None:
                continue
            is_open = self._is_open(found, delivery)
            requested = found.requesting(delivery.ticket_id, customer_id=delivery.customer_id, now=now)
            if not is_open and requested == found:
                return found, False
            try:
                claim = requested.claimed(owner=self._owner, now=now) if is_open else requested
                return await self._store.replace(claim), is_open
            except StaleLink:
                found = None
        raise StoreUnavailable("the link changes faster than it can be claimed")

    def _new_claim(self, delivery: Delivery, now: datetime) -> Link:
        new = Link(
            incident_id=delivery.incident_id,
            incident_number=delivery.incident.number if delivery.incident else None,
            requested_ticket_id=delivery.ticket_id,
            requested_customer_id=delivery.customer_id,
            created_at=now,
            updated_at=now,
        )
        return new.claimed(owner=self._owner, now=now)

    def _is_open(self, found: Link, delivery: Delivery) -> bool:
        """Whether there is work on a link that this delivery may do now.

        An incident may be reopened or raised in severity: then a skipped link starts again.
        """
        still_skipped = (
            found.state is LinkState.SKIPPED
            and delivery.incident is not None
            and skip_reason(delivery.incident, minimum=self._minimum_severity) is not None
        )
        return found.is_claimable(self._clock()) and not still_skipped

    async def _work(
        self,
        link: Link,
        delivery: Delivery,
        mapping: Customer,
        until: float,
        resolved: Workspace | Failure | None,
    ) -> Link:
        """Do what is left to do on a claimed link and store where that ended, whatever happens."""
        ticket_at_risk = False
        try:
            if link.ticket is None:
                incident = await self._incident(link, delivery, resolved, until)
                reason = skip_reason(incident, minimum=self._minimum_severity)
                if reason is not None:
                    return await self._store.replace(link.skipped(reason, now=self._clock()))
                link = link.model_copy(update={"incident_number": incident.number})
                if isinstance(resolved, Workspace):
                    link = link.with_request_of(str(resolved.customer_id))
                found = await self._link_ticket(link, incident, mapping, until)
                ticket_at_risk = True
                link = link.ticketed(found.ticket, request_id=found.request_id, now=self._clock())
                link = await self._remember(link)
                ticket_at_risk = False
            link = await self._comment(link, until)
        except (StoreUnavailable, StaleLink):
            raise
        except Exception as error:  # noqa: BLE001 - recorded, so that it stops nothing else
            unforeseen = Unforeseen(error, ticket_at_risk=ticket_at_risk)
            failure = error if isinstance(error, Failure) else unforeseen
            report_failure(link, failure)
            jitter = random.random()  # noqa: S311 - spreads load, keeps no secret
            link = link.failed(failure, now=self._clock(), jitter=jitter)
        return await self._store.replace(link)

    async def _incident(
        self, link: Link, delivery: Delivery, resolved: Workspace | Failure | None, until: float
    ) -> Incident:
        """Return what is to be linked, read from Sentinel where the delivery does not say it.

        Raises why the workspace was not resolved, unless what is delivered is skipped anyway.
        """
        given = delivery.incident
        if given is not None and skip_reason(given, minimum=self._minimum_severity) is not None:
            return given
        if isinstance(resolved, Failure):
            raise resolved
        return given or await self._sentinel.get_incident(link.incident_id, until=until)

    async def _link_ticket(
        self, link: Link, incident: Incident, mapping: Customer, until: float
    ) -> LinkedTicket:
        """Call tickets/link."""
        self._sentinel.prepare()
        return await self._contraforce.link_ticket(
            mapping.contraforce_workspace_id,
            incident.id,
            number=incident.number,
            ticket_id=link.requested_ticket_id,
            until=until,
        )

    async def _remember(self, link: Link) -> Link:
        """Store the ticket before anything else happens; where that fails, at least the log has it."""
        try:
            return await self._store.replace(link)
        except Exception:
            assert link.ticket is not None  # noqa: S101 - only ticketed links come here
            event(
                "ticket.not-recorded",
                level=logging.ERROR,
                ticket_system=link.ticket.system,
                ticket_number=link.ticket.number,
                contraforce_request_id=link.request_id,
            )
            raise

    async def _comment(self, link: Link, until: float) -> Link:
        """Put the one comment of this incident; a repeat overwrites itself."""
        assert link.ticket is not None  # noqa: S101 - only ticketed links come here
        await self._sentinel.put_comment(
            link.incident_id,
            comment_id(link.incident_id),
            text=comment_text(
                link.ticket,
                url_templates=self._ticket_url_templates,
                status_note=status_note(link.ticket.system),
            ),
            ticket=link.ticket,
            until=until,
        )
        return link.linked(now=self._clock())


def _refuse_other_ticket(link: Link, delivery: Delivery, *, ours: bool) -> None:
    """Raise `TicketConflict` if the delivery asks for a ticket that the incident does not get."""
    wanted = delivery.ticket_id
    if wanted is None:
        return
    if link.ticket is not None and not link.ticket.is_called(wanted):
        belongs_to = link.ticket.id or link.ticket.number
        raise TicketConflict("the incident is linked to another ticket", ticket_id=belongs_to)
    if link.state is LinkState.PENDING and not ours and link.requested_ticket_id != wanted:
        raise TicketConflict(
            "another delivery of this incident is not finished; repeat later", ticket_id=None
        )
