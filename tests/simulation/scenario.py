"""Makes one world from a seed: customers, incidents, what happens to them and when, who delivers what."""

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID

from changes import Change, Restart, draw_changes, draw_restarts
from codes import make_late
from days import DAYS_SHARE, Days, draw_days
from faultplan import HOUR, FaultPlan
from truth import NO_DATES, PLANTED_TITLE, Case, World
from virtual_time import wall

from sandbox import TICKET_SYSTEMS, SandboxIncident, SandboxWorkspace
from sandbox.incidents import Severity
from sandbox.oddities import without_zone


@dataclass(frozen=True, slots=True)
class Posting:
    """A body that a playbook sends at a moment; a forged one does not tell the truth about its incident."""

    at: float
    body: bytes
    case: Case
    is_forged: bool = False
    ticket: str | None = None


@dataclass(slots=True)
class Scenario:
    """Everything that will happen, apart from faults; it ends when these do, unless it lasts for days."""

    faults_until: float
    ends_at: float
    timer_seconds: float
    offsets: list[float]
    timer_starts: list[float]
    retention_days: int
    postings: list[Posting] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    restarts: list[Restart] = field(default_factory=list)


def draw_scenario(rng: Random, world: World) -> tuple[Scenario, FaultPlan]:
    """Fill the world and return what is going to happen in it."""
    is_long = rng.random() < 0.02
    until = rng.uniform(26, 30) * HOUR if is_long else rng.uniform(5 * 60, 50 * 60)
    dice = Random(f"outages {world.seed}")  # noqa: S311 - of their own
    has_to_wait = not is_long and dice.random() < 0.03
    if has_to_wait:
        until = dice.uniform(70 * 60, 90 * 60)
    dice = Random(f"days {world.seed}")  # noqa: S311
    lasts_days = not is_long and not has_to_wait and dice.random() < DAYS_SHARE
    first, between = rng.uniform(-60, 60), rng.uniform(-60, 60)
    scenario = Scenario(
        faults_until=until,
        ends_at=until,
        timer_seconds=1800.0 if is_long else 300.0,
        offsets=[first, max(-60.0, min(60.0, first + between))][: rng.choice((1, 2, 2))],
        timer_starts=rng.choice(([1.0, 1.0], [1.0, rng.uniform(1, 300)], [1.0])),
        retention_days=rng.choice((1, 90)),
    )
    world.second_ticket = rng.random() < 0.5
    world.page_size = rng.choice((1, 2, 250))
    for index in range(rng.choice((1, 1, 2, 3))):
        _add_workspace(rng, world, index)
    names = [_guid(rng) for _ in range(6)]
    for index in range(rng.randint(2, 6)):
        _add_case(rng, world, scenario, names, index)
    workspaces = [one.arm_id.lower() for one in world.workspaces]
    plan = FaultPlan(rng, seed=world.seed, until=until, workspaces=workspaces)
    if is_long:
        plan.stretch()
        _delete_some(world, scenario)
    if has_to_wait:
        plan.outlast()
    _look_ahead(world, scenario, share=0.5 if is_long else 0.15)
    _arrive_late(world, scenario)
    scenario.changes += draw_changes(world, until=until, may_die=plan.kills_links)
    scenario.restarts += draw_restarts(world, until=until, retention_days=scenario.retention_days)
    if lasts_days:
        _last(world, scenario, draw_days(world, retention_days=scenario.retention_days), plan)
    _make_odd(world)
    make_late(world)
    return scenario, plan


def _last(world: World, scenario: Scenario, days: Days, plan: FaultPlan) -> None:
    """Let a world go on for days after its hour of faults; some incidents are delivered again in the end."""
    rng = Random(f"deliveries of days {world.seed}")  # noqa: S311
    plan.go_on(until=days.end if rng.random() < 0.5 else plan.until)
    scenario.ends_at, scenario.timer_seconds = days.end, days.timer_seconds
    scenario.changes += days.changes
    scenario.restarts = days.restarts
    for case in world.cases.values():
        if rng.random() < 0.25:
            scenario.postings.append(Posting(rng.uniform(0.6, 0.95) * days.end, _body(rng, case.facts), case))


