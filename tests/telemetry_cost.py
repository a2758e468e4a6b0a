"""What telemetry costs: `python tests/telemetry_cost.py` prints the figures of docs/operate.md.

Starts the local host as a process, with and without telemetry in turn, against the sandbox; medians of runs.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import httpx
from host_process import FUNCTION_KEY, MASTER_KEY, run_host

from sandbox import Sandbox, SandboxWorkspace

ROOT = Path(__file__).parent.parent
RUNS = 3
DELIVERIES = 200
PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Cost:
    """One process, from its start to its first answer, then per delivery; and what it exported."""

    first_answer_seconds: float
    first_answer_cpu_seconds: float
    delivery_ms: float
    delivery_cpu_ms: float
    memory_mb: float
    rows: float
    kilobytes: float
    timer_rows: int
    metric_rows_a_minute: float


async def measure(directory: Path, *, with_telemetry: bool) -> Cost:
    """Run one host, deliver incidents one after the other, and let the timer run once without work."""
    async with Sandbox.start() as sandbox:
        workspace = sandbox.add_workspace()
        settings = {
            **sandbox.environment(),
            **(sandbox.telemetry_environment() if with_telemetry else {}),
            "LINK_STORE": f"sqlite:///{directory}/links.db",
            "RECONCILE_SCHEDULE": "0 0 0 1 1 *",
            "TMPDIR": str(directory),
            "OTEL_METRIC_EXPORT_INTERVAL": "5000",  # as deployed: 60 s
        }
        started = time.perf_counter()
        with run_host(ROOT, directory, settings=settings) as host:
            url = await asyncio.to_thread(lambda: host.base_url)
            async with httpx.AsyncClient(base_url=url, timeout=60) as client:
                await deliver(client, workspace)
                first, first_cpu = time.perf_counter() - started, cpu_seconds(host.process.pid)
                took = [await deliver(client, workspace) for _ in range(DELIVERIES)]
                cpu = cpu_seconds(host.process.pid) - first_cpu
                memory = int(Path(f"/proc/{host.process.pid}/statm").read_text().split()[1]) * PAGE / 1e6
                await asyncio.sleep(7)  # the exporters send every 5 s
                sent = sandbox.ingestion.envelopes
                rows, size = sum(map(is_row, sent)), sum(len(json.dumps(one)) for one in sent if is_row(one))
                seen = len(sent)
                key = {"x-functions-key": MASTER_KEY}
                (await client.post("/admin/functions/reconcile", json={}, headers=key)).raise_for_status()
                await asyncio.sleep(7)
                timer, metrics = sum(map(is_row, sent[seen:])), rows_per_export(sent)
            await asyncio.to_thread(host.stop)
    return Cost(
        first_answer_seconds=first,
        first_answer_cpu_seconds=first_cpu,
        delivery_ms=median(took) * 1000,
        delivery_cpu_ms=cpu / DELIVERIES * 1000,
        memory_mb=memory,
        rows=rows / (DELIVERIES + 1),
        kilobytes=size / (DELIVERIES + 1) / 1024,
        timer_rows=timer,
        metric_rows_a_minute=metrics,
    )


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def is_row(envelope: dict[str, Any]) -> bool:
    """Whether it is an event or a request, not one of the metrics that come every minute."""
    return bool(envelope["data"]["baseType"] != "MetricData")


def rows_per_export(envelopes: Sequence[dict[str, Any]]) -> float:
    """Return how many rows of metrics one export brings."""
    exports = Counter(one["time"] for one in envelopes if not is_row(one))
    return median(exports.values()) if exports else 0


async def deliver(client: httpx.AsyncClient, workspace: SandboxWorkspace) -> float:
    """Deliver a new incident; return the seconds until it was linked."""
    body = workspace.add_incident().trigger_body()
    started = time.perf_counter()
    answer = await client.post("/api/incidents", json=body, headers={"x-functions-key": FUNCTION_KEY})
    answer.raise_for_status()
    if answer.json()["status"] != "linked":
        raise RuntimeError(answer.text)
    return time.perf_counter() - started


def main() -> None:
    """Measure in turn, so that a busy machine is busy for both."""
    found: dict[bool, list[Cost]] = {False: [], True: []}
    for _ in range(RUNS):
        for with_telemetry, costs in found.items():
            with TemporaryDirectory() as directory:
                costs.append(asyncio.run(measure(Path(directory), with_telemetry=with_telemetry)))
    for with_telemetry, costs in found.items():
        sys.stdout.write(f"telemetry {'on' if with_telemetry else 'off'}: {summary(costs)}\n")


def summary(costs: Sequence[Cost]) -> str:
    """Write the medians."""
    return ", ".join(
        f"{name} {median(getattr(cost, name) for cost in costs):.2f}" for name in Cost.__dataclass_fields__
    )


if __name__ == "__main__":
    main()
