"""The use case: link one incident; the steps are those of `docs/architecture.md`."""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from datetime import datetime
from typing import Final
from uuid import uuid4

from contraforce_sentinel.azure.sentinel import Sentinel
from contraforce_sentinel.azure.workspaces import Workspaces
from contraforce_sentinel.contraforce.client import ContraForce, LinkedTicket
from contraforce_sentinel.contraforce.ticket_systems import status_note
from contraforce_sentinel.domain.comments import comment_id, comment_text
from contraforce_sentinel.domain.customers import Customer
from contraforce_sentinel.domain.errors import (
    Failure,
    StaleLink,
    StoreUnavailable,
    TicketConflict,
    Unforeseen,
    Upstream,
    UpstreamOutOfSight,
)
from contraforce_sentinel.domain.incidents import Delivery, Incident
from contraforce_sentinel.domain.links import Clock, Link, Outcome
from contraforce_sentinel.domain.reasons import Reason
from contraforce_sentinel.domain.records import LinkState
from contraforce_sentinel.stores.link_store import LinkStore
from contraforce_sentinel.telemetry.events import about, event, span
from contraforce_sentinel.telemetry.reports import report_failure, report_link, report_revived
from contraforce_sentinel.transport.retries import deadline
from contraforce_sentinel.use_cases.decision import (
    Need,
    brought_back,
    followed,
    need,
    stays_skipped,
    was_skipped,
)

_CLAIM_TRIES: Final = 5
_OFFER_SECONDS: Final = 2.0


