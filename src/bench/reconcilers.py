"""`python -m bench.reconcilers app | floor`: who lists incidents, each in a process of its own.

The app runs its timer's work over a store in which every listed incident is linked. The floor asks for the
same pages with httpx alone, reads their JSON, and does nothing with it.
"""

import asyncio
import os
import resource
import sys
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

import httpx

from bench.children import answer_commands
from contraforce_sentinel.azure.incidents import API_VERSION
from contraforce_sentinel.azure.resource_manager import READ_SECONDS
from contraforce_sentinel.azure.sentinel import CHANGED, PAGE_SIZE
from contraforce_sentinel.bootstrap import App, build
from contraforce_sentinel.domain.customers import Customer
from contraforce_sentinel.domain.incidents import IncidentId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.tickets import Ticket
from contraforce_sentinel.settings import Settings

KILOBYTES_IN_MEGABYTE: Final = 1024


class Wrong(Exception):
    """A run that did not do what it should."""


async def measured(work: Callable[[], Awaitable[object]]) -> dict[str, float]:
    """Return the seconds of a piece of work and of its CPU, and the process's peak memory in MB."""
    cpu, wall = time.process_time(), time.perf_counter()
    await work()
    return {
        "wall": time.perf_counter() - wall,
        "cpu": time.process_time() - cpu,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / KILOBYTES_IN_MEGABYTE,
    }


async def fill(app: App, incidents: list[str]) -> None:
    """Put a linked record for each incident into the store."""
    now = datetime.now(UTC)
    ticket = Ticket(system="Autotask", number="T20261123.0042", id="42")
    links = [
        Link(
            incident_id=IncidentId.parse(arm_id),
            incident_number="1",
            created_at=now,
            updated_at=now,
        )
        .ticketed(ticket, of=UUID(int=1), request_id=None, now=now)
        .linked(now=now)
        for arm_id in incidents
    ]
    for start in range(0, len(links), PAGE_SIZE):
        await asyncio.gather(*map(app.store.insert, links[start : start + PAGE_SIZE]))


async def run_timer(app: App) -> None:
    """Let the timer's work run once; nothing is due, and every incident is known."""
    report = await app.reconciler.run()
    if report.tried or report.discovered or report.failed_workspaces:
        raise Wrong(report.model_dump_json())


async def list_pages(app: App, http: httpx.AsyncClient) -> None:
    """Ask for every workspace's incidents with httpx alone, as many workspaces at once as the app."""
    start = f"{datetime.now(UTC) - timedelta(hours=24):%Y-%m-%dT%H:%M:%S.%fZ}"
    token = await app.resource_manager.token()
    query = {"api-version": API_VERSION, "$orderby": f"properties/{CHANGED} asc", "$top": str(PAGE_SIZE)}

    async def one(mapping: Customer) -> None:
        collection = f"{mapping.workspace.arm_id}/providers/Microsoft.SecurityInsights/incidents"
        since: str | None = start
        while since:
            condition = {"$filter": f"properties/{CHANGED} ge {since}"}
            address = app.resource_manager.address(collection, query | condition)
            answer = await http.get(address, headers={"Authorization": f"Bearer {token.token}"})
            found = answer.raise_for_status().json()
            since = found["value"][-1]["properties"][CHANGED] if found.get("nextLink") else None

    await asyncio.gather(*map(one, app.settings.workspaces))


async def main(kind: str) -> None:
    """Answer commands until stdin ends."""
    app = build(Settings.from_environment(os.environ))
    async with httpx.AsyncClient(verify=httpx.create_ssl_context(), timeout=READ_SECONDS) as http:
        work = partial(run_timer, app) if kind == "app" else partial(list_pages, app, http)
        await answer_commands(fill=partial(fill, app), run=partial(measured, work))
    await app.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
