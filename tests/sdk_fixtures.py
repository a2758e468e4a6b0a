"""The real SDKs and httpx against the sandbox, without the product: for the sandbox's own tests."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import aiohttp
import httpx
import pytest
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import ManagedIdentityCredential
from azure.mgmt.securityinsight.aio import SecurityInsights

from sandbox import Sandbox, SandboxWorkspace

type SentinelFactory = Callable[[], SecurityInsights]
type Rest = Callable[..., Awaitable[httpx.Response]]


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


@pytest.fixture
def rest(
    sandbox: Sandbox,
    workspace: SandboxWorkspace,
    web: httpx.AsyncClient,
    credential: ManagedIdentityCredential,
) -> Rest:
    """Ask for the workspace's incidents, for one of them, or for what a link leads to."""

    async def ask(name: str = "", *, link: str | None = None, **query: str) -> httpx.Response:
        token = await credential.get_token(f"{sandbox.arm.base_url}/.default")
        collection = (
            f"{sandbox.arm.base_url}{workspace.arm_id}/providers/Microsoft.SecurityInsights/incidents"
        )
        address = f"{collection}/{name}".rstrip("/")
        headers = {"Authorization": f"Bearer {token.token}"}
        parameters = {"api-version": "2025-09-01"} | {f"${key}": value for key, value in query.items()}
        if link is not None:
            return await web.get(link, headers=headers)
        return await web.get(address, params=parameters, headers=headers)

    return ask
