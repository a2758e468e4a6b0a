"""Starts and stops the sandbox, and fills it with workspaces."""

import ssl
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from json import dumps
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import trustme
from aiohttp import web

from sandbox.bodies import utc_now
from sandbox.contraforce import ContraForce
from sandbox.faults import FaultPlans
from sandbox.identity import ManagedIdentity
from sandbox.incidents import SandboxWorkspace
from sandbox.ingestion import Ingestion
from sandbox.planted import PLANTED_SECRET
from sandbox.requestlog import RequestLog
from sandbox.resource_manager import ResourceManager
from sandbox.service import Service, StandIn
from sandbox.table_service import TableService
from sandbox.ticket_systems import named

ADDRESS: Final = "127.0.0.1"
NAME: Final = "localhost"
BACKLOG: Final = 4096  # a thousand clients may connect at once
SHUTDOWN_SECONDS: Final = 0.5
SUBSCRIPTION: Final = "11111111-2222-4333-8444-555555555555"
RESOURCE_GROUP: Final = "rg-secops-prod"


class Sandbox:
    """The services on loopback: `async with Sandbox.start() as sandbox: ...`.

    All but `identity` (plain http) speak TLS, with certificates of `ca` (file: `ca_file`). `clock` is what
    Sentinel's incidents and comments get their times from; a test may set another one at any time.
    """

    def __init__(self, ca: trustme.CA, ca_file: Path) -> None:
        self.ca = ca
        self.ca_file = ca_file
        self.clock: Callable[[], datetime] = utc_now
        self.log = RequestLog()
        self.faults = FaultPlans()
        self.identity = ManagedIdentity()
        self.contraforce = ContraForce()
        self.arm = ResourceManager(self.identity)
        self.ingestion = Ingestion(self.identity)
        self.tables = TableService(self.identity)

    @classmethod
    @asynccontextmanager
    async def start(cls, *, ca: trustme.CA | None = None) -> AsyncIterator["Sandbox"]:
        """Listen on free ports of 127.0.0.1 until the block ends; the CA file is gone then, too.

        Pass a `ca` when it has to be trusted before the sandbox starts.
        """
        ca = ca or trustme.CA()
        async with AsyncExitStack() as stack:
            directory = stack.enter_context(TemporaryDirectory(prefix="sandbox-"))
            ca_file = Path(directory, "ca.pem")
            ca.cert_pem.write_to_path(str(ca_file))
            sandbox = cls(ca, ca_file)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            ca.issue_cert(NAME, ADDRESS).configure_cert(context)
            await sandbox._listen(stack, sandbox.identity, None)
            await sandbox._listen(stack, sandbox.contraforce, context)
            await sandbox._listen(stack, sandbox.ingestion, context)
            await sandbox._listen(stack, sandbox.tables, context)
            port = await sandbox._listen(stack, sandbox.arm, context)
            sandbox.arm.audiences = {f"https://{host}:{port}" for host in (NAME, ADDRESS)}
            yield sandbox

    async def _listen(self, stack: AsyncExitStack, stand_in: StandIn, context: ssl.SSLContext | None) -> int:
        application = Service(stand_in, log=self.log, faults=self.faults).application()
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, ADDRESS, 0, ssl_context=context, backlog=BACKLOG).start()
        port = int(runner.addresses[0][1])
        stand_in.base_url = f"{'https' if context else 'http'}://{NAME}:{port}"
        return port

    def now(self) -> datetime:
        """Return the time by the clock that is set now."""
        return self.clock()

    def client_context(self) -> ssl.SSLContext:
        """Return a TLS context that trusts the sandbox and nothing else."""
        return ssl.create_default_context(cafile=str(self.ca_file))

    def add_workspace(
        self,
        *,
        name: str = "law-sentinel-prod",
        system: str = "Autotask",
        subscription: str = SUBSCRIPTION,
        resource_group: str = RESOURCE_GROUP,
    ) -> SandboxWorkspace:
        """Create a workspace in Azure and its counterpart in ContraForce.

        Raises `ValueError` for an ARM id that is taken and for a ticket system that the sandbox has not.
        """
        workspace = SandboxWorkspace(
            contraforce=self.contraforce,
            name=name,
            system=named(system).name,
            subscription=subscription,
            resource_group=resource_group,
            clock=self.now,
        )
        if workspace.arm_id.lower() in self.arm.workspaces:
            raise ValueError(f"workspace {name} exists already")
        self.arm.workspaces[workspace.arm_id.lower()] = workspace
        self.contraforce.workspaces[workspace.contraforce_id.lower()] = system
        return workspace

    def environment(self) -> dict[str, str]:
        """Return the settings that point the product at this sandbox and at the workspaces added so far."""
        workspaces = [
            {"workspace": workspace.arm_id, "contraforceWorkspaceId": workspace.contraforce_id}
            for workspace in self.arm.workspaces.values()
        ]
        return {
            "CONTRAFORCE_API_URL": self.contraforce.api_url,
            "CONTRAFORCE_CLIENT_ID": self.contraforce.client_id,
            "CONTRAFORCE_CLIENT_SECRET": self.contraforce.client_secret,
            "WORKSPACES": dumps(workspaces),
            "ARM_ENDPOINT": self.arm.base_url,
            "AZURE_CLIENT_ID": self.identity.client_ids[0],
            "IDENTITY_ENDPOINT": self.identity.endpoint,
            "IDENTITY_HEADER": self.identity.header,
            "SSL_CERT_FILE": str(self.ca_file),
        }

    def telemetry_environment(self) -> dict[str, str]:
        """Return the settings that turn telemetry on, as deployed; nothing leaves for anywhere else."""
        return {
            "APPLICATIONINSIGHTS_CONNECTION_STRING": self.ingestion.connection_string,
            "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": (
                f"Authorization=AAD;ClientId={self.identity.client_ids[0]}"
            ),
            "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY": "true",
            "PYTHON_APPLICATIONINSIGHTS_LOGGER_NAME": "contraforce_sentinel",
            "OTEL_TRACES_SAMPLER": "microsoft.fixed_percentage",
            "OTEL_TRACES_SAMPLER_ARG": "1.0",
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": (
                "azure_sdk,django,fastapi,flask,psycopg2,requests,urllib,urllib3"
            ),
            "REQUESTS_CA_BUNDLE": str(self.ca_file),
            # Microsoft's own statistics and feature flags of the exporter
            "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
            "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
        }

    def secrets(self) -> list[str]:
        """Return what must never be seen outside a request: the marker, and what encoding hides it in."""
        pairs = (f"{user}:{password}".encode() for user, password in self.contraforce.credentials)
        encoded = (b64encode(pair).decode() for pair in pairs)
        return [PLANTED_SECRET, *encoded, self.tables.admission.key]
