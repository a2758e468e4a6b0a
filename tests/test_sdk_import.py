"""The way to Resource Manager as the product wires it."""

import asyncio
import ssl

import pytest

from contraforce_sentinel.azure.httpx_transport import HttpxTransport, open_azure_connections
from contraforce_sentinel.azure.resource_manager import READ_SECONDS, ResourceManager
from contraforce_sentinel.transport.network import Network
from sandbox import Sandbox


async def test_a_delivery_that_is_given_up_does_not_end_the_import_that_others_wait_for(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
        monkeypatch.setenv(name, sandbox.environment()[name])
    connections = open_azure_connections(Network(tls=ssl.create_default_context()), read_seconds=READ_SECONDS)
    manager = ResourceManager(
        endpoint=sandbox.arm.base_url, client_id=None, transport=HttpxTransport(connections)
    )
    imported = asyncio.Event()
    manager._sdk_is_there = asyncio.create_task(imported.wait())
    given_up = asyncio.create_task(manager.sentinel("a"))
    other = asyncio.create_task(manager.sentinel("a"))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.wait([given_up])
    imported.set()
    assert await other is await manager.sentinel("a")
    await manager.close()
