"""Instances of the app: wired as in production, except that transports and store are in memory. They die."""

import asyncio
import base64
from collections.abc import Coroutine
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import azure.mgmt.securityinsight.aio  # noqa: F401 - else the app imports it in a thread, in a world without any
import httpx
from faultplan import FaultPlan
from freezes import Freezes
from referee import Referee
from remote import Remote
from surprises import SurpriseOfStore, Surprises, surprise_ports
from truth import ARM_URL, World
from virtual_time import WORK, Work, wall
from watched_store import WatchedStore, open_tables
from wire import Network, Wire

from contraforce_sentinel.azure.httpx_transport import HttpxTransport
from contraforce_sentinel.azure.pacing import Pace
from contraforce_sentinel.azure.resource_manager import READ_SECONDS, ResourceManager
from contraforce_sentinel.azure.sentinel import Sentinel
from contraforce_sentinel.azure.workspaces import Workspaces
from contraforce_sentinel.contraforce import client as contraforce
from contraforce_sentinel.contraforce.client import ContraForce
from contraforce_sentinel.domain.customers import Customer
from contraforce_sentinel.domain.errors import DeliveryError, RecordUnreadable, StoreUnavailable, Unforeseen
from contraforce_sentinel.domain.incidents import Severity
from contraforce_sentinel.edge import answers
from contraforce_sentinel.edge.payloads import parse_delivery
from contraforce_sentinel.stores.link_store import LinkStore
from contraforce_sentinel.transport.connections import Connections
from contraforce_sentinel.use_cases.following import Following
from contraforce_sentinel.use_cases.linking import TicketLinking
from contraforce_sentinel.use_cases.reconcile import RUN_SECONDS, Reconciler
from contraforce_sentinel.use_cases.retention import Retention

MINIMUM_SEVERITY: Final = Severity.LOW
LOOKBACK: Final = timedelta(hours=24)
ANSWER_SECONDS: Final = 90.0
HOST_TIMEOUT_SECONDS: Final = 300.0


class Machine:
    """Everything that instances share: the services, the faults, and the store, unless each has its own.

    `store` is what the end of the world is judged by.
    """

    def __init__(self, world: World, faults: FaultPlan, *, retention: timedelta) -> None:
        self.world = world
        self.faults = faults
        self.retention = self.shortest_retention = retention
        self.left_out: frozenset[str] = frozenset()
        self.referee = Referee(world)
        self.surprises = Surprises(world, self.referee, until=faults.harsh_until)
        self.freezes = Freezes(world, self.referee, until=faults.harsh_until)
        self.remote = Remote(world, self.referee)
        self.store: LinkStore
        self.is_store_shared = True


