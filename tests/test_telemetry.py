"""What is exported with telemetry on, as Application Insights receives it: real worker, SDK and exporters."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from store_fixtures import ACCOUNT, AZURITE

from contraforce_sentinel.telemetry.vocabulary import CORRELATION, EVENTS, METRICS

type Item = dict[str, Any]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(700)]
SECONDS = 600  # only ends what would never end

UNSAID = {"logger_name", "_MS.ProcessedByMetricExtractors"}
PLAYBOOK_SPAN = "00f067aa0ba902b7"
GUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
WORKSPACE = rf"/subscriptions/{GUID}/resource[Gg]roups/[\w-]+/providers/[\w./]+/workspaces/[\w-]+"
PLACES = {
    rf"{WORKSPACE}/providers/[\w.]+/incidents/{GUID}": "<incident>",
    WORKSPACE: "<workspace>",
    GUID: "<guid>",
    r"duration_ms=[\d.]+": "duration_ms=<n>",
    r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00": "<time>",
    r"traceparent=[\w-]+": "traceparent=<traceparent>",
    r"workflow_run_id=\w+": "workflow_run_id=<run>",
}


def environment() -> dict[str, str]:
    """Return this process's environment, with its modules and without settings of telemetry."""
    telemetry = ("OTEL_", "APPLICATIONINSIGHTS_", "PYTHON_APPLICATIONINSIGHTS_", "REQUESTS_CA_BUNDLE")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(telemetry)}
    return {**inherited, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


def lab(scenario: str, **settings: str) -> dict[str, Any]:
    """Run a scenario in a process with telemetry on, every warning an error."""
    done = subprocess.run(
        [sys.executable, "-W", "error", ROOT / "tests" / "telemetry_lab.py", scenario, json.dumps(settings)],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def traces() -> dict[str, Any]:
    return lab("traces")


def data(items: Iterable[Item], kind: str) -> list[Item]:
    return [item["data"]["baseData"] for item in items if item["data"]["baseType"] == kind]


def tree(found: dict[str, Any], delivery: str) -> list[str]:
    """Return a delivery's trace as lines: children below parents, requests by name, then events in time.

    Fails where a part of the trace has no parent in it.
    """
    trace_id = found[delivery][0]
    items = [item for item in found["items"] if item["tags"].get("ai.operation.id") == trace_id]
    children: dict[str, list[Item]] = {}
    for item in sorted(items, key=_place):
        children.setdefault(item["tags"]["ai.operation.parentId"], []).append(item)

    def lines(parent: str, indent: str) -> list[str]:
        below: list[str] = []
        for item in children.pop(parent, []):
            below.append(indent + _line(item))
            below += lines(item["data"]["baseData"].get("id", ""), indent + "  ")
        return below

    drawn = lines(PLAYBOOK_SPAN, "")
    assert children == {}, "parts of the trace hang nowhere"
    return drawn


def _place(item: Item) -> tuple[bool, str]:
    is_event = item["data"]["baseType"] == "EventData"
    return is_event, str(item["time"]) if is_event else _line(item)


def _line(item: Item) -> str:
    kind, base = item["data"]["baseType"], item["data"]["baseData"]
    said = [f"{name}={value}" for name, value in sorted(base["properties"].items()) if name not in UNSAID]
    if kind == "EventData":
        text = " ".join(["*", base["name"], *said])
    elif kind == "RemoteDependencyData":
        request = [base["resultCode"]] if base["type"] == "HTTP" else [] if base["success"] else ["failed"]
        text = " ".join([base["type"], base["name"], *said, *request])
    else:
        text = f"{kind} {base['exceptions'][0]['typeName']}"
    for pattern, place in PLACES.items():
        text = re.sub(pattern, place, text)
    return text


SPAN = "InProc link incident incident=<incident> outcome={} trigger=http workspace=<workspace>"
TOKEN = "  HTTP GET /msi/token 200"
RESOLVE = "  HTTP GET <workspace> 200"
LINK = "  HTTP POST /api/v2/workspaces/<guid>/tickets/link"
COMMENT = "  HTTP PUT <incident>/comments/<guid> 201"
EVENT = "  * {} attempt=1 claimed=yes {}incident=<incident> incident_number={} {}{} workspace=<workspace>"
RUN = "traceparent=<traceparent> {}workflow_run_id=<run>"
OF_HTTP = RUN.format("trigger=http ")
FAILED = "  * {} {}incident=<incident> incident_number={} {}" + RUN + " workspace=<workspace>"
ASKED = "contraforce_request_id=<guid> "


def test_the_trace_of_a_linked_incident_is_whole(traces: dict[str, Any]) -> None:
    """From the playbook's span on: identity, Resource Manager, ContraForce, comment, event."""
    assert tree(traces, "linked") == [
        SPAN.format("linked"),
        TOKEN,
        RESOLVE,
        f"{LINK} 200",
        COMMENT,
        EVENT.format(
            "link.linked",
            f"{ASKED}duration_ms=<n> ",
            1,
            "outcome=linked ticket_number=T20261123.0042 ticket_system=Autotask ",
            OF_HTTP,
        ),
    ]


def test_the_trace_of_an_incident_that_is_linked_already_holds_no_request(traces: dict[str, Any]) -> None:
    first, event = tree(traces, "linked again")
    assert first == SPAN.format("linked")
    assert "link.linked" in event
    assert "claimed=no" in event


def test_a_caller_that_samples_its_trace_away_does_not_sample_ours_away(traces: dict[str, Any]) -> None:
    assert tree(traces, "linked again, unsampled")[0] == SPAN.format("linked")


def test_the_trace_of_a_pending_incident_is_whole(traces: dict[str, Any]) -> None:
    """Each try of the request is there, and why it was given up, and when the timer goes on."""
    assert tree(traces, "pending") == [
        SPAN.format("pending"),
        *[f"{LINK} 503"] * 4,
        FAILED.format(
            "upstream.unavailable",
            "error=contraforce: status 503 ",
            2,
            "status=503 ",
            "upstream=contraforce ",
        ),
        EVENT.format(
            "link.pending",
            "duration_ms=<n> ",
            2,
            "next_try_at=<time> outcome=pending reason=contraforce-unavailable ",
            OF_HTTP,
        ),
    ]


def test_the_trace_of_a_dead_incident_is_whole(traces: dict[str, Any]) -> None:
    assert tree(traces, "dead") == [
        SPAN.format("dead"),
        f"{LINK} 400",
        FAILED.format(
            "upstream.failed",
            f"code=VALIDATION_ERROR {ASKED}error=contraforce: status 400 VALIDATION_ERROR ",
            3,
            "status=400 ",
            "upstream=contraforce ",
        ),
        EVENT.format(
            "link.dead",
            f"code=VALIDATION_ERROR {ASKED}duration_ms=<n> ",
            3,
            "outcome=dead reason=contraforce-rejected ",
            OF_HTTP,
        ),
    ]


def test_a_throttled_request_is_told_even_if_its_repetition_went_well(traces: dict[str, Any]) -> None:
    drawn = tree(traces, "throttled")
    assert [line for line in drawn if line.startswith(LINK)] == [f"{LINK} 200", f"{LINK} 429"]
    (told,) = [line for line in drawn if "upstream.throttled" in line]
    assert "retry_after_seconds=0.0" in told


def test_a_missing_grant_is_told_with_what_to_grant(traces: dict[str, Any]) -> None:
    (told,) = [line for line in tree(traces, "unauthorized") if "upstream.unauthorized" in line]
    assert "advice=give the service account's credential the ticket scope" in told


def test_a_refused_delivery_is_told_with_its_incident_and_its_playbook_run(traces: dict[str, Any]) -> None:
    span, told = tree(traces, "refused")
    assert span.endswith("workspace=<workspace> failed")
    assert told.startswith("* request.refused code=workspace-not-configured")
    assert "incident=<incident>" in told
    assert "workflow_run_id=<run>" in told


def test_a_run_of_the_timer_without_work_and_a_look_at_health_make_no_row_but_the_runs_event(
    traces: dict[str, Any],
) -> None:
    idle = traces["idle timer"]
    assert data(idle, "RemoteDependencyData") == []
    assert [event["name"] for event in data(idle, "EventData")] == ["reconcile.run"]


def test_each_link_of_the_timer_has_a_span_of_its_own_with_its_requests(traces: dict[str, Any]) -> None:
    rows = data(traces["timer"], "RemoteDependencyData")
    (span,) = [row for row in rows if row["name"] == "link incident"]
    assert (span["properties"]["trigger"], span["properties"]["outcome"]) == ("timer", "linked")
    items = [item for item in traces["timer"] if item["data"]["baseType"] == "RemoteDependencyData"]
    parents = {item["tags"]["ai.operation.parentId"] for item in items if item["data"]["baseData"] != span}
    assert parents == {span["id"]}


def test_an_incident_that_discovery_skips_is_told(traces: dict[str, Any]) -> None:
    (skipped,) = [event for event in data(traces["timer"], "EventData") if event["name"] == "link.skipped"]
    told = skipped["properties"]
    assert (told["trigger"], told["reason"], told["incident_number"]) == ("discovery", "closed", "7")


def test_what_is_exported_is_in_the_vocabulary(traces: dict[str, Any]) -> None:
    """Events with their dimensions, and every metric of it with exactly its own."""
    events = data(traces["items"], "EventData")
    assert {event["name"] for event in events} > {"link.linked", "reconcile.run", "request.refused"}
    for event in events:
        dimensions = set(event["properties"]) - {"logger_name"}
        assert dimensions <= EVENTS[event["name"]] | CORRELATION, event["name"]
    measured = {
        metric["name"]: set(row["properties"])
        for row in data(traces["items"], "MetricData")
        for metric in row["metrics"]
    }
    of_others = {name for name in measured if name.startswith(("\\", "_", "http.", "Item_"))}
    assert {name: measured[name] for name in measured.keys() - of_others} == {
        name: metric.dimensions for name, metric in METRICS.items()
    }


def test_only_our_own_log_records_are_exported(traces: dict[str, Any]) -> None:
    assert data(traces["items"], "MessageData") == []


def test_sampling_never_drops_an_event() -> None:
    """With every trace sampled away, each event is there."""
    found = lab("linked", OTEL_TRACES_SAMPLER="always_off")
    assert data(found["items"], "RemoteDependencyData") == []
    assert [event["name"] for event in data(found["items"], "EventData")] == ["link.linked"] * 2


@pytest.mark.parametrize("kind", ["tables", AZURITE])
def test_the_trace_over_azure_tables_holds_every_call_of_the_link_store(
    kind: str, request: pytest.FixtureRequest
) -> None:
    """The store that is deployed: the claim, the ticket, the end."""
    link_store = "tables" if kind == "tables" else request.getfixturevalue("azurite")
    account = "stsandboxlinks" if kind == "tables" else ACCOUNT
    assert tree(lab("linked", LINK_STORE=link_store), "second")[:-1] == [
        SPAN.format("linked"),
        f"{LINK} 200",
        *[f"  HTTP POST /{account}/$batch 202"] * 3,
        COMMENT,
    ]


@pytest.mark.parametrize(
    ("scenario", "count"), [("some leaks", 21), pytest.param("leaks", 105, marks=pytest.mark.deep)]
)
def test_promise_e_holds_for_everything_that_is_exported(scenario: str, count: int) -> None:
    """Every leaky fault, in the end at every upstream; baggage, exception records, what failed to be read."""
    found = lab(scenario)
    items = found["items"]
    assert len(found["statuses"]) == count
    assert len(data(items, "RemoteDependencyData")) > count
    assert len(data(items, "EventData")) > 2 * count
    assert data(items, "ExceptionData") != []
    exported = [json.dumps(item) for item in items]
    for word in found["planted"]:
        assert [text[:2000] for text in exported if word.lower() in text.lower()] == [], word


def test_an_ingestion_endpoint_that_refuses_fails_resets_or_hangs_delays_and_fails_no_link() -> None:
    """Links were answered while an export, and live metrics since the start, waited for an answer."""
    found = lab("no_ingestion")
    assert set(found["answers"]) == {"linked"}
    assert {403, 503, None} <= set(found["exports"])
    assert found["exports"][-1] is None
    assert set(found["live"]) == {None}


WITHOUT_TELEMETRY = """
import asyncio, os, sys
from pathlib import Path
from conftest import App
from contraforce_sentinel.bootstrap import close_app
from functions_host.worker import Worker
from sandbox import Sandbox
async def main():
    async with Sandbox.start() as sandbox:
        workspace = sandbox.add_workspace()
        os.environ |= {**sandbox.environment(), "LINK_STORE": "sqlite:///" + sys.argv[1]}
        async with await Worker.start(Path(".")) as worker:
            app = App(worker, sandbox, workspace)
            answer = await app.post(workspace.add_incident())
            await app.reconcile()
            await close_app()
    print(answer.json["status"])
    print([name for name in sys.modules if name.startswith(("opentelemetry", "azure.monitor"))])
asyncio.run(main())
"""


def test_telemetry_that_is_off_is_not_even_imported_and_warns_nobody(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", WITHOUT_TELEMETRY, str(tmp_path / "links.db")],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "linked\n[]\n", "")
