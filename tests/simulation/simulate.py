"""One simulation: a seed in, what happened and which promises were broken out.

`.venv/bin/python tests/simulation/simulate.py 1234` prints the trace of a seed, with `--tables` that of its
world over Azure Tables.
"""

import argparse
import asyncio
import logging
import os
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from math import inf
from random import Random
from typing import Any, Final, Literal
from unittest.mock import patch

import httpx
from changes import Change, Restart, apply_change
from faultplan import HOUR, FaultPlan
from final import check_the_end, is_settled
from follow_watch import LOOKBACK_SECONDS, FollowWatch
from instances import Instance, Machine, secrets
from jumps import draw_jump
from scenario import Posting, Scenario, draw_scenario
from surprises import spoil
from truth import PLANTED_TITLE, Violation, World
from virtual_time import VirtualTimeLoop, run
from watched_store import open_sqlite

from contraforce_sentinel.azure.httpx_transport import HttpxTransport
from contraforce_sentinel.contraforce import client as contraforce
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.stores.link_store import LinkStore
from contraforce_sentinel.stores.tables import TableLinkStore
from contraforce_sentinel.telemetry.events import EVENT_NAME, quieten_libraries
from contraforce_sentinel.transport.connections import Connections
from sandbox.in_memory import InMemory

type Store = Literal["sqlite", "tables"]

_PATIENCE_SECONDS: Final = 6 * HOUR
_TRIES_OF_A_PLAYBOOK: Final = 5
_DEPLOYMENT_SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Result:
    """What a simulation showed; `digest` is the same whenever the seed is."""

    seed: int
    violations: tuple[Violation, ...]
    trace: tuple[str, ...]
    digest: str
    seconds: float
    links: tuple[Link, ...]


def simulate(seed: int, store: Store = "sqlite") -> Result:
    """Run one world until everything has come to its end, or has had the time to.

    A seed has one world for each store: the same incidents and the same dice, but other calls.
    """
    quieten_libraries()  # as the triggers' module does
    environment = {"IDENTITY_ENDPOINT": "http://localhost/msi/token", "IDENTITY_HEADER": ""}
    with patch.dict(os.environ, environment):
        return run(lambda loop: _Simulation(loop, seed, store).run(), seed=seed)


