"""Backfill: paced, resumable after every death, honest before (`--dry-run`) and after (the table)."""

import signal
from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from cli_process import Done, environment, interrupt, run, running, until
from store_fixtures import spoil

from contraforce_sentinel.azure.pacing import Pace
from contraforce_sentinel.domain.incidents import IncidentId, WorkspaceId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.reasons import Reason
from contraforce_sentinel.domain.runs import Feed
from contraforce_sentinel.stores.sqlite import SqliteLinkStore
from sandbox import LoggedRequest, Sandbox, SandboxIncident, SentinelLimits, faults

WINDOW_SECONDS = 1.5
YEAR = ("--workspace", "law-contoso", "--since", "365d")


def program(
    *, window_seconds: float = WINDOW_SECONDS, lease_seconds: float = 2, deadline_seconds: float = 20
) -> str:
    """Return the tool as a program in which Sentinel's window, a claim and a request end this soon.

    Requests travel as long as ever while the window shrinks: the tool's is a quarter of a second longer.
    """
    return f"""
import sys
from datetime import timedelta
from contraforce_sentinel.domain import links
from contraforce_sentinel.azure import pacing
from contraforce_sentinel.transport import retries
from operators_tool import main

retries.DEADLINE_SECONDS = {deadline_seconds}
links.LEASE = timedelta(seconds={lease_seconds})
links.CLOCKS_APART = links.LONGEST_EFFECT = links.LEASE / 10
pacing.Pace.__init__.__kwdefaults__ = {{"window_seconds": {window_seconds} + 0.25}}
sys.exit(main())
"""


class Customer:
    """One workspace with open incidents, Sentinel's limit in the sandbox, and a link store."""

    def __init__(self, sandbox: Sandbox, directory: Path, *, window_seconds: float = WINDOW_SECONDS) -> None:
        self.sandbox = sandbox
        self.workspace = sandbox.add_workspace(name="law-contoso")
        self.store = directory / "links.db"
        self.env = environment(sandbox, LINK_STORE=f"sqlite:///{self.store}")
        sandbox.arm.limits = SentinelLimits(window_seconds=window_seconds)

    def add(self, count: int) -> list[SandboxIncident]:
        start = datetime.now(UTC) - timedelta(days=1)
        return [self.workspace.add_incident(created=start + timedelta(seconds=at)) for at in range(count)]

    async def backfill(self, *more: str) -> Done:
        done = await run("backfill", *YEAR, *more, env=self.env, warm=True, source=program())
        assert "Traceback" not in done.err, done.err
        return done

    def has_called(self, times: int) -> bool:
        return self.sandbox.log.count("contraforce.link") >= times

    @property
    def link_calls(self) -> Counter[str]:
        return Counter(request.key or "" for request in self.sandbox.log.of("contraforce.link"))


@pytest.fixture
def customer(sandbox: Sandbox, tmp_path: Path) -> Customer:
    return Customer(sandbox, tmp_path)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("count", [150, pytest.param(1000, marks=pytest.mark.deep)])
