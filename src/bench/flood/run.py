"""The flood itself: ordinary deliveries, the hostile minute, and ordinary ones again."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, Self

import httpx

from bench.children import Child
from bench.flood.app import FUNCTION_KEY, MASTER_KEY, AppProcess, serve_app
from bench.flood.deliveries import ACCEPTED, LINKED, SERVED, Delivery, Mix
from bench.flood.verdict import DELIVERIES, MOST_SECONDS, SETTLED, Answers, Measured, Sample
from bench.lab import Say
from contraforce_sentinel.domain.reasons import Reason

CLIENTS: Final = 16
MOST_CLIENTS: Final = 100
"""As many as the host lets one instance have: in a burst at the beginning, and in the hostile minute."""

SLOW_CLIENTS: Final = 8
SAMPLES: Final = 20
TIMER_RUNS: Final = 8
TIMER_SECONDS: Final = 60.0
"""Of quiet, for a run of the timer to end."""

QUIET_SECONDS: Final = 3.0
AFTER_A_BURST_SECONDS: Final = 13.0
"""By then the connections of a burst are let go."""
"""Before memory is looked at: the app gives back what is free a second after an answer."""

SCHEDULE: Final = "0 0 0 1 1 *"
"""The timer's own: it is told when to run, so that every run of the flood is the same."""

CALM_PART: Final = 40
PHASES: Final[list[tuple[str, list[str], float]]] = [
    ("ContraForce", ["contraforce.link"], 0.9),
    ("Resource Manager", ["arm.workspace", "arm.incident", "arm.incidents", "arm.comment.put"], 0.7),
    ("identity", ["identity.token"], 0.7),
    (
        "all at once",
        [
            *("contraforce.link", "identity.token"),
            *("arm.workspace", "arm.incident", "arm.incidents", "arm.comment.put"),
        ],
        0.3,
    ),
]
"""Who is hostile, and which part of his answers; each has a quarter of the minute."""

type Check = Callable[[httpx.Response], Awaitable[None]]


