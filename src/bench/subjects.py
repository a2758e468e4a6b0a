"""`python -m bench.subjects app | floor`: who delivers, each in a process of its own.

The app is the real function app in the real worker library. The floor is the barest client: httpx with
keep-alive, a token that it got once, two requests for each delivery, and a look at their status.
"""

import asyncio
import cProfile
import json
import os
import pstats
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

import httpx

from bench.children import answer_commands

ROOT: Final = Path(__file__).resolve().parents[2]
CONNECTIONS: Final = 100
COMMENT: Final = {"properties": {"message": "<p><strong>Autotask ticket T20261123.0042</strong></p>"}}

type Deliver = Callable[[Any], Awaitable[bool]]


class Wrong(Exception):
    """A delivery that did not end as it should."""


async def measured(deliver: Deliver, bodies: list[Any], *, at_once: bool) -> dict[str, object]:
    """Deliver every body, one after the other or all at once.

    Return the seconds of each, of all, of the CPU for each, and how many were left to the timer.
    """
    seconds: list[float] = []
    late = 0

    async def one(body: Any) -> None:
        nonlocal late
        began = time.perf_counter()
        is_linked = await deliver(body)
        late += not is_linked
        seconds.append(time.perf_counter() - began)

    cpu, wall = time.process_time(), time.perf_counter()
    if at_once:
        await asyncio.gather(*map(one, bodies))
    else:
        for body in bodies:
            await one(body)
    return {
        "seconds": seconds,
        "wall": time.perf_counter() - wall,
        "cpu": (time.process_time() - cpu) / len(bodies),
        "late": late,
    }


async def be_app() -> None:
    """Deliver through the worker library, as the host does."""
    from functions_host.worker import Worker  # noqa: PLC0415 - not the floor's

    async with await Worker.start(ROOT) as worker:

        async def deliver(body: Any) -> bool:
            answer = await worker.invoke_http(
                "link_incident",
                method="POST",
                url="http://localhost/api/incidents",
                headers={"Content-Type": "application/json"},
                body=json.dumps(body).encode(),
            )
            if answer.status not in {httpx.codes.OK, httpx.codes.ACCEPTED}:
                raise Wrong(answer.body)
            return answer.status == httpx.codes.OK

        async def run(bodies: list[Any], *, at_once: bool) -> object:
            return await measured(deliver, bodies, at_once=at_once)

        async def profile(bodies: list[Any]) -> dict[str, float]:
            profiler = cProfile.Profile()
            profiler.enable()
            await asyncio.gather(*map(deliver, bodies))
            profiler.disable()
            return shares(pstats.Stats(profiler))

        await answer_commands(deliver=run, profile=profile)


def shares(found: pstats.Stats) -> dict[str, float]:
    """Return which part of the time each package has, its built-in functions with their callers."""
    spent: Counter[str] = Counter()
    stats: dict[Any, Any] = vars(found)["stats"]
    for (file, _, name), (_, _, own, _, callers) in stats.items():
        if "poll" in name:  # the loop waits there
            continue
        if file == "~" and callers:
            for (caller, *_), (_, _, part, _) in callers.items():
                spent[_package(caller)] += part
        else:
            spent[_package(file)] += own
    total = spent.total()
    return {package: seconds / total for package, seconds in spent.most_common()}


def _package(file: str) -> str:
    _, _, inside = file.rpartition("site-packages/")
    if inside == file:
        parts = Path(file).parts
        inside = "/".join(parts[parts.index("src") + 1 :]) if "src" in parts else ""
    parts = Path(inside).parts
    if not parts:
        return "(Python itself)"
    return ".".join(parts[:2]) if parts[0] == "azure" else parts[0]


async def be_floor() -> None:
    """Deliver with nothing but httpx: a client for each connection, the one that was used last first."""
    workspace, headers = _workspace(), {"Authorization": f"Bearer {await _token()}"}
    link = f"{os.environ['CONTRAFORCE_API_URL']}/workspaces/{workspace}/tickets/link"
    auth = httpx.BasicAuth(os.environ["CONTRAFORCE_CLIENT_ID"], os.environ["CONTRAFORCE_CLIENT_SECRET"])
    tls, places, free = httpx.create_ssl_context(), asyncio.Semaphore(CONNECTIONS), list[httpx.AsyncClient]()

    async def deliver(body: Any) -> bool:
        found = body["object"]
        number = str(found["properties"]["incidentNumber"])
        incident = {"id": found["name"], "source": "Sentinel", "workspaceId": workspace, "number": number}
        put = f"{os.environ['ARM_ENDPOINT']}{found['id']}/comments/{found['name']}?api-version=2021-10-01"
        async with places:
            http = free.pop() if free else httpx.AsyncClient(verify=tls, timeout=60)
            linked = await http.post(link, auth=auth, json={"ticketId": None, "incident": incident})
            linked.raise_for_status()
            (await http.put(put, headers=headers, json=COMMENT)).raise_for_status()
            free.append(http)
        return True

    async def run(bodies: list[Any], *, at_once: bool) -> object:
        return await measured(deliver, bodies, at_once=at_once)

    await answer_commands(deliver=run)


def _workspace() -> str:
    return str(json.loads(os.environ["WORKSPACES"])[0]["contraforceWorkspaceId"])


async def _token() -> str:
    async with httpx.AsyncClient() as http:
        answer = await http.get(
            os.environ["IDENTITY_ENDPOINT"],
            headers={"X-IDENTITY-HEADER": os.environ["IDENTITY_HEADER"]},
            params={"api-version": "2019-08-01", "resource": os.environ["ARM_ENDPOINT"]},
        )
    return str(answer.json()["access_token"])


if __name__ == "__main__":
    asyncio.run({"app": be_app, "floor": be_floor}[sys.argv[1]]())