def _add_workspace(rng: Random, world: World, index: int) -> None:
    system = rng.choice(TICKET_SYSTEMS).name
    workspace = SandboxWorkspace(
        contraforce=world.contraforce,
        name=rng.choice(("law-Sentinel", f"law-sentinel-{index}")),
        system=system,
        subscription=_guid(Random(rng.choice((1, 2)))),  # noqa: S311
        resource_group=f"rg-{index}",
        customer_id=_guid(rng),
        contraforce_id=_guid(rng),
        second_put=rng.choice((200, 409)),
        clock=lambda: wall(world.now),
    )
    world.workspaces.append(workspace)
    world.arm.workspaces[workspace.arm_id.lower()] = workspace
    world.contraforce.workspaces[workspace.contraforce_id] = system


def _add_case(rng: Random, world: World, scenario: Scenario, names: list[str], index: int) -> None:
    workspace = rng.choice(world.workspaces)
    free = [name for name in names if name not in workspace.incidents]
    name = rng.choice(free[:2])  # the same GUIDs turn up in several workspaces
    until = scenario.faults_until
    created = rng.choice(
        (rng.uniform(-23, -1) * HOUR, rng.uniform(-1, 0) * HOUR, *(rng.uniform(0, until),) * 4, -30 * HOUR)
    )
    case = _make_case(rng, world, workspace, name=name, index=index, created=created)
    if case.rule_fires:
        _deliver(rng, scenario, case)
    if rng.random() < 0.2:
        _forge(rng, world, scenario, case)


def _make_case(
    rng: Random,
    world: World,
    workspace: SandboxWorkspace,
    *,
    name: str,
    index: int,
    created: float,
    ahead: float = 0.0,
    changed: float | None = None,
) -> Case:
    severity: Severity = rng.choice(("Informational", "Low", "Low", *("Medium",) * 5, *("High",) * 3))
    incident = workspace.add_incident(
        name=name,
        number=rng.choice((7, 100 + index)),
        title=f"{PLANTED_TITLE} {index}",
        severity=severity,
        status=rng.choice((*("New",) * 9, *("Active",) * 2, "Closed")),
        labels=rng.choice((*((),) * 9, ("vip",), ("Redirected",))),
        created=wall(created + ahead),
        changed=None if changed is None else wall(changed),
        provider=rng.choice(("Azure Sentinel", "Microsoft XDR")),
        ticket_title=f"{PLANTED_TITLE} & <b>{index}</b>",
    )
    seen = max(created, 0.0)
    ingested = seen + rng.choice(
        (0.0, 0.0, rng.uniform(0, 600), rng.uniform(0, 1200), rng.uniform(1500, 4000))
    )
    case = Case(
        label=f"w{world.workspaces.index(workspace)}/i{index}",
        facts=incident,
        created=created,
        dated=created + ahead,
        listed_at=created + rng.choice((0.0, 0.0, rng.uniform(0, 1200))),
        ingested_at=ingested if created > -2 * HOUR else -HOUR,
        ticket_at=rng.choice((-HOUR, -HOUR, -HOUR, ingested + rng.uniform(0, 1800))),
        rule_fires=rng.random() < 0.65,
    )
    case.merges = int(case.is_merged)
    case.became(created)
    world.cases[case.key] = case
    return case


def _look_ahead(world: World, scenario: Scenario, *, share: float) -> None:
    """Date an incident minutes to a year ahead; after it comes one of which nobody tells but the list.

    Their dice are their own.
    """
    rng = Random(f"ahead {world.seed}")  # noqa: S311
    if rng.random() >= share:
        return
    workspace, until = rng.choice(world.workspaces), min(scenario.faults_until, HOUR)
    created = rng.uniform(0, 0.2) * until
    near, far = rng.uniform(60, 2 * HOUR), rng.uniform(2, 365 * 24) * HOUR
    ahead = rng.choice((near, far, *(rng.uniform(6500, 10_000),) * 3))  # of these a clock may be ahead, too
    changed = rng.choice((None, None, created))
    first = _make_case(
        rng, world, workspace, name=_guid(rng), index=6, created=created, ahead=ahead, changed=changed
    )
    if first.rule_fires:
        _deliver(rng, scenario, first)
    later = rng.uniform(0.5 * until, until + 600)
    _make_case(rng, world, workspace, name=_guid(rng), index=7, created=later).rule_fires = False