class Flood:
    """A client of the app; `check` looks at each answer, and raises what is wrong with it."""

    def __init__(
        self, app: AppProcess, upstream: Child, http: httpx.AsyncClient, *, say: Say, check: Check | None
    ) -> None:
        self._app, self._upstream, self._http, self._say, self._check = app, upstream, http, say, check
        self._samples: list[Sample] = []
        self._answered, self._timer_runs = 0, False
        self._last_run: str | None = None
        self._mix = Mix(accepted=LINKED)

    @classmethod
    @asynccontextmanager
    async def open(cls, *, say: Say, check: Check | None = None) -> AsyncIterator[Self]:
        """Start the app and its upstreams, each in a process of its own."""
        async with AsyncExitStack() as stack:
            folder = Path(stack.enter_context(TemporaryDirectory(prefix="flood-")))
            upstream = await stack.enter_async_context(Child.start("bench.flood.upstream"))
            settings = await upstream.ask("environment")
            settings |= {"LINK_STORE": f"sqlite:///{folder}/links.db", "RECONCILE_SCHEDULE": SCHEDULE}
            app = await stack.enter_async_context(serve_app(folder, settings))
            http = httpx.AsyncClient(
                base_url=app.base_url,
                timeout=MOST_SECONDS + 30,
                trust_env=False,
                limits=httpx.Limits(max_connections=None),
            )
            await stack.enter_async_context(http)
            yield cls(app, upstream, http, say=say, check=check)

    async def measure(self, *, deliveries: int, seconds: float) -> Measured:
        """Run the whole. Raises `ChildFailed` if the app's process ends."""
        phases = {"flood": await self._flood(deliveries)}
        phases["hostile minute"] = await self._hostile(seconds)
        await asyncio.sleep(AFTER_A_BURST_SECONDS)
        self._sample("hostile minute")
        self._mix.accepted = LINKED
        phases["afterwards"] = await self._deliver(Mix(accepted=SERVED), max(50, deliveries // CALM_PART))
        await self._until_the_timer_ended()
        await asyncio.sleep(QUIET_SECONDS)
        self._sample("calm afterwards")
        return Measured(self._samples, phases)

    async def _flood(self, deliveries: int) -> Answers:
        """Deliver in parts: between them nothing is under way, and memory is looked at."""
        found, settled = Answers(), deliveries * SETTLED // DELIVERIES
        step = max(1, deliveries // SAMPLES)
        for done in range(step, deliveries + 1, step):
            await self._deliver(self._mix, step, found, clients=MOST_CLIENTS if done == step else CLIENTS)
            await asyncio.sleep(QUIET_SECONDS)
            now, _ = self._app.memory()
            self._say(f"{done:,} of {deliveries:,} deliveries, {now:.0f} MB")
            if done >= settled:
                self._sample("flood")
            if done * TIMER_RUNS // deliveries > (done - step) * TIMER_RUNS // deliveries:
                await self._run_timer()
                await self._until_the_timer_ended()
        return found

    async def _deliver(
        self, mix: Mix, count: int, found: Answers | None = None, *, clients: int = CLIENTS
    ) -> Answers:
        found = Answers() if found is None else found
        waiting = iter(await self._made(mix, count, everywhere=False))
        await asyncio.gather(*(self._client(waiting, found) for _ in range(clients)))
        return found

    async def _hostile(self, seconds: float) -> Answers:
        """Deliver as much at once as an instance takes, while upstreams and some clients are hostile."""
        found = Answers()
        self._mix.accepted = ACCEPTED
        ends = [time.monotonic() + seconds * (number + 1) / len(PHASES) for number in range(len(PHASES))]
        slow = [asyncio.create_task(self._send_slowly()) for _ in range(SLOW_CLIENTS)]
        clients: list[asyncio.Task[None]] = []
        for (name, operations, part), end in zip(PHASES, ends, strict=True):
            await self._upstream.ask("hostile", operations=operations, part=part)
            if "arm.incidents" in operations and not self._timer_runs:
                await self._run_timer()
            is_first = True
            while is_first or time.monotonic() < end:  # at least once, on a busy machine, too
                is_first = False
                clients = [client for client in clients if not client.done() or client.result()]
                now, _ = self._app.memory()
                self._say(f"hostile: {name}, {found.count:,} answers, {now:.0f} MB")
                if len(clients) < MOST_CLIENTS:
                    count = MOST_CLIENTS - len(clients)
                    waiting = iter(await self._made(self._mix, count, everywhere=True))
                    clients += [asyncio.create_task(self._client(waiting, found)) for _ in range(count)]
                await asyncio.sleep(0.2)
        self._say(f"hostile: waiting for {sum(not client.done() for client in clients)} answers")
        await asyncio.gather(*clients)
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        await self._upstream.ask("calm")
        return found

    async def _made(self, mix: Mix, count: int, *, everywhere: bool) -> list[Delivery]:
        """Return deliveries of which each new one is of an incident that Sentinel has."""
        kinds = mix.kinds(count)
        new = await self._upstream.ask("incidents", count=mix.new_ones(kinds), everywhere=everywhere)
        return mix.deliver(kinds, new)

    async def _client(self, waiting: Iterator[Delivery], found: Answers) -> None:
        for delivery in waiting:
            began = time.perf_counter()
            wrong = await self._wrong(delivery)
            found.slowest = max(found.slowest, time.perf_counter() - began)
            found.count += 1
            self._answered += 1
            if wrong:
                found.wrong.append(wrong)

    async def _wrong(self, delivery: Delivery) -> str | None:
        """Deliver; return what is wrong with the answer, if anything is."""
        try:
            answer = await self._http.post(
                "/api/incidents",
                content=delivery.content,
                headers={**delivery.headers, "x-functions-key": FUNCTION_KEY},
            )
        except httpx.TransportError as error:
            return f"{delivery.kind}: {type(error).__name__}"
        if self._check is not None:
            await self._check(answer)
        if answer.status_code in delivery.statuses or _is_under_way(answer):
            return None
        return f"{delivery.kind}, {delivery.content[:60]!r}…: {answer.status_code} {_reason(answer)}"

    async def _send_slowly(self) -> None:
        """Be a client whose body comes a byte at a time."""
        url = httpx.URL(self._app.base_url)
        head = (
            f"POST /api/incidents HTTP/1.1\r\nHost: {url.host}\r\nx-functions-key: {FUNCTION_KEY}\r\n"
            "Content-Type: application/json\r\nContent-Length: 4000000\r\n\r\n"
        )
        _, writer = await asyncio.open_connection(url.host, url.port)
        try:
            writer.write(head.encode())
            while True:
                writer.write(b" ")
                await writer.drain()
                await asyncio.sleep(0.02)
        finally:
            writer.close()

    async def _run_timer(self) -> None:
        """Have the timer run, as it does every five minutes."""
        self._timer_runs, self._last_run = True, await self._finished_at()
        await self._http.post("/admin/functions/reconcile", json={}, headers={"x-functions-key": MASTER_KEY})

    async def _finished_at(self) -> str | None:
        status = await self._http.get("/api/status", headers={"x-functions-key": FUNCTION_KEY})
        run = status.json()["lastTimerRun"]
        return None if run is None else run["finishedAt"]

    async def _until_the_timer_ended(self) -> None:
        """Wait, so that nothing is under way when memory is looked at."""
        with suppress(TimeoutError):
            async with asyncio.timeout(TIMER_SECONDS):
                while self._timer_runs:
                    self._timer_runs = await self._finished_at() == self._last_run
                    await asyncio.sleep(0.1)

    def _sample(self, after: str) -> None:
        now, peak = self._app.memory()
        self._samples.append(Sample(after, self._answered, now, peak))


def _is_under_way(answer: httpx.Response) -> bool:
    """Whether another delivery, or the timer, is at work on the same incident."""
    return answer.status_code == httpx.codes.ACCEPTED and answer.json()["reason"] == Reason.IN_PROGRESS


def _reason(answer: httpx.Response) -> str:
    content = answer.json() if "json" in answer.headers.get("Content-Type", "") else {}
    return str(content.get("reason") or content.get("code") or answer.text[:100])