class _Simulation:
    def __init__(self, loop: VirtualTimeLoop, seed: int, store: Store) -> None:
        self._loop = loop
        self._rng = Random(seed)  # noqa: S311
        self._world = World(loop, seed=seed)
        self._scenario: Scenario
        self._faults: FaultPlan
        self._scenario, self._faults = draw_scenario(self._rng, self._world)
        self._machine = Machine(
            self._world, self._faults, retention=timedelta(days=self._scenario.retention_days)
        )
        self._machine.is_store_shared = store == "sqlite"
        self._tasks: list[asyncio.Task[None]] = []
        self._instances: dict[int, Instance] = {}
        self._starts = 0
        self._open_postings = len(self._scenario.postings)
        self._runs_done: list[float] = []
        self._left_out: frozenset[str] = frozenset()

    async def run(self) -> Result:
        world, scenario = self._world, self._scenario
        os.environ["IDENTITY_HEADER"] = world.identity.header
        self._loop.set_exception_handler(self._unhandled)
        shared = self._machine.is_store_shared
        self._machine.store = open_sqlite() if shared else self._open_undisturbed()
        with _watched_log(world, self._machine.referee.following):
            for slot, start in zip(range(len(scenario.offsets)), scenario.timer_starts, strict=False):
                self._background(self._timer(slot, start))
            for slot in range(len(scenario.offsets)):
                self._background(self._keep_alive(slot))
            for posting in scenario.postings:
                self._background(self._playbook(posting))
            for change in scenario.changes:
                self._background(self._analyst(change))
            for restart in scenario.restarts:
                self._background(self._deploy(restart))
            self._background(self._spoil())
            self._background(self._set_a_clock())
            self._background(self._tamper())
            surprised = self._machine.surprises.after_ticket(contraforce._linked_ticket)
            with patch.object(contraforce, "_linked_ticket", surprised):
                await self._until_the_end()
        return Result(
            seed=world.seed,
            violations=tuple(world.violations),
            trace=tuple(world.trace),
            digest=world.digest(),
            seconds=world.now,
            links=tuple(world.stored.values()),
        )

    async def _until_the_end(self) -> None:
        world, quiet_from = self._world, self._scenario.ends_at
        following = self._machine.referee.following
        await asyncio.sleep(quiet_from)
        while not world.violations:
            await asyncio.sleep(60)
            if not self._open_postings and is_settled(world, self._runs_done, following):
                break
            if world.now > quiet_from + _PATIENCE_SECONDS:
                break
        await check_the_end(world, self._machine.store, self._machine.referee, self._faults)
        await self._machine.store.close()

    async def _spoil(self) -> None:
        """Make a record unreadable, in some worlds."""
        surprises = self._machine.surprises
        if surprises.spoils_at is None:
            return
        await asyncio.sleep(surprises.spoils_at)
        if (case := surprises.pick()) is not None:
            self._world.note(f"the record of {case.label} is spoilt")
            self._world.stored.pop(case.key)
            await spoil(self._machine.store, case)

    async def _set_a_clock(self) -> None:
        """Let one instance's clock be wrong for a while, in some worlds."""
        offsets = self._scenario.offsets
        until, end = self._scenario.faults_until, self._scenario.ends_at
        jump = draw_jump(self._world, until=until, slots=len(offsets), end=end)
        if jump is None:
            return
        for moment, seconds in ((jump.start, jump.seconds), (jump.end, -jump.seconds)):
            await asyncio.sleep(max(0.0, moment - self._world.now))
            self._world.clocks_were_wrong = True
            if 0 < jump.seconds < LOOKBACK_SECONDS:
                self._machine.referee.following.clock_ahead_seconds = jump.seconds
            self._world.disturbed_at = max(self._world.disturbed_at, jump.end)
            self._world.note(f"the clock of p{jump.slot} is set {seconds:.0f} s ahead")
            offsets[jump.slot] += seconds
            if (instance := self._instances.get(jump.slot)) is not None:
                instance.offset += seconds

    async def _tamper(self) -> None:
        """Lose and invent index rows, in some worlds; once the faults are over, a new day begins."""
        surprises = self._machine.surprises
        if surprises.tampers_at is None or self._machine.is_store_shared:
            return
        await asyncio.sleep(surprises.tampers_at)
        self._world.note("index rows are lost, and some are nobody's")
        self._world.disturbed_at = inf
        surprises.tamper()
        await asyncio.sleep(self._scenario.faults_until - self._world.now)
        while any(instance.is_reconciling for instance in self._instances.values()):  # noqa: ASYNC110
            await asyncio.sleep(1)
        surprises.begin_a_day()
        self._world.disturbed_at = self._world.now

    def _open_undisturbed(self) -> LinkStore:
        """Return a store over the world's tables that no fault reaches, to look into them."""
        tables = self._world.tables
        transport = HttpxTransport(Connections(lambda: httpx.AsyncClient(transport=InMemory(tables))))
        return TableLinkStore.from_connection_string(tables.connection_string, transport=transport)

    def _background(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(self._loop.create_task(work))

    async def _keep_alive(self, slot: int) -> None:
        """Start an instance, and another one some time after its death."""
        while True:
            self._starts += 1
            instance = Instance(f"p{slot}.{self._starts}", self._scenario.offsets[slot], self._machine)
            instance.runs = self._runs_done
            self._instances[slot] = instance
            await instance.died
            del self._instances[slot]
            await asyncio.sleep(self._rng.choice((1.0, 20.0, 240.0)))

    async def _timer(self, slot: int, start: float) -> None:
        await asyncio.sleep(start)
        while True:
            instance = self._instances.get(slot)
            if instance is not None:
                self._background(instance.reconcile())
            is_over = self._world.now >= self._scenario.ends_at
            seconds = self._scenario.timer_seconds
            await asyncio.sleep(min(seconds, 1800.0) if is_over else seconds)

    async def _playbook(self, posting: Posting) -> None:
        """Deliver as Logic Apps do: again after no answer, 429 and 5xx, four times."""
        await asyncio.sleep(posting.at)
        if posting.ticket is not None:
            posting.case.asked_tickets.add(posting.ticket)
        for _ in range(_TRIES_OF_A_PLAYBOOK):
            live = list(self._instances.values())
            status = await self._rng.choice(live).post(posting.body) if live else None
            if status is not None and status < 500:
                self._judge(posting, status)
                break
            await asyncio.sleep(self._rng.uniform(5, 45))
        self._open_postings -= 1

    def _judge(self, posting: Posting, status: int) -> None:
        world = self._world
        if posting.is_forged:
            if status not in {200, 202, 400, 403, 409, 422}:
                world.violate("answer", f"a forged body was answered {status}")
        elif status in {200, 202}:
            posting.case.accepted.append(world.now)
        elif status == 403 and posting.case.workspace.arm_id.lower() in self._left_out:
            world.note(f"{posting.case.label} is of a customer who is not there")
        elif status != 422:
            world.violate("answer", f"{posting.case.label}: a good body was answered {status}")

    async def _analyst(self, change: Change) -> None:
        await asyncio.sleep(change.at)
        self._world.note(f"analyst: {change.what} {change.case.label}")
        apply_change(change, self._world)

    async def _deploy(self, restart: Restart) -> None:
        """Start every instance anew, one after the other, with other settings."""
        await asyncio.sleep(restart.at)
        machine = self._machine
        self._world.note(f"settings: {restart.retention_days} days, without {len(restart.left_out)}")
        self._world.disturbed_at = max(self._world.disturbed_at, restart.at + _DEPLOYMENT_SECONDS)
        self._left_out |= restart.left_out
        machine.left_out, machine.retention = restart.left_out, timedelta(days=restart.retention_days)
        machine.shortest_retention = min(machine.shortest_retention, machine.retention)
        for instance in list(self._instances.values()):
            if instance.alive:
                instance.stop("to be started anew")
            await asyncio.sleep(_DEPLOYMENT_SECONDS / 4)

    def _unhandled(self, _: asyncio.AbstractEventLoop, context: dict[str, object]) -> None:
        self._world.violate("raises", f"unhandled: {context.get('message')} {context.get('exception')!r}")


class _LogWatch(logging.Handler):
    """Looks for planted content in every record, and notes our events in the trace."""

    def __init__(self, world: World, following: FollowWatch) -> None:
        super().__init__()
        self._world = world
        self._following = following
        self._planted = (PLANTED_TITLE, *secrets(world))

    def emit(self, record: logging.LogRecord) -> None:
        text = f"{self.format(record)} {record.__dict__}"
        if any(planted in text for planted in self._planted):
            self._world.violate("e", f"a log record of {record.name} holds planted content")
        event = record.__dict__.get(EVENT_NAME)
        if event is not None:
            self._world.note(f"event {event} {record.__dict__.get('reason', '')}")
            self._following.told(event, record.__dict__)


@contextmanager
def _watched_log(world: World, following: FollowWatch) -> Iterator[None]:
    """Every library's records from INFO on in one world of four, because of what they cost; ours in all."""
    root, ours = logging.getLogger(), logging.getLogger("contraforce_sentinel")
    handlers, levels = root.handlers, (root.level, ours.level)
    root.handlers = [_LogWatch(world, following)]
    root.setLevel(logging.WARNING if world.seed % 4 else logging.INFO)
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers = handlers
        root.setLevel(levels[0])
        ours.setLevel(levels[1])


def main() -> None:
    """Print what happens in the worlds of the seeds on the command line."""
    parser = argparse.ArgumentParser(description="Print what happens in a world.")
    parser.add_argument("seeds", nargs="+", type=int)
    parser.add_argument("--tables", action="store_true", help="over Azure Tables instead of SQLite")
    wanted = parser.parse_args()
    for seed in wanted.seeds:
        result = simulate(seed, "tables" if wanted.tables else "sqlite")
        print(*result.trace, sep="\n")  # noqa: T201
        for link in result.links:
            print(link.state, link.reason, link.incident_id.key[-70:], link.ticket and link.ticket.number)  # noqa: T201
        print(f"seed {seed}: {result.digest[:12]}", *map(str, result.violations), sep="\n")  # noqa: T201


if __name__ == "__main__":
    main()
