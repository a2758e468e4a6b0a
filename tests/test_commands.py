"""The operators' commands as processes: text, JSON, piped, wrong arguments, Ctrl-C, exit codes."""

import asyncio
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cli_process import Done, environment, interrupt, run, running, until
from store_fixtures import spoil

from contraforce_sentinel import VERSION
from contraforce_sentinel.domain.errors import Upstream, UpstreamNotFound
from contraforce_sentinel.domain.incidents import IncidentId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.records import Cause, LinkState, Sighting
from contraforce_sentinel.domain.runs import TimerRun
from contraforce_sentinel.domain.tickets import Ticket
from contraforce_sentinel.stores.sqlite import SqliteLinkStore
from operators_tool.commandline import State
from operators_tool.exits import MEANINGS
from operators_tool.render import duration, literal
from operators_tool.targets import WrongArgument, read_moment
from sandbox import PLANTED_SECRET, Operation, Sandbox, SandboxIncident, SandboxWorkspace, faults

RECORD: dict[str, Any] = {
    "status": str,
    "incident": dict,
    "ticket": dict | None,
    "commentId": str | None,
    "alreadyLinked": bool,
    "reason": str | None,
    "retryAt": str | None,
    "contraforceRequestId": str | None,
    "code": str | None,
    "requestedTicketId": str | None,
    "requestedWorkspaceId": str | None,
    "ticketWorkspaceId": str | None,
    "earlierTickets": list,
    "mayHaveTicket": bool,
    "wasDead": dict | None,
    "incidentState": str | None,
    "incidentStateSince": str | None,
    "incidentCreatedAt": str | None,
    "providerIncidentId": str | None,
    "firstSeenAt": str | None,
    "firstSeenBy": str | None,
    "linkedAt": str | None,
    "attempts": int,
    "createdAt": str,
    "updatedAt": str,
    "history": list,
}
STEP: dict[str, Any] = {
    "status": str,
    "reason": str | None,
    "code": str | None,
    "at": str,
    "lastAt": str,
    "times": int,
}
COMMANDS = ["doctor", "link", "show", "status", "replay", "backfill", "demo", "sandbox"]


class Shell:
    """An operator's shell: the sandbox's environment, a link store, two customers."""

    def __init__(self, sandbox: Sandbox, directory: Path) -> None:
        self.sandbox = sandbox
        self.directory = directory
        self.contoso = sandbox.add_workspace(name="law-contoso")
        self.fabrikam = sandbox.add_workspace(name="law-fabrikam", system="Jira")
        self.env = environment(sandbox, LINK_STORE=f"sqlite:///{directory}/links.db")

    async def run(self, *arguments: str, **more: str) -> Done:
        done = await run(*arguments, env={**self.env, **more}, warm=True)
        assert "Traceback" not in done.err, done.err
        assert PLANTED_SECRET not in done.out + done.err
        return done

    async def link(self, incident: SandboxIncident) -> Done:
        return await self.run("link", incident.arm_id)

    async def age(self, incident: SandboxIncident, **by: float) -> None:
        """Make a link's try due, and its failures this much older."""
        store = SqliteLinkStore(self.directory / "links.db")
        found = await store.get(IncidentId.parse(incident.arm_id))
        assert found is not None
        now = datetime.now(UTC)
        await store.replace(
            found.model_copy(
                update={"failing_since": now - timedelta(**by), "next_try_at": now, "not_before": None}
            )
        )
        await store.close()

    async def change(self, incident: SandboxIncident, changes: dict[str, Any]) -> None:
        """Make an incident's record another one."""
        store = SqliteLinkStore(self.directory / "links.db")
        found = await store.get(IncidentId.parse(incident.arm_id))
        assert found is not None
        await store.replace(found.model_copy(update=changes))
        await store.close()

    async def spoil(self, incident: SandboxIncident) -> None:
        """Make an incident's record unreadable."""
        store = SqliteLinkStore(self.directory / "links.db")
        await spoil(store, IncidentId.parse(incident.arm_id))
        await store.close()

    async def dead(
        self, workspace: SandboxWorkspace | None = None, *, ticket_id: str | None = None
    ) -> SandboxIncident:
        """Return an incident whose link is dead: ContraForce has not known it, or a ticket, for a day."""
        incident = (workspace or self.contoso).add_incident()
        now = datetime.now(UTC)
        link = Link(
            incident_id=IncidentId.parse(incident.arm_id),
            requested_ticket_id=ticket_id,
            created_at=now,
            updated_at=now,
        )
        error = UpstreamNotFound("status 404", upstream=Upstream.CONTRAFORCE, status=404, code="NOT_FOUND")
        for at in (now - timedelta(days=1), *[now] * 5):
            link = link.claimed(owner="somebody", now=at).failed(error, now=at, jitter=0.5)
        store = SqliteLinkStore(self.directory / "links.db")
        await store.insert(link)
        await store.close()
        return incident


