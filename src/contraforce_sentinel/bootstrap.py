"""The only place where real clients are built and wired: each with its first use, nothing at import time.

The imports stand in the functions on purpose: what a call does not need, it does not wait for.
"""

import os
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING

from contraforce_sentinel.domain.errors import SettingsError
from contraforce_sentinel.settings import Settings
from contraforce_sentinel.stores.link_store import LinkStore

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

    from contraforce_sentinel.azure.pacing import Pace
    from contraforce_sentinel.azure.resource_manager import ResourceManager
    from contraforce_sentinel.azure.sentinel import Sentinel
    from contraforce_sentinel.azure.workspaces import Workspaces
    from contraforce_sentinel.contraforce.client import ContraForce
    from contraforce_sentinel.transport.network import Network
    from contraforce_sentinel.use_cases.linking import TicketLinking
    from contraforce_sentinel.use_cases.reconcile import Reconciler


class App:
    """The app, wired as it is used; use it inside one running event loop; `close` releases connections."""

    def __init__(self, settings: Settings, *, signed_in: "AsyncTokenCredential | None") -> None:
        self.settings = settings
        self._signed_in = signed_in
        self._resources = AsyncExitStack()

    async def close(self) -> None:
        """Close every client; idempotent."""
        await self._resources.aclose()

    @cached_property
    def store(self) -> LinkStore:
        """The link store that the settings name."""
        store: LinkStore
        if self.settings.sqlite_path is not None:
            from contraforce_sentinel.stores.sqlite import SqliteLinkStore

            store = SqliteLinkStore(self.settings.sqlite_path)
        else:
            store = self._open_tables()
        self._resources.push_async_callback(store.close)
        return store

    def _open_tables(self) -> LinkStore:
        from contraforce_sentinel.azure.httpx_transport import HttpxTransport, open_azure_connections
        from contraforce_sentinel.stores.tables import READ_SECONDS, TableLinkStore

        transport = HttpxTransport(open_azure_connections(self.network, read_seconds=READ_SECONDS))
        if self.settings.table_endpoint is None:
            text = self.settings.link_store.get_secret_value()
            try:
                return TableLinkStore.from_connection_string(text, transport=transport)
            except ValueError:
                raise SettingsError({"LINK_STORE": "is not a whole storage connection string"}) from None
        from contraforce_sentinel.azure.identity import Identity

        identity = Identity(
            client_id=self.settings.azure_client_id, transport=transport, signed_in=self._signed_in
        )
        self._resources.push_async_callback(identity.close)
        return TableLinkStore.from_endpoint(self.settings.table_endpoint, identity, transport=transport)

    @cached_property
    def workspaces(self) -> "Workspaces":
        """The allow-list."""
        from contraforce_sentinel.azure.workspaces import Workspaces

        return Workspaces(self.settings.customers, resource_manager=self.resource_manager)

    @cached_property
    def linking(self) -> "TicketLinking":
        """The use case."""
        from contraforce_sentinel.use_cases.linking import TicketLinking

        linking = TicketLinking(
            workspaces=self.workspaces,
            contraforce=self.contraforce,
            sentinel=self.sentinel,
            store=self.store,
            clock=_now,
        )
        self._resources.push_async_callback(linking.finish)
        return linking

    @cached_property
    def contraforce(self) -> "ContraForce":
        """The ContraForce client."""
        from contraforce_sentinel.contraforce.client import ContraForce, open_contraforce_connections

        settings = self.settings
        connections = open_contraforce_connections(
            self.network,
            client_id=settings.contraforce_client_id,
            client_secret=settings.contraforce_client_secret,
        )
        self._resources.push_async_callback(connections.aclose)
        return ContraForce(connections, base_url=settings.contraforce_api_url)

    @cached_property
    def reconciler(self) -> "Reconciler":
        """The timer's work."""
        from contraforce_sentinel.use_cases.following import Following
        from contraforce_sentinel.use_cases.reconcile import Reconciler
        from contraforce_sentinel.use_cases.retention import Retention

        lookback = timedelta(hours=self.settings.reconcile_lookback_hours)
        retention = timedelta(days=self.settings.link_retention_days)
        return Reconciler(
            customers=self.settings.customers,
            linking=self.linking,
            following=Following(sentinel=self.sentinel, store=self.store, lookback=lookback, clock=_now),
            retention=Retention(store=self.store, retention=retention, clock=_now),
            store=self.store,
            pace=self.pace,
            clock=_now,
        )

    @cached_property
    def sentinel(self) -> "Sentinel":
        """Incidents and comments."""
        from contraforce_sentinel.azure.sentinel import Sentinel

        return Sentinel(self.resource_manager, pace=self.pace)

    @cached_property
    def pace(self) -> "Pace":
        """The one pace of this process."""
        from contraforce_sentinel.azure.pacing import Pace

        return Pace()

    @cached_property
    def resource_manager(self) -> "ResourceManager":
        """The way to Azure."""
        from contraforce_sentinel.azure.httpx_transport import (
            MAX_RESOURCE_BYTES,
            HttpxTransport,
            open_azure_connections,
        )
        from contraforce_sentinel.azure.resource_manager import READ_SECONDS, ResourceManager

        manager = ResourceManager(
            endpoint=self.settings.arm_endpoint,
            client_id=self.settings.azure_client_id,
            transport=HttpxTransport(
                open_azure_connections(self.network, read_seconds=READ_SECONDS), most_bytes=MAX_RESOURCE_BYTES
            ),
            signed_in=self._signed_in,
        )
        self._resources.push_async_callback(manager.close)
        return manager

    @cached_property
    def network(self) -> "Network":
        """Certificates and proxies, the same for all."""
        from contraforce_sentinel.transport.network import Network

        return Network()

    def network_problems(self) -> dict[str, str]:
        """Return what keeps requests from being sent at all, by the name of the environment's variable."""
        settings = self.settings
        bases = (settings.contraforce_api_url, settings.arm_endpoint, settings.table_endpoint)
        return self.network.problems(url for url in bases if url is not None)


def build(settings: Settings, *, signed_in: "AsyncTokenCredential | None" = None) -> App:
    """Return an app; it connects to nothing yet.

    Its identity is the managed one, or `signed_in`, a person's, which is closed with the app.
    """
    return App(settings, signed_in=signed_in)


def _now() -> datetime:
    return datetime.now(UTC)


_current: App | None = None


def current_app() -> App:
    """Return the process's app, built from the environment with the first call, which tells what is left out.

    Raises `SettingsError`, each time, until the environment is right.
    """
    global _current  # noqa: PLW0603 - one app per process is the Functions worker's model
    if _current is None:
        _current = build(Settings.from_environment(os.environ))
        if left_out := _current.settings.left_out:
            from contraforce_sentinel.telemetry.reports import report_left_out

            report_left_out(left_out)
    return _current


async def close_app() -> None:
    """Close the process's app, if there is one; the next call of `current_app` builds a new one."""
    global _current
    closing, _current = _current, None
    if closing is not None:
        await closing.close()
