"""The host as a process: what it prints, timers, settings, refusals, and how it ends."""

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from host_process import (
    APPS,
    DEADLINE_SECONDS,
    FUNCTION_KEY,
    MASTER_KEY,
    run_host,
    run_sample,
    wait_until,
    write_app,
)

pytestmark = pytest.mark.slow

GREETER = """
import os
import azure.functions as func

app = func.FunctionApp()

@app.route(methods=["GET"], auth_level=func.AuthLevel.ANONYMOUS)
async def greet(req: func.HttpRequest) -> func.HttpResponse:
    return func.HttpResponse(f"{os.environ['GREETING']} from {os.getcwd()}")
"""


def test_functions_keys_and_address_are_printed(tmp_path: Path) -> None:
    with run_sample(tmp_path, SAMPLE_SCHEDULE="0 0 5 * * Mon") as host:
        port = host.base_url.rsplit(":", 1)[1]
        lines = host.stdout.splitlines()

    assert f"item: [GET,PUT] http://localhost:{port}/v1/items/{{id}}" in lines
    assert f"thing: [ANY] http://localhost:{port}/v1/things/{{id:guid}}/{{part?}}" in lines
    assert "startup: timer 0 0 5 * * Mon" in lines
    assert f"function key: {FUNCTION_KEY}" in lines
    assert f"master key: {MASTER_KEY}" in lines


def test_a_timer_follows_its_schedule_never_overlaps_and_survives_failures(tmp_path: Path) -> None:
    """The run takes longer than the interval, fails, and is also started by hand meanwhile."""
    with run_sample(tmp_path) as host:
        url = f"{host.base_url}/admin/functions/busy"
        wait_until(lambda: host.lines("busy"), what="the first run")
        headers = {"x-functions-key": MASTER_KEY}
        assert httpx.post(url, json={}, headers=headers, trust_env=False).status_code == 202
        wait_until(lambda: host.lines("busy").count("end") >= 3, what="three runs")
        failed = "executed busy (failed): RuntimeError: busy on purpose"
        wait_until(lambda: host.stderr.count(failed) >= 3, what="three failures told")
        seen = host.lines("busy")

    assert seen == (["begin", "end"] * len(seen))[: len(seen)]


def test_a_schedule_is_read_from_a_setting(tmp_path: Path) -> None:
    """The first run is the one at startup, the others are the schedule's."""
    with run_sample(tmp_path, SAMPLE_SCHEDULE="*/1 * * * * *") as host:
        wait_until(lambda: len(host.lines("startup")) >= 3, what="three runs")


def test_run_on_startup_does_not_wait_for_the_schedule(tmp_path: Path) -> None:
    with run_sample(tmp_path) as host:
        wait_until(lambda: host.lines("startup") == ["ran"], what="the run")


def test_a_time_span_is_an_interval(tmp_path: Path) -> None:
    with run_sample(tmp_path, SAMPLE_SCHEDULE="00:00:01") as host:
        wait_until(lambda: len(host.lines("startup")) >= 3, what="three runs")
        assert "startup has a TimeSpan schedule" in host.stderr


def test_disabled_functions_are_neither_scheduled_nor_served(tmp_path: Path) -> None:
    settings = {
        "AzureWebJobs.startup.Disabled": "true",
        "AzureWebJobs_busy_Disabled": "1",
        "AzureWebJobs.echo.Disabled": "true",
    }
    with run_sample(tmp_path, **settings) as host:
        assert httpx.post(f"{host.base_url}/v1/echo", trust_env=False).status_code == 404
        assert "startup: disabled" in host.stdout
        assert host.stop() == 0

    assert host.lines("startup") == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_calls_finish_and_exits_with_0(tmp_path: Path, number: signal.Signals) -> None:
    with run_sample(tmp_path) as host, ThreadPoolExecutor(1) as pool:
        url = f"{host.base_url}/v1/slow"
        call = pool.submit(httpx.get, url, trust_env=False, timeout=DEADLINE_SECONDS)
        wait_until(lambda: host.lines("slow"), what="the call to begin")
        assert host.stop(number) == 0
        assert call.result().json() == {"function": "slow"}

    assert host.lines("busy").count("begin") == host.lines("busy").count("end")