@pytest_asyncio.fixture
async def shell(sandbox: Sandbox, tmp_path: Path) -> AsyncIterator[Shell]:
    yield Shell(sandbox, tmp_path)


def facts(shown: str) -> dict[str, str]:
    """Return what `show` says above the history, by the names it has there."""
    return {line[:11].strip(): line[11:] for line in shown.partition("\n\n")[0].splitlines()}


def assert_shape(found: dict[str, Any], shape: dict[str, Any]) -> None:
    assert list(found) == list(shape)
    for name, kind in shape.items():
        assert isinstance(found[name], kind), name


@pytest.mark.slow
class TestHelp:
    """`--help` is enough to work, and every wrong argument is exit code 2 with a hint."""

    async def test_it_lists_the_commands_and_the_exit_codes(self) -> None:
        done = await run("--help", env=environment(None))
        assert (done.code, done.err) == (0, "")
        assert re.findall(r"^  ([a-z]+) +[A-Z]", done.out, re.MULTILINE)[: len(COMMANDS)] == COMMANDS
        for code, meaning in MEANINGS.items():
            assert f"{code.value:>4}  {meaning}" in done.out

    @pytest.mark.parametrize("command", COMMANDS)
    async def test_every_command_explains_itself(self, command: str) -> None:
        done = await run(command, "-h", env=environment(None))
        assert (done.code, done.err) == (0, "")
        assert f"contraforce-sentinel {command}" in done.out

    async def test_the_version_is_told(self) -> None:
        assert (await run("--version", env=environment(None))).out == f"{VERSION}\n"

    @pytest.mark.parametrize(
        ("arguments", "hint"),
        [
            ([], "Usage"),
            (["links"], "No such command"),
            (["link"], "INCIDENT"),
            (["link", "a", "b"], "unexpected"),
            (["status", "--state", "lost"], "--state"),
            (["replay"], "INCIDENT or --state dead"),
            (["replay", "x", "--state", "dead"], "INCIDENT or --state dead"),
            (["replay", "x", "--reason", "y"], "--reason goes with --state"),
            (["replay", "--state", "linked"], "--state"),
            (["backfill", "--workspace", "law-contoso"], "--since"),
            (["backfill", "--since", "1d"], "--workspace"),
            (["backfill", "--workspace", "law-contoso", "--since", "1d", "--severity", "Awful"], "Awful"),
            (["doctor", "--app-url"], "--app-url"),
        ],
    )
    async def test_wrong_arguments_are_exit_code_2(self, arguments: list[str], hint: str) -> None:
        done = await run(*arguments, env=environment(None))
        assert done.code == 2
        assert hint in done.out + done.err
        assert "Traceback" not in done.err

    @pytest.mark.parametrize(
        ("arguments", "hint"),
        [
            (["link", "3177"], "needs --workspace"),
            (["link", "3177", "--workspace", "law-contoso"], "no incident with the number 3177"),
            (["link", "../x", "--workspace", "law-contoso"], "give an ARM id"),
            (["link", "/subscriptions/1/incidents/2"], "INCIDENT: not the ARM id"),
            (["link", "x", "--workspace", "law-other"], "no workspace in WORKSPACES"),
            (["status", "--workspace", "law-other"], "no workspace in WORKSPACES"),
            (["backfill", "--workspace", "law-contoso", "--since", "soon"], "--since: give 30d"),
            (["backfill", "--workspace", "law-contoso", "--since", "1d", "--until", "2d"], "before --until"),
        ],
    )
    async def test_arguments_that_name_nothing_are_exit_code_2(
        self, shell: Shell, arguments: list[str], hint: str
    ) -> None:
        done = await shell.run(*arguments)
        assert (done.code, done.out) == (2, "")
        assert hint in done.err

    async def test_a_workspace_that_is_not_configured_is_exit_code_2(self, shell: Shell) -> None:
        foreign = shell.sandbox.add_workspace(name="law-foreign").add_incident()
        for command in ("link", "show"):
            done = await shell.run(command, foreign.arm_id)
            assert (done.code, done.out) == (2, "")
            assert "not in WORKSPACES" in done.err

    def test_without_the_extra_it_says_how_to_install_it(self, tmp_path: Path) -> None:
        """An interpreter without site-packages has neither typer nor rich."""
        source = Path(__file__).parent.parent / "src"
        program = (
            f"import sys; sys.path.insert(0, {str(source)!r})\n"
            "from operators_tool import main\n"
            "sys.exit(main())\n"
        )
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", program],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        assert done.returncode == 2
        assert done.stderr == (
            "contraforce-sentinel: typer and rich missing. The command-line tool is an extra:\n"
            "    pip install 'contraforce-sentinel[cli]'\n"
        )


