"""What is imported when: a cold start is a person's wait, so each step loads only what it needs."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import openapi
import pytest
from conftest import ROOT

from sandbox import Sandbox

SCRIPT = """
import asyncio, json, os, pathlib, sys
from functions_host.worker import Worker

def loaded():
    return {name for name in sys.modules if name.split(".")[0] not in sys.stdlib_module_names}

def built():
    from contraforce_sentinel.contraforce.ticket_systems import TICKET_SYSTEMS
    for name in ("incidents", "lists"):
        models = vars(sys.modules.get(f"contraforce_sentinel.azure.{name}", sys)).values()
        assert not [one for one in models if getattr(one, "__pydantic_complete__", False)], "built for lists"
    return [system.name for system in TICKET_SYSTEMS if system.model.__pydantic_complete__]

def seen(answer):
    return answer.status, dict(answer.headers), answer.body.decode()

async def main():
    found = {}
    before = loaded()
    async with await Worker.start(pathlib.Path(".")) as worker:
        found["index"], before = sorted(loaded() - before), loaded()
        url = "http://localhost/api"
        answer = await worker.invoke_http("health", method="GET", url=url)
        found["health"], before = [seen(answer), sorted(loaded() - before)], loaded()
        found["built"] = [built()]
        answer = await worker.invoke_http(
            "link_incident", method="POST", url=url, body=os.environ["BODY"].encode(),
            headers={"Content-Type": "application/json"},
        )
        found["delivery"] = [seen(answer), sorted(loaded() - before)]
        found["built"].append(built())
    print(json.dumps(found))
asyncio.run(main())
"""
OF_INDEX: Final = {"edge", "telemetry"}
NOT_FOR_HEALTH: Final = {"azure", "use_cases"}
TRANSPORT_OF_HEALTH: Final = {"failures", "network", "proxies"}
"""Whether certificates and proxies can be used; nothing that sends."""

CONTRAFORCE_OF_HEALTH: Final = (
    "contraforce_sentinel.contraforce.ticket_systems",
    "contraforce_sentinel.contraforce.url_templates",
)
"""The settings know the names of the ticket systems, and what a URL of their tickets is."""

OF_TRANSPORT_FOR_HEALTH: Final = {"failures", "network", "proxies"}
"""What tells of certificates and proxies, without the HTTP stack."""

LIBRARIES_OF_INDEX: Final = {"azure.functions", "function_app", "markupsafe", "werkzeug"}
LIBRARIES_OF_HEALTH: Final = {
    *("pydantic", "pydantic_core", "annotated_types", "typing_extensions", "typing_inspection"),
    *("sniffio", "stamina", "tenacity"),
}
NEVER_FOR_A_DELIVERY: Final = {"aiohttp", "azure.data", "azure.monitor", "opentelemetry", "rich", "typer"}


def rooms(modules: list[str]) -> set[str]:
    """Return the rooms of the deployed package that these modules are in."""
    return {name.split(".")[1] for name in modules if name.startswith("contraforce_sentinel.")}


def packages(modules: list[str]) -> set[str]:
    """Return the public packages that are not ours; of azure, which many share, the level below."""
    found = {".".join(name.split(".")[: 1 + name.startswith("azure.")]) for name in modules}
    return {name for name in found if not name.startswith("_")} - {"contraforce_sentinel", "azure"}


@pytest.mark.slow
async def test_index_health_and_delivery_import_what_they_need_and_nothing_else(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    incident = sandbox.add_workspace().add_incident()
    ours = ("CONTRAFORCE_", "TICKET_URL_", "RECONCILE_", "LINK_")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(ours)},
        **sandbox.environment(),
        "LINK_STORE": f"sqlite:///{tmp_path}/links.db",
        "BODY": json.dumps(incident.trigger_body()),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, cwd=ROOT, env=environment, stdout=subprocess.PIPE
    )
    out, _ = await process.communicate()
    found = json.loads(out)
    (health, after_health), (delivery, after_delivery) = found["health"], found["delivery"]
    openapi.check("health", *health)
    openapi.check("link_incident", *delivery)
    assert rooms(found["index"]) == OF_INDEX
    assert packages(found["index"]) <= LIBRARIES_OF_INDEX
    assert health[0] == 200
    assert not rooms(after_health) & NOT_FOR_HEALTH
    of_transport = {
        name.split(".")[2] for name in after_health if name.startswith("contraforce_sentinel.transport.")
    }
    assert of_transport <= TRANSPORT_OF_HEALTH
    of_contraforce = {name for name in after_health if name.startswith("contraforce_sentinel.contraforce.")}
    assert {name for name in of_contraforce if not name.startswith(CONTRAFORCE_OF_HEALTH)} == set()
    assert packages(after_health) <= LIBRARIES_OF_HEALTH
    prefix = "contraforce_sentinel.transport."
    transport = {name.removeprefix(prefix) for name in after_health if name.startswith(prefix)}
    assert transport <= OF_TRANSPORT_FOR_HEALTH
    assert delivery[0] == 200
    assert "contraforce_sentinel.stores.tables" not in after_delivery
    assert "contraforce_sentinel.use_cases.reconcile" not in after_delivery
    assert {"httpx", "azure.identity", "azure.mgmt"} <= packages(after_delivery)
    assert found["built"] == [[], [incident.workspace.system]], "models of other ticket systems were built"
    assert packages(after_delivery) & NEVER_FOR_A_DELIVERY == set()
