"""The real SDKs and httpx against the sandbox, without the product: for the sandbox's own tests."""

import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import aiohttp
import httpx
import pytest
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.securityinsight.aio import SecurityInsights

from sandbox import Sandbox, SandboxWorkspace

type SentinelFactory = Callable[[], SecurityInsights]


@pytest.fixture
def workspace(sandbox: Sandbox) -> SandboxWorkspace:
    return sandbox.add_workspace()


@pytest.fixture
async def web(sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    """Return an httpx client that trusts the sandbox and has no retries."""
    async with httpx.AsyncClient(verify=sandbox.client_context(), timeout=5) as client:
        yield client


@pytest.fixture
async def transport(sandbox: Sandbox) -> AsyncIterator[AioHttpTransport]:
    context: ssl.SSLContext = sandbox.client_context()
    connector = aiohttp.TCPConnector(ssl=context)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False) as session:
        yield AioHttpTransport(session=session, session_owner=False)


@pytest.fixture
async def credential(
    sandbox: Sandbox, transport: AioHttpTransport, monkeypatch: pytest.MonkeyPatch
) -> ManagedIdentityCredential:
    settings = sandbox.environment()
    for name in ("IDENTITY_ENDPOINT", "IDENTITY_HEADER"):
        monkeypatch.setenv(name, settings[name])
    return ManagedIdentityCredential(
        client_id=settings["AZURE_CLIENT_ID"], transport=transport, retry_total=0
    )


@pytest.fixture
async def sentinel(
    sandbox: Sandbox,
    workspace: SandboxWorkspace,
    credential: ManagedIdentityCredential,
    transport: AioHttpTransport,
) -> AsyncIterator[SecurityInsights]:
    """Return the real SDK against the sandbox, without retries."""
    base = sandbox.arm.base_url
    async with AsyncExitStack() as stack:
        client = SecurityInsights(
            credential,
            workspace.subscription,
            base_url=base,
            credential_scopes=[f"{base}/.default"],
            transport=transport,
            retry_total=0,
        )
        yield await stack.enter_async_context(client)
