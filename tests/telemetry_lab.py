"""A process of its own with telemetry on, because the worker and OpenTelemetry are set up once per process.

Runs the real function app in the real worker with the real exporters, against a sandbox in the same process.
`python tests/telemetry_lab.py SCENARIO SETTINGS_AS_JSON` prints one JSON document with what a test looks at.
"""

import asyncio
import json
import logging
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import stamina
from conftest import ROOT, App
from opentelemetry import _logs, metrics, trace

from contraforce_sentinel.azure.pacing import PUTS, WINDOW_SECONDS, Pace
from contraforce_sentinel.bootstrap import close_app
from functions_host.worker import Worker
from sandbox import Sandbox, faults
from sandbox.ingestion import AUDIENCE

PLAYBOOK_SPAN = "00f067aa0ba902b7"
RUN_ID = "08584000000000000000000000000CU00"
# Exporters that send at once: nothing here waits for a clock.
AT_ONCE = {"OTEL_BSP_SCHEDULE_DELAY": "20", "OTEL_BLRP_SCHEDULE_DELAY": "20"}


class Lab:
    """The app with telemetry on, and what was exported of it."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.sandbox = app.sandbox
        self._traces = 0

    async def deliver(self, body: Any, *, flags: str = "01", **headers: str) -> tuple[str, dict[str, Any]]:
        """Post a body as a playbook does; return the trace's id and the answer."""
        self._traces += 1
        trace_id = f"{self._traces:032x}"
        correlation = {
            "traceparent": f"00-{trace_id}-{PLAYBOOK_SPAN}-{flags}",
            "x-ms-workflow-run-id": RUN_ID,
            **headers,
        }
        answer = await self.app.post(body, headers=correlation)
        return trace_id, {"status": answer.status, **answer.json}

    async def exported(self) -> list[dict[str, Any]]:
        """Let every exporter send what it has; return all items received so far."""
        providers: list[Any] = [
            trace.get_tracer_provider(),
            _logs.get_logger_provider(),
            metrics.get_meter_provider(),
        ]
        for provider in providers:
            await asyncio.to_thread(provider.force_flush)
        return self.sandbox.ingestion.envelopes


async def traces(lab: Lab) -> dict[str, Any]:
    """One incident linked, one pending, one dead, one refused; then the timer without and with work."""
    app, sandbox = lab.app, lab.sandbox
    found: dict[str, Any] = {}
    incident = app.workspace.add_incident(number=1)
    found["linked"] = await lab.deliver(incident)
    found["linked again"] = await lab.deliver(incident)
    found["linked again, unsampled"] = await lab.deliver(incident, flags="00")
    sandbox.faults.plan("contraforce.link", faults.status(503), times=None)
    found["pending"] = await lab.deliver(app.workspace.add_incident(number=2))
    sandbox.faults.clear()
    sandbox.faults.plan("contraforce.link", faults.problem(400, problem_code="VALIDATION_ERROR"))
    found["dead"] = await lab.deliver(app.workspace.add_incident(number=3))
    sandbox.faults.plan("contraforce.link", faults.status(429, retry_after="0"))
    found["throttled"] = await lab.deliver(app.workspace.add_incident(number=4))
    sandbox.faults.plan("contraforce.link", faults.problem(403))
    found["unauthorized"] = await lab.deliver(app.workspace.add_incident(number=5))
    found["refused"] = await lab.deliver({"incidentArmId": _foreign(incident.arm_id)})
    before = len(await lab.exported())
    await app.reconcile()
    await app.health()
    await app.status()
    found["idle timer"] = (await lab.exported())[before:]
    before = len(sandbox.ingestion.envelopes)
    app.workspace.add_incident(number=6)
    app.workspace.add_incident(number=7, status="Closed")
    await app.reconcile()
    found["timer"] = (await lab.exported())[before:]
    await _held_back()
    await lab.exported()
    return found | {"contraforce": app.workspace.contraforce_id, "items": sandbox.ingestion.envelopes}


async def _held_back() -> None:
    """Ask for a turn that is five minutes away, and do not wait for it."""
    pace = Pace()
    for _ in range(PUTS):
        pace.note("subscription")

    async def wait() -> None:
        async with pace.turn("subscription", until=asyncio.get_running_loop().time() + 2 * WINDOW_SECONDS):
            raise AssertionError("nobody was held back")

    waiting = asyncio.create_task(wait())
    for _ in range(10):
        await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait([waiting])


def _foreign(arm_id: str) -> str:
    return arm_id.replace("law-sentinel-prod", "law-of-nobody")