class Instance:
    """One process of the app from its start to its death."""

    def __init__(self, name: str, offset: float, machine: Machine) -> None:
        self.name = name
        self.offset = offset
        self.alive = True
        self.died: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_reconciling = False
        self.runs: list[float] = []
        self.retention = machine.retention
        self.shortest_retention = machine.shortest_retention
        self.workspaces = frozenset(one.arm_id.lower() for one in machine.world.workspaces) - machine.left_out
        self._machine = machine
        self._world = machine.world
        self._tasks: list[asyncio.Task[Any]] = []
        self._wire(machine)

    async def post(self, body: bytes) -> int | None:
        """Deliver a body; return the status of the answer, None if the process died over it."""
        status: int | None = await self._outlived(self._post(body))
        return status

    async def reconcile(self) -> None:
        """Let the timer run, unless it still does."""
        if not self.is_reconciling:
            await self._outlived(self._reconcile())

    def stop(self, what: str) -> None:
        """End the process where it is; it takes no further step."""
        self._world.note(f"{self.name} dies {what}")
        self._world.went_wrong()
        self.alive = False
        self.died.set_result(None)
        self._machine.referee.died(self)

    async def step(self, what: str) -> None:
        """Let death come between two steps; a dead process takes no further one."""
        if self.alive and self._machine.faults.kills(self._world.now):
            self.stop(what)
        if not self.alive:
            await asyncio.get_running_loop().create_future()

    async def _outlived(self, work: Coroutine[Any, Any, Any]) -> Any:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.append(task)
        await asyncio.wait([task, self.died], return_when=asyncio.FIRST_COMPLETED)
        return task.result() if self.alive and task.done() else None

    async def _post(self, body: bytes) -> int:
        WORK.set(Work())
        started = self._world.loop.time()
        try:
            delivery = parse_delivery(body, content_type="application/json")
            outcome = await self._linking.link(delivery, trigger="http")
            answer = answers.for_outcome(outcome, now=self._clock())
        except (StoreUnavailable, RecordUnreadable, DeliveryError) as error:
            answer = answers.for_error(error)
        except SurpriseOfStore as error:  # it could record nothing
            answer = answers.for_error(Unforeseen(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, it should not be
            self._world.violate("raises", f"a delivery raised {error!r}")
            return 500
        self._world.note(f"{self.name} answers {answer.status.value}")
        if (took := self._world.loop.time() - started) > ANSWER_SECONDS:
            self._world.violate("time", f"a delivery took {took:.1f} s")
        return answer.status.value

    async def _reconcile(self) -> None:
        started, self.is_reconciling = self._world.now, True
        work = Work(is_timer=True, since=started)
        WORK.set(work)
        begun = self._world.loop.time()
        try:
            await self._reconciler.run()
            self.runs.append(started)
            is_whole = self._world.loop.time() - begun < RUN_SECONDS
            self._machine.referee.following.run_ended(self, work, is_whole=is_whole)
        except (StoreUnavailable, SurpriseOfStore):
            self._world.note(f"{self.name} run fails")
        except Exception as error:  # noqa: BLE001 - whatever it is, it should not be
            self._world.violate("raises", f"the timer raised {error!r}")
        self.is_reconciling = False
        if (took := self._world.loop.time() - started) > HOST_TIMEOUT_SECONDS:
            self._world.violate("time", f"a run took {took:.1f} s")

    def _clock(self) -> datetime:
        return wall(self._world.now + self.offset)

    def _wire(self, machine: Machine) -> None:
        world, faults, referee = machine.world, machine.faults, machine.referee
        wire = Wire(
            self,
            world=world,
            remote=machine.remote,
            faults=faults,
            freezes=machine.freezes,
            referee=referee,
        )
        own = machine.store if machine.is_store_shared else open_tables(world, Network(wire))
        store = WatchedStore(
            own,
            self,
            world=world,
            faults=faults,
            surprises=machine.surprises,
            freezes=machine.freezes,
            referee=referee,
        )
        mappings = [
            Customer.model_validate(
                {
                    "workspace": workspace.arm_id,
                    "contraforceWorkspaceId": workspace.contraforce_id,
                    "minimumSeverity": MINIMUM_SEVERITY,
                }
            )
            for workspace in world.workspaces
            if workspace.arm_id.lower() in self.workspaces
        ]
        azure = Connections(
            partial(httpx.AsyncClient, transport=Network(wire), timeout=READ_SECONDS, trust_env=False)
        )
        manager = ResourceManager(
            endpoint=ARM_URL, client_id=world.identity.client_ids[0], transport=HttpxTransport(azure)
        )
        http = Connections(
            partial(
                httpx.AsyncClient,
                auth=httpx.BasicAuth(world.contraforce.client_id, world.contraforce.client_secret),
                timeout=contraforce._TIMEOUT,
                transport=Network(wire),
                trust_env=False,
            )
        )
        workspaces = Workspaces(mappings, resource_manager=manager)
        pace = Pace()
        sentinel = Sentinel(manager, pace=pace)
        surprise_ports(machine.surprises, workspaces=workspaces, sentinel=sentinel)
        self._linking = TicketLinking(
            workspaces=workspaces,
            contraforce=ContraForce(http, base_url=world.contraforce.api_url),
            sentinel=sentinel,
            store=store,
            clock=self._clock,
        )
        self._reconciler = Reconciler(
            customers=mappings,
            linking=self._linking,
            following=Following(sentinel=sentinel, store=store, lookback=LOOKBACK, clock=self._clock),
            retention=Retention(store=store, retention=self.retention, clock=self._clock),
            store=store,
            pace=pace,
            clock=self._clock,
        )


def secrets(world: World) -> list[str]:
    """Return what must never be seen in a log record."""
    pair = f"{world.contraforce.client_id}:{world.contraforce.client_secret}".encode()
    return [world.contraforce.client_secret, base64.b64encode(pair).decode(), world.identity.header]
