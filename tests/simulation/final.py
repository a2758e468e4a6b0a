"""What has to be true in the end, when the faults are over and everything had its time."""

from faultplan import HOUR, Fault, FaultPlan
from follow_watch import FollowWatch
from referee import Referee
from surprises import AT_RISK
from truth import Case, World

from contraforce_sentinel.domain.errors import RecordUnreadable
from contraforce_sentinel.domain.incidents import IncidentId
from contraforce_sentinel.domain.links import Link
from contraforce_sentinel.domain.reasons import Reason
from contraforce_sentinel.domain.records import LinkState
from contraforce_sentinel.stores.entities import index_row, link_row, partition
from contraforce_sentinel.stores.link_store import LinkStore

_ENDS = frozenset({LinkState.LINKED, LinkState.SKIPPED, LinkState.DEAD})
_DAY = 24 * HOUR
_TRIES = 6


def must_have_a_record(case: Case, following: FollowWatch) -> bool:
    """Whether it was accepted, or the timer follows it; its record can be read, and was not removed."""
    if case.is_spoilt or following.trail(case.key).is_removed:
        return False
    return bool(case.accepted) or (case.deleted_at is None and following.follows(case))


def is_settled(world: World, runs: list[float], following: FollowWatch) -> bool:
    """Whether nothing is owed any more, and the timer has looked since the last thing that happened."""
    cases = world.cases.values()
    last = max([world.disturbed_at, *(max(one.created, one.listed_at, one.changed_at) for one in cases)])
    if len([start for start in runs if start > last]) < 2:
        return False
    if any(case.key not in world.stored for case in cases if must_have_a_record(case, following)):
        return False
    return all(link.state in _ENDS for link in world.stored.values())


async def check_the_end(world: World, store: LinkStore, referee: Referee, faults: FaultPlan) -> None:
    """Hold every incident against the promises."""
    for case in world.cases.values():
        try:
            link = await store.get(IncidentId.parse(case.facts.arm_id))
        except RecordUnreadable:
            if not case.is_spoilt:
                world.violate("i", f"{case.label}: its record cannot be read any more")
            continue
        if case.is_spoilt:
            world.violate("i", f"{case.label}: a record that cannot be read was written over")
        if link is None:
            if must_have_a_record(case, referee.following):
                how = "answered 2xx" if case.accepted else "in the list"
                if any(one.is_ahead and one.workspace is case.workspace for one in world.cases.values()):
                    how = f"{how}, where one is dated ahead"
                world.violate("c", f"{case.label}: {how}, and there is no record of it")
            continue
        if link.state not in _ENDS:
            world.violate("c", f"{case.label}: still {link.state} ({link.reason}), attempt {link.attempts}")
        _check_end(world, case, link, referee, faults)
        _check_comments(world, case, link, is_reborn=referee.following.trail(case.key).is_reborn)
    _check_tables(world)
    referee.following.check_the_end()


def _check_end(world: World, case: Case, link: Link, referee: Referee, faults: FaultPlan) -> None:
    is_gone = link.reason == Reason.INCIDENT_GONE and (
        case.deleted_at is not None or (case.is_late and world.clocks_were_wrong)
    )
    tries = 1 + sum(step.times for step in link.history[-2:-1])
    if link.state is LinkState.SKIPPED and is_gone and tries < _TRIES:
        world.violate("c", f"{case.label}: skipped ({link.reason}) after {tries} tries")
    if link.state is LinkState.SKIPPED and not (case.may_be_skipped or is_gone):
        world.violate("c", f"{case.label}: skipped ({link.reason}) without a reason")
    if link.state is LinkState.LINKED and not case.may_be_linked:
        world.violate("skip", f"{case.label}: linked, though it was always to be skipped")
    if link.state is LinkState.SKIPPED and case.is_wanted and case.deleted_at is None and not is_gone:
        world.violate("g", f"{case.label}: {case.state}, and in the end skipped ({link.reason})")
    if link.state is not LinkState.DEAD:
        return
    file = referee.file(case)
    lasting = faults.until >= _DAY or world.clocks_were_wrong  # a clock that jumps makes a day of a minute
    allowed = {
        "contraforce-rejected": Fault.REJECTED in file.killers,
        "ticket-refused": bool(case.asked_tickets),
        "contraforce-malformed": bool(file.killers & {Fault.GARBAGE, Fault.WRONG_SHAPE}),
        "unexpected": AT_RISK in file.killers or lasting,
        "not-ingested-yet": lasting,
        "no-ticket-yet": lasting,
        "comment-conflict": case.workspace.second_put == 409 and referee.following.trail(case.key).is_reborn,
    }
    unavailable = lasting and (link.reason or "").endswith("-unavailable")
    if not (unavailable or allowed.get(link.reason or "", False)):
        world.violate("c", f"{case.label}: dead ({link.reason}) without a reason that allows it")
    at_once = {"contraforce-rejected", "contraforce-malformed", "comment-conflict"}
    is_refused = link.reason == "ticket-refused" or (link.reason == "unexpected" and AT_RISK in file.killers)
    if link.reason not in at_once and not is_refused and link.failures < _TRIES:
        world.violate("c", f"{case.label}: dead ({link.reason}) after {link.failures} tries")


def _check_comments(world: World, case: Case, link: Link, *, is_reborn: bool) -> None:
    """A record that a delivery has made anew after its removal finds the comment of the one before."""
    if case.deleted_at is not None:
        return
    comments = [one.message for one in case.facts.comments if "Linked by ContraForce" in one.message]
    if len(comments) > 1:
        world.violate("b", f"{case.label}: {len(comments)} comments of ours")
    if link.state is LinkState.LINKED and len(comments) != 1:
        world.violate("b", f"{case.label}: linked, with {len(comments)} comments")
    has_none = link.state in {LinkState.PENDING, LinkState.SKIPPED} and not is_reborn
    if has_none and comments:
        world.violate("b", f"{case.label}: {link.state}, with a comment")


def _check_tables(world: World) -> None:
    """Beside every record is the row by which it is found, and none is left of what it was before."""
    rows = {key for table in world.tables.tables.values() for key in table.order}
    expected = set()
    for link in world.stored.values():
        place, index = partition(link.incident_id.workspace), index_row(link)
        expected |= {(place, row) for row in (link_row(link.incident_id), index) if row is not None}
    spoilt = {
        (partition(incident.workspace), incident.name.lower())
        for incident in (
            IncidentId.parse(case.facts.arm_id) for case in world.cases.values() if case.is_spoilt
        )
    }
    records = {
        (place, row)
        for place, row in rows
        if row.startswith(("link-", "due-", "dead-")) and (place, row[-36:]) not in spoilt
    }
    if rows and records != expected:
        wrong = sorted(row for _, row in records ^ expected)
        world.violate("index", f"{len(wrong)} rows missing or left behind, {wrong[0]} among them")
