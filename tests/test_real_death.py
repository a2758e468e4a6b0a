"""Promises (a) to (d) when processes die: real hosts, SIGKILL at random moments, one store under them.

How tickets/link calls are counted: every process has ContraForce credentials of its own, so the sandbox's
log tells who called. Right after a kill the store is read: for an incident that has no ticket there, the
answer to a call of the dead process was lost with it, and then nothing may have come of it: no comment.
Every incident must have exactly one call whose answer was not lost.

Figures and seeds: `pytest tests/test_real_death.py --log-cli-level INFO`.
"""

import asyncio
import logging
import os
import random
import signal
import time
from base64 import b64decode
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import pytest_asyncio
from conftest import ROOT
from host_process import MASTER_KEY, HostProcess, client_of_the_app, run_host, with_leases_of
from store_fixtures import AZURITE, table_transport

from contraforce_sentinel.domain.incidents import IncidentId, WorkspaceId
from contraforce_sentinel.domain.links import LEASE, Link
from contraforce_sentinel.stores.link_store import LinkStore
from contraforce_sentinel.stores.sqlite import SqliteLinkStore
from contraforce_sentinel.stores.tables import TableLinkStore
from sandbox import LoggedRequest, Sandbox, SandboxIncident, SandboxWorkspace

# the widest take 15 to 30 s; several times that on a machine that is busy
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

logger = logging.getLogger(__name__)

SQLITE = "sqlite:///"
MOST_DEATHS = 25
LONG_SECONDS = 40.0
"""What is waited for takes a few seconds; after this it is taken as never."""


@pytest.fixture
def moments() -> random.Random:
    """The random moments of a test; the seed is in the report of a failure."""
    seed = int(os.environ.get("DEATH_SEED") or random.randrange(2**32))  # noqa: S311 - not for secrets
    logger.warning("DEATH_SEED=%s repeats the moments of this test", seed)
    return random.Random(seed)  # noqa: S311 - not for secrets


