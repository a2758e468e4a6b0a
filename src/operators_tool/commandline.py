"""The command line as a whole: its help, its exit codes, and the arguments that several commands share."""

from enum import StrEnum
from typing import Annotated, Final

import typer

from contraforce_sentinel import VERSION
from operators_tool.exits import MEANINGS
from operators_tool.render import open_console

_CODES: Final = "\n".join(f"{code.value:>4}  {meaning}" for code, meaning in MEANINGS.items())

app = typer.Typer(
    name="contraforce-sentinel",
    help="Operators' tool of the ContraForce ticket link for Microsoft Sentinel.\n\n"
    "It reads the app's own settings from the environment, and uses the app's code and link store. The"
    " identity is the managed one where there is one, else the sign-in of the Azure CLI (az login).",
    epilog=f"\b\nExit codes:\n{_CODES}",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class Severity(StrEnum):
    """As Sentinel names them."""

    INFORMATIONAL = "Informational"
    LOW = "Low"
    MEDIUM = "Medium"
    HIGH = "High"


class Status(StrEnum):
    """Of open incidents; closed ones get no link."""

    NEW = "New"
    ACTIVE = "Active"


class State(StrEnum):
    """Of links; `links.LinkState` without what that module imports."""

    PENDING = "pending"
    TICKETED = "ticketed"
    LINKED = "linked"
    SKIPPED = "skipped"
    DEAD = "dead"


class Replayable(StrEnum):
    """The states that links can be brought back from."""

    DEAD = "dead"


Json = Annotated[bool, typer.Option("--json", help="Answer with one JSON document.")]
IncidentArgument = Annotated[
    str,
    typer.Argument(
        metavar="INCIDENT",
        help="ARM id, Azure portal address, or with --workspace the name (GUID) or number.",
    ),
]
WorkspaceOption = Annotated[
    str | None, typer.Option("--workspace", help="Name or ARM id, as in WORKSPACES.", metavar="WORKSPACE")
]


def _show_version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        open_console().print(VERSION)
        raise typer.Exit


@app.callback()
def _root(
    *,
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_show_version, help="Print the version.")
    ] = False,
) -> None:
    """Take the options that stand before a command."""
