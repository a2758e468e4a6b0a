"""One run of a command: the app of the environment, the identity to use, Ctrl-C, errors as exit codes."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Final

from azure.core.credentials_async import AsyncTokenCredential
from azure.identity.aio import AzureCliCredential
from rich.console import Console

from contraforce_sentinel.azure.identity import CLI_SECONDS
from contraforce_sentinel.bootstrap import App, build
from contraforce_sentinel.domain.errors import (
    DeliveryError,
    SettingsError,
    StoreUnavailable,
    TicketConflict,
    TicketLinkError,
    UpstreamError,
    in_our_words,
)
from contraforce_sentinel.settings import Settings
from contraforce_sentinel.telemetry.events import quieten_libraries
from operators_tool.exits import Exit
from operators_tool.render import literal, open_console
from operators_tool.targets import WrongArgument
from operators_tool.terminal import interrupt_at_signals, leave_at_ctrl_c

# What no record keeps and nobody else tells: incidents left out, and a ticket that only the log knows.
_TOLD_EVENTS: Final = frozenset(
    {"discovery.cut-short", "discovery.unreadable", "record.unreadable", "ticket.not-recorded"}
)


class _Told(logging.Handler):
    """Shows the few events that are nowhere else; all others are in the records that commands show."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()  # begins with the event's name
        if message.split(" ", 1)[0] in _TOLD_EVENTS:
            self._console.print(literal(message, style="yellow"), soft_wrap=True)


def run_command(work: Coroutine[object, object, Exit]) -> Exit:
    """Run a command to its end; Ctrl-C, SIGTERM and SIGHUP cancel it once, so that it can finish in order.

    A defect is told by its type and place: a traceback shows the texts of all its causes, which may quote
    an answer.
    """
    said = open_console(stderr=True)
    quieten_libraries()
    logging.basicConfig(handlers=[_Told(said)], force=True)
    interrupt_at_signals()
    try:
        return asyncio.run(work)
    except KeyboardInterrupt:
        said.print("Interrupted.")
        return Exit.INTERRUPTED
    except TicketLinkError as error:
        return _tell(error, said)
    except Exception as error:  # noqa: BLE001 - whatever it is
        said.print(
            literal(f"{in_our_words(error)}: a defect, please report it", style="bold red"), soft_wrap=True
        )
        return Exit.LOOK
    finally:
        leave_at_ctrl_c()


def _tell(error: TicketLinkError, said: Console) -> Exit:
    advice = error.advice if isinstance(error, UpstreamError) else None
    said.print(literal(f"{error}{f'; {advice}' if advice else ''}", style="bold red"), soft_wrap=True)
    match error:
        case TicketConflict():
            return Exit.LOOK
        case WrongArgument() | DeliveryError():
            return Exit.USAGE
        case SettingsError():
            said.print("Settings come from the environment; contraforce-sentinel doctor checks them.")
            return Exit.UNUSABLE
        case StoreUnavailable() | UpstreamError():
            return Exit.UNUSABLE
        case _:
            return Exit.LOOK


def identity_for(environment: Mapping[str, str]) -> AsyncTokenCredential | None:
    """Return the sign-in of the Azure CLI, or None where there is a managed identity."""
    return None if environment.get("IDENTITY_ENDPOINT") else AzureCliCredential(process_timeout=CLI_SECONDS)


@asynccontextmanager
async def open_app() -> AsyncIterator[App]:
    """Wire the app that the environment describes. Raises `SettingsError`."""
    app = build(Settings.from_environment(os.environ), signed_in=identity_for(os.environ))
    try:
        yield app
    finally:
        await app.close()