def test_the_states_that_can_be_asked_for_are_those_of_links() -> None:
    assert [state.value for state in State] == [state.value for state in LinkState]


@pytest.mark.slow
class TestLinkAndShow:
    @pytest.mark.parametrize("name", ["arm id", "trigger", "portal", "name", "number", "#number"])
    async def test_an_incident_is_linked_by_every_name_it_has(self, shell: Shell, name: str) -> None:
        incident = shell.contoso.add_incident()
        there = ("--workspace", "LAW-Contoso")
        arguments = {
            "arm id": (incident.arm_id,),
            "trigger": (incident.trigger_arm_id,),
            "portal": (incident.properties()["incidentUrl"],),
            "name": (incident.name, *there),
            "number": (str(incident.number), *there),
            "#number": (f"#{incident.number}", "--workspace", shell.contoso.arm_id),
        }[name]
        done = await shell.run("link", *arguments)
        assert (done.code, done.err) == (0, "")
        assert len(incident.comments) == 1
        assert incident.ticket is not None
        assert re.search(rf"^ticket +Autotask {re.escape(incident.ticket.number)}$", done.out, re.MULTILINE)

    async def test_with_one_workspace_a_number_is_enough(self, sandbox: Sandbox, tmp_path: Path) -> None:
        incident = sandbox.add_workspace().add_incident()
        env = environment(sandbox, LINK_STORE=f"sqlite:///{tmp_path}/links.db")
        assert (await run("link", str(incident.number), env=env)).code == 0

    async def test_the_json_document_has_this_shape(self, shell: Shell) -> None:
        incident = shell.contoso.add_incident()
        linked = await shell.run("link", incident.arm_id, "--json")
        assert (linked.code, linked.err) == (0, "")
        assert_shape(linked.json, RECORD)
        assert [step["status"] for step in linked.json["history"]] == ["ticketed", "linked"]
        for step in linked.json["history"]:
            assert_shape(step, STEP)
        assert (await shell.run("show", incident.arm_id, "--json")).json == linked.json

    async def test_what_is_not_finished_is_exit_code_3_and_shown_with_its_whole_history(
        self, shell: Shell
    ) -> None:
        incident = shell.contoso.add_incident()
        incident.withhold_ticket()
        assert (await shell.link(incident)).code == 3
        await shell.age(incident)
        assert (await shell.link(incident)).code == 3
        shell.sandbox.faults.plan("contraforce.link", faults.problem(400, problem_code="BAD_REQUEST"))
        await shell.age(incident)
        assert (await shell.link(incident)).code == 1
        shown = await shell.run("show", incident.arm_id)
        steps = [line.split()[-3:] for line in shown.out.splitlines() if line.startswith("20")]
        assert steps == [["2", "pending", "no-ticket-yet"], ["dead", "contraforce-rejected", "(BAD_REQUEST)"]]
        assert (await shell.run("show", incident.arm_id, "--json")).json["history"][0]["times"] == 2

    async def test_a_dead_link_is_exit_code_1(self, shell: Shell) -> None:
        incident = await shell.dead()
        done = await shell.run("show", incident.arm_id)
        assert done.code == 0
        assert re.search(r"^reason +not-ingested-yet \(NOT_FOUND\)$", done.out, re.MULTILINE)
        replay = "contraforce-sentinel replay --state dead --reason not-ingested-yet"
        assert re.search(rf"^next +{replay}$", done.out, re.MULTILINE)
        assert (await shell.link(incident)).code == 1

    async def test_what_was_followed_is_shown(self, shell: Shell) -> None:
        incident = shell.contoso.add_incident(provider="Microsoft XDR")
        await shell.link(incident)
        before = (await shell.run("show", incident.arm_id)).out
        assert facts(before)["was last"].startswith("open since 20")
        assert facts(before)["first seen"].endswith("Z by operator")
        assert facts(before)["given by"] == f"ContraForce workspace {shell.contoso.contraforce_id}"
        assert facts(before)["provider's"] == incident.properties()["providerIncidentId"]
        assert {"created", "linked", "recorded"} <= facts(before).keys()
        assert not {"look at", "earlier", "was dead", "asked for"} & facts(before).keys()

        now = datetime.now(UTC)
        earlier = Ticket(system="Jira", number="SEC-1")
        merged = {"seen": Sighting(state="merged", since=now), "earlier_tickets": (earlier,)}
        await shell.change(incident, merged)
        after = facts((await shell.run("show", incident.arm_id)).out)
        assert after["was last"].startswith("merged since 20")
        assert "merged into another one; ticket and comment stayed behind" in after["look at"]
        assert after["earlier"] == "Jira SEC-1"

    async def test_a_ticket_that_nobody_knows_and_what_was_dead_are_shown(self, shell: Shell) -> None:
        incident = shell.contoso.add_incident()
        shell.sandbox.faults.plan("contraforce.link", faults.reset("after"), times=None)
        assert (await shell.link(incident)).code == 3
        cause = Cause(reason="not-ingested-yet", code="NOT_FOUND")
        await shell.change(incident, {"state": LinkState.SKIPPED, "was_dead": cause, "next_try_at": None})
        shown = facts((await shell.run("show", incident.arm_id)).out)
        assert shown["look at"].endswith("there may be a ticket that nobody knows")
        assert shown["was dead"] == "not-ingested-yet (NOT_FOUND)"

    async def test_an_incident_nobody_told_of_is_exit_code_1_and_makes_no_link_store(
        self, shell: Shell
    ) -> None:
        done = await shell.run("show", shell.contoso.add_incident().arm_id)
        assert (done.code, done.out) == (1, "")
        assert "no link is recorded" in done.err
        assert list(shell.directory.iterdir()) == []

    async def test_text_from_a_service_desk_is_no_markup_and_no_control_character(self, shell: Shell) -> None:
        title = "[bold red]urgent[/] :warning: \x1b]0;owned\x07 \u202edesrever"
        incident = shell.contoso.add_incident(ticket_title=title)
        await shell.link(incident)
        shown = (await shell.run("show", incident.arm_id)).out
        assert "[bold red]urgent[/] :warning: " in shown
        assert set(map(ord, shown)) & {0x1B, 0x07, 0x202E} == set()

    async def test_ctrl_c_finishes_the_link_that_was_begun(self, shell: Shell) -> None:
        incident = shell.contoso.add_incident()
        shell.sandbox.faults.plan("arm.comment.put", faults.slow(6))
        async with running("link", incident.arm_id, env=shell.env, warm=True) as process:
            await until(lambda: shell.sandbox.log.count("arm.comment.put"), what="the comment's PUT")
            done = await interrupt(process)
        assert (done.code, done.out, done.err) == (130, "", "Interrupted.\n")
        shown = await shell.run("show", incident.arm_id, "--json")
        assert shown.json["status"] == "linked"


