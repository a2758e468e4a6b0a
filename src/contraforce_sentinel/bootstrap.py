"""The only place where real clients are built and wired: lazily, once per process, nothing at import time."""

import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from azure.identity.aio import ManagedIdentityCredential

from contraforce_sentinel.contraforce import ContraForce, open_http_client
from contraforce_sentinel.linking import TicketLinking
from contraforce_sentinel.pacing import Pace
from contraforce_sentinel.reconcile import Reconciler
from contraforce_sentinel.resource_manager import ResourceManager
from contraforce_sentinel.sentinel import Sentinel
from contraforce_sentinel.settings import Settings
from contraforce_sentinel.stores import LinkStore
from contraforce_sentinel.stores.sqlite import SqliteLinkStore
from contraforce_sentinel.workspaces import Workspaces


@dataclass(frozen=True, slots=True)
class App:
    """The wired app; `close` releases its connections."""

    settings: Settings
    linking: TicketLinking
    reconciler: Reconciler
    workspaces: Workspaces
    store: LinkStore
    resources: AsyncExitStack

    async def close(self) -> None:
        """Close every client; idempotent."""
        await self.resources.aclose()


def build(settings: Settings) -> App:
    """Wire an app. Call it inside a running event loop; it connects to nothing yet."""
    resources = AsyncExitStack()
    http = open_http_client(
        client_id=settings.contraforce_client_id, client_secret=settings.contraforce_client_secret
    )
    resources.push_async_callback(http.aclose)
    resource_manager = ResourceManager(endpoint=settings.arm_endpoint, client_id=settings.azure_client_id)
    resources.push_async_callback(resource_manager.close)
    store = _open_store(settings, resources)
    workspaces = Workspaces(settings.workspaces, resource_manager=resource_manager)
    resources.push_async_callback(workspaces.close)
    pace = Pace()
    sentinel = Sentinel(resource_manager, pace=pace)
    linking = TicketLinking(
        workspaces=workspaces,
        contraforce=ContraForce(http, base_url=settings.contraforce_api_url),
        sentinel=sentinel,
        store=store,
        minimum_severity=settings.minimum_severity,
        ticket_url_templates=settings.ticket_url_templates,
        clock=_now,
    )
    reconciler = Reconciler(
        workspaces=[mapping.workspace for mapping in settings.workspaces],
        linking=linking,
        sentinel=sentinel,
        store=store,
        pace=pace,
        minimum_severity=settings.minimum_severity,
        lookback=timedelta(hours=settings.reconcile_lookback_hours),
        retention=timedelta(days=settings.link_retention_days),
        clock=_now,
    )
    return App(
        settings=settings,
        linking=linking,
        reconciler=reconciler,
        workspaces=workspaces,
        store=store,
        resources=resources,
    )


def _open_store(settings: Settings, resources: AsyncExitStack) -> LinkStore:
    store: LinkStore
    if settings.sqlite_path is not None:
        store = SqliteLinkStore(settings.sqlite_path)
    else:
        from contraforce_sentinel.stores.tables import TableLinkStore  # noqa: PLC0415 - only where it is used

        if settings.table_endpoint is not None:
            credential = ManagedIdentityCredential(client_id=settings.azure_client_id, retry_total=2)
            resources.push_async_callback(credential.close)
            store = TableLinkStore.from_endpoint(settings.table_endpoint, credential)
        else:
            store = TableLinkStore.from_connection_string(settings.link_store.get_secret_value())
    resources.push_async_callback(store.close)
    return store


def _now() -> datetime:
    return datetime.now(UTC)


_current: App | None = None


def current_app() -> App:
    """Return the process's app, built from the environment with the first call.

    Raises `SettingsError`, each time, until the environment is right.
    """
    global _current  # noqa: PLW0603 - one app per process is the Functions worker's model
    if _current is None:
        _current = build(Settings.from_environment(os.environ))
    return _current


async def close_app() -> None:
    """Close the process's app, if there is one; the next call of `current_app` builds a new one."""
    global _current
    closing, _current = _current, None
    if closing is not None:
        await closing.close()