def _arrive_late(world: World, scenario: Scenario) -> None:
    """Let an incident enter hours or months after its creation, changed now; the dice are their own."""
    rng = Random(f"arrivals {world.seed}")  # noqa: S311
    if rng.random() >= 0.2:
        return
    at = rng.uniform(0, min(scenario.ends_at, HOUR))
    before = rng.choice((rng.uniform(1, 22), rng.uniform(1, 22), 30 * 24)) * HOUR
    workspace = rng.choice(world.workspaces)
    case = _make_case(rng, world, workspace, name=_guid(rng), index=8, created=at, ahead=-before, changed=at)
    case.rule_fires = rng.random() < 0.3
    if case.rule_fires:
        _deliver(rng, scenario, case)


def _delete_some(world: World, scenario: Scenario) -> None:
    """Delete incidents where the timer tries seldom; the dice are their own."""
    rng = Random(f"deletions {world.seed}")  # noqa: S311
    for case in world.cases.values():
        if rng.random() < 0.5:
            at = max(case.created, 0.0) + rng.uniform(0, HOUR)
            scenario.changes.append(Change(at, case, "delete"))


def _make_odd(world: World) -> None:
    """Give some lists empty pages, and some incidents odd dates; their dice are their own."""
    rng = Random(f"oddities {world.seed}")  # noqa: S311
    for workspace in world.workspaces:
        workspace.listing.empty_pages = rng.choice((0, 0, 1, 2))
        workspace.listing.end = rng.choice(("missing", "null", "empty"))
    for case in world.cases.values():
        if rng.random() < 0.3:
            dates = (without_zone, *NO_DATES)
            fields = ("createdTimeUtc", "lastModifiedTimeUtc", "firstActivityTimeUtc", "lastActivityTimeUtc")
            case.facts.odd = {field: rng.choice(dates) for field in rng.sample(fields, rng.randint(1, 4))}


def _deliver(rng: Random, scenario: Scenario, case: Case) -> None:
    at = max(case.created, 0.0) + rng.choice((1.0, rng.uniform(1, 600)))
    for _ in range(rng.choice((1, 1, 2, 3))):
        scenario.postings.append(Posting(at, _body(rng, case.facts), case))
        at += rng.choice((0.0, 0.0, rng.uniform(0, 30), rng.uniform(0, 1800)))


def _forge(rng: Random, world: World, scenario: Scenario, case: Case) -> None:
    """A body that claims another customer's workspace or ticket, or a workspace that is not configured."""
    at = max(case.created, 0.0) + rng.choice(
        (5.0, rng.uniform(0, 600), rng.uniform(0, scenario.faults_until))
    )
    if rng.random() < 0.7:
        body: dict[str, Any] = {**case.facts.trimmed_body(), "workspaceId": _guid(rng)}
        if rng.random() < 0.3:
            body["ticketId"] = f"forged-{len(scenario.postings)}"
    else:
        body = {"incidentArmId": case.facts.arm_id.replace(case.workspace.subscription, _guid(rng))}
    scenario.postings.append(
        Posting(at, json.dumps(body).encode(), case, is_forged=True, ticket=body.get("ticketId"))
    )


def _body(rng: Random, incident: SandboxIncident) -> bytes:
    body: dict[str, Any] = rng.choice(
        (
            incident.trigger_body("Create"),
            incident.trigger_body("Update"),
            incident.trimmed_body(),
            {"incidentArmId": incident.arm_id},
        )
    )
    return json.dumps(body).encode()


def _guid(rng: Random) -> str:
    return str(UUID(int=rng.getrandbits(128), version=4))
