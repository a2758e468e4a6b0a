"""Promise (e) beyond log lines: what the host writes of a failure, its stack traces included, is ours."""

import asyncio
import gc
import logging
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from conftest import ROOT, App
from host_process import MASTER_KEY, HostProcess, client_of_the_app, run_host, wait_until
from test_promises import LEAKY_FAULTS, OPERATIONS, TITLE, planted_token, text_of

from contraforce_sentinel.bootstrap import close_app, current_app
from contraforce_sentinel.domain.errors import StoreUnavailable, TicketLinkError, Unforeseen
from contraforce_sentinel.edge import handlers
from contraforce_sentinel.telemetry.events import quieten_libraries
from functions_host.errors import InvocationFailed
from sandbox import PLANTED_SECRET, Sandbox, faults

SHARED_KEY = f"SharedKey account:{PLANTED_SECRET}"
TOLD = f"The MAC signature found in the HTTP request '{SHARED_KEY}' is not the same. {TITLE}"


def answers_of_the_table_service() -> Iterator[faults.Fault]:
    """Yield answers that quote the request, as the service's do."""
    for status, code in (
        (403, "AuthenticationFailed"),
        (403, "AuthorizationFailure"),
        (400, "InvalidInput"),
        (404, "TableNotFound"),
        (409, "TableBeingDeleted"),
    ):
        body = {"odata.error": {"code": code, "message": {"lang": "en-US", "value": TOLD}}}
        yield faults.json(status, body, headers={"x-ms-error-code": code})
    yield faults.json(200, {"odata.metadata": TOLD, "value": TOLD})
    yield faults.Fault(status=200, body=TOLD.encode(), content_type="application/json")
    yield faults.Fault(status=403, body=f"<error>{TOLD}</error>".encode(), content_type="application/xml")


def assert_nothing_planted(host: HostProcess, sandbox: Sandbox) -> None:
    seen = host.stdout + host.stderr
    for word in (*sandbox.secrets(), TITLE, "SharedKey"):
        at = seen.find(word)
        assert at < 0, seen[max(0, at - 1500) : at + 300]


@pytest.mark.slow
async def test_no_answer_of_the_table_service_reaches_the_hosts_log_from_a_run_of_the_timer_or_a_delivery(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    """The stack trace of a failed run once showed the answer, `SharedKey` header included."""
    workspace = sandbox.add_workspace()
    settings = {
        **sandbox.environment(),
        "LINK_STORE": sandbox.tables.connection_string,
        "RECONCILE_SCHEDULE": "0 0 0 1 1 *",
    }
    with run_host(ROOT, tmp_path, settings=settings) as host:
        url = await asyncio.to_thread(lambda: host.base_url)
        async with client_of_the_app(url) as client:
            for number, fault in enumerate(answers_of_the_table_service(), start=1):
                for operation in (
                    "tables.create",
                    "tables.get",
                    "tables.query",
                    "tables.insert",
                    "tables.batch",
                ):
                    sandbox.faults.plan(operation, fault, times=None)
                await run_timer(client)
                await asyncio.to_thread(
                    wait_until,
                    lambda ended=number: host.stderr.count("executed reconcile (") >= ended,
                    what="the end of the run",
                )
                answer = await client.post(
                    "/api/incidents", json=workspace.add_incident(title=TITLE).trigger_body()
                )
                assert answer.status_code in {500, 503}  # 500: XML makes the library warn
                sandbox.faults.clear()
        assert "executed reconcile (failed): StoreUnavailable" in host.stderr
        assert_nothing_planted(host, sandbox)


async def run_timer(client: httpx.AsyncClient) -> None:
    headers = {"x-functions-key": MASTER_KEY}
    assert (await client.post("/admin/functions/reconcile", json={}, headers=headers)).status_code == 202


def causes(error: BaseException) -> list[BaseException]:
    """Return all that a log could show below an error, suppressed or not."""
    found = [below for below in (error.__cause__, error.__context__) if below is not None]
    return [*found, *(deeper for below in found for deeper in causes(below))]


def chained(outermost: type[Exception]) -> Exception:
    """Return an error at the end of a chain of others, each of which quotes an answer."""
    middle, above = KeyError(TOLD), outermost("ours" if issubclass(outermost, TicketLinkError) else TOLD)
    middle.__cause__ = middle.__context__ = ValueError(TOLD)
    above.__cause__ = above.__context__ = middle
    return above


@pytest.mark.parametrize("outermost", [StoreUnavailable, RuntimeError, ExceptionGroup, TimeoutError])
async def test_what_the_timer_raises_to_the_host_has_no_exception_of_a_library_below_it(
    app: App, monkeypatch: pytest.MonkeyPatch, outermost: type[Exception]
) -> None:
    def make() -> Exception:
        return (
            ExceptionGroup(TOLD, [chained(KeyError)]) if outermost is ExceptionGroup else chained(outermost)
        )

    async def last_run() -> None:
        raise make()

    monkeypatch.setattr(current_app().store, "last_run", last_run)
    with pytest.raises(TicketLinkError) as raised:
        await handlers.reconcile()
    assert causes(raised.value) == []
    assert isinstance(raised.value, StoreUnavailable if outermost is StoreUnavailable else Unforeseen)
    with pytest.raises(InvocationFailed) as told:
        await app.reconcile()
    assert TOLD not in told.value.message + told.value.stack_trace
    assert "in reconcile" in told.value.stack_trace


@pytest.mark.slow
@pytest.mark.usefixtures("no_backoff")
async def test_no_answer_of_any_service_is_in_what_a_run_of_the_timer_logs_or_raises(
    app: App, caplog: pytest.LogCaptureFixture
) -> None:
    """Every leaky fault at every upstream, all loggers at DEBUG."""
    for name in (None, "azure", "azure.core", "httpx", "httpcore", "asyncio"):
        caplog.set_level(logging.DEBUG, logger=name)
    raised = []
    for operation in (*OPERATIONS, "arm.incidents"):
        for fault in LEAKY_FAULTS:
            app.workspace.add_incident(title=TITLE, ticket_title="other")
            app.sandbox.faults.plan(operation, planted_token(fault, PLANTED_SECRET), times=None)
            try:
                await app.reconcile()
            except InvocationFailed as failed:
                raised.append(failed.message + failed.stack_trace)
            app.sandbox.faults.clear()
            app.sandbox.identity.tokens.clear()
            await close_app()
    assert len(caplog.records) > 500
    seen = [*raised, *map(text_of, caplog.records)]
    for word in (*app.sandbox.secrets(), "PLANTED", TITLE):
        assert [text[:3000] for text in seen if word.lower() in text.lower()] == [], word


async def test_the_error_of_a_task_that_nobody_waits_for_is_told_in_our_words(
    caplog: pytest.LogCaptureFixture,
) -> None:
    quieten_libraries()

    async def fail() -> None:
        raise chained(RuntimeError)

    task = asyncio.get_running_loop().create_task(fail())
    await asyncio.sleep(0.01)
    del task
    gc.collect()
    asyncio.get_running_loop().call_soon(fail_at_once, TOLD)
    await asyncio.sleep(0.01)
    assert [(record.levelname, record.getMessage().partition(" at ")[0]) for record in caplog.records] == [
        ("ERROR", "an error in the background: unexpected RuntimeError"),
        ("ERROR", "an error in the background: unexpected KeyError"),
    ]
    assert TOLD not in "\n".join(map(text_of, caplog.records))


def fail_at_once(told: str) -> None:
    raise KeyError(told)
