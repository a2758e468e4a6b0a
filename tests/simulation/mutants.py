"""Plants one bug at a time in a copy of the source and shows how soon the simulation finds it.

`.venv/bin/python tests/simulation/mutants.py` prints a table; `--seeds 300` bounds the search, names of bugs
choose some, `--store tables` takes the worlds over Azure Tables. Fails if a bug is not found, or if the copy
without a bug does not pass. A bug of one store is looked for over that store only.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

HERE: Final = Path(__file__).parent
SOURCE: Final = HERE.parent.parent / "src"
FIRST_SEED: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Bug:
    """A text of one module, and what stands there instead."""

    name: str
    module: str
    text: str
    instead: str
    store: str | None = None


BUGS: Final = (
    Bug(
        "claims although somebody holds the lease",
        "domain/links.py",
        "if self.state in {LinkState.LINKED, LinkState.DEAD} or self.is_busy(now):",
        "if self.state in {LinkState.LINKED, LinkState.DEAD}:",
    ),
    Bug(
        "comments before the ticket is remembered",
        "use_cases/linking.py",
        "link = await self._remember(link)",
        "link = link.model_copy()",
    ),
    Bug(
        "random comment id",
        "domain/comments.py",
        "return uuid5(NAMESPACE_URL, incident_id.key)",
        "return __import__('uuid').uuid4()",
    ),
    Bug(
        "watermark moves before the page is stored",
        "use_cases/following.py",
        "                async for row, is_done in self._take_all(rows, settled, customer, run):\n",
        "                for row in rows:\n"
        "                    if row.moment is not None:\n"
        "                        moved = partial(Feed.passing, moment=row.moment)\n"
        "                        feed = await keep(self._store, workspace, feed, moved)\n"
        "                async for row, is_done in self._take_all(rows, settled, customer, run):\n",
    ),
    Bug(
        "watermark moves past failing inserts",
        "use_cases/following.py",
        "                report_link_failure(incident.id, error)\n                is_done = False\n",
        "                report_link_failure(incident.id, error)\n                is_done = True\n",
    ),
    Bug(
        "a claim believes the clock of before its read",
        "use_cases/linking.py",
        "now = self._clock()  # of after the read: a worker may have been frozen in it",
        "now = new.created_at if known is None else self._clock()",
    ),
    Bug(
        "expired leases are never taken over",
        "domain/links.py",
        "if self.state in {LinkState.LINKED, LinkState.DEAD} or self.is_busy(now):",
        "if self.state in {LinkState.LINKED, LinkState.DEAD} or self.lease is not None:",
    ),
    Bug(
        "lease shorter than a delivery",
        "domain/links.py",
        "LEASE: Final = timedelta(minutes=3)",
        "LEASE: Final = timedelta(seconds=10)",
    ),
    Bug(
        "a claim is not due when its lease ends", "domain/links.py", "next_try_at=until,", "next_try_at=None,"
    ),
    Bug(
        "Retry-After ignored",
        "domain/links.py",
        "not_before = None if asked is None or dead else now + timedelta(seconds=asked)",
        "not_before = None",
    ),
    Bug(
        "401 and 403 kill",
        "domain/schedules.py",
        "_GRANT: Final = Schedule(timedelta(minutes=15), timedelta(minutes=15), None)",
        "_GRANT: Final = Schedule(timedelta(minutes=15), timedelta(minutes=15), timedelta(0))",
    ),
    Bug(
        "gives up on an outage after half an hour",
        "domain/schedules.py",
        "_BACKOFF: Final = Schedule(timedelta(minutes=1), timedelta(hours=1), timedelta(hours=24))",
        "_BACKOFF: Final = Schedule(timedelta(minutes=1), timedelta(hours=1), timedelta(minutes=30))",
    ),
    Bug(
        "the lease is not looked at before a request",
        "domain/links.py",
        "return self.is_busy(now + LONGEST_EFFECT + CLOCKS_APART)",
        "return True",
    ),
    Bug(
        "a next try that a wrong clock put far ahead is waited for",
        "domain/links.py",
        "LONGEST_WAIT: Final = timedelta(minutes=72)",
        "LONGEST_WAIT: Final = timedelta(days=3650)",
    ),
    Bug(
        "the code of Resource Manager is ignored",
        "azure/refusals.py",
        "    if code is not None and code.lower() in _BY_CODE:\n",
        "    if code is not None and not code:\n",
    ),
    Bug(
        "404 of the workspace taken for the incident's",
        "domain/schedules.py",
        "(UpstreamOutOfSight, Upstream.SENTINEL): (Reason.WORKSPACE_NOT_FOUND, _GRANT),",
        "(UpstreamOutOfSight, Upstream.SENTINEL): (Reason.INCIDENT_GONE, _LATE),",
    ),
    Bug(
        "an incident that is not there yet is dead at once",
        "domain/schedules.py",
        "(UpstreamNotFound, Upstream.SENTINEL): (Reason.INCIDENT_GONE, _LATE),",
        "(UpstreamNotFound, Upstream.SENTINEL): (Reason.INCIDENT_GONE, _AT_ONCE),",
    ),
    Bug(
        "what ContraForce does not know yet is dead after half an hour",
        "domain/schedules.py",
        "timedelta(hours=24), slow_after=",
        "timedelta(minutes=30), slow_after=",
    ),
    Bug(
        "gives up before six tries",
        "domain/schedules.py",
        "failing >= self.give_up_after and failures >= self.tries",
        "failing >= self.give_up_after",
    ),
    Bug(
        "a date without a zone stays without one",
        "domain/inputs.py",
        "found.replace(tzinfo=UTC)",
        "found",
    ),
    Bug(
        "store writes without compare-and-set",
        "stores/sqlite.py",
        '" record = ? WHERE incident = ? AND version = ?",',
        '" record = ? WHERE incident = ? AND ? IS NOT NULL",',
        store="sqlite",
    ),
    Bug(
        "a table's record is written without its ETag",
        "stores/table_writes.py",
        'condition = {} if etag is None else {"mode": UpdateMode.MERGE, **unchanged(etag)}',
        'condition = {} if etag is None else {"mode": UpdateMode.MERGE}',
        store="tables",
    ),
    Bug(
        "a row of the index is left behind",
        "stores/table_writes.py",
        "        if old_row and new_row != old_row:\n",
        "        if False:\n",
        store="tables",
    ),
    Bug(
        "rows of the index that are nobody's stay",
        "stores/table_index.py",
        "        await self._reads.in_batches(self._remove, wrong)\n",
        "",
        store="tables",
    ),
    Bug(
        "a record that lacks its row of the index does not get it",
        "stores/table_index.py",
        "        await self._put_missing(workspace_id, [name for name in expected if name not in index])\n",
        "",
        store="tables",
    ),
    Bug(
        "words of the table service in a log record",
        "stores/table_calls.py",
        """raise _Passing(f"{type(error).__name__} {getattr(error, 'status_code', None)}") from error""",
        "raise _Passing(str(error)) from error",
        store="tables",
    ),
    Bug(
        "workspace looked up by its name alone",
        "azure/workspaces.py",
        "mapping = self._mappings.get(workspace_id.key)",
        "mapping = next((one for one in self._mappings.values()"
        " if one.workspace.name.lower() == workspace_id.name.lower()), None)",
    ),
    Bug(
        "409 on the comment is never ours",
        "azure/sentinel.py",
        "if not is_our_comment(message, ticket):",
        "if True:",
    ),
    Bug(
        "watermark past now: one that a wrong clock has set is believed",
        "use_cases/following.py",
        "    if feed.watermark is not None and feed.watermark > now:\n",
        "    if feed.watermark is not None and not feed.watermark:\n",
    ),
    Bug(
        "watermark past now: it follows an incident that is dated ahead",
        "use_cases/feed.py",
        "not since <= row.moment <= up_to",
        "not since <= row.moment",
    ),
    Bug(
        "discovery without overlap",
        "use_cases/following.py",
        "OVERLAP: Final = timedelta(hours=1)",
        "OVERLAP: Final = timedelta(0)",
    ),
    Bug(
        "discovery reads the first page only",
        "use_cases/feed.py",
        "        if onward is None:\n            return\n        since, known = onward, set()\n",
        "        return\n",
    ),
    Bug(
        "prose of the vendor in an error message",
        "contraforce/client.py",
        """f"status {status}{f' {code}' if code else ''}",""",
        'f"status {status} {answer.body!r}",',
    ),
    Bug(
        "what fails after a success of tickets/link is tried again",
        "contraforce/client.py",
        "ticket_at_risk=has_answered",
        "ticket_at_risk=False",
    ),
    Bug(
        "what nobody foresaw is not recorded with its incident",
        "use_cases/linking.py",
        "except Exception as error:  # noqa: BLE001 - recorded, so that it stops nothing else",
        "except Failure.__args__ as error:",
    ),
    Bug(
        "the first error of a workspace stops the run",
        "use_cases/run.py",
        "            self.failed.add(workspace.key)\n",
        "            self.failed.add(workspace.key)\n            raise\n",
    ),
    Bug(
        "an incident that cannot be recorded is passed by the watermark",
        "use_cases/following.py",
        "has_all = has_all and is_done",
        "has_all = True",
    ),
    Bug(
        "a record that cannot be read hides the others",
        "stores/sqlite.py",
        "                found.unreadable.append(error.incident)\n",
        "                raise\n",
    ),
    Bug(
        "a record that cannot be read is made anew",
        "stores/sqlite.py",
        "        return None if row is None else _link(row)\n",
        "        try:\n            return None if row is None else _link(row)\n"
        "        except RecordUnreadable:\n            return None\n",
    ),
    Bug(
        "closed and merged incidents are linked",
        "use_cases/decision.py",
        "row = {IncidentState.CLOSED: _CLOSED, IncidentState.MERGED: _MERGED}.get(incident.state)",
        "row = None",
    ),
    Bug(
        "feed by creation",
        "use_cases/following.py",
        "            by=CHANGED,\n",
        '            by="createdTimeUtc",\n',
    ),
    Bug(
        "a skipped link is never looked at again",
        "use_cases/decision.py",
        "_OPEN: Final[_Row] = (Need.LINK, Need.NOTE, Need.NOTE, Need.BRING_BACK,",
        "_OPEN: Final[_Row] = (Need.LINK, Need.NOTE, Need.NOTE, Need.NOTE,",
    ),
    Bug(
        "an incident that was merged away is linked anew",
        "use_cases/decision.py",
        "_MERGED: Final[_Row] = (Need.SKIP, Need.SKIP, Need.TELL_MERGED, Need.NOTE,",
        "_MERGED: Final[_Row] = (Need.LINK, Need.NOTE, Need.TELL_MERGED, Need.BRING_BACK,",
    ),
    Bug(
        "the link of an incident that was merged away begins anew",
        "use_cases/following.py",
        "        if changed == link:\n",
        "        if _is_merged_since(link, changed):\n"
        "            anew = {'state': LinkState.PENDING, 'ticket': None, 'next_try_at': now}\n"
        "            changed = changed.model_copy(update=anew)\n"
        "        if changed == link:\n",
    ),
    Bug(
        "closed incidents keep a link that is due",
        "use_cases/decision.py",
        "_CLOSED: Final[_Row] = (Need.SKIP, Need.SKIP,",
        "_CLOSED: Final[_Row] = (Need.SKIP, Need.NOTE,",
    ),
    Bug(
        "retention links again: the feed does not leave behind what is removed",
        "use_cases/retention.py",
        "feed = await keep(self._store, workspace, feed, partial(Feed.leaving, before=before + MARGIN))",
        "feed = feed.leaving(before + MARGIN)",
    ),
    Bug(
        "retention removes what the feed could take for new",
        "use_cases/retention.py",
        "if link.seen.is_undated or (created is not None and created >= follows_from):",
        "if created is None and now < follows_from:",
    ),
    Bug(
        "retention believes a clock that is ahead",
        "use_cases/retention.py",
        "before = min(self._clock(), feed.watermark) - self._retention",
        "before = self._clock() - self._retention",
    ),
    Bug(
        "a dead link is revived by close and reopen",
        "domain/links.py",
        "        if self.was_dead is not None:\n",
        "        if self.was_dead is not None and not self.was_dead:\n",
    ),
    Bug(
        "the feed writes over a lease",
        "use_cases/following.py",
        "        if link.is_busy(now):\n            return False\n",
        "",
    ),
    Bug(
        "the watermark passes a row whose record somebody holds",
        "use_cases/following.py",
        "        if link.is_busy(now):\n            return False\n",
        "        if link.is_busy(now):\n            return True\n",
    ),
    Bug(
        "what is followed begins ahead of now, where a wrong clock has set it",
        "use_cases/following.py",
        "    if feed.follows_from is not None and feed.follows_from > now:\n",
        "    if feed.follows_from is not None and not feed.follows_from:\n",
    ),
    Bug(
        "incidents that enter late are taken for old ones",
        "use_cases/following.py",
        "if follows_from is None or created < follows_from:",
        "if follows_from is None or created < follows_from or created < run.started_at - OVERLAP:",
    ),
    Bug(
        "what was created before is taken up as well",
        "use_cases/following.py",
        "if follows_from is None or created < follows_from:",
        "if follows_from is None:",
    ),
    Bug(
        "an event is told before its write",
        "use_cases/following.py",
        "        try:\n            await self._store.replace(changed)\n",
        "        self._tell(changed, link, incident, run)\n"
        "        try:\n            await self._store.replace(changed)\n",
    ),
    Bug(
        "nobody tells that an incident was merged away",
        "use_cases/following.py",
        "            report_merged(link, trigger=_TRIGGER)\n",
        "            pass\n",
    ),
    Bug(
        "a row without a moment is settled for good",
        "use_cases/following.py",
        "        if row.moment is not None:\n            self.now.add(",
        "        if True:\n            self.now.add(",
    ),
    Bug(
        "a page that shows an incident again is no other page",
        "use_cases/feed.py",
        "self.shown.add((row.name, row.moment))",
        "self.shown.add((row.name, None))",
    ),
    Bug(
        "what another worker has skipped is brought back by a run that knew it as due",
        "use_cases/decision.py",
        "    return was_due or is_not_to_be",
        "    return is_not_to_be",
    ),
    Bug(
        "a skip that cannot be stored becomes a try of a skipped link",
        "use_cases/linking.py",
        "                    return await self._store.replace(looked)\n",
        "                    link = looked\n                    return await self._store.replace(link)\n",
    ),
)


def with_bug(bug: Bug, source: Path) -> str:
    """Return the text of the module with the bug in it; the text has to be there exactly once."""
    text = (source / "contraforce_sentinel" / bug.module).read_text(encoding="utf-8")
    if text.count(bug.text) != 1:
        raise LookupError(f"{bug.name}: its text is {text.count(bug.text)} times in {bug.module}")
    return text.replace(bug.text, bug.instead)


def plant(bug: Bug | None, directory: Path, *, source: Path) -> Path:
    """Copy the source, with the bug in it."""
    copy = directory / "src"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    if bug is not None:
        module = copy / "contraforce_sentinel" / bug.module
        module.write_text(with_bug(bug, source), encoding="utf-8")
    return copy


def hunt(bug: Bug | None, *, seeds: int, source: Path, store: str) -> dict[str, str | int | None]:
    """Simulate over the copy until a promise is broken; what `search.py` says."""
    with TemporaryDirectory(prefix="mutant-") as directory:
        copy = plant(bug, Path(directory), source=source)
        finished = subprocess.run(
            [sys.executable, HERE / "search.py", str(FIRST_SEED), str(seeds), store],
            env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode:
            raise RuntimeError(finished.stderr[-2000:])
        found: dict[str, str | int | None] = json.loads(finished.stdout)
        if not str(found["source"]).startswith(str(copy)):
            raise RuntimeError(f"the simulation used {found['source']}")
        return found


def main() -> int:
    """Print the table; the exit status counts the bugs not found, and a failure without a bug."""
    parser = argparse.ArgumentParser(description="Plant bugs and let the simulation find them.")
    parser.add_argument("bugs", nargs="*", help="parts of the names of the bugs; all if none is given")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--store", choices=("sqlite", "tables"), default="sqlite")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--source", type=Path, default=SOURCE, help="a directory instead of src")
    wanted = parser.parse_args()
    possible = [bug for bug in BUGS if bug.store in {None, wanted.store}]
    chosen = [bug for bug in possible if not wanted.bugs or any(part in bug.name for part in wanted.bugs)]
    failures = 0
    print(f"| {'bug':<58} | {'module':<21} | seeds | promise that failed |")  # noqa: T201
    print(f"|{'-' * 60}|{'-' * 23}|{'-' * 7}|{'-' * 21}|")  # noqa: T201
    with ThreadPoolExecutor(wanted.processes) as pool:
        cases: list[Bug | None] = [None, *chosen]
        search = partial(hunt, seeds=wanted.seeds, source=wanted.source, store=wanted.store)
        for bug, found in zip(cases, pool.map(search, cases), strict=True):
            seed = found["seed"]
            count = "-" if seed is None else int(seed) - FIRST_SEED + 1
            name, module = (bug.name, bug.module) if bug else ("(no bug)", "")
            text = "none" if seed is None else f"({found['promise']}) {found['text']}"
            failures += (seed is None) == (bug is not None)
            print(f"| {name:<58} | {module:<21} | {count:>5} | {text} |", flush=True)  # noqa: T201
    return failures


if __name__ == "__main__":
    sys.exit(main())
