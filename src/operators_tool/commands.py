"""The commands as typer sees them: arguments, help, and which action they start.

Actions are imported with the first use: `--help` and a wrong argument do not wait for the Azure SDKs.
"""

from pathlib import Path
from typing import Annotated

import typer

from operators_tool.commandline import (
    IncidentArgument,
    Json,
    Replayable,
    Severity,
    State,
    Status,
    WorkspaceOption,
    app,
)

__all__ = ["app"]


@app.command()
def doctor(
    *,
    app_url: Annotated[
        str | None,
        typer.Option(
            "--app-url",
            metavar="URL",
            help="Check the deployed app there, too; with its function key in APP_FUNCTION_KEY, its timer.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check settings, identity, workspaces, ContraForce, link store and clock; writes nothing anywhere.

    Each check that fails says what it means for the app and which command fixes it.
    """
    from operators_tool import actions, session

    raise typer.Exit(session.run_command(actions.doctor(app_url=app_url, as_json=as_json)))


@app.command()
def link(incident: IncidentArgument, *, workspace: WorkspaceOption = None, as_json: Json = False) -> None:
    """Link one incident to its ticket now, as a delivery of its playbook would."""
    from operators_tool import actions, session

    raise typer.Exit(session.run_command(actions.link(incident, workspace=workspace, as_json=as_json)))


@app.command()
def show(incident: IncidentArgument, *, workspace: WorkspaceOption = None, as_json: Json = False) -> None:
    """Show the record of one incident, with its history: the last 20 different steps."""
    from operators_tool import actions, session

    raise typer.Exit(session.run_command(actions.show(incident, workspace=workspace, as_json=as_json)))


@app.command()
def status(
    *,
    state: Annotated[
        State | None, typer.Option("--state", help="List the links in this state instead.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: Json = False,
) -> None:
    """Show what is due and what is dead per workspace, or with --state every link in that state.

    A list reads every record of a workspace where the link store is in Azure Tables.
    """
    from operators_tool import actions, session

    raise typer.Exit(session.run_command(actions.status(state=state, workspace=workspace, as_json=as_json)))


@app.command()
def replay(
    incident: Annotated[
        str | None, typer.Argument(metavar="INCIDENT", help="As for show; without it, give --state.")
    ] = None,
    *,
    state: Annotated[Replayable | None, typer.Option("--state", help="Replay every link in it.")] = None,
    reason: Annotated[
        str | None, typer.Option("--reason", help="With --state: only those with this reason.")
    ] = None,
    workspace: WorkspaceOption = None,
    as_json: Json = False,
) -> None:
    r"""Bring dead links back and try them now: one INCIDENT, or all with --state dead.

    \b
    A ticket that is known is kept: only its comment is put again. Examples:
      contraforce-sentinel replay 3177 --workspace law-contoso
      contraforce-sentinel replay --state dead --reason not-ingested-yet
    """
    if (incident is None) == (state is None):
        raise typer.BadParameter("give either INCIDENT or --state dead")
    if reason is not None and state is None:
        raise typer.BadParameter("--reason goes with --state")
    from operators_tool import actions, session

    if incident is not None:
        work = actions.replay_one(incident, workspace=workspace, as_json=as_json)
    else:
        work = actions.replay_dead(reason=reason, workspace=workspace, as_json=as_json)
    raise typer.Exit(session.run_command(work))


@app.command()
def backfill(
    *,
    workspace: Annotated[str, typer.Option("--workspace", help="Name or ARM id, as in WORKSPACES.")],
    since: Annotated[str, typer.Option("--since", metavar="WHEN", help="30d, 12h, 90m, a date or a time.")],
    until: Annotated[str, typer.Option("--until", metavar="WHEN", help="As --since.")] = "0m",
    severity: Annotated[list[Severity] | None, typer.Option("--severity", help="May be repeated.")] = None,
    incident_status: Annotated[list[Status] | None, typer.Option("--status", help="May be repeated.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would be done; write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Link the open incidents of a workspace that were created since a moment and have no ticket yet.

    Keeps to Sentinel's limit of 75 comments in 5 minutes per subscription. Interrupt it at any time and run
    it again: it goes on where it was.
    """
    from operators_tool import actions, session

    work = actions.backfill(
        workspace=workspace,
        since=since,
        until=until,
        severities=severity or (),
        statuses=incident_status or (),
        dry_run=dry_run,
        as_json=as_json,
    )
    raise typer.Exit(session.run_command(work))


@app.command()
def demo() -> None:
    """Watch incidents get their tickets: the real app against stand-ins of the remote services."""
    from operators_tool.demo.main import main

    raise typer.Exit(main())


@app.command()
def sandbox(
    *,
    broken: Annotated[
        bool, typer.Option("--broken", help="Without the identity's role on one of the workspaces.")
    ] = False,
    env_file: Annotated[
        Path, typer.Option("--env-file", help="Where to write the environment for the other commands.")
    ] = Path(".data/sandbox.env"),
) -> None:
    r"""Serve a set-up to try this tool on: stand-ins of Azure and ContraForce on this machine, until Ctrl-C.

    \b
    In another terminal:
      . .data/sandbox.env
      contraforce-sentinel doctor
    """
    from operators_tool import actions, session

    raise typer.Exit(session.run_command(actions.sandbox(env_file=env_file, broken=broken)))
