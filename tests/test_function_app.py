"""What the Functions host sees of the app: names, routes, methods, authorization; no effects at import."""

import ast
import json
import logging
import os
import subprocess
import sys

import openapi
import pytest
from conftest import ROOT

from functions_host.worker import Worker

IMPORT_WITHOUT_EFFECTS = """
import os, socket, sys
forbidden = lambda *_, **__: sys.exit("importing the app reads settings or connects")
socket.socket.connect = forbidden
class Environment(dict):
    def get(self, name, default=None):
        return forbidden() if name.startswith(("CONTRAFORCE_", "WORKSPACES", "LINK_STORE")) else default
    __getitem__ = get
os.environ = Environment()
import contraforce_sentinel.edge.triggers
"""


def test_names_routes_methods_and_authorization_are_pinned(worker: Worker) -> None:
    found = {
        function.name: (function.route, function.methods, function.auth_level, function.timer_schedule)
        for function in worker.functions
    }
    assert found == {
        "link_incident": ("incidents", ("POST",), "function", None),
        "get_link": ("incidents/{incident}/link", ("GET",), "function", None),
        "health": ("health", ("GET", "HEAD"), "anonymous", None),
        "status": ("status", ("GET",), "function", None),
        "reconcile": (None, (), None, "%RECONCILE_SCHEDULE%"),
    }


def test_the_route_prefix_is_the_documented_one() -> None:
    host = json.loads((ROOT / "host.json").read_text())
    assert host["extensions"]["http"]["routePrefix"] == "api"


@pytest.mark.slow
def test_the_app_is_indexed_without_a_single_setting() -> None:
    """A wrong setting must be told by the app, so it must not stop the indexing."""
    code = (
        "import asyncio, json, pathlib\n"
        "from functions_host.worker import Worker\n"
        "async def main():\n"
        "    async with await Worker.start(pathlib.Path('.')) as worker:\n"
        "        answer = await worker.invoke_http('status', method='GET', url='http://localhost/api/status')\n"
        "        print(json.dumps([answer.status, dict(answer.headers), answer.body.decode()]))\n"
        "asyncio.run(main())\n"
    )
    names = ("CONTRAFORCE_", "WORKSPACES", "LINK_STORE")
    bare = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=bare, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    status, headers, body = json.loads(done.stdout)
    openapi.check("status", status, headers, body)
    assert status == 503
    assert set(json.loads(body)["settingProblems"]) == {
        "CONTRAFORCE_CLIENT_ID",
        "CONTRAFORCE_CLIENT_SECRET",
    }


@pytest.mark.slow
def test_importing_the_app_reads_no_setting_and_connects_to_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_WITHOUT_EFFECTS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_every_function_is_asynchronous_so_that_none_loses_the_context_of_its_trace(worker: Worker) -> None:
    """The worker runs others in threads that know nothing of the delivery's trace."""
    tree = ast.parse((ROOT / "src" / "contraforce_sentinel" / "edge" / "triggers.py").read_text())
    functions = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and any("blueprint" in ast.unparse(decorator) for decorator in node.decorator_list)
    ]
    assert {function.name for function in functions} == {function.name for function in worker.functions}
    assert {type(function) for function in functions} == {ast.AsyncFunctionDef}


@pytest.mark.parametrize(
    ("logger", "level"),
    [
        ("azure.core.pipeline.policies.http_logging_policy", logging.WARNING),
        ("azure.monitor.opentelemetry.exporter", logging.WARNING),
        ("azure.identity.aio._internal", logging.CRITICAL),
        ("httpx", logging.WARNING),
        ("httpcore.connection", logging.WARNING),
    ],
)
@pytest.mark.usefixtures("worker")
def test_libraries_do_not_log_each_request(logger: str, level: int) -> None:
    assert logging.getLogger(logger).getEffectiveLevel() == level