class TestStatusAndReplay:
    async def test_status_tells_what_is_dead_and_due_by_workspace(self, shell: Shell) -> None:
        await shell.dead()
        waiting = shell.fabrikam.add_incident()
        waiting.withhold_ticket()
        await shell.link(waiting)
        text = await shell.run("status")
        assert (text.code, text.err) == (0, "")
        rows = [line.split() for line in text.out.splitlines()]
        assert rows[0] == ["workspace", "dead", "unreadable", "next", "try"]
        assert rows[1] == ["law-contoso", "1", "0", "nothing", "due"]
        assert rows[2][:3] == ["law-fabrikam", "0", "0"]
        found = (await shell.run("status", "--json")).json
        assert list(found) == ["workspaces", "lastTimerRun", "oldestDueSeconds", "dead", "unreadable"]
        assert [list(row) for row in found["workspaces"]] == [
            ["workspace", "dead", "unreadable", "nextDueAt"]
        ] * 2
        assert [row["dead"] for row in found["workspaces"]] == [1, 0]
        of_one = await shell.run("status", "--workspace", "law-fabrikam", "--json")
        assert [row["workspace"] for row in of_one.json["workspaces"]] == [shell.fabrikam.arm_id]

    async def test_status_says_that_there_are_no_customers(self, shell: Shell) -> None:
        text = await shell.run("status", WORKSPACES="[]")
        assert (text.code, text.err) == (0, "")
        assert text.out.startswith("There are no customers: WORKSPACES has none.")
        assert (await shell.run("status", "--json", WORKSPACES="")).json["workspaces"] == []
        named = await shell.run("show", "1", WORKSPACES="")
        assert (named.code, named.out) == (2, "")
        assert "there are no customers" in named.err

    async def test_status_tells_what_the_timer_left_to_backfill(self, shell: Shell) -> None:
        now = datetime.now(UTC)
        store = SqliteLinkStore(shell.directory / "links.db")
        await store.save_run(TimerRun(started_at=now, finished_at=now, left_to_backfill=7))
        await store.close()
        assert "discovered 0, left to backfill 7, failed" in (await shell.run("status")).out
        assert (await shell.run("status", "--json")).json["lastTimerRun"]["leftToBackfill"] == 7

    async def test_status_lists_the_links_in_a_state_one_line_each(self, shell: Shell) -> None:
        incidents = [shell.contoso.add_incident() for _ in range(3)]
        for incident in incidents:
            await shell.link(incident)
        listed = await shell.run("status", "--state", "linked")
        assert (listed.code, listed.err) == (0, "")
        assert {line.split()[-1] for line in listed.out.splitlines()[1:]} == {one.name for one in incidents}
        found = (await shell.run("status", "--state", "linked", "--json")).json
        assert list(found) == ["links"]
        for link in found["links"]:
            assert_shape(link, RECORD)
        assert (await shell.run("status", "--state", "dead", "--json")).json == {"links": []}

    async def test_records_that_cannot_be_read_are_told_and_hold_back_no_other(self, shell: Shell) -> None:
        spoilt, other = await shell.dead(), await shell.dead()
        waiting = [shell.fabrikam.add_incident() for _ in range(2)]
        shell.sandbox.faults.plan("contraforce.link", faults.problem(404), times=2)
        for incident in waiting:
            await shell.link(incident)
            await shell.age(incident, minutes=1)
        for incident in (spoilt, waiting[0]):
            await shell.spoil(incident)
        rows = (await shell.run("status", "--json")).json["workspaces"]
        assert [(row["dead"], row["unreadable"]) for row in rows] == [(2, 0), (0, 1)]
        listed = await shell.run("status", "--state", "dead", "--json")
        assert [link["incident"]["armId"].lower() for link in listed.json["links"]] == [other.arm_id.lower()]
        assert "record.unreadable" in listed.err
        assert spoilt.name in listed.err
        for command in ("show", "link", "replay"):
            done = await shell.run(command, spoilt.arm_id)
            assert (done.code, done.out) == (1, "")
            assert "cannot be read" in done.err
        replayed = await shell.run("replay", "--state", "dead", "--json")
        assert (replayed.code, len(other.comments), len(spoilt.comments)) == (0, 1, 0)

    async def test_an_outage_of_one_customer_does_not_hold_back_the_replay_of_another(
        self, shell: Shell
    ) -> None:
        for _ in range(5):
            await shell.dead()
        theirs = [await shell.dead(shell.fabrikam) for _ in range(2)]
        mine = shell.contoso.contraforce_id
        shell.sandbox.faults.plan(
            "contraforce.link", faults.status(403), times=None, where=lambda call: mine in call.path
        )
        done = await shell.run("replay", "--state", "dead", "--json")
        assert done.code == 3
        assert done.json["stopped"] == "contraforce-unauthorized in law-contoso, three times in a row"
        assert [len(incident.comments) for incident in theirs] == [1, 1]
        assert shell.sandbox.log.count("contraforce.link") == 3 + 2

    async def test_status_without_a_link_store_makes_none(self, shell: Shell) -> None:
        for arguments in (["status"], ["status", "--state", "dead"]):
            assert (await shell.run(*arguments)).code == 0
        assert list(shell.directory.iterdir()) == []

    async def test_replay_brings_a_dead_link_back(self, shell: Shell) -> None:
        incident = await shell.dead()
        done = await shell.run("replay", incident.arm_id, "--json")
        assert (done.code, done.err) == (0, "")
        assert_shape(done.json, RECORD)
        reasons = [(step["status"], step["reason"]) for step in done.json["history"]]
        assert reasons == [
            ("pending", "not-ingested-yet"),
            ("dead", "not-ingested-yet"),
            ("pending", "replayed"),
            ("ticketed", None),
            ("linked", None),
        ]
        assert len(incident.comments) == 1

    async def test_show_and_its_json_say_which_ticket_was_asked_for(self, shell: Shell) -> None:
        incident = await shell.dead(ticket_id="T2026-mistyped")
        shown = await shell.run("show", incident.arm_id)
        assert "ticket-refused" in shown.out
        assert re.search(r"^asked for +T2026-mistyped$", shown.out, re.MULTILINE)
        found = (await shell.run("show", incident.arm_id, "--json")).json
        assert (found["reason"], found["requestedTicketId"]) == ("ticket-refused", "T2026-mistyped")

    @pytest.mark.parametrize("arguments", [["--state", "dead"], []])
    async def test_replay_drops_a_ticket_that_was_refused_and_says_so(
        self, shell: Shell, arguments: list[str]
    ) -> None:
        incident = await shell.dead(ticket_id="T2026-mistyped")
        done = await shell.run("replay", *(arguments or [incident.arm_id]))
        assert done.code == 0
        assert "ticket T2026-mistyped was refused, and is not asked for again" in done.err
        (call,) = shell.sandbox.log.of("contraforce.link")
        assert (call.body["ticketId"], len(incident.comments)) == (None, 1)

    async def test_link_without_a_ticket_brings_back_a_link_whose_ticket_was_refused(
        self, shell: Shell
    ) -> None:
        incident = await shell.dead(ticket_id="T2026-mistyped")
        assert (await shell.link(incident)).code == 0
        assert [call.body["ticketId"] for call in shell.sandbox.log.of("contraforce.link")] == [None]

    async def test_replay_of_a_link_that_has_its_ticket_asks_for_no_other(self, shell: Shell) -> None:
        incident = shell.contoso.add_incident()
        shell.sandbox.faults.plan("arm.comment.put", faults.arm_error(400, "BadRequest"))
        assert (await shell.link(incident)).code == 1
        text = await shell.run("replay", incident.arm_id)
        assert (text.code, text.err) == (0, "")
        assert (shell.sandbox.log.count("contraforce.link"), len(incident.comments)) == (1, 1)

    async def test_replay_of_a_linked_incident_calls_nobody(self, shell: Shell) -> None:
        incident = shell.contoso.add_incident()
        await shell.link(incident)
        calls = len(shell.sandbox.log.all)
        assert (await shell.run("replay", incident.arm_id)).code == 0
        assert len(shell.sandbox.log.all) == calls

    async def test_replay_by_state_takes_only_the_reason_and_workspace_asked_for(self, shell: Shell) -> None:
        late, elsewhere = await shell.dead(), await shell.dead(shell.fabrikam)
        refused = shell.contoso.add_incident()
        shell.sandbox.faults.plan(
            "contraforce.link",
            faults.problem(400, problem_code="BAD_REQUEST"),
            times=None,
            where=lambda call: call.key == refused.name.lower(),
        )
        assert (await shell.link(refused)).code == 1
        choice = ("--state", "dead", "--reason", "not-ingested-yet", "--workspace", "law-contoso")
        done = await shell.run("replay", *choice, "--json")
        assert (done.code, done.err) == (0, "")
        outcomes = [{"status": "linked", "reason": None, "count": 1}]
        assert done.json == {"dryRun": False, "outcomes": outcomes, "stopped": None}
        assert [len(one.comments) for one in (late, elsewhere)] == [1, 0]
        rest = await shell.run("replay", "--state", "dead")
        assert (rest.code, rest.err) == (1, "")
        assert [line.split() for line in rest.out.splitlines()] == [
            ["state", "reason", "incidents"],
            ["dead", "contraforce-rejected", "1"],
            ["linked", "1"],
        ]
        assert len(elsewhere.comments) == 1