class TicketLinking:
    """Links incidents to their tickets; one instance per process, safe for concurrent calls."""

    def __init__(
        self,
        *,
        workspaces: Workspaces,
        contraforce: ContraForce,
        sentinel: Sentinel,
        store: LinkStore,
        clock: Clock,
    ) -> None:
        self._workspaces = workspaces
        self._contraforce = contraforce
        self._sentinel = sentinel
        self._store = store
        self._clock = clock
        self._owner = uuid4().hex
        self._offers: set[asyncio.Task[None]] = set()

    async def link(self, delivery: Delivery, *, trigger: str, known: Link | None = None) -> Outcome:
        """Take the incident as far as it goes now; what is left is in the store, with its next try.

        `known` is the record as the caller has just read it. Where there is none, nothing is looked for: most
        incidents are new, so the claim comes first. Idempotent: a linked incident costs no upstream call.
        Raises `WorkspaceNotConfigured` or `TicketConflict` for a delivery that must be changed,
        `RecordUnreadable`, `StoreUnavailable` if nothing could be recorded, and what a store raises that
        nobody foresaw. Every other failure, foreseen or not, is not raised but recorded.
        """
        incident, workspace = delivery.incident_id.key, delivery.incident_id.workspace.key
        ids = {"incident": incident, "workspace": workspace}
        with about(**ids), span("link incident", **ids, trigger=trigger) as attributes:
            outcome = await self._link(delivery, trigger=trigger, known=known)
            attributes["outcome"] = outcome.link.state
        return outcome

    async def finish(self) -> None:
        """Wait until every ticket in hand is in the store, or its lease has ended."""
        await asyncio.gather(*self._offers)

    async def _link(self, delivery: Delivery, *, trigger: str, known: Link | None) -> Outcome:
        started, until = time.monotonic(), deadline()
        customer = self._workspaces.require(delivery.incident_id.workspace)
        claim, ours = await self._claim(delivery, customer, known, trigger=trigger)
        link = claim
        if ours:
            try:
                link = await self._work(claim, delivery, customer, until)
                if was_skipped(claim) and link.state is not LinkState.SKIPPED:
                    report_revived(link, was=claim.reason, trigger=trigger)
            except StaleLink:  # the lease ran out, and another worker may have taken over: the record counts
                link = await self._store.get(delivery.incident_id) or claim
        report_link(link, trigger=trigger, seconds=time.monotonic() - started, claimed=ours)
        _refuse_other_ticket(link, delivery, ours=ours)
        return Outcome(link, already_linked=not ours and link.state is LinkState.LINKED)

    async def _claim(
        self, delivery: Delivery, customer: Customer, known: Link | None, *, trigger: str
    ) -> tuple[Link, bool]:
        """Return the incident's record, and whether this worker holds it now.

        An incident may be reopened or raised in severity: then a skipped link is as it was before.
        """
        found = known
        for _ in range(_CLAIM_TRIES):
            if found is None:
                new = self._new_claim(delivery, customer, self._clock(), trigger)
                inserted = await self._store.insert(new)
                if inserted is not None:
                    return inserted, True
                found = await self._store.get(delivery.incident_id)
            if found is None:
                continue
            now = self._clock()  # of after the read: a worker may have been frozen in it
            wanted = found.requesting(delivery.ticket_id, of=customer.contraforce_workspace_id, now=now)
            if found.state is LinkState.SKIPPED and delivery.incident is not None:
                wanted = brought_back(
                    delivery.incident, wanted, customer, is_confirmed=delivery.is_confirmed, now=now
                )
            is_open = wanted.is_claimable(now) and not stays_skipped(wanted, delivery, customer, known)
            if not is_open and wanted == found:
                return found, False
            try:
                claim = wanted.claimed(owner=self._owner, now=now) if is_open else wanted
                stored = await self._store.replace(claim)
            except StaleLink:
                found = None
                continue
            if found.state is LinkState.SKIPPED and wanted.state is not LinkState.SKIPPED:
                report_revived(stored, was=found.reason, trigger=trigger)
            return stored, is_open
        raise StoreUnavailable("the link changes faster than it can be claimed")

    def _new_claim(self, delivery: Delivery, customer: Customer, now: datetime, trigger: str) -> Link:
        new = Link(
            incident_id=delivery.incident_id,
            incident_number=delivery.incident.number if delivery.incident else None,
            requested_ticket_id=delivery.ticket_id,
            requested_workspace_id=customer.contraforce_workspace_id if delivery.ticket_id else None,
            first_seen_at=now,
            first_seen_by=trigger,
            created_at=now,
            updated_at=now,
        )
        return new.claimed(owner=self._owner, now=now)

    async def _work(self, link: Link, delivery: Delivery, customer: Customer, until: float) -> Link:
        """Do what is left to do on a claimed link and store where that ended, whatever happens."""
        ticket_at_risk = False
        try:
            if link.ticket is None:
                await self._workspaces.resolve(customer, until=until)
                incident, is_confirmed = await self._incident(link, delivery, customer, until)
                looked = followed(incident, link, customer, is_confirmed=is_confirmed, now=self._clock())
                if looked.state is LinkState.SKIPPED:  # if that cannot be stored, it was not skipped
                    return await self._store.replace(looked)
                link = looked
                found = await self._link_ticket(link, incident, customer, until)
                ticket_at_risk = True
                link = link.ticketed(
                    found.ticket,
                    of=customer.contraforce_workspace_id,
                    request_id=found.request_id,
                    now=self._clock(),
                )
                link = await self._remember(link)
                ticket_at_risk = False
            link = await self._comment(link, customer, until)
        except (StoreUnavailable, StaleLink):
            raise
        except Exception as error:  # noqa: BLE001 - recorded, so that it stops nothing else
            unforeseen = Unforeseen(error, ticket_at_risk=ticket_at_risk)
            failure = error if isinstance(error, Failure) else unforeseen
            report_failure(link, failure)
            link = await self._failed(link, failure, customer, until)
        return await self._store.replace(link)

    async def _failed(self, link: Link, failure: Failure, customer: Customer, until: float) -> Link:
        """Return the link after a failure: due again, dead, or skipped where its incident is really gone."""
        jitter = random.random()  # noqa: S311 - spreads load, keeps no secret
        failed = link.failed(failure, now=self._clock(), jitter=jitter)
        if failed.state is not LinkState.DEAD or failed.reason != Reason.INCIDENT_GONE:
            return failed
        hidden: Failure = UpstreamOutOfSight("its workspace is out of sight", upstream=Upstream.SENTINEL)
        try:
            if await self._workspaces.is_there(customer, until=until):
                return link.skipped(Reason.INCIDENT_GONE, now=self._clock())
        except Exception as error:  # noqa: BLE001 - recorded, as of any other step
            hidden = Unforeseen(error)
        report_failure(link, hidden)
        return link.failed(hidden, now=self._clock(), jitter=jitter)

    async def _incident(
        self, link: Link, delivery: Delivery, customer: Customer, until: float
    ) -> tuple[Incident, bool]:
        """Return what is to be linked, and whether it is as Sentinel has it.

        Sentinel is asked where a body says too little, where the link would be skipped for what it says, and
        where it was skipped: the body may be older than that.
        """
        given, is_confirmed = delivery.incident, delivery.is_confirmed
        is_asked = was_skipped(link) or (given is not None and need(given, link, customer) is Need.SKIP)
        if given is not None and (is_confirmed or not is_asked):
            return given, is_confirmed
        return await self._sentinel.get_incident(delivery.incident_id, until=until), True

    async def _link_ticket(
        self, link: Link, incident: Incident, customer: Customer, until: float
    ) -> LinkedTicket:
        """Call tickets/link."""
        self._sentinel.prepare()
        return await self._contraforce.link_ticket(
            customer.contraforce_workspace_id,
            incident.id,
            number=incident.number,
            ticket_id=link.requested_ticket_id,
            until=until,
            before_each=self._held(link),
        )

    def _held(self, link: Link) -> Callable[[], None]:
        """Return what looks at the lease: a worker that was frozen may have lost it without a time-out."""

        def look() -> None:
            if not link.may_act(self._clock()):
                raise StaleLink(f"the lease on {link.incident_id.key} ends before a request could")

        return look

    async def _remember(self, link: Link) -> Link:
        """Store the ticket before anything else; where that fails, the log has it; it is offered again."""
        try:
            return await self._store.replace(link)
        except BaseException as error:
            assert link.ticket is not None  # noqa: S101 - only ticketed links come here
            event(
                "ticket.not-recorded",
                level=logging.ERROR,
                ticket_system=link.ticket.system,
                ticket_number=link.ticket.number,
                contraforce_request_id=link.request_id,
            )
            if not isinstance(error, StaleLink):
                offer = asyncio.create_task(self._offer(link))
                self._offers.add(offer)
                offer.add_done_callback(self._offers.discard)
            raise

    async def _offer(self, link: Link) -> None:
        """Offer a ticket to the store until it is there, or the lease has ended; the timer does the rest."""
        while link.is_busy(self._clock()):
            await asyncio.sleep(_OFFER_SECONDS)
            try:
                report_link(await self._store.replace(link), trigger="offer", seconds=0.0, claimed=True)
            except StaleLink:  # it is there, or another worker has taken over
                return
            except Exception:  # noqa: BLE001, S112 - that it is not recorded has been told
                continue
            return

    async def _comment(self, link: Link, customer: Customer, until: float) -> Link:
        """Put the one comment of this incident; a repeat overwrites itself."""
        assert link.ticket is not None  # noqa: S101 - only ticketed links come here
        await self._sentinel.put_comment(
            link.incident_id,
            comment_id(link.incident_id),
            text=comment_text(
                link.ticket,
                url_templates=customer.ticket_url_templates,
                status_note=status_note(link.ticket.system),
            ),
            ticket=link.ticket,
            until=until,
            before_each=self._held(link),
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
