"""What each command does: a coroutine that answers on standard output and returns the exit code."""

import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from contraforce_sentinel.domain.errors import StaleLink
from contraforce_sentinel.domain.incidents import Delivery
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.reasons import Reason
from contraforce_sentinel.domain.records import LinkState
from operators_tool import records
from operators_tool.backfill import Choice, make_plan, show_plan
from operators_tool.doctor import examine
from operators_tool.exits import Exit
from operators_tool.findings import findings_content, is_healthy, show_findings
from operators_tool.progress import run_all
from operators_tool.render import literal, open_console, show_json
from operators_tool.session import open_app
from operators_tool.targets import (
    WrongArgument,
    find_incident,
    find_record,
    one_workspace,
    read_moment,
    some_workspaces,
)
from operators_tool.work import link_whole, revive


async def doctor(*, app_url: str | None, as_json: bool) -> Exit:
    """Run every check and show what was found."""
    with open_console(stderr=True).status("checking"):
        findings = await examine(os.environ, app_url=app_url)
    if as_json:
        show_json(findings_content(findings))
    else:
        show_findings(open_console(), findings)
    return Exit.DONE if is_healthy(findings) else Exit.LOOK


async def link(incident: str, *, workspace: str | None, as_json: bool) -> Exit:
    """Link one incident now."""
    async with open_app() as app:
        incident_id = await find_incident(app, incident, workspace=workspace)
        found = (await link_whole(app, Delivery(incident_id))).link
    return _answer(found, as_json=as_json)


async def show(incident: str, *, workspace: str | None, as_json: bool) -> Exit:
    """Show the record of one incident."""
    async with open_app() as app:
        found = await find_record(app, incident, workspace=workspace)
    _answer(found, as_json=as_json)
    return Exit.DONE


async def status(*, state: str | None, workspace: str | None, as_json: bool) -> Exit:
    """Show what is due and dead per workspace, or every link in a state."""
    async with open_app() as app:
        places = some_workspaces(app, workspace)
        if state is None:
            found = await records.overview(app, places)
            if as_json:
                show_json(found)
            else:
                records.show_overview(open_console(), found)
            return Exit.DONE
        wanted = LinkState(state)
        links = [link for place in places async for link in records.links_in_state(app, place, wanted)]
    if as_json:
        show_json({"links": [records.record_content(link) for link in links]})
    else:
        records.show_links(open_console(), links)
    return Exit.DONE


async def replay_one(incident: str, *, workspace: str | None, as_json: bool) -> Exit:
    """Bring one link back, if it is dead, and try it now."""
    async with open_app() as app:
        found = await find_record(app, incident, workspace=workspace)
        _tell_dropped([found])
        again = (await link_whole(app, Delivery(found.incident_id), known=await revive(app, found))).link
    return _answer(again, as_json=as_json)


async def replay_dead(*, reason: str | None, workspace: str | None, as_json: bool) -> Exit:
    """Bring all dead links back, or those with a reason, and try them now."""
    async with open_app() as app:
        dead = [
            link
            for place in some_workspaces(app, workspace)
            async for link in records.links_in_state(app, place, LinkState.DEAD)
            if reason in {None, link.reason}
        ]
        _tell_dropped(dead)
        for link in dead:
            with suppress(StaleLink):  # another worker has just changed it: it is not dead any more
                await revive(app, link)
        return await run_all(app, [Delivery(link.incident_id) for link in dead], as_json=as_json)


def _tell_dropped(links: Iterable[Link]) -> None:
    """Say of each link whose requested ticket was refused that it is not asked for again."""
    for link in links:
        if link.reason == Reason.TICKET_REFUSED:
            incident = f"incident {link.incident_number or link.incident_id.name}"
            told = f"{incident}: ticket {link.requested_ticket_id} was refused, and is not asked for again"
            open_console(stderr=True).print(literal(told), soft_wrap=True)


async def backfill(
    *,
    workspace: str,
    since: str,
    until: str,
    severities: Collection[str],
    statuses: Collection[str],
    dry_run: bool,
    as_json: bool,
) -> Exit:
    """Link the open incidents of a workspace, or say what would be done."""
    now = datetime.now(UTC)
    choice = Choice(
        since=read_moment(since, option="--since", now=now),
        until=read_moment(until, option="--until", now=now),
        severities=severities,
        statuses=statuses,
    )
    if choice.since >= choice.until:
        raise WrongArgument("--since has to be before --until, which is now where it is not given")
    async with open_app() as app:
        place = one_workspace(app, workspace)
        with open_console(stderr=True).status("looking through the incidents"):
            plan = await make_plan(app, place, choice)
        if dry_run:
            show_plan(app, plan, as_json=as_json)
            return Exit.DONE
        return await run_all(app, plan.todo, as_json=as_json, settled=plan.settled)


async def sandbox(*, env_file: Path, broken: bool) -> Exit:
    """Serve the stand-ins of the remote services until interrupted."""
    from sandbox.serve import serve  # noqa: PLC0415 - no other command needs the stand-ins

    await serve(open_console(), env_file=env_file, broken=broken)
    return Exit.DONE


def _answer(link: Link, *, as_json: bool) -> Exit:
    if as_json:
        show_json(records.record_content(link))
    else:
        records.show_record(open_console(), link)
    if link.state is LinkState.DEAD:
        return Exit.LOOK
    return Exit.WAITING if link.state in {LinkState.PENDING, LinkState.TICKETED} else Exit.DONE