class TestEnds:
    """How a command ends that cannot do its work, and what a terminal gets."""

    async def test_settings_that_are_refused_are_exit_code_4_without_a_value(self, shell: Shell) -> None:
        done = await shell.run("status", MINIMUM_SEVERITY="s3cr3t", CONTRAFORCE_CLIENT_ID="")
        assert (done.code, done.out) == (4, "")
        assert "CONTRAFORCE_CLIENT_ID: is required; MINIMUM_SEVERITY" in done.err
        assert "s3cr3t" not in done.err

    @pytest.mark.parametrize("command", ["status", "show", "link", "replay", "backfill"])
    async def test_a_link_store_out_of_reach_is_exit_code_4(self, shell: Shell, command: str) -> None:
        (shell.directory / "file").write_text("")
        name = shell.contoso.add_incident().arm_id
        more = {"status": [], "backfill": ["--workspace", "law-contoso", "--since", "1d"]}.get(
            command, [name]
        )
        done = await shell.run(command, *more, LINK_STORE=f"sqlite:///{shell.directory}/file/links.db")
        assert (done.code, done.out) == (4, "")
        assert "SQLite link store cannot be used" in done.err

    async def test_an_identity_without_a_token_is_exit_code_4_with_advice(self, shell: Shell) -> None:
        done = await shell.run("link", "3177", "--workspace", "law-contoso", IDENTITY_HEADER="wrong")
        assert (done.code, done.out) == (4, "")
        assert "identity: the identity gets no token; assign the managed identity" in done.err

    async def test_an_answer_that_cannot_be_read_is_not_quoted(self, shell: Shell) -> None:
        """`Shell.run` looks for the token in everything that is shown."""
        broken = faults.json(200, {"access_token": PLANTED_SECRET, "expires_on": "soon"})
        shell.sandbox.faults.plan("identity.token", broken, times=None)
        done = await shell.run("link", "3177", "--workspace", "law-contoso")
        assert (done.code, done.out) == (4, "")
        assert done.err.startswith("identity: ")

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize("command", ["doctor", "link", "show", "replay", "backfill", "status"])
    async def test_every_command_ends_at_a_signal_with_130(
        self, shell: Shell, command: str, number: signal.Signals
    ) -> None:
        """It waits for a token or, where it needs none, for a link store that does not answer."""
        waits_for: Operation = "unknown" if command == "status" else "identity.token"
        shell.sandbox.faults.plan(waits_for, faults.hang(), times=None)
        one = ["1", "--workspace", "law-contoso"]
        all_since = ["--workspace", "law-contoso", "--since", "1d"]
        more = {"doctor": [], "status": [], "backfill": all_since}.get(command, one)
        silent = (
            "DefaultEndpointsProtocol=http;AccountName=silent;AccountKey=a2V5;"
            f"TableEndpoint={shell.sandbox.identity.base_url}/silent;"
        )
        env = shell.env | ({"LINK_STORE": silent} if command == "status" else {})
        async with running(command, *more, env=env, warm=True) as process:
            await until(lambda: shell.sandbox.log.count(waits_for), what="a call")
            done = await interrupt(process, number)
        assert (done.code, done.out, done.err) == (130, "", "Interrupted.\n")

    async def test_a_terminal_gets_a_bar_with_rate_and_time_left(self, shell: Shell) -> None:
        for _ in range(3):
            shell.contoso.add_incident()
        env = {**shell.env, "TERM": "xterm-256color", "COLUMNS": "100"}
        seen = await on_terminal("backfill", "--workspace", "law-contoso", "--since", "1d", env=env)
        assert "3/3" in seen
        assert re.search(r"\d+ a minute", seen)
        assert re.search(r"\d:\d\d:\d\d", seen)
        assert "incidents" in seen

    async def test_no_color_holds_on_a_terminal_and_colours_come_without_it(self, shell: Shell) -> None:
        plain = await on_terminal("doctor", env={**shell.env, "TERM": "xterm-256color", "NO_COLOR": "1"})
        assert "\x1b[32m" not in plain
        assert "15 of 15" in plain
        assert "\x1b[32m" in await on_terminal("doctor", env={**shell.env, "TERM": "xterm-256color"})