@pytest.fixture(params=["sqlite", AZURITE])
def link_store(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """LINK_STORE, once per kind of store. All tests share one table, each has customers of its own."""
    if request.param == "sqlite":
        return f"{SQLITE}{tmp_path}/links.db"
    connection: str = request.getfixturevalue("azurite")
    return connection


@pytest_asyncio.fixture
async def store(link_store: str) -> AsyncIterator[LinkStore]:
    """The store beneath the processes, as the test looks into it."""
    opened: LinkStore
    if link_store.startswith(SQLITE):
        opened = SqliteLinkStore(Path(link_store.removeprefix(SQLITE)))
    else:
        opened = TableLinkStore.from_connection_string(link_store, transport=table_transport())
    yield opened
    await opened.close()


@dataclass(eq=False)
class Instance:
    """One instance of the app: a process at a time, each with credentials of its own."""

    process: HostProcess | None = None
    client_id: str = ""
    url: str | None = None


@dataclass
class Fleet:
    """Instances of the app over one store, and what was lost with those that were killed."""

    sandbox: Sandbox
    store: LinkStore
    settings: dict[str, str]
    directory: Path
    lease_seconds: float
    http: httpx.AsyncClient
    processes: ExitStack
    untold: dict[str, set[str]] = field(default_factory=dict)
    """By credentials of a killed process: the incidents that had no ticket in the store when it died."""

    @classmethod
    @asynccontextmanager
    async def over(
        cls,
        sandbox: Sandbox,
        store: LinkStore,
        link_store: str,
        directory: Path,
        *,
        lease_seconds: float = LEASE.total_seconds(),
    ) -> AsyncIterator["Fleet"]:
        """Have no instance yet; every process ends with the block."""
        settings = {
            **sandbox.environment(),
            "LINK_STORE": link_store,
            "RECONCILE_SCHEDULE": "0 0 0 1 1 *",
        }
        with ExitStack() as processes:
            async with client_of_the_app() as http:
                yield cls(sandbox, store, settings, directory, lease_seconds, http, processes)

    async def start(self, instance: Instance) -> Instance:
        """Start the process of an instance and wait until it listens."""
        instance.client_id = str(uuid4())
        secret = self.sandbox.contraforce.client_secret
        self.sandbox.contraforce.credentials.add((instance.client_id, secret))
        directory = self.directory / instance.client_id
        directory.mkdir()
        process = self.processes.enter_context(
            run_host(
                ROOT,
                directory,
                settings={**self.settings, "CONTRAFORCE_CLIENT_ID": instance.client_id},
                program=with_leases_of(self.lease_seconds),
            )
        )
        instance.process = process
        instance.url = await asyncio.to_thread(lambda: process.base_url)
        return instance

    async def end(self, instance: Instance, number: signal.Signals) -> tuple[int, list[Link]]:
        """Send the process a signal; return its exit code and the links that it leaves unfinished."""
        process, instance.url = instance.process, None  # nothing more is sent to it
        assert process is not None
        process.process.send_signal(number)
        code = await asyncio.to_thread(process.exit_code)
        commented = {request.key for request in self.sandbox.log.of("arm.comment.put")}
        unfinished = await self.unfinished()
        early = [link for link in unfinished if link.ticket is None and link.incident_id.name in commented]
        assert early == [], "commented before the ticket was in the store"
        return code, unfinished

    async def kill(self, instance: Instance) -> list[Link]:
        """SIGKILL; return the links that are unfinished then."""
        code, unfinished = await self.end(instance, signal.SIGKILL)
        assert code == -signal.SIGKILL
        self.untold[instance.client_id] = {
            link.incident_id.name.lower() for link in unfinished if link.ticket is None
        }
        return unfinished

    async def unfinished(self) -> list[Link]:
        """Return the links that a further try is owed to, at any time."""
        some_day = datetime.now(UTC) + timedelta(days=365)
        workspaces = [WorkspaceId.parse(one.arm_id) for one in self.sandbox.arm.workspaces.values()]
        found = [
            (await self.store.due(workspace, now=some_day, limit=1000)).links for workspace in workspaces
        ]
        return [link for links in found for link in links]

    async def deliver(self, instance: Instance, incident: SandboxIncident) -> httpx.Response:
        """POST an incident, again while there is no answer or a 5xx, as a playbook does."""
        async with asyncio.timeout(LONG_SECONDS):
            while True:
                answer = await self.post(instance, incident)
                if answer is not None and answer.status_code < 500:
                    return answer
                await asyncio.sleep(0.05)

    async def post(self, instance: Instance, incident: SandboxIncident) -> httpx.Response | None:
        """POST an incident once; None if there is no answer."""
        if instance.url is None:
            return None
        try:
            return await self.http.post(f"{instance.url}/api/incidents", json=incident.trigger_body())
        except httpx.TransportError:
            return None

    async def run_timer(self, instance: Instance) -> None:
        """Have the timer run once; the host answers before the run ends."""
        headers = {"x-functions-key": MASTER_KEY}
        url = f"{instance.url}/admin/functions/reconcile"
        assert (await self.http.post(url, json={}, headers=headers)).status_code == 202

    async def finish_by_timer(self, instance: Instance) -> dict[str, Any]:
        """Run the timer until nothing is owed any more; return the last answer of /api/status."""
        async with asyncio.timeout(LONG_SECONDS):
            while True:
                before = status = await self.status(instance)
                await self.run_timer(instance)
                while status["lastTimerRun"] == before["lastTimerRun"]:
                    await asyncio.sleep(0.05)
                    status = await self.status(instance)
                if status["oldestDueSeconds"] is None:
                    return status

    async def status(self, instance: Instance) -> dict[str, Any]:
        answer = await self.http.get(f"{instance.url}/api/status")
        assert answer.status_code == 200, answer.text
        content: dict[str, Any] = answer.json()
        return content

    async def states(self, instance: Instance, incidents: Sequence[SandboxIncident]) -> Counter[str]:
        """Count the records of incidents by state."""
        answers = [
            await self.http.get(
                f"{instance.url}/api/incidents/{incident.name}/link",
                params={"workspace": incident.workspace.name},
            )
            for incident in incidents
        ]
        return Counter(answer.json()["status"] for answer in answers)

    def calls(self) -> tuple[Counter[str], Counter[str]]:
        """Count the tickets/link calls by incident: all, and those whose answer was lost with a process."""
        calls = [(caller(call), call.key or "") for call in self.sandbox.log.of("contraforce.link")]
        lost = Counter(name for who, name in calls if name in self.untold.get(who, ()))
        return Counter(name for _, name in calls), lost


def caller(call: LoggedRequest) -> str:
    """Return the client id in a request's credentials."""
    return b64decode(call.headers["Authorization"].removeprefix("Basic ")).decode().partition(":")[0]


async def assert_all_is_well(fleet: Fleet, instance: Instance, incidents: Sequence[SandboxIncident]) -> None:
    """Every incident linked, with one comment, one ticket, and one tickets/link call beyond the lost ones."""
    assert await fleet.states(instance, incidents) == {"linked": len(incidents)}
    assert Counter(len(incident.comments) for incident in incidents) == {1: len(incidents)}
    assert len(fleet.sandbox.contraforce.created) == len(incidents)
    calls, lost = fleet.calls()
    assert calls == {incident.name: 1 + lost[incident.name] for incident in incidents}
    puts = fleet.sandbox.log.count("arm.comment.put")
    logger.info(
        "%d incidents, %d kills, %d tickets/link calls, %d lost (at most %d of one incident), %d PUTs",
        len(incidents),
        len(fleet.untold),
        calls.total(),
        lost.total(),
        max(lost.values(), default=0),
        puts,
    )


def customers_of(sandbox: Sandbox, count: int) -> list[SandboxWorkspace]:
    """Add customers, each with a subscription, and so with 75 comments in 5 minutes, of its own."""
    return [sandbox.add_workspace(name=f"law-{number}", subscription=str(uuid4())) for number in range(count)]


@pytest.mark.parametrize(
    ("count", "deaths_after"),
    [
        pytest.param(50, (10,), id="50 incidents, one death"),
        pytest.param(200, (10, 70, 130), marks=pytest.mark.deep, id="200 incidents, three deaths"),
    ],
)
async def test_many_incidents_on_two_instances_of_which_one_dies(
    sandbox: Sandbox,
    store: LinkStore,
    link_store: str,
    tmp_path: Path,
    moments: random.Random,
    *,
    count: int,
    deaths_after: Sequence[int],
) -> None:
    """Both get every incident at once; 20 incidents are under way at a time, and wait for the dead one."""
    customers = customers_of(sandbox, 8)
    incidents = [customers[number % 8].add_incident(number=number) for number in range(1, count + 1)]
    sandbox.contraforce.latency_seconds = sandbox.arm.latency_seconds = 0.02
    places = asyncio.Semaphore(20)
    async with Fleet.over(sandbox, store, link_store, tmp_path, lease_seconds=8) as fleet:
        steady, mortal = Instance(), Instance()
        await asyncio.gather(fleet.start(steady), fleet.start(mortal))

        async def deliver_to_both(incident: SandboxIncident) -> list[int]:
            async with places:
                both = (fleet.deliver(instance, incident) for instance in (steady, mortal))
                return [answer.status_code for answer in await asyncio.gather(*both)]

        async def die() -> list[int]:
            unfinished = []
            for earliest in deaths_after:
                calls = moments.randint(earliest, earliest + 40)
                while sandbox.log.count("contraforce.link") < calls:  # noqa: ASYNC110 - the log has no event
                    await asyncio.sleep(0.002)
                await asyncio.sleep(moments.uniform(0, 0.1))
                unfinished.append(len(await fleet.kill(mortal)))
                await fleet.start(mortal)
            return unfinished

        async with asyncio.TaskGroup() as tasks:
            deaths = tasks.create_task(die())
            answers = await asyncio.gather(*map(deliver_to_both, incidents))
        assert all(deaths.result()), "a kill found nothing under way"
        assert {status for both in answers for status in both} <= {200, 202}
        status = await fleet.finish_by_timer(moments.choice([steady, mortal]))
        assert (status["dead"], status["lastTimerRun"]["failedWorkspaces"]) == (0, 0)
        await assert_all_is_well(fleet, steady, incidents)


@pytest.mark.parametrize("deaths", [4, pytest.param(25, marks=pytest.mark.deep)])
async def test_promise_c_one_instance_that_dies_many_times_at_any_step(
    sandbox: Sandbox,
    store: LinkStore,
    link_store: str,
    tmp_path: Path,
    moments: random.Random,
    *,
    deaths: int,
) -> None:
    """Each process gets three new incidents and a timer run over what the dead left, then dies, too.

    A playbook whose delivery was not answered repeats it, or gives up: then discovery finds the incident.
    So many deaths or, where none of them found anything under way, some more.
    """
    customers = customers_of(sandbox, 2)
    sandbox.contraforce.latency_seconds = sandbox.arm.latency_seconds = 0.015
    incidents, repeated, left = [], list[SandboxIncident](), 0
    async with Fleet.over(sandbox, store, link_store, tmp_path, lease_seconds=3) as fleet:
        instance = await fleet.start(Instance())
        for number in range(MOST_DEATHS):
            if number >= deaths and left:
                break
            successor = asyncio.create_task(fleet.start(Instance()))  # takes its time
            first, *new = [moments.choice(customers).add_incident() for _ in range(4)]
            began = time.monotonic()
            await fleet.deliver(instance, first)  # opens connections and gets tokens
            longest = max(0.15, time.monotonic() - began)  # a busy machine takes longer for each step
            under_way = [*new, *repeated]
            deliveries = [asyncio.create_task(fleet.post(instance, incident)) for incident in under_way]
            await fleet.run_timer(instance)
            await asyncio.sleep(moments.uniform(0, longest * moments.random()))  # more often early
            left += len(await fleet.kill(instance))
            answers = await asyncio.gather(*deliveries)
            incidents += [first, *new]
            unanswered = [one for one, answer in zip(under_way, answers, strict=True) if answer is None]
            repeated = [one for one in unanswered if moments.random() < 0.7]
            instance = await successor
        assert left, "no kill found anything under way"
        assert (await fleet.finish_by_timer(instance))["dead"] == 0
        await assert_all_is_well(fleet, instance, incidents)


async def test_sigterm_during_deliveries_loses_nothing(
    sandbox: Sandbox, store: LinkStore, link_store: str, tmp_path: Path, moments: random.Random
) -> None:
    """A process finishes what it has begun: no link has to wait for its lease of 3 minutes to end."""
    customers = customers_of(sandbox, 2)
    incidents = [customers[number % 2].add_incident(number=number) for number in range(1, 51)]
    names = [IncidentId.parse(incident.arm_id) for incident in incidents]
    sandbox.contraforce.latency_seconds = sandbox.arm.latency_seconds = 0.2
    async with Fleet.over(sandbox, store, link_store, tmp_path) as fleet:
        instance = await fleet.start(Instance())
        deliveries = [asyncio.create_task(fleet.post(instance, incident)) for incident in incidents]
        async with asyncio.timeout(LONG_SECONDS):
            while len(await store.glimpse(names)) < len(names):  # noqa: ASYNC110 - a store has no event
                await asyncio.sleep(0.01)
        await asyncio.sleep(moments.uniform(0, 0.3))
        under_way = len(await fleet.unfinished())
        assert await fleet.end(instance, signal.SIGTERM) == (0, [])
        answers = [answer.json() for answer in await asyncio.gather(*deliveries) if answer is not None]
        assert Counter(answer["status"] for answer in answers) == {"linked": len(incidents)}
        assert under_way, "nothing was under way"
        await fleet.start(instance)
        again = [(await fleet.deliver(instance, incident)).json() for incident in incidents]
        assert all(answer["alreadyLinked"] for answer in again)
        await assert_all_is_well(fleet, instance, incidents)