def test_indexing_failures_are_told_in_the_words_of_the_worker(tmp_path: Path) -> None:
    settings = {"PYTHON_SCRIPT_FILE_NAME": "bad_annotation_app.py"}
    with run_host(APPS / "bad_annotation", tmp_path, settings=settings) as host:
        assert host.exit_code() == 1

    last = host.stderr.splitlines()[-1]
    assert last.startswith(
        "the function app cannot be indexed: FunctionLoadError: cannot load the answer function"
    )
    assert "dict[str, str]" in last
    assert "listening" not in host.stdout


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import no_such_package", "No module named 'no_such_package'"),
        ("", "Could not find top level function app instances in function_app.py"),
        ("import azure.functions as f; app = f.FunctionApp()", "no functions found"),
    ],
)
def test_an_app_without_functions_is_refused(tmp_path: Path, source: str, message: str) -> None:
    with run_host(write_app(tmp_path, source), tmp_path) as host:
        assert host.exit_code() == 1

    assert message in host.stderr


def test_a_directory_without_an_app_is_refused(tmp_path: Path) -> None:
    with run_host(tmp_path, tmp_path) as host:
        assert host.exit_code() == 1

    assert "is there a function_app.py" in host.stderr


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        ("every minute", "function startup: the schedule 'every minute' has 2 fields, NCRONTAB has six"),
        ("%OTHER%", "function startup: the schedule '%OTHER%' has 1 fields"),
    ],
)
def test_a_schedule_that_azure_would_refuse_is_refused(tmp_path: Path, schedule: str, message: str) -> None:
    with run_sample(tmp_path, SAMPLE_SCHEDULE=schedule) as host:
        assert host.exit_code() == 1

    assert host.stderr.splitlines()[-1].startswith(message)


def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    second_directory = tmp_path / "second"
    second_directory.mkdir()
    with run_sample(tmp_path) as first:
        port = int(first.base_url.rsplit(":", 1)[1])
        app = write_app(tmp_path, GREETER)
        with run_host(app, second_directory, port=port) as second:
            assert second.exit_code() == 1

    assert second.stderr.strip() == f"cannot listen on 127.0.0.1:{port}: Address already in use"


def test_local_settings_fill_the_environment_which_wins(tmp_path: Path) -> None:
    values = {"GREETING": "from the file", "SAMPLE_DIRECTORY": "from the file"}
    app = write_app(
        tmp_path, GREETER, local_settings_json=json.dumps({"IsEncrypted": False, "Values": values})
    )

    with run_host(app, tmp_path) as host:
        assert httpx.get(f"{host.base_url}/api/greet", trust_env=False).text == f"from the file from {app}"


def test_the_environment_wins_over_local_settings(tmp_path: Path) -> None:
    app = write_app(tmp_path, GREETER, local_settings_json='{"Values": {"GREETING": "from the file"}}')

    with run_host(app, tmp_path, settings={"GREETING": "hello"}) as host:
        assert httpx.get(f"{host.base_url}/api/greet", trust_env=False).text.startswith("hello from")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        (
            "local_settings_json",
            '{"Values": {"TOKEN": "hush",,}}',
            "local.settings.json is not JSON (line 1)",
        ),
        ("local_settings_json", "[]", "local.settings.json is not a JSON object"),
        ("local_settings_json", "{}", 'local.settings.json has no object "Values"'),
        ("local_settings_json", '{"IsEncrypted": true, "Values": {}}', "is encrypted"),
        ("local_settings_json", '{"Values": {"A": {"hush": 1}}}', "the value of A is not a string"),
        ("host_json", "no", "host.json is not JSON"),
        ("host_json", '{"extensions": {"http": {"routePrefix": 1}}}', "routePrefix is not a string"),
    ],
)
def test_settings_files_that_cannot_be_used_are_named(
    tmp_path: Path, file: str, content: str, message: str
) -> None:
    with run_host(write_app(tmp_path, GREETER, **{file: content}), tmp_path) as host:
        assert host.exit_code() == 1

    assert message in host.stderr
    assert "hush" not in host.stderr
    assert "Traceback" not in host.stderr


def test_an_empty_route_prefix_is_followed(tmp_path: Path) -> None:
    app = write_app(tmp_path, GREETER, host_json='{"extensions": {"http": {"routePrefix": ""}}}')

    with run_host(app, tmp_path, settings={"GREETING": "hello"}) as host:
        assert httpx.get(f"{host.base_url}/greet", trust_env=False).status_code == 200