async def on_terminal(*arguments: str, env: dict[str, str]) -> str:
    """Run the tool on a terminal and give what it wrote there."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "operators_tool", *arguments,
        env=env, stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    written = bytearray()

    def read() -> None:
        try:
            while part := os.read(ours, 4096):
                written.extend(part)
        except OSError:  # Linux' word for the end of a terminal
            return

    reading = asyncio.create_task(asyncio.to_thread(read))
    await process.wait()
    await reading
    os.close(ours)
    return written.decode()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("90m", "2026-11-25T10:30:00+00:00"),
        ("12h", "2026-11-25T00:00:00+00:00"),
        ("30d", "2026-10-26T12:00:00+00:00"),
        ("2026-11-01", "2026-11-01T00:00:00+00:00"),
        ("2026-11-01T08:00", "2026-11-01T08:00:00+00:00"),
        ("2026-11-01T08:00+02:00", "2026-11-01T08:00:00+02:00"),
    ],
)
def test_a_moment_is_an_age_a_date_or_a_time(text: str, expected: str) -> None:
    now = datetime(2026, 11, 25, 12, tzinfo=UTC)
    assert read_moment(text, option="--since", now=now) == datetime.fromisoformat(expected)


@pytest.mark.parametrize(
    "text", ["", "d", "3w", "-3d", "yesterday", "2026-13-01", "٣d", "0001-01-01T00:00+14:00"]
)
def test_anything_else_is_no_moment(text: str) -> None:
    with pytest.raises(WrongArgument, match="--until: give"):
        read_moment(text, option="--until", now=datetime.now(UTC))


@pytest.mark.parametrize(
    ("seconds", "expected"), [(0.4, "0 s"), (59, "59 s"), (303, "5 min 3 s"), (3939, "1 h 5 min")]
)
def test_a_duration_has_two_units_at_most(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


def test_control_characters_are_shown_as_replaced() -> None:
    assert str(literal("a\x1b[31mb\x00\r\n\u202e")) == "a�[31mb��\n�"


def test_a_record_of_an_older_version_has_no_history() -> None:
    now = datetime.now(UTC).isoformat()
    arm_id = (
        "/subscriptions/11111111-2222-4333-8444-555555555555/resourceGroups/g"
        "/providers/Microsoft.OperationalInsights/workspaces/law-a"
        "/providers/Microsoft.SecurityInsights/incidents/x"
    )
    old = {"incident_id": arm_id, "created_at": now, "updated_at": now}
    assert Link.model_validate(old).history == ()