async def linked(lab: Lab) -> dict[str, Any]:
    """Two incidents linked, in whichever store the environment names: the first finds nothing warm."""
    first, second = [await lab.deliver(lab.app.workspace.add_incident()) for _ in range(2)]
    return {"first": first, "second": second, "items": await lab.exported()}


async def leaks(lab: Lab, *, one_of: int = 1) -> dict[str, Any]:
    """Every leaky fault at every upstream, and secrets in every header that carries context.

    Or one of so many pairs: each fault is still there, and each upstream.
    """
    from test_promises import LEAKY_FAULTS, OPERATIONS, TITLE, planted_token  # noqa: PLC0415 - needs pytest

    # httpcore quotes the last one; at DEBUG, which nobody sets here, it logs every header anyway
    leaky = [*LEAKY_FAULTS, faults.Fault(status=200, headers={"no header": TITLE})]
    app, planted = lab.app, [*lab.sandbox.secrets(), "PLANTED", TITLE, "jane.doe"]
    await lab.deliver(app.workspace.add_incident(title=TITLE, ticket_title=TITLE))
    await lab.exported()  # from here on, the exporters have tokens, and the faults are the app's
    statuses = []
    for at, operation in enumerate(OPERATIONS):
        for fault in leaky[-at % one_of :: one_of]:
            incident = app.workspace.add_incident(title=TITLE, ticket_title=TITLE)
            lab.sandbox.faults.plan(operation, planted_token(fault, planted[0]), times=None)
            headers = {"baggage": f"secret={planted[0]}", "x-functions-key": planted[0]}
            _, answer = await lab.deliver({"incidentArmId": incident.arm_id}, **headers)
            statuses.append(answer["status"])
            await app.reconcile()
            lab.sandbox.faults.clear()
            revoke(lab.sandbox)
            await close_app()
    await lab.deliver(f'{{"object": "{TITLE}", "{TITLE}": 1}}'.encode())
    return {"planted": planted, "statuses": statuses, "items": await lab.exported()}


def revoke(sandbox: Sandbox) -> None:
    """Take back every token but the exporters'."""
    tokens = sandbox.identity.tokens
    for token, issued in list(tokens.items()):
        if not issued.resource.startswith(AUDIENCE):
            del tokens[token]


async def no_ingestion(lab: Lab) -> dict[str, Any]:
    """Links while the ingestion endpoint refuses, is down, resets, and at last hangs for good."""
    app, log = lab.app, lab.sandbox.log
    troubles = [faults.status(403), faults.status(503), faults.reset("before")]
    lab.sandbox.faults.plan("ingestion.track", *troubles)
    lab.sandbox.faults.plan("ingestion.track", faults.hang(), times=None)
    answers = []
    while (
        lab.sandbox.faults.left("ingestion.track")
        or log.of("ingestion.track")[-1].status is not None
        or not log.of("ingestion.live")
    ):
        answers.append((await lab.deliver(app.workspace.add_incident()))[1])
        await asyncio.sleep(0.05)
    answers += [(await lab.deliver(app.workspace.add_incident()))[1] for _ in range(5)]
    return {
        "answers": [answer["status"] for answer in answers],
        "exports": [call.status for call in log.of("ingestion.track")],
        "live": [call.status for call in log.of("ingestion.live")],
    }


SCENARIOS: dict[str, Callable[[Lab], Awaitable[dict[str, Any]]]] = {
    "traces": traces,
    "linked": linked,
    "leaks": leaks,
    "some leaks": partial(leaks, one_of=5),
    "no_ingestion": no_ingestion,
}


async def main(scenario: str, settings: dict[str, str]) -> None:
    """Run one scenario, print its findings, and end at once, however long an exporter would still wait."""
    logging.basicConfig(level=logging.WARNING)
    # an exporter may still write while it is removed
    with tempfile.TemporaryDirectory(prefix="telemetry-", ignore_cleanup_errors=True) as directory:
        tempfile.tempdir = directory  # the exporters keep there what they could not send
        async with Sandbox.start() as sandbox:
            workspace = sandbox.add_workspace()
            os.environ |= {"LINK_STORE": f"sqlite:///{directory}/links.db", **AT_ONCE}
            os.environ |= {**sandbox.environment(), **sandbox.telemetry_environment(), **settings}
            if settings.get("LINK_STORE") == "tables":
                os.environ["LINK_STORE"] = sandbox.tables.connection_string
            if scenario == "no_ingestion":
                sandbox.faults.plan("ingestion.live", faults.hang(), times=None)
            async with await Worker.start(ROOT) as worker:
                with stamina.set_testing(True, attempts=4):
                    found = await SCENARIOS[scenario](Lab(App(worker, sandbox, workspace)))
                await close_app()
    sys.stdout.write(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], json.loads(sys.argv[2])))