async def test_many_incidents_end_linked_once_each_although_the_run_is_killed_twice(
    customer: Customer, count: int
) -> None:
    incidents = customer.add(count)
    for enough in (count // 5, count // 2):
        async with running("backfill", *YEAR, env=customer.env, warm=True, source=program()) as process:
            await until(partial(customer.has_called, enough), what="the run to come so far")
            await interrupt(process, signal.SIGKILL)

    done = await customer.backfill("--json")

    assert (done.code, done.err) == (0, "")
    assert sum(one["count"] for one in done.json["outcomes"]) == count
    assert {one["status"] for one in done.json["outcomes"]} == {"linked"}
    assert {len(incident.comments) for incident in incidents} == {1}
    assert all(
        incident.ticket and incident.ticket.number in incident.comments[0].message for incident in incidents
    )
    repeated = {key: times for key, times in customer.link_calls.items() if times > 1}
    assert len(repeated) <= 2, "one link was under way at each kill"
    assert set(repeated.values()) <= {2}
    assert len(customer.link_calls) == count


async def test_a_dry_run_writes_nothing_and_tells_what_would_be_done(customer: Customer) -> None:
    customer.add(80)
    customer.workspace.add_incident(status="Closed")
    customer.workspace.add_incident(labels=["Redirected"])
    done = await run("backfill", *YEAR, "--dry-run", "--json", env=customer.env, warm=True)
    assert (done.code, done.err) == (0, "")
    assert done.json == {
        "dryRun": True,
        "outcomes": [
            {"status": "skipped", "reason": "closed", "count": 1},
            {"status": "skipped", "reason": "redirected", "count": 1},
            {"status": "to link", "reason": None, "count": 80},
        ],
        "toLink": 80,
        "timerTakesUp": 0,
        "leftOut": 0,
        "estimatedSeconds": 303.0,
    }
    text = await run("backfill", *YEAR, "--dry-run", env=customer.env, warm=True)
    assert text.out.endswith(
        "Nothing was written. A run will take about 5 min 3 s: Sentinel's limit on comments.\n"
    )
    assert {request.method for request in customer.sandbox.log.all} == {"GET"}
    assert not customer.store.exists()


async def test_a_dry_run_tells_what_is_the_timers_and_what_only_a_run_does(customer: Customer) -> None:
    """The timer has followed the workspace for two days; a minimum severity was lowered since."""
    now = datetime.now(UTC)
    ages = {"followed": 1, "older": 3, "skipped": 20, "skipped long ago": 30}
    incident = {
        name: customer.workspace.add_incident(created=now - timedelta(days=days), severity="High")
        for name, days in ages.items()
    }
    for _ in range(2):
        customer.workspace.add_incident(created=now - timedelta(days=1), severity="Low")
    incident["skipped"].touch(at=now - timedelta(hours=1))
    store = SqliteLinkStore(customer.store)
    feed = await store.save_feed(
        WorkspaceId.parse(customer.workspace.arm_id),
        Feed(follows_from=now - timedelta(days=2), watermark=now - timedelta(minutes=2)),
    )
    assert feed is not None
    for name in ("skipped", "skipped long ago"):
        arm_id = IncidentId.parse(incident[name].arm_id)
        link = Link(incident_id=arm_id, created_at=now, updated_at=now)
        await store.insert(link.skipped(Reason.BELOW_MINIMUM_SEVERITY, now=now))
    await store.close()

    chosen = (*YEAR, "--severity", "High", "--dry-run")
    done = await run("backfill", *chosen, "--json", env=customer.env, warm=True)

    assert (done.json["toLink"], done.json["timerTakesUp"], done.json["leftOut"]) == (4, 2, 2)
    text = await run("backfill", *chosen, env=customer.env, warm=True)
    assert [line.split() for line in text.out.splitlines()[:2]] == [
        ["state", "reason", "incidents"],
        ["to", "link", "4"],
    ]
    assert text.out.splitlines()[2:] == [
        "Of the 4 to link, 2 are the timer's, too, within a day; 2 are left to a run of this command.",
        "Left out because of --severity or --status: 2.",
        "Nothing was written. A run will take about 4 s: at a second each.",
    ]


async def test_a_dry_run_tells_what_a_run_leaves_as_it_is(customer: Customer) -> None:
    (dead,) = customer.add(1)
    customer.workspace.add_incident(status="Closed")
    customer.sandbox.faults.plan("contraforce.link", faults.problem(400, problem_code="VALIDATION_ERROR"))
    await run("link", dead.arm_id, env=customer.env, warm=True)
    text = await run("backfill", *YEAR, "--dry-run", env=customer.env, warm=True)
    assert [line.split() for line in text.out.splitlines()[1:4]] == [
        ["dead", "before", "this", "run", "1"],
        ["skipped", "closed", "1"],
        ["to", "link", "0"],
    ]
    assert text.out.splitlines()[4:] == [
        "A run leaves the rest as it is.",
        "What is dead, replay brings back.",
        "Nothing was written. There is nothing to do.",
    ]


async def test_a_dry_run_of_a_few_incidents_tells_a_time_too(customer: Customer) -> None:
    customer.add(30)
    done = await run("backfill", *YEAR, "--dry-run", env=customer.env, warm=True)
    assert done.out.endswith("A run will take about 30 s: at a second each.\n")


@pytest.mark.parametrize(
    ("puts", "seconds"), [(0, 0), (1, 0), (75, 0), (76, 303), (150, 303), (151, 606), (1000, 13 * 303)]
)
def test_the_pace_knows_how_long_many_take(puts: int, seconds: float) -> None:
    assert Pace().seconds_for(puts) == pytest.approx(seconds)


async def test_what_is_not_asked_for_is_left_alone(customer: Customer) -> None:
    now = datetime.now(UTC)
    high = customer.workspace.add_incident(severity="High", created=now - timedelta(hours=2))
    customer.workspace.add_incident(severity="Low", created=now - timedelta(hours=2))
    customer.workspace.add_incident(severity="High", status="Active", created=now - timedelta(hours=2))
    customer.workspace.add_incident(severity="High", created=now - timedelta(hours=5))
    customer.workspace.add_incident(severity="High", created=now - timedelta(minutes=5))
    window = ("--workspace", "law-contoso", "--since", "3h", "--until", "1h")
    done = await run(
        "backfill",
        *window,
        "--severity",
        "High",
        "--severity",
        "Medium",
        "--status",
        "New",
        env=customer.env,
        warm=True,
    )
    assert (done.code, done.err) == (0, "")
    assert [line.split() for line in done.out.splitlines()] == [
        ["state", "reason", "incidents"],
        ["linked", "1"],
    ]
    assert list(customer.link_calls) == [high.name.lower()]


async def test_an_incident_that_cannot_be_read_is_told_and_holds_back_no_other(customer: Customer) -> None:
    good, bad = customer.add(2)
    bad.number = None  # type: ignore[assignment] # as no documented answer has it
    done = await customer.backfill()
    assert (done.code, len(good.comments), len(bad.comments)) == (0, 1, 0)
    assert done.err.startswith("discovery.unreadable ")
    assert "an incident without a number" in done.err


async def test_a_list_that_leads_elsewhere_is_told_and_what_came_before_is_linked(customer: Customer) -> None:
    incidents = customer.add(2)
    customer.workspace.listing.link = "https://elsewhere.example/more"
    done = await customer.backfill()
    assert (done.code, [len(incident.comments) for incident in incidents]) == (0, [1, 1])
    assert done.err.startswith("discovery.cut-short ")
    assert "elsewhere" not in done.err


async def test_run_again_it_calls_nobody_for_what_is_done(customer: Customer) -> None:
    customer.add(3)
    assert (await customer.backfill()).code == 0
    customer.sandbox.log.clear()
    done = await customer.backfill("--json")
    assert done.json["outcomes"] == [{"status": "linked", "reason": "before this run", "count": 3}]
    assert customer.sandbox.log.count("contraforce.link") + customer.sandbox.log.count("arm.comment.put") == 0


async def test_what_another_worker_holds_is_waited_for(customer: Customer) -> None:
    incident, other = customer.add(2)
    now = datetime.now(UTC)
    link = Link(incident_id=IncidentId.parse(incident.arm_id), created_at=now, updated_at=now)
    claimed = link.claimed(owner="a worker that died", now=now)
    assert claimed.lease is not None
    soon = claimed.lease.model_copy(update={"until": now + timedelta(seconds=6)})
    store = SqliteLinkStore(customer.store)
    await store.insert(claimed.model_copy(update={"lease": soon, "next_try_at": soon.until}))
    await store.close()
    done = await customer.backfill()
    assert (done.code, len(incident.comments), len(other.comments)) == (0, 1, 1)


async def test_a_limit_that_others_have_used_up_is_waited_for_before_the_next_comment(
    customer: Customer,
) -> None:
    """The wait that is asked for, 6 s, is longer than a request may take in all its tries."""
    incidents = customer.add(2)
    puts: list[float] = []

    def is_too_early(request: LoggedRequest) -> bool:
        puts.append(request.at)
        return request.at - puts[0] < 5.5

    too_many = faults.arm_error(429, "TooManyRequests", retry_after="6")
    customer.sandbox.faults.plan("arm.comment.put", too_many, times=None, where=is_too_early)
    done = await run("backfill", *YEAR, env=customer.env, warm=True, source=program(deadline_seconds=5))
    assert (done.code, done.err, customer.link_calls.total()) == (0, "", 2)
    statuses = [request.status for request in customer.sandbox.log.of("arm.comment.put")]
    assert statuses == [429, 201, 201]
    assert [len(incident.comments) for incident in incidents] == [1, 1]


async def test_an_outage_ends_it_early_and_nothing_is_lost(customer: Customer) -> None:
    customer.add(6)
    customer.sandbox.contraforce.credentials.clear()
    done = await customer.backfill()
    assert (done.code, done.err) == (3, "")
    assert "Stopped early: contraforce-unauthorized in law-contoso, three times in a row." in done.out
    assert customer.link_calls.total() == 3


async def test_a_record_that_cannot_be_read_is_told_and_holds_back_no_other(customer: Customer) -> None:
    spoilt, other = customer.add(2)
    await customer.backfill()
    store = SqliteLinkStore(customer.store)
    await spoil(store, IncidentId.parse(spoilt.arm_id))
    await store.close()
    new = customer.workspace.add_incident()
    done = await customer.backfill()
    assert done.code == 1
    assert [line.split() for line in done.out.splitlines()[1:]] == [
        ["linked", "1"],
        ["linked", "before", "this", "run", "1"],
        ["refused", "the", "record", "cannot", "be", "read", "1"],
    ]
    assert "record.unreadable" in done.err
    assert [len(incident.comments) for incident in (spoilt, other, new)] == [1, 1, 1]


async def test_a_dead_link_is_exit_code_1_in_the_table(customer: Customer) -> None:
    good, gone = customer.add(2)
    customer.sandbox.faults.plan(
        "contraforce.link",
        faults.problem(400, problem_code="VALIDATION_ERROR"),
        where=lambda request: request.key == gone.name,
    )
    done = await customer.backfill()
    assert done.code == 1
    assert [line.split() for line in done.out.splitlines()[1:]] == [
        ["dead", "contraforce-rejected", "1"],
        ["linked", "1"],
    ]
    assert len(good.comments) == 1


async def test_ctrl_c_finishes_what_was_begun_and_shows_the_table(customer: Customer) -> None:
    incidents = customer.add(20)
    customer.sandbox.arm.latency_seconds = 0.6
    async with running("backfill", *YEAR, "--json", env=customer.env, warm=True, source=program()) as process:
        await until(lambda: customer.sandbox.log.count("arm.comment.put") >= 2, what="a comment's PUT")
        done = await interrupt(process)
    assert (done.code, done.err) == (130, "Interrupted.\n")
    linked = sum(one["count"] for one in done.json["outcomes"] if one["status"] == "linked")
    assert 2 <= linked < len(incidents)
    assert [len(incident.comments) for incident in incidents] == [1] * linked + [0] * (20 - linked)
    assert customer.link_calls.total() == linked
    customer.sandbox.arm.latency_seconds = 0
    rest = await customer.backfill("--json")
    assert (rest.code, customer.link_calls.total()) == (0, len(incidents))


async def test_ctrl_c_while_it_waits_for_room_ends_it_at_once(customer: Customer) -> None:
    customer.add(77)
    longer = program(window_seconds=3600)
    async with running("backfill", *YEAR, env=customer.env, warm=True, source=longer) as process:
        await until(lambda: customer.sandbox.log.count("arm.comment.put") >= 75, what="a full window")
        done = await interrupt(process)
    assert (done.code, done.err) == (130, "Interrupted.\n")
    assert customer.link_calls.total() == 75
